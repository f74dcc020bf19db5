"""Norms of a matrix: entrywise, induced and Schatten, each beside its value for a random matrix of the same shape."""

import numpy as np

from nla.nulls import gaussian


def lp_norm(matrix, p):
    """Entrywise Lp norm (sum |w|^p)^(1/p), p > 0 or infinity, exact from the matrix's histogram."""
    values, counts = matrix.histogram
    if p == np.inf:
        return float(np.abs(values[[0, -1]]).max())
    if not p > 0:
        raise ValueError(f"an Lp norm needs p > 0, not {p}")
    largest = np.abs(values[[0, -1]]).max()  # factored out, so that no power overflows
    return float(largest * (counts @ (np.abs(values) / largest) ** p) ** (1 / p)) if largest else 0.0


def random_lp_norm(shape, p, sigma=1.0):
    """Expected Lp norm, to leading order in the number of entries, of a Gaussian matrix; exact mean for p = inf."""
    count = shape[0] * shape[1]
    return sigma * (gaussian.normal_max(count, True) if p == np.inf else (count * gaussian.abs_moment(p)) ** (1 / p))


def norms(matrix):
    """Norms of one matrix W, m x n.

    Returns
    -------
    dict
        ``l1, frobenius, linf``: (sum |w|^p)^(1/p) for p = 1, 2, inf. ``mean_abs, rms``: the first two per entry,
        times (mn)^(-1/p). ``induced_1, induced_inf``: largest column and row sum of |w|. ``spectral``: s_1.
        ``nuclear``: sum of s. ``NAME_relative``: the norm over its expected value for a Gaussian matrix of the same
        shape and RMS, 1 where W has learnt nothing; for Frobenius, which that fixes, over the value at the first
        checkpoint, NaN where that cannot be compared with.

    References
    ----------
    The Gaussian values: E|z|^p for the entrywise ones; extreme-value means for linf, induced_1 and induced_inf (row
    sums of |w| are nearly normal); Johnstone 2001 for s_1; the Marchenko-Pastur mean for the nuclear norm.
    """
    m, n = matrix.shape
    l1, frobenius, linf = (lp_norm(matrix, p) for p in (1, 2, np.inf))
    rms = frobenius / (m * n) ** 0.5
    absolute = matrix.values.abs()
    singular_values = matrix.singular_values
    measured = {
        "l1": l1,
        "frobenius": frobenius,
        "linf": linf,
        "induced_1": float(absolute.sum(0, dtype=float).max()),
        "induced_inf": float(absolute.sum(1, dtype=float).max()),
        "spectral": float(singular_values[0]),
        "nuclear": float(singular_values.sum()),
    }
    first = matrix.at("initial")
    initial = lp_norm(first, 2) if first else np.nan
    expected = random_norms(m, n, rms) | {"frobenius": initial}
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = {f"{k}_relative": float(np.divide(v, expected[k])) for k, v in measured.items()}
    return measured | {"mean_abs": l1 / (m * n), "rms": rms} | relative


norms.pure = True


def random_norms(m, n, sigma=1.0):
    """Expected norms of an m x n matrix of independent N(0, sigma^2) entries, by the names of `norms`."""
    mean, sd = gaussian.abs_moment(1), (1 - 2 / np.pi) ** 0.5  # of |z|
    return {
        "l1": random_lp_norm((m, n), 1, sigma),
        "frobenius": random_lp_norm((m, n), 2, sigma),
        "linf": random_lp_norm((m, n), np.inf, sigma),
        "induced_1": sigma * (m * mean + m**0.5 * sd * gaussian.normal_max(n)),
        "induced_inf": sigma * (n * mean + n**0.5 * sd * gaussian.normal_max(m)),
        "spectral": gaussian.spectral_norm(m, n, sigma),
        "nuclear": gaussian.nuclear_norm(m, n, sigma),
    }
