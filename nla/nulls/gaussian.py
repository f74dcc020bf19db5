"""What a matrix of independent Gaussian entries has: norms, extremes, condition number, angles between rows."""

from functools import lru_cache

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal
from scipy.special import gamma as gamma_function
from scipy.stats import norm

from nla.nulls.marchenko_pastur import mp_edges, mp_spectrum

TRACY_WIDOM_MEAN, TRACY_WIDOM_Q99 = -1.2065, 2.0234  # beta = 1


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
