"""Angles between random directions and between random subspaces: laws, moments and quantiles."""

from functools import lru_cache

import numpy as np
from scipy.special import betaincc, betaincinv, gammaln, polygamma


def cosine_mean_abs(d):
    """E|cos| of the angle between independent isotropic vectors in R^d: Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2))."""
    return float(np.exp(gammaln(d / 2) - gammaln((d + 1) / 2)) / np.pi**0.5)


@lru_cache(maxsize=256)
def cosine_max_abs(d, pairs):
    """Expected largest |cos| of `pairs` angles between isotropic vectors in R^d, as if the pairs were independent.

    cos^2 is Beta(1/2, (d-1)/2). Pairs of one set of vectors are independent two by two only, which is enough for the
    maximum of a large set (Cai, Fan & Jiang, JMLR 14, 2013, arXiv:1306.0256).
    """
    if d == 1 or not pairs:
        return 1.0 if pairs else np.nan
    x = np.linspace(0, min(1, 12 / d**0.5), 10001)
    with np.errstate(divide="ignore"):  # at x = 0, where P(|cos| > x) is 1
        none_above = np.exp(pairs * np.log1p(-betaincc(0.5, (d - 1) / 2, x**2)))
    return float(np.trapezoid(1 - none_above, x))


def angle_density(degrees, d):
    """Density, per degree, of the angle between independent isotropic vectors in R^d, d > 1: sin^(d-2), normalised."""
    scale = np.exp(gammaln(d / 2) - gammaln((d - 1) / 2)) * np.pi**0.5 / 180
    return scale * np.sin(np.radians(degrees)) ** (d - 2)


def angle_sd(d):
    """Standard deviation of that angle in degrees, about 57.3/sqrt(d): its variance is psi'(d/2)/2 in radians^2."""
    return float(np.degrees((polygamma(1, d / 2) / 2) ** 0.5))


def cosine_density(x, d):
    """Density of the cosine x of independent isotropic vectors in R^d: (1 - x^2)^((d-3)/2), normalised; sd 1/sqrt(d).

    (1 + x)/2 is Beta((d-1)/2, (d-1)/2). It is exact as soon as one of the two vectors is isotropic.
    """
    scale = np.exp(gammaln(d / 2) - gammaln((d - 1) / 2)) / np.pi**0.5
    return scale * (1 - np.asarray(x, dtype=float) ** 2) ** ((d - 3) / 2)


def cosine_quantile(p, d):
    """Quantile at probability `p` of that cosine; near +-z/sqrt(d) for the normal quantile z, but exact."""
    return 2 * betaincinv((d - 1) / 2, (d - 1) / 2, p) - 1


def wachter_edges(p, q, n):
    """(lower, upper) edge of the canonical correlations of independent n x p and n x q Gaussian matrices, all large.

    With a = p/n and b = q/n, |sqrt(a(1-b)) -+ sqrt(b(1-a))|; for p = q the upper one is 2 sqrt(a(1-a)). If the columns
    were centred, n is one less than the number of samples. Above p + q = n, p + q - n of the correlations are 1.
    Wachter 1980 (doi:10.1214/aos/1176345134).
    """
    one, other = (p / n * (1 - q / n)) ** 0.5, (q / n * (1 - p / n)) ** 0.5
    return abs(one - other), one + other


@lru_cache(maxsize=64)
def wachter_spectrum(p, q, n):
    """The min(p, q) quantiles (i + 1/2)/min(p, q) of the canonical correlations under Wachter's law, descending."""
    lower, upper = wachter_edges(p, q, n)
    x = lower**2 + (upper**2 - lower**2) * (1 - np.cos(np.linspace(0, np.pi, 20001))) / 2  # squared correlations
    inside = np.maximum((upper**2 - x) * (x - lower**2), 0)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 at x = 0 or 1 where an edge is there
        density = np.nan_to_num(np.sqrt(inside) / (2 * np.pi * min(p, q) / n * x * (1 - x)), posinf=0.0)
    cdf = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    ones = max(p + q - n, 0)
    inner = (np.arange(min(p, q) - ones) + 0.5) / max(min(p, q) - ones, 1)
    spectrum = np.concatenate([np.ones(ones), np.interp(inner, cdf / cdf[-1], np.sqrt(x))[::-1]])
    spectrum.setflags(write=False)
    return spectrum
