"""What a statistic is for a matrix that has learnt nothing: i.i.d. Gaussian entries, same shape, same variance.

Throughout the matrix is m x n in either order, sigma the standard deviation of its entries, and singular values are
those of the matrix itself, not divided by anything. Sources: Marchenko & Pastur 1967; Johnstone 2001 (doi:10.1214/aos/
1009210544); Edelman 1988 (doi:10.1137/0609045).
"""

from functools import lru_cache

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal
from scipy.special import betaincc, betaincinv, gamma as gamma_function, gammaln, polygamma
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


def gram_deviation(m, n):
    """RMS over Gaussian m x n matrices of sd(lambda)/mean(lambda), lambda = s^2; about sqrt(min/max), 1 if square."""
    rank = min(m, n)
    return ((rank - 1) * (rank + 2) / (m * n + 2)) ** 0.5


def procrustes(m, n):
    """Mean of 1 - ||W||_*^2 / (r ||W||_F^2) of a Gaussian matrix, r = min(m, n); 1 - (8/3 pi)^2 = 0.280 if square.

    The Marchenko-Pastur nuclear norm with its first correction for finite size, which for real entries is f(edges)/4
    summed minus half the mean of f over the arcsine law (Bai & Silverstein, Ann. Probab. 32, 2004), f = s. Within 1 %
    of the mean from r = 20 on. The ratio does not depend on ||W||_F, so that the two expectations may be divided.
    """
    lower, upper = mp_edges(m, n)
    if min(m, n) == 1:
        return 0.0
    arcsine = np.cos((np.arange(2000) + 0.5) * np.pi / 2000)
    spread = np.sqrt(np.maximum((upper**2 + lower**2) / 2 + (upper**2 - lower**2) / 2 * arcsine, 0))
    nuclear = nuclear_norm(m, n) + (lower + upper) / 4 - spread.mean() / 2
    return 1 - nuclear**2 * (1 + 1 / (2 * m * n)) / (min(m, n) * m * n)


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


def gaussian_eigenvalues(m, n, rng):
    """Eigenvalues, ascending (r,), of the short-side Gram matrix of one m x n standard Gaussian matrix, in O(r^2).

    Householder reflections make W bidiagonal, with independent entries chi_l, chi_(l-1), ... on the diagonal, l =
    max(m, n), and chi_(r-1), ..., chi_1 beside it, so that neither W nor its Gram matrix is ever formed.

    References
    ----------
    Dumitriu & Edelman 2002 (doi:10.1063/1.1507823), the beta-Laguerre ensemble at beta = 1.
    """
    rank, longer = min(m, n), max(m, n)
    diagonal2, beside2 = rng.chisquare(longer - np.arange(rank)), rng.chisquare(np.arange(rank - 1, 0, -1))
    on, off = diagonal2 + np.concatenate([[0.0], beside2]), np.sqrt(diagonal2[:-1] * beside2)
    return np.maximum(eigvalsh_tridiagonal(on, off, lapack_driver="sterf"), 0.0)
