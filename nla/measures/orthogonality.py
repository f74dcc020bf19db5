"""How far a matrix is from orthogonal, and how far its rows and its columns, taken as directions, are from each other.

These are two questions. The first is about the matrix: does W keep lengths, up to one scale? It is answered by the
singular values. The second is about vectors, such as the neurons of an MLP (rows of W1, columns of W2), each divided by
its length: are they at right angles? Every pair is looked at. More vectors than dimensions cannot all be.
"""

import numpy as np

from nla.matrices.families import HEADED
from nla.nulls import directions, gaussian
from nla.numerics import pairs

COMPARED = ("mean_abs_cosine", "rms_cosine", "max_abs_cosine", "sd_angle")  # of `pairs.Pairs`, with a random value


def orthogonality(matrix):
    """Orthogonality of one matrix W, m x n, of rank at most r = min(m, n), and of its rows and columns.

    Returns
    -------
    dict
        Of the matrix, from lambda_i = s_i^2: ``gram_short``, ||G/c - I||_F / sqrt(r) for the Gram matrix G of the
        short side and c = tr G / r, which is sd(lambda)/mean(lambda): 0 for orthonormal vectors times a scale, at most
        sqrt(r - 1). ``gram_long``: the same for the long side, N = max(m, n), where ``gram_long_least`` =
        sqrt((N - r)/r) cannot be avoided. ``procrustes``: share of ||W||_F^2 not explained by the nearest cQ with
        orthonormal Q, 1 - ||W||_*^2 / (r ||W||_F^2): 0 to 1 - 1/r.
        Of the vectors, SIDE being rows or columns: ``pairs_SIDE``, how many there are; ``mean_cosine_SIDE``,
        ``mean_abs_cosine_SIDE``, ``rms_cosine_SIDE``, ``max_abs_cosine_SIDE``; ``mean_angle_SIDE`` and
        ``sd_angle_SIDE`` in degrees; ``welch_SIDE``, below which the maximum and the RMS cannot be.
        ``NAME_relative``: over the value of a Gaussian matrix of the same shape. Its mean angle is 90.

    References
    ----------
    Nearest cQ: the polar factor, Golub & Van Loan, Matrix Computations, 4th ed., section 6.4. Nulls: `nla.nulls`.
    """
    (m, n), s = matrix.shape, matrix.singular_values
    short, long = sorted((m, n))
    energy = s**2
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = float(energy.std() / energy.mean())
        aligned = float(s.sum() ** 2 / (short * energy.sum()))
    found = {
        "gram_short": deviation,
        # Both sides have the same nonzero eigenvalues, so that one deviation gives the other.
        "gram_long": ((long - short) / short + long / short * deviation**2) ** 0.5,
        "procrustes": max(1 - aligned, 0.0) if aligned == aligned else aligned,
    }
    expected = {
        "gram_short": gaussian.gram_deviation(m, n),
        "gram_long": ((long - 1) * (long + 2) / (m * n + 2)) ** 0.5,
        "procrustes": gaussian.procrustes(m, n),
    }
    other = {"gram_long_least": ((long - short) / short) ** 0.5}
    for side, dimension in (("rows", n), ("columns", m)):
        seen = matrix.pairs[side]
        found |= {f"{k}_{side}": getattr(seen, k) for k in COMPARED}
        expected |= {
            f"mean_abs_cosine_{side}": directions.cosine_mean_abs(dimension),
            f"rms_cosine_{side}": dimension**-0.5,
            f"max_abs_cosine_{side}": directions.cosine_max_abs(dimension, seen.count),
            f"sd_angle_{side}": directions.angle_sd(dimension),
        }
        other |= {f"{k}_{side}": getattr(seen, k) for k in ("mean_cosine", "mean_angle")}
        other |= {f"pairs_{side}": seen.count, f"welch_{side}": pairs.welch_bound(seen.vectors, dimension)}
    return found | other | _relative(found, expected)


orthogonality.pure = True


def angles(matrix):
    """The angles of all pairs of rows, and of all pairs of columns, as counts per quarter of a degree.

    Returns
    -------
    dict
        ``angles_rows, angles_columns``: int64 (720,), the pairs between neighbouring `pairs.EDGES`, 0 to 180
        degrees. For random vectors in R^d: `nla.nulls.angle_density` of d.
    """
    return {f"angles_{side}": matrix.pairs[side].histogram for side in ("rows", "columns")}


angles.pure = True
angles.steps = "log"


def head_isotropy(matrix):
    """Where in query, key, value or dense the departure from orthogonality sits: within, between or across heads.

    Let W_h (d_head x d_model) be the block of head h of H, all of them stacked M x d_model, c the mean squared length
    of the M vectors and G_hk = W_h W_k^T / c. The squared deviation ||G - I||_F^2 / M then falls into three parts:
    singular values that differ within a head, heads that differ in size, and overlap of one head with another.

    Returns
    -------
    dict
        ``head_within``: root of sum_h ||G_hh - (tr G_hh / d_head) I||^2 / M. ``head_between``: sd over heads of
        ||W_h||_F^2 over their mean. ``head_across``: root of sum_{h != k} ||G_hk||^2 / M. Their squares add up to
        the square of ``gram_heads``. ``NAME_relative``: over the RMS value for a Gaussian matrix, which is exact.
    """
    heads, d_head, d_model = matrix.per_head.shape
    stacked = matrix.per_head.flatten(0, 1).double()
    gram = (stacked @ stacked.T).reshape(heads, d_head, heads, d_head)
    energy = (gram**2).sum((1, 3)).cpu().numpy()  # (heads, heads)
    size = (stacked**2).reshape(heads, -1).sum(1).cpu().numpy()  # (heads,): traces of the diagonal blocks
    vectors = heads * d_head
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = vectors * (size.sum() / vectors) ** 2
        within = np.maximum(np.diag(energy) - size**2 / d_head, 0).sum() / unit
        across = (energy.sum() - np.trace(energy)) / unit
        between = (size.std() / size.mean()) ** 2
    entries = vectors * d_model + 2
    squares = {
        "gram_heads": (within + between + across, (vectors - 1) * (vectors + 2) / entries),
        "head_within": (within, heads * (d_head - 1) * (d_head + 2) / entries),
        "head_between": (between, 2 * (heads - 1) / entries),
        "head_across": (across, heads * (heads - 1) * d_head**2 / entries),
    }
    found, expected = ({k: float(v[i]) ** 0.5 for k, v in squares.items()} for i in (0, 1))
    return found | _relative(found, expected)


head_isotropy.kinds = HEADED
head_isotropy.pure = True


def _relative(found, expected):
    """{name}_relative: found over expected, 1 where both are 0, as between the heads if there is one only."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {
            name: 1.0 if value == expected[name] == 0 else np.divide(value, expected[name])
            for name, value in found.items()
        }
    return {f"{name}_relative": float(ratio) for name, ratio in ratios.items()}
