"""Spectra against the Marchenko-Pastur law: distance, edges with their margins, and spikes above the noise.

Throughout W is m x n in either order, r = min(m, n), and singular values are those of W itself. Density,
distribution function and edges of the law are in `nla.nulls`.
"""

import numpy as np
import torch
from scipy import stats

from nla import nulls, profiles
from nla.matrices import Matrix

# A gamma law that is near the Tracy-Widom law, beta = 1, by 0.01 at 99 %: Chiani 2014 (doi:10.1016/j.jmva.2014.04.002).
TRACY_WIDOM = stats.gamma(46.446, loc=-9.84801, scale=0.186054)
LEVEL = 0.99  # of the margin beyond which a singular value is an outlier
LEAST = 8  # values that a bulk must keep
DEPARTED = 3.0  # distances from the law, in units of their mean for random matrices, from which on it is left


def distance(s, m, n, sigma):
    """KS distance of a descending spectrum from the Marchenko-Pastur law of entries of standard deviation `sigma`."""
    expected = nulls.mp_cdf(np.asarray(s, dtype=float)[::-1], m, n, sigma)
    steps = np.arange(len(s) + 1) / len(s)
    return float(max(np.abs(expected - steps[:-1]).max(), np.abs(expected - steps[1:]).max()))


def random_distance(m, n):
    """Mean of `distance` over Gaussian matrices of their own RMS: (0.36 + 0.41 ln r) / r, near 3/r.

    Singular values repel one another, so that they lie far more evenly than independent draws, whose distance would be
    0.87/sqrt(r). As r grows, r times the distance becomes sqrt(2)/pi ln r (Claeys, Fahs, Lambert & Webb 2021, doi:
    10.1215/00127094-2020-0070, for beta = 2); the two numbers are fitted to simulations with r from 24 to 2048, square
    to 4:1, and hold to 3 %. The standard deviation is 0.32/r, the 99 % quantile 1.3 to 1.5 times the mean.
    """
    r = min(m, n)
    return (0.36 + 0.41 * np.log(r)) / r


def median_error(m, n):
    """Relative standard error of `nla.bulk_sigma` for noise: sqrt(ln r) / (pi r p(s) s) at the median s of density p.

    A singular value in the bulk of r fluctuates by sqrt(ln r)/pi places (Gustavsson 2005 for beta = 2; O'Rourke 2010,
    doi:10.1007/s10955-009-9906-y, for beta = 1); 1.6/r if square, 0.7/r for 4:1.
    """
    r = min(m, n)
    middle = float(np.median(nulls.mp_spectrum(m, n)))
    return float(np.sqrt(np.log(max(r, 2))) / (np.pi * r * nulls.mp_density(middle, m, n) * middle))


def upper_edge(s, m, n, sigma):
    """The singular value(s) `s` as draws of the Tracy-Widom law at the upper edge, for `sigma` from the median.

    (s^2 - mu)/tau with the centre and scale of Johnstone 2001 (doi:10.1214/aos/1009210544), drawn towards the mean of
    the law by as much as the error of sigma widens its upper tail. NaN if r = 1.
    """
    if min(m, n) == 1:
        return np.full(np.shape(s), np.nan)
    centre = nulls.spectral_norm(m, n, sigma, 0) ** 2
    scale = nulls.spectral_norm(m, n, sigma, 1) ** 2 - centre
    mean, tail = TRACY_WIDOM.mean(), TRACY_WIDOM.ppf(LEVEL) - TRACY_WIDOM.mean()
    error = 2 * median_error(m, n) * centre / scale * stats.norm.ppf(LEVEL)
    return mean + ((np.asarray(s) ** 2 - centre) / scale - mean) * tail / np.hypot(tail, error)


def lower_edge(s, m, n, sigma):
    """The same at the lower edge, where large values mean small s; NaN where the law has no edge of its own there.

    (nu - ln s^2)/tau with the centre and scale of Ma 2012 (doi:10.3150/10-BEJ334). There is none if m = n or r = 1,
    nor where zero is nearer than the fluctuation (tau > 1/2).
    """
    big, small = (max(m, n) - 0.5) ** 0.5, (min(m, n) - 0.5) ** 0.5
    if m == n or min(m, n) == 1:
        return np.full(np.shape(s), np.nan)
    centre, scale = (big - small) ** 2, (big - small) * (1 / small - 1 / big) ** (1 / 3)
    scale /= centre
    with np.errstate(divide="ignore"):
        z = (np.log(centre * sigma**2) + scale**2 / 8 - 2 * np.log(s)) / scale
    return z if scale <= 0.5 else np.full(np.shape(s), np.nan)


def outliers(s, m, n, sigma):
    """(right, left): which values of a spectrum lie above and below its random bulk by more than chance, two masks.

    Beyond the edge with the margin that noise exceeds in 1 draw of 100 on either side, `sigma` being known from the
    median. Measured on 2,000 random matrices of each shape: 0.8 to 1.6 % on the right, 0.6 to 1.3 % on the left,
    square to 5:1, r from 48 up. The left mask is empty for a square matrix.
    """
    limit = TRACY_WIDOM.ppf(LEVEL)
    return upper_edge(s, m, n, sigma) > limit, lower_edge(s, m, n, sigma) > limit


def visible(m, n, sigma=1.0):
    """Least strength theta = sigma (mn)^(1/4) at which theta u v^T lifts a singular value out of the bulk of noise."""
    return sigma * (m * n) ** 0.25


def spike_values(theta, m, n, sigma=1.0):
    """Singular value that theta u v^T, with unit u, v, becomes under noise: sigma sqrt((m + t^2)(n + t^2))/t.

    Here t = theta/sigma. The upper edge where theta is not `visible`. Benaych-Georges & Nadakuditi 2012 (doi:10.1016/
    j.jmva.2012.04.019).
    """
    t2 = np.maximum(np.asarray(theta, dtype=float) / sigma, visible(m, n)) ** 2
    return sigma * np.sqrt((m + t2) * (n + t2) / t2)


def spike_strengths(s, m, n, sigma=1.0):
    """Strength theta of the directions that became the singular values `s`: the inverse of `spike_values`; NaN within.

    theta^2 = [x - m - n + sqrt((x - m - n)^2 - 4 m n)]/2 with x = s^2 / sigma^2, in units of sigma^2.
    """
    above = np.asarray(s, dtype=float) ** 2 / sigma**2 - m - n
    root = above**2 - 4 * m * n
    with np.errstate(invalid="ignore"):
        theta = sigma * np.sqrt((above + np.sqrt(root)) / 2)
    return np.where((root >= 0) & (above > 0), theta, np.nan)


def spike_overlaps(theta, m, n, sigma=1.0):
    """(left, right): cos^2 between singular vectors of theta u v^T under noise and u, v; 0 where it is not `visible`.

    Left 1 - m (n + t^2)/(t^2 (t^2 + m)), right 1 - n (m + t^2)/(t^2 (t^2 + n)); see `spike_values`.
    """
    t2 = np.maximum(np.asarray(theta, dtype=float) / sigma, visible(m, n)) ** 2
    return 1 - m * (n + t2) / (t2 * (t2 + m)), 1 - n * (m + t2) / (t2 * (t2 + n))


def refitted(s, m, n, rounds=1):
    """Outliers of a descending spectrum for a `sigma` that those above the bulk no longer raise.

    The median of all values lies too high in the bulk if many of them are above it, and so do sigma and both edges. So
    the k values above are taken out and the rest is held against noise of (m - k) x (n - k), which is what k directions
    leave under noise; `rounds` times, or with None until none is above. Where directions are what stands above, the
    first round finds most; where the bulk is no Marchenko-Pastur law, each round finds more.

    Returns
    -------
    dict
        ``right``, ``left``: number of values above and below, with those that were taken out; left NaN where there is
        no lower edge. ``edge_right``, ``edge_left``: the largest (smallest) as a draw of the Tracy-Widom law, above 2.0
        an outlier. ``mp_distance_relative``: `distance` of the values that were not taken out from the law, over its
        `random_distance`, near 1 for noise.
        ``sigma``: standard deviation of the noise; ``taken``: k.
    """
    s, taken = np.asarray(s, dtype=float), 0
    while True:
        rest, shape = s[taken:], (m - taken, n - taken)
        sigma = float(np.median(rest) / np.median(nulls.mp_spectrum(*shape))) or np.nan
        right, left = outliers(rest, *shape, sigma)
        if rounds == 0 or not right.any() or right.sum() > len(rest) - LEAST:
            break
        taken, rounds = taken + int(right.sum()), None if rounds is None else rounds - 1
    return {
        "right": np.nan if np.isnan(sigma) else taken + int(right.sum()),
        "left": int(left.sum()) if not np.isnan(lower_edge(1.0, *shape, sigma)) else np.nan,
        "edge_right": float(upper_edge(s[0], *shape, sigma)),
        "edge_left": float(lower_edge(s[-1], *shape, sigma)),
        "mp_distance_relative": distance(rest, *shape, sigma) / random_distance(*shape),
        "sigma": sigma,
        "taken": taken,
    }


def refits(matrix):
    """`refitted` of one matrix, once, for `nla.scan`: the same columns as `nla.random_matrix` has for all values."""
    return refitted(matrix.singular_values, *matrix.shape)


refits.steps, refits.pure = "log", True


def spiked(s, m, n, rng):
    """One m x n matrix of noise and as many directions as can be read from the spectrum `s` above it, as strong.

    The directions are those that `refitted` takes out to the end, the most that there can be: random places would do,
    and as noise has none of its own they are put on the diagonal. float64.
    """
    found = refitted(s, m, n, None)
    sigma = np.nan_to_num(found["sigma"])  # 0 where more than half of s are zero
    theta = spike_strengths(s[: found["taken"]], m, n, found["sigma"])
    noise, i = sigma * rng.standard_normal((m, n)), np.arange(len(theta))
    noise[i, i] += np.nan_to_num(theta, nan=visible(m, n, sigma))
    return noise


ROUNDS = {"all": 0, "rest once": 1, "rest to the end": None}  # sigma from all values, or from those `refitted` leaves


def beside_nulls(matrix, draws=3, seed=0):
    """Outliers of a matrix by three estimates of sigma, beside those of matrices that are random but for one thing.

    Parameters
    ----------
    matrix : nla.Matrix
    draws : int
        Of each null.

    Returns
    -------
    list of dict
        Per draw and sigma. ``of``: trained; directions, `spiked`; scales, `nla.profiles.draw`. ``sigma``: of `ROUNDS`.
        ``right``, ``left``: percent of the singular values above and below; ``distance``: ``mp_distance_relative`` of
        `refitted`.
    """
    s, (m, n) = matrix.singular_values, matrix.shape
    rng = np.random.default_rng([seed, matrix.layer + 1, m, n])
    nulls_of = {
        "trained": lambda: s,
        "directions": lambda: _spectrum(spiked(s, m, n, rng)),
        "scales": lambda: _spectrum(profiles.draw(matrix.values, rng)),
    }
    rows = []
    for of, draw in nulls_of.items():
        for _ in range(1 if of == "trained" else draws):
            spectrum = draw()
            for sigma, rounds in ROUNDS.items():
                found = refitted(spectrum, m, n, rounds)
                percent = {side: 100 * found[side] / min(m, n) for side in ("right", "left")}
                percent["distance"] = found["mp_distance_relative"]
                rows.append({"kind": matrix.kind, "of": of, "sigma": sigma} | percent)
    return rows


def _spectrum(weight):
    return Matrix("drawn", 0, 0, torch.from_numpy(weight)).singular_values
