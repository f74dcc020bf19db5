"""Edges of the random bulk of a spectrum: which singular values lie outside by more than chance."""

import numpy as np
from scipy import stats

from nla.nulls import gaussian, marchenko_pastur
from nla.nulls.marchenko_pastur import bulk_sigma, distance, random_distance

# A gamma law that is near the Tracy-Widom law, beta = 1, by 0.01 at 99 %: Chiani 2014 (doi:10.1016/j.jmva.2014.04.002).
TRACY_WIDOM = stats.gamma(46.446, loc=-9.84801, scale=0.186054)
LEVEL = 0.99  # of the margin beyond which a singular value is an outlier
LEAST = 8  # values that a bulk must keep


def median_error(m, n):
    """Relative standard error of `nulls.bulk_sigma` for noise: sqrt(ln r) / (pi r p(s) s) at the median s of density p.

    A singular value in the bulk of r fluctuates by sqrt(ln r)/pi places (Gustavsson 2005 for beta = 2; O'Rourke 2010,
    doi:10.1007/s10955-009-9906-y, for beta = 1); 1.6/r if square, 0.7/r for 4:1.
    """
    r = min(m, n)
    middle = float(np.median(marchenko_pastur.mp_spectrum(m, n)))
    return float(np.sqrt(np.log(max(r, 2))) / (np.pi * r * marchenko_pastur.mp_density(middle, m, n) * middle))


def upper_edge(s, m, n, sigma):
    """The singular value(s) `s` as draws of the Tracy-Widom law at the upper edge, for `sigma` from the median.

    (s^2 - mu)/tau with the centre and scale of Johnstone 2001 (doi:10.1214/aos/1009210544), drawn towards the mean of
    the law by as much as the error of sigma widens its upper tail. NaN if r = 1.
    """
    if min(m, n) == 1:
        return np.full(np.shape(s), np.nan)
    centre = gaussian.spectral_norm(m, n, sigma, 0) ** 2
    scale = gaussian.spectral_norm(m, n, sigma, 1) ** 2 - centre
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
        sigma = float(np.median(rest) / np.median(marchenko_pastur.mp_spectrum(*shape))) or np.nan
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


def mp_threshold(s, m, n):
    """Largest singular value of noise with the `bulk_sigma` of `s`: the Marchenko-Pastur edge and a margin.

    sigma (sqrt m + sqrt n) with the 99 % quantile of its Tracy-Widom fluctuation (Johnstone 2001, doi:10.1214/aos/
    1009210544). Noise exceeds it in 1 draw of 100, up to 5 where r is below 50 and the median fluctuates as well.
    """
    return gaussian.spectral_norm(m, n, bulk_sigma(s, m, n), gaussian.TRACY_WIDOM_Q99)


def gavish_donoho_threshold(s, m, n):
    """Hard threshold on singular values that is best, in mean square error, for recovering a matrix under noise.

    lambda(b) sqrt(max(m, n)) sigma with b = min/max, lambda(b)^2 = 2(b+1) + 8b / (b+1 + sqrt(b^2 + 14b + 1)), and
    `bulk_sigma` for sigma; 2.858 times the median singular value if m = n. It lies above the Marchenko-Pastur edge.

    References
    ----------
    Gavish & Donoho 2014 (doi:10.1109/TIT.2014.2323359).
    """
    b = min(m, n) / max(m, n)
    factor = (2 * (b + 1) + 8 * b / (b + 1 + (b**2 + 14 * b + 1) ** 0.5)) ** 0.5
    return factor * max(m, n) ** 0.5 * bulk_sigma(s, m, n)
