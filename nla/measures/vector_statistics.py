"""Singular vectors of one matrix against random ones, at both ends of its spectrum, and what made its outliers."""

import numpy as np
import torch
from scipy.special import kolmogorov

from nla.measures.power_law import entropy_z
from nla.nulls import directions, edges
from nla.nulls.draws import random_drift
from nla.nulls.marchenko_pastur import bulk_sigma
from nla.numerics import spectra

AT_ONCE = 64  # vectors sorted together
REJECTED = 0.01  # level of the test of each vector
MOST = 0.5  # of a vector's weight, on one place or along the constant vector: that is what it is about


def singular_vector_statistics(matrix):
    """Whether the singular vectors u_k, v_k of W, m x n, are random directions; by rank k, the largest first.

    Of a Gaussian matrix they are uniform on the sphere: entries times sqrt(d) are nearly N(0, 1), their squares follow
    the law of Porter & Thomas.

    Returns
    -------
    dict
        Curves over k, for left (m entries) and right (n entries) vectors: ``porter_thomas_left``, ``_right``: p-value
        of `porter_thomas`; ``entropy_left``, ``_right``: z-score of -sum v^2 ln v^2, 0 +- 1 for a random vector,
        negative where few entries carry it; ``participation_left``, ``_right``: sum v^4 over its random mean 3/(d+2),
        1 for a random vector, d/3 for a single entry.
        ``rejected_top``, ``_middle``, ``_bottom``: share of vectors, left and right together, that Porter-Thomas
        rejects at 1 % among the first tenth of k, the last tenth, and those between; 0.01 for a random matrix.
        ``entropy_top``, ``entropy_middle``, ``entropy_bottom``: mean z-score there.
        ``spacing_ratio``: mean of min/max of neighbouring gaps between singular values within the random edges, 0.531
        for a random matrix, 0.386 if they did not repel one another; ``spacing_error``: its standard error.
        ``spikes_entry``, ``spikes_row``, ``spikes_column``, ``spikes_mean``: how many of the right outliers have half
        the weight of both vectors on one place (a huge entry); of u alone (a row), of v alone (a column); of both on
        the constant vector (a nonzero mean). ``spikes_spread``: the others, which learned directions are among.
        ``kept``: curve over k of max_j |cos| between the vector k of the shorter side and any vector j of the first
        checkpoint; ``kept_noise``: the same if W had moved as far by noise alone (`random_drift`); ``kept_random``:
        mean for random directions. NaN where the first checkpoint cannot be compared with.

    References
    ----------
    Porter & Thomas 1956 (doi:10.1103/PhysRev.104.483); Thamm, Staats & Rosenow 2022 (arXiv:2203.14661); for the spacing
    ratio Atas, Bogomolny, Giraud & Roux 2013 (doi:10.1103/PhysRevLett.110.084101).
    """
    U, s, Vt = matrix.singular_vectors
    found, pooled = {}, {"rejected": [], "entropy": []}
    for side, vectors in (("left", U), ("right", Vt.T)):
        p, z, participation = statistics(vectors)
        found |= {f"porter_thomas_{side}": p, f"entropy_{side}": z, f"participation_{side}": participation}
        pooled["rejected"].append(np.where(np.isnan(p), np.nan, p < REJECTED))
        pooled["entropy"].append(z)
    parts = np.array_split(np.arange(len(s)), 10)
    places = {"top": parts[0], "middle": np.concatenate(parts[1:-1]), "bottom": parts[-1]}
    for name, values in pooled.items():
        for where, ks in places.items():
            found[f"{name}_{where}"] = _mean(np.stack(values)[:, ks])
    return found | _spacings(matrix) | _origins(matrix) | _kept(matrix)


singular_vector_statistics.steps = "log"
singular_vector_statistics.pure = True


def statistics(vectors):
    """(`porter_thomas` p, entropy z, participation) of each column; zero columns, which s does not resolve, are NaN."""
    columns = [vectors[:, i : i + AT_ONCE] for i in range(0, vectors.shape[1], AT_ONCE)]
    p = np.concatenate([porter_thomas(c) for c in columns])
    z = np.concatenate([entropy_z(c).cpu().numpy() for c in columns])
    participation = np.concatenate([(c**4).sum(0).cpu().numpy() for c in columns]) * (len(vectors) + 2) / 3
    there = (vectors**2).sum(0).cpu().numpy() > 0.5
    return tuple(np.where(there, values, np.nan) for values in (p, z, participation))


def porter_thomas(vectors):
    """p-value of the KS test of sqrt(d) v against N(0, 1) for each unit column v of a (d, k) tensor.

    Because the length of v is fixed the test is a little lenient: of random vectors 0.8 to 0.9 % have p < 0.01 and
    4.2 % p < 0.05, for d from 48 to 4096.
    """
    d = len(vectors)
    expected = torch.special.ndtr(vectors.sort(0).values * d**0.5)
    steps = torch.arange(d + 1, device=vectors.device, dtype=vectors.dtype)[:, None] / d
    distance = torch.maximum((expected - steps[:-1]).abs().amax(0), (expected - steps[1:]).abs().amax(0)).cpu().numpy()
    return kolmogorov(distance * (d**0.5 + 0.12 + 0.11 / d**0.5))  # Stephens 1970, for finite d


def spacing_ratios(values):
    """min/max of neighbouring gaps of sorted `values`, one fewer than there are gaps; 0/0 is left out."""
    gaps = np.abs(np.diff(values))
    low, high = np.minimum(gaps[:-1], gaps[1:]), np.maximum(gaps[:-1], gaps[1:])
    return low[high > 0] / high[high > 0]


def _mean(values):
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else np.nan


def _outliers(matrix):
    s, shape = matrix.singular_values, matrix.shape
    return edges.outliers(s, *shape, bulk_sigma(s, *shape) or np.nan)


def _spacings(matrix):
    right, left = _outliers(matrix)
    s = matrix.singular_values
    ratios = spacing_ratios(s[~(right | left) & (s > 0)])
    if len(ratios) < 2:
        return {"spacing_ratio": np.nan, "spacing_error": np.nan}
    return {"spacing_ratio": float(ratios.mean()), "spacing_error": float(ratios.std() / len(ratios) ** 0.5)}


def _origins(matrix):
    U, _, Vt = matrix.singular_vectors
    right = torch.from_numpy(_outliers(matrix)[0]).to(U.device)
    u, v = U[:, right], Vt[right].T
    row, column = ((x**2).amax(0) > MOST if x.shape[1] else x.new_zeros(0, dtype=bool) for x in (u, v))
    constant = (u.sum(0) ** 2 / len(u) > MOST) & (v.sum(0) ** 2 / len(v) > MOST)
    kinds = {"entry": row & column, "row": row & ~column, "column": column & ~row, "mean": constant}
    counts = {f"spikes_{name}": int(mask.sum()) for name, mask in kinds.items()}
    return counts | {"spikes_spread": int((~(row | column | constant)).sum())}


def _kept(matrix):
    first, r = matrix.at("initial", same_shape=True), min(matrix.shape)
    found = {
        "kept": np.full(1, np.nan),
        "kept_noise": np.full(1, np.nan),
        "kept_random": directions.cosine_max_abs(r, r),
    }
    if first is None:
        return found
    then = first.short_side[1]
    found["kept"] = (then.T @ matrix.short_side[1]).abs().amax(0).cpu().numpy()
    noisy = spectra.short_side(spectra.gram(random_drift(matrix, first)))[1]
    return found | {"kept_noise": (then.T @ noisy).abs().amax(0).cpu().numpy()}
