"""Where one spectrum leaves the Marchenko-Pastur law: from singular values and entries alone, at every checkpoint."""

import numpy as np

from nla.nulls import edges, marchenko_pastur
from nla.nulls.edges import refitted
from nla.nulls.marchenko_pastur import bulk_sigma
from nla.nulls.spikes import spike_strengths, visible


def random_matrix(matrix):
    """How far the singular values s of W, m x n, are from those of independent entries, and what stands out of them.

    Every number is beside its random value, and none depends on the scale of W except the two sigma. Outliers are
    counted with `sigma_median`, which they hardly move; the distance is taken with `sigma_trace`, for which its random
    value is known best.

    Returns
    -------
    dict
        ``sigma_trace``: RMS of the entries; ``sigma_median``: from the median of s (`nulls.bulk_sigma`), the smaller of
        the two if some directions are large; equal for a random matrix, within `nla.nulls.edges.median_error`.
        ``mp_distance``: KS distance of s from the Marchenko-Pastur law, 0 to 1; ``mp_distance_relative``: over its
        mean for random matrices, about 3/r, 1 +- 0.13 for one of them.
        ``outliers_right``, ``outliers_left``: number of s above and below the random bulk, beyond what 1 random matrix
        of 100 would show; left NaN where there is no lower edge (m = n). ``edge_right``, ``edge_left``: the largest
        (smallest) s as a draw of the Tracy-Widom law, -1.2 +- 1.3 for a random matrix, above 2.0 an outlier.
        ``energy_right``, ``energy_left``: share of ||W||^2 in them, 0 to 1.
        ``spikes``: the curve of the strengths theta of rank-one directions that would have become the right outliers
        under noise of `sigma_median`, over the least that is visible, sigma (mn)^(1/4): from 1 up.
        ``spike_energy``: sum theta^2 / ||W||^2, without the noise that the outliers carry.
        ``largest_entry``, ``mean_entry``: strength max |w - mean| of the largest entry, and |mean| sqrt(mn) of the
        mean, each over the least that is visible. From 1 up it makes an outlier by itself, without any learned
        direction; a random matrix has about sqrt(2 ln 2mn)/(mn)^(1/4) and 0.8/(mn)^(1/4).

    References
    ----------
    Staats, Thamm & Rosenow 2025 (arXiv:2410.17770) for the protocol, Baik, Ben Arous & Peche 2005 (doi:10.1214/
    009117905000000233) and Benaych-Georges & Nadakuditi 2012 (doi:10.1016/j.jmva.2012.04.019) for the spikes.
    """
    s, (m, n) = matrix.singular_values, matrix.shape
    energy = s @ s
    if not energy:
        return dict.fromkeys(NAMES, np.nan) | {"spikes": np.full(1, np.nan)}
    trace, median = float(np.sqrt(energy / (m * n))), bulk_sigma(s, m, n)
    sigma = median or np.nan  # where more than half of s are zero there is no bulk to stand out of
    outliers, spikes = _outliers(s, m, n, sigma)
    distance = marchenko_pastur.distance(s, m, n, trace)
    values, counts = matrix.histogram
    mean, least = counts @ values / (m * n), visible(m, n, sigma)
    return {
        "sigma_trace": trace,
        "sigma_median": median,
        "mp_distance": distance,
        "mp_distance_relative": distance / marchenko_pastur.random_distance(m, n),
        **outliers,
        "largest_entry": float(np.abs(values - mean).max() / least),
        "mean_entry": float(abs(mean) * (m * n) ** 0.5 / least),
        "spikes": spikes / least if len(spikes) else np.full(1, np.nan),
    }


random_matrix.pure = True
NAMES = (
    "sigma_trace",
    "sigma_median",
    "mp_distance",
    "mp_distance_relative",
    "outliers_right",
    "outliers_left",
    "edge_right",
    "edge_left",
    "energy_right",
    "energy_left",
    "spike_energy",
    "largest_entry",
    "mean_entry",
)


def _outliers(s, m, n, sigma):
    """(the part of `random_matrix` about values beyond the edges, strengths that became those above the upper one)."""
    right, left = edges.outliers(s, m, n, sigma)
    spikes = spike_strengths(s[right], m, n, sigma)
    has_left, energy = not np.isnan(edges.lower_edge(1.0, m, n, sigma)), s @ s
    found = {
        "outliers_right": np.nan if np.isnan(sigma) else int(right.sum()),
        "outliers_left": int(left.sum()) if has_left else np.nan,
        "edge_right": float(edges.upper_edge(s[0], m, n, sigma)),
        "edge_left": float(edges.lower_edge(s[-1], m, n, sigma)),
        "energy_right": float(s[right] @ s[right] / energy),
        "energy_left": float(s[left] @ s[left] / energy) if has_left else np.nan,
        "spike_energy": float(spikes @ spikes / energy),
    }
    return found, spikes


def refits(matrix):
    """`refitted` of one matrix, once, for `nla.scan`: the same columns as `nla.random_matrix` has for all values."""
    return refitted(matrix.singular_values, *matrix.shape)


refits.steps, refits.pure = "log", True
