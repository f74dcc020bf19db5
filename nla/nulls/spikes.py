"""Directions under noise: how strong one must be to be seen, and what noise makes of it."""

import numpy as np

from nla.nulls.edges import refitted


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
