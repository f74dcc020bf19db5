"""Shape of the distribution of Gaussian entries: what each index of sparsity is for them."""

from functools import lru_cache

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import digamma, gammaln
from scipy.stats import chi, norm

from nla.nulls import gaussian
from nla.numerics.distributions import weibull_plot


def random_hoyer(count, size=1):
    """Expected Hoyer index of the norms of `count` Gaussian vectors of length `size`; exact.

    The matrix of these vectors over its Frobenius norm is uniform on a sphere and independent of that norm, so that
    E L1/L2 is `count` times a ratio of chi means; for size 1 and many values, 1 - sqrt(2/pi) = 0.2021.
    """
    mean, whole = (2**0.5 * np.exp(gammaln((k + 1) / 2) - gammaln(k / 2)) for k in (size, count * size))
    return float((count**0.5 - count * mean / whole) / (count**0.5 - 1)) if count > 1 else np.nan


@lru_cache(maxsize=256)
def random_gini(count, size=1):
    """Expected Gini index of the norms of `count` Gaussian vectors of length `size`, to leading order in `count`.

    E|x - y| / (2 E x) with E|x - y| = 2 int F (1 - F) and F the chi law; sqrt(2) - 1 for size 1.
    """
    law = chi(size)
    half_difference = quad(lambda x: law.cdf(x) * law.sf(x), law.ppf(1e-12), law.isf(1e-12), limit=200)[0]
    return float((1 - 1 / count) * half_difference / law.mean())


@lru_cache(maxsize=1)
def half_normal_weibull():
    """{fit: (shape, scale)} of |z|, z standard normal: 1.263, 0.855 for `weibull` and 1.205, 0.887 for `weibull_plot`.

    A half-normal law is no Weibull law, so each fit finds another one. Maximum likelihood solves
    (psi((k+1)/2) - psi(1/2)) / 2 = 1/k, with scale^k = E|z|^k; the plot is fitted to 200,000 quantiles of the law.
    """
    shape = brentq(lambda k: (digamma((k + 1) / 2) - digamma(0.5)) / 2 - 1 / k, 1, 2)
    quantiles = norm.ppf((1 + (np.arange(200_000) + 0.5) / 200_000) / 2)
    return {"weibull": (shape, gaussian.abs_moment(shape) ** (1 / shape)), "weibull_plot": weibull_plot(quantiles)}
