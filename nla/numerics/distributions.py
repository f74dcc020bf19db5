"""Shape of a distribution of values that a histogram has counted.

Every function takes values and, if they are distinct values of a histogram, their counts: sums over the histogram of a
16-bit matrix are exact and shorter than sums over the matrix.
"""

import numpy as np
from scipy.optimize import brentq


def fold(values, counts=None):
    """(magnitudes, counts): the distinct |values|, ascending, and how often each occurs."""
    magnitudes = np.abs(values)
    order = np.argsort(magnitudes, kind="stable")  # linear in time for a histogram: it is two sorted runs
    magnitudes, counts = magnitudes[order], np.ones_like(order) if counts is None else counts[order]
    first = np.flatnonzero(np.diff(magnitudes, prepend=-1))
    return magnitudes[first], np.add.reduceat(counts, first)


def hoyer(values, counts=None):
    """(sqrt N - L1/L2) / (sqrt N - 1) of N values: 0 if all have one size, 1 if one alone is not 0 (Hoyer 2004)."""
    magnitudes, counts = fold(values, counts)
    root, l2 = counts.sum() ** 0.5, (counts @ magnitudes**2) ** 0.5
    return float((root - counts @ magnitudes / l2) / (root - 1)) if l2 and root > 1 else np.nan


def gini(values, counts=None):
    """Gini index of |values|, sum_ij |x_i - x_j| / (2 N sum x): 0 if all are equal, 1 - 1/N if one alone is not 0.

    Hurley & Rickard 2009 (arXiv:0811.4706) prefer it among the indices of sparsity.
    """
    magnitudes, counts = fold(values, counts)
    ranks = np.cumsum(counts) - counts / 2
    weights = counts * magnitudes
    return float(2 * weights @ ranks / (counts.sum() * weights.sum()) - 1) if weights.sum() else np.nan


def kurtosis(sums, count):
    """Excess kurtosis of `count` values from the sums of their powers 1 to 4, (4,) or (4, many); 0 for Gaussian ones.

    The estimator without bias for Gaussian values (SciPy's ``bias=False``); NaN for constant or fewer than 4 values.
    """
    first, second, third, fourth = np.asarray(sums) / count
    variance = second - first**2
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    varies = (variance > 1e-12 * second) & (count > 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        unbiased = np.divide(count - 1, (count - 2) * (count - 3)) * ((count + 1) * (central / variance**2 - 3) + 6)
        return np.where(varies, unbiased, np.nan)


def weibull(values, counts=None):
    """(shape k, scale) of the Weibull law of |values| by maximum likelihood, zeros left out; k = 1 for a Laplace law.

    k solves sum x^k ln x / sum x^k - 1/k = mean ln x, whose left side grows with k. A smaller k says both more entries
    near 0 and a heavier tail than a larger one.
    """
    magnitudes, counts = _positive(values, counts)
    if len(magnitudes) < 2:
        return np.nan, np.nan
    logs = np.log(magnitudes / magnitudes[-1])
    mean = counts @ logs / counts.sum()

    def score(shape):
        weights = counts * np.exp(shape * logs)
        return weights @ logs / weights.sum() - 1 / shape - mean

    upper = 8.0
    while score(upper) < 0:
        upper *= 2
    shape = brentq(score, 1e-3, upper, xtol=1e-10)
    return shape, float(magnitudes[-1] * (counts @ np.exp(shape * logs) / counts.sum()) ** (1 / shape))


def weibull_plot(values, counts=None):
    """(shape k, scale) of |values| by least squares on the central 80 % of the Weibull plot, zeros left out.

    The straight line through ln(-ln(1 - F)) against ln x, with F the mean rank over N, for 0.1 <= F <= 0.9. This is
    the fit behind the shapes published for Pythia (github.com/tiexinding/NPM-Weibull-public, 2026).
    """
    magnitudes, counts = _positive(values, counts)
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
    inside = np.abs(ranks - 0.5) <= 0.4
    if inside.sum() < 2:
        return np.nan, np.nan
    weights = counts[inside] / counts[inside].sum()
    logs, heights = np.log(magnitudes[inside]), np.log(-np.log1p(-ranks[inside]))
    centre, height = weights @ logs, weights @ heights
    logs -= centre
    shape = weights @ (logs * heights) / (weights @ logs**2)
    return float(shape), float(np.exp(centre - height / shape))


def _positive(values, counts):
    magnitudes, counts = fold(values, counts)
    return magnitudes[magnitudes > 0], counts[magnitudes > 0]
