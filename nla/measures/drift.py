"""Drift: how far a matrix is from itself at the first and at the previous checkpoint."""

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon

from nla.nulls.draws import permuted_singular_values
from nla.numerics import spectra
from nla.numerics.changes import _row_sums, compare
from nla.numerics.threads import computed_once

DRAWN = 2**26  # bytes of simulated matrices in memory at once


def drift(matrix):
    """How far W is from W_0, the same matrix at the first checkpoint, and from W_p, at the checkpoint before this one.

    NaN where there is no such checkpoint, or the matrix in it cannot be read, is not finite or has another shape.

    Returns
    -------
    dict
        ``distance``: ||W - W_0||_F; ``relative_distance``: that over ||W_0||_F, which is ``initial_norm``; W_0 is of
        the first checkpoint that can be read, ``initial_step``. With W = a W_0 + R, R orthogonal to W_0,
        ``projection``: a; ``residual``: ||R|| / ||W_0||, so that relative_distance^2 = (1-a)^2 + residual^2;
        ``cosine`` of the angle between W and W_0: its square is the share of ||W||^2 along W_0. Where a weight only
        decays, a is the product of its decays and residual is 0.
        ``update_norm``: ||W - W_p|| / ||W_p||; ``update_angle``: between W and W_p, in radians; ``update_steps``: steps
        between them, 0 at the first checkpoint; ``previous_norm``: ||W_p||_F.
        ``drift_floor``, ``update_floor``: what rounding to the dtype of the files adds to relative_distance and to
        update_norm, 2.9e-4 for Gaussian entries in fp16. A smaller change is recorded in part or not at all.
        ``spectrum_change``: ||s - s_0|| / ||s_0||, at most relative_distance (Mirsky 1960); ``spectrum_wasserstein``:
        mean |s_i - s_0i|, each spectrum in units of its RMS.
        ``rand_distance``, ``rand_distance_random``: see `rand_distance` and `random_rand_distance`.
        Of embed_in ``decay_rows``, ``decay_measured``: number and decay of its rows that only decayed (`decayed_rows`).
    """
    first, before = matrix.at("initial", same_shape=True), matrix.at("previous", same_shape=True)
    since, update = compare(matrix, first), compare(matrix, before)
    own, rounded_first = _rounding(matrix), first.remember(_rounding) if first else np.nan
    s, s_0 = matrix.singular_values, first.remember(_spectrum) if first else np.full(1, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "distance": since["distance"],
            "relative_distance": since["distance"] / since["norm"],
            "cosine": since["cosine"],
            "projection": since["projection"],
            "residual": since["residual"] / since["norm"],
            "initial_norm": since["norm"],
            "initial_step": first.step if first else np.nan,
            "drift_floor": np.hypot(own, rounded_first) / since["norm"],
            "update_norm": update["distance"] / update["norm"],
            "update_angle": update["angle"],
            "update_steps": matrix.step - before.step if before else _none_before(matrix, first),
            "update_floor": np.hypot(own, _rounding(before) if before else np.nan) / update["norm"],
            "previous_norm": update["norm"],
            "spectrum_change": np.linalg.norm(s - s_0) / np.linalg.norm(s_0),
            "spectrum_wasserstein": np.abs(_in_rms(s) - _in_rms(s_0)).mean(),
            "rand_distance": rand_distance(matrix),
            "rand_distance_random": random_rand_distance(*matrix.shape),
        }
    if matrix.kind == "embed_in" and first:
        rows, kept = decayed_rows(matrix, first)
        found |= {"decay_rows": int(rows.sum()), "decay_measured": kept}
    return found


def _none_before(matrix, first):
    return 0 if first and first.step == matrix.step else np.nan


def decayed_rows(now, then):
    """(bool array of the rows of `now` that are c times those of `then` up to rounding, least-squares c over them).

    A row of embed_in whose token never occurs (padding of the vocabulary, special tokens) gets no gradient: weight
    decay alone moves it, and c measures that decay. Early on this holds for all tokens not seen so far, and it holds
    as far as the files can tell for rows moved by less than their resolution. c is NaN without such a row.
    """
    norm2, along, distance2 = _row_sums(now, then)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = 1 + along / norm2
        residual2, size2 = distance2 - along**2 / norm2, norm2 + 2 * along + distance2
        rounding2 = _row_rounding(now) + factor**2 * _row_rounding(then)
        # Twice the rounding error, which is an RMS over a row; 1e-4 for what float32 sums lose through training.
        rows = residual2 <= np.maximum(4 * rounding2, 1e-8 * size2)
        return rows, 1 + along[rows].sum() / norm2[rows].sum()


def rand_distance(matrix):
    """Distance of the spectrum from that of the same entries in random places, as WeightWatcher defines it.

    Square root of the Jensen-Shannon divergence, in nats, of the two descending lists s_i^2 / sum s^2, taken as
    probabilities of the index i: from 0 to sqrt(ln 2) = 0.83. It is not a distance of densities. For a random matrix
    see `random_rand_distance`. The permutation is the same at all steps.
    """
    return _spectral_divergence(matrix.singular_values, permuted_singular_values(matrix))


@computed_once
def random_rand_distance(m, n):
    """Mean `rand_distance` of Gaussian matrices, to 10 %: simulated up to a short side of r = 64, continued beyond it.

    The i-th eigenvalue of a real random matrix fluctuates with variance ln r / pi^2 in units of the spacing there
    (O'Rourke 2010, doi:10.1007/s10955-009-9906-y). Inserted into the divergence, (1/4) sum var(p_i) / p_i to leading
    order, with the Marchenko-Pastur spacing, that gives (rand_distance r)^2 = (gamma/2) ln r + const, gamma = min/max.
    """
    rank, longer = min(m, n), max(m, n)
    small = min(rank, 64)
    shape, rng = (small, round(longer * small / rank)), np.random.default_rng(0)
    most = max(1, DRAWN // (8 * shape[0] * shape[1]))
    counts = [min(most, 200 - start) for start in range(0, 200, most)]
    s = np.concatenate([np.linalg.svd(rng.standard_normal((count, *shape)), compute_uv=False) for count in counts])
    simulated = small * np.mean([_spectral_divergence(a, b) for a, b in zip(s[::2], s[1::2], strict=True)])
    return float((simulated**2 + rank / longer / 2 * np.log(rank / small)) ** 0.5 / rank)


def _spectral_divergence(s, other):
    return float(jensenshannon(s**2, other**2)) if s.any() else np.nan


def _in_rms(s):
    return s / np.sqrt(np.mean(s**2))


def _spectrum(matrix):
    return matrix.singular_values


def _rounding(matrix):
    """Norm of the error that rounding to the dtype of the file has made."""
    return _row_rounding(matrix).sum() ** 0.5


def _row_rounding(matrix):
    """Expected squared norm of the rounding error of each row, float64 (rows,)."""
    blocks = matrix.weight.split(max(1, 2**21 // matrix.shape[1]))
    return torch.cat([spectra.rounding_variance(block).sum(1) for block in blocks]).cpu().numpy()
