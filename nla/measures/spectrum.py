"""The spectrum of a matrix, and how many directions it is spread over, beside the same for a random matrix."""

import numpy as np

from nla.nulls import gaussian, marchenko_pastur
from nla.nulls.edges import gavish_donoho_threshold, mp_threshold
from nla.numerics import spectra
from nla.numerics.spectra import ranks


def spectrum(matrix):
    """Singular values s_1 >= s_2 >= ... of one matrix W, m x n, r = min(m, n), and the measures of its rank.

    Returns
    -------
    dict
        What `ranks` returns, ``resolution`` being its tolerance; ``mp_rank`` and ``gavish_donoho_rank``: number of
        s_i above what noise alone would reach (`mp_threshold`) and above what is worth keeping when noise is to be
        removed (`gavish_donoho_threshold`), both 0 for a random matrix; the curve ``singular_values``, float32 (r,).
        ``NAME_relative``: NAME over its value for a Gaussian matrix of the same shape and RMS (`random_ranks`), 1
        where W has learnt nothing.
    """
    s, shape, tolerance = matrix.singular_values, matrix.shape, resolution(matrix)
    measured = ranks(s, tolerance)
    expected = random_ranks(*shape, np.sqrt(s @ s / np.prod(shape)), tolerance)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = {f"{k}_relative": float(np.divide(v, expected[k])) for k, v in measured.items()}
    above = {
        "mp_rank": int((s > max(mp_threshold(s, *shape), tolerance)).sum()),
        "gavish_donoho_rank": int((s > max(gavish_donoho_threshold(s, *shape), tolerance)).sum()),
    }
    return measured | above | relative | {"resolution": tolerance, "singular_values": s.astype(np.float32)}


spectrum.pure = True


def random_ranks(m, n, sigma=1.0, tolerance=0.0):
    """`ranks` of an m x n matrix of independent N(0, sigma^2) entries: those of the Marchenko-Pastur spectrum.

    Where a finite matrix differs visibly from that limit: the mean largest singular value of Johnstone 2001 for the
    stable rank, E(sum s^2)^2 / E sum s^4 = (mn + 2) / (m + n + 1) for the participation ratio, the median of Edelman
    1988 for the condition number (a square Gaussian matrix has no mean).
    """
    expected = ranks(sigma * marchenko_pastur.mp_spectrum(m, n), tolerance)
    expected["stable_rank"] = m * n / gaussian.spectral_norm(m, n) ** 2
    expected["participation_ratio"] = (m * n + 2) / (m + n + 1)
    expected["condition_number"] = gaussian.median_condition_number(m, n) if min(m, n) > 1 else 1.0
    return expected


def resolution(matrix):
    """Largest singular value that rounding to the file's precision can make out of nothing: the tolerance of rank.

    Independent errors of variances v_ij (`spectra.rounding_variance`) make a matrix of spectral norm at most about
    max_i sqrt(sum_j v_ij) + max_j sqrt(sum_i v_ij), for Gaussian entries in float16 about 1.1 times their noise of
    2.07e-4 sigma (sqrt m + sqrt n). This is about noise, not the worst case: that is the customary max(m, n) eps s_1,
    which with the eps of float16 reaches s_1 itself as soon as a side has 1,024 entries. In a float32 file the float64
    Gram matrix, which resolves s_1 sqrt(r eps), is the coarser of the two.

    References
    ----------
    Bandeira & van Handel 2016 (doi:10.1214/15-AOP1025), to leading order, for rectangular matrices.
    """
    rows, columns = [], 0.0
    for block in matrix.weight.split(4096):
        variance = spectra.rounding_variance(block)
        rows.append(float(variance.sum(1).max()))
        columns = columns + variance.sum(0)
    s = matrix.singular_values
    return max(max(rows) ** 0.5 + float(columns.max()) ** 0.5, float(s[0]) * (len(s) * np.finfo(float).eps) ** 0.5)
