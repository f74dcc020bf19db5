"""What a statistic is for a matrix that has learnt nothing: i.i.d. Gaussian entries, same shape, same variance.

Throughout the matrix is m x n in either order, sigma the standard deviation of its entries, and singular values are
those of the matrix itself, not divided by anything. Sources: Marchenko & Pastur 1967; Johnstone 2001 (doi:10.1214/aos/
1009210544); Edelman 1988 (doi:10.1137/0609045).
"""

from functools import lru_cache

import numpy as np
from scipy.special import gamma as gamma_function
from scipy.stats import norm

TRACY_WIDOM_MEAN, TRACY_WIDOM_Q99 = -1.2065, 2.0234  # beta = 1


def mp_edges(m, n, sigma=1.0):
    """(lower, upper) edge of the singular values as m and n grow: sigma |sqrt m - sqrt n|, sigma (sqrt m + sqrt n)."""
    return sigma * abs(m**0.5 - n**0.5), sigma * (m**0.5 + n**0.5)


def mp_density(s, m, n, sigma=1.0):
    """Marchenko-Pastur density of a singular value at `s` (any shape); integrates to 1 between the edges."""
    lower, upper = mp_edges(m, n, sigma)
    s = np.asarray(s, dtype=float)
    inside = (upper**2 - s**2) * (s**2 - lower**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.sqrt(np.maximum(inside, 0)) / (np.pi * min(m, n) * sigma**2 * s)
    return np.where(inside > 0, density, 0.0)


def mp_cdf(s, m, n, sigma=1.0):
    """Marchenko-Pastur distribution function of a singular value at `s` (any shape), in closed form.

    With x = s^2 / (sigma^2 max(m, n)), gamma = min/max, a, b = (1 -+ sqrt gamma)^2 and r = sqrt((b-x)/(x-a)):
    2 pi gamma F = pi gamma + sqrt((b-x)(x-a)) - (1+gamma) atan((r^2-1)/2r) + (1-gamma) atan((a r^2-b)/(2(1-gamma) r)).
    """
    gamma = min(m, n) / max(m, n)
    a, b = (1 - gamma**0.5) ** 2, (1 + gamma**0.5) ** 2
    x = np.asarray(s, dtype=float) ** 2 / (sigma**2 * max(m, n))
    inner = np.clip(x, a + 1e-15, b - 1e-15)
    r = np.sqrt((b - inner) / (inner - a))
    value = np.pi * gamma + np.sqrt((b - inner) * (inner - a)) - (1 + gamma) * np.arctan((r**2 - 1) / (2 * r))
    if gamma < 1:
        value = value + (1 - gamma) * np.arctan((a * r**2 - b) / (2 * (1 - gamma) * r))
    return np.where(x <= a, 0.0, np.where(x >= b, 1.0, value / (2 * np.pi * gamma)))


@lru_cache(maxsize=256)
def mp_spectrum(m, n):
    """The min(m, n) quantiles (i + 1/2)/r of the Marchenko-Pastur law, descending: a noiseless spectrum."""
    rank = min(m, n)
    lower, upper = mp_edges(m, n)
    # Grid points crowd at both edges, where the density has square roots.
    grid = lower + (upper - lower) * (1 - np.cos(np.linspace(0, np.pi, 20001))) / 2
    spectrum = np.interp((np.arange(rank) + 0.5) / rank, mp_cdf(grid, m, n), grid)[::-1].copy()
    spectrum.setflags(write=False)
    return spectrum


def spectral_norm(m, n, sigma=1.0, fluctuation=TRACY_WIDOM_MEAN):
    """Mean largest singular value of an m x n Gaussian matrix, or at another Tracy-Widom `fluctuation`."""
    if min(m, n) == 1:
        return sigma * max(m, n) ** 0.5
    big, small = (max(m, n) - 1) ** 0.5, min(m, n) ** 0.5
    centre, scale = (big + small) ** 2, (big + small) * (1 / big + 1 / small) ** (1 / 3)
    return sigma * (centre + scale * fluctuation) ** 0.5


def nuclear_norm(m, n, sigma=1.0):
    """Sum of the singular values of an m x n Gaussian matrix; 8/(3 pi) n^1.5 sigma for a square one."""
    return sigma * float(mp_spectrum(m, n).sum())


@lru_cache(maxsize=256)
def normal_max(count, two_sided=False):
    """Expected maximum of `count` standard normal draws, or of their absolute values if `two_sided`."""
    x = np.linspace(0.0 if two_sided else -12.0, 12.0, 40001)
    sides = 2 if two_sided else 1
    density = count * sides * norm.pdf(x) * (1 - sides * norm.sf(x)) ** (count - 1)
    return float(np.trapezoid(x * density, x))


def abs_moment(p):
    """E|z|^p of a standard normal z: 2^(p/2) Gamma((p+1)/2) / sqrt(pi)."""
    return float(2 ** (p / 2) * gamma_function((p + 1) / 2) / np.pi**0.5)


def median_condition_number(m, n):
    """Median of s_1/s_r: edges for a rectangle; for a square P(s_r sqrt(n)/sigma <= t) = 1 - exp(-t^2/2 - t)."""
    if m != n:
        lower, upper = mp_edges(m, n)
        return upper / lower
    smallest = (1 + 2 * np.log(2)) ** 0.5 - 1  # solves t^2/2 + t = ln 2
    return 2 * n / smallest
