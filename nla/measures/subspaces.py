"""Directions: the leading singular subspaces of a matrix beside those it started from and those it ends with."""

import numpy as np
import torch

from nla.nulls.draws import random_drift
from nla.numerics import spectra

LARGEST = 512  # leading vectors compared at most; bounds what a scan keeps in memory
ANGLES = 16  # dimension of the subspaces whose principal angles are listed


def subspaces(matrix):
    """How far the leading singular subspaces of W, m x n, are those of the first and of the last checkpoint.

    A scan factorises both of these once and keeps the short-side vectors in float32: for r = min(m, n) at most
    4 r min(r/2, 512) bytes for each matrix and end, 0.8 GB together for Pythia-1b.

    Returns
    -------
    dict
        ``subspace_k``: dimensions k = 1, 2, 4, ... up to r/2 and 512. The curves ``left_first``, ``right_first``,
        ``left_final``, ``right_final`` over k: overlap ||U_k^T U'_k||_F^2 / k of the spans of the k leading left
        (right) singular vectors of W and of the same matrix at the first (last) checkpoint. It is the mean cos^2 of
        their principal angles: 1 if the spans are equal, k/m (k/n) on average if one is random.
        ``left_first_noise``, ``right_first_noise``: those of `random_drift`, what the amount of the change by itself
        leaves. ``left_first_angles`` and so on: principal angles for k = 16, or the largest k if that is less,
        ascending, in radians; see `random_angle`.
        ``change_spectral``, ``change_stable_rank``: largest singular value s_1 of D = W - W_0, and ||D||_F^2 / s_1^2,
        which is mn / (sqrt m + sqrt n)^2 for a large Gaussian D.
        NaN where that checkpoint cannot be compared with.

    References
    ----------
    Bjorck & Golub 1973 (doi:10.1090/S0025-5718-1973-0348991-3) for principal angles.
    """
    first, final = matrix.at("initial", same_shape=True), matrix.at("final", same_shape=True)
    own, start = _bases(matrix.values, *_leading(matrix)), _bases_of(first)
    found = {"subspace_k": dimensions(*matrix.shape)}
    for end, other in (("first", start), ("final", _bases_of(final))):
        for side, mine, its in zip(("left", "right"), own, other, strict=True):
            found[f"{side}_{end}"], found[f"{side}_{end}_angles"] = overlap(mine, its, found["subspace_k"])
    for side, mine, its in zip(("left", "right"), _bases_of_noise(matrix, first), start, strict=True):
        found[f"{side}_first_noise"] = overlap(mine, its, found["subspace_k"])[0]
    change = spectra.singular_values(spectra.gram(matrix.values - first.values)) if first else np.full(1, np.nan)
    with np.errstate(invalid="ignore"):
        return found | {"change_spectral": change[0], "change_stable_rank": (change @ change) / change[0] ** 2}


subspaces.steps = "log"


def overlap(one, other, ks):
    """(overlaps for each k of `ks`, principal angles of the `ANGLES` first) of orthonormal columns, leading first."""
    if other is None:
        return np.full(len(ks), np.nan), np.full(1, np.nan)
    cosines = one.T @ other
    overlaps = torch.stack([(cosines[:k, :k] ** 2).sum() / k for k in ks])
    angles = torch.arccos(torch.linalg.svdvals(cosines[:ANGLES, :ANGLES]).clamp(max=1))
    return overlaps.cpu().numpy(), angles.cpu().numpy()


def random_angle(d, k):
    """Smallest principal angle of two random k-dimensional subspaces of R^d, 2k <= d, as both grow: radians.

    cos^2 of the k angles fill the interval from 0 to 4 (k/d) (1 - k/d) (Wachter 1980, doi:10.1214/aos/1176345134).
    """
    return float(np.arccos(2 * np.sqrt(k / d * (1 - k / d))))


def dimensions(m, n):
    """The k of `subspaces`: powers of two up to min(m, n) / 2 and `LARGEST`, at least 1; int64."""
    most = max(1, min(min(m, n) // 2, LARGEST))
    return 2 ** np.arange(most.bit_length())


def _leading(matrix):
    """(s, vectors) of the shorter side that `subspaces` needs."""
    return _truncated(matrix.short_side, matrix.shape)


def _truncated(short_side, shape):
    s, vectors = short_side
    count = dimensions(*shape)[-1]
    return s[:count], vectors[:, :count].float()


def _bases(values, s, vectors):
    """Leading (left, right) singular vectors as columns, float64."""
    U, _, Vt = spectra.singular_vectors(values, s, vectors.double())
    return U, Vt.T


def _bases_of_noise(matrix, first):
    if first is None:
        return None, None
    values = random_drift(matrix, first)
    return _bases(values, *_truncated(spectra.short_side(spectra.gram(values)), matrix.shape))


def _bases_of(end):
    """Leading vectors of the matrix at one `end` of its ladder, which is factorised once per scan."""
    return _bases(end.values, *end.remember(_leading)) if end else (None, None)
