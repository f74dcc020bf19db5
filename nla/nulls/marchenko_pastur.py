"""The Marchenko-Pastur law of singular values: edges, density, quantiles, noise level, and distance from it."""

from functools import lru_cache

import numpy as np

DEPARTED = 3.0  # distances from the law, in units of their mean for random matrices, from which on it is left


def distance(s, m, n, sigma):
    """KS distance of a descending spectrum from the Marchenko-Pastur law of entries of standard deviation `sigma`."""
    expected = mp_cdf(np.asarray(s, dtype=float)[::-1], m, n, sigma)
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


def bulk_sigma(s, m, n):
    """Standard deviation of the entries of the noise that an m x n matrix of spectrum `s` consists of, but for spikes.

    Median of s over that of the Marchenko-Pastur law: large singular values, which raise the RMS, do not raise it.
    """
    return float(np.median(s) / np.median(mp_spectrum(m, n)))


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
