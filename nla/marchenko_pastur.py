"""Spectra against the Marchenko-Pastur law: distance, edges with their margins, and spikes above the noise.

Throughout W is m x n in either order, r = min(m, n), and singular values are those of W itself. Density,
distribution function and edges of the law are in `nla.nulls`.
"""

import numpy as np
from scipy import stats

from nla import nulls

# A gamma law that is near the Tracy-Widom law, beta = 1, by 0.01 at 99 %: Chiani 2014 (doi:10.1016/j.jmva.2014.04.002).
TRACY_WIDOM = stats.gamma(46.446, loc=-9.84801, scale=0.186054)
LEVEL = 0.99  # of the margin beyond which a singular value is an outlier
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
