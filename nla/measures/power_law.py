"""Power laws fitted to the tails of spectra, and what there is to know before believing their exponent alpha."""

import zlib

import numpy as np
import torch
from scipy.special import digamma, logsumexp, polygamma
from scipy.stats import mannwhitneyu

from nla.measures.spectrum import resolution
from nla.measures.verdicts import nothing_against
from nla.nulls import gaussian, marchenko_pastur
from nla.nulls.draws import permuted_singular_values
from nla.nulls.marchenko_pastur import bulk_sigma
from nla.numerics import modes, tails
from nla.numerics.threads import computed_once

NEAR = 1.1  # a fit is as good as the best if its KS distance is at most this many times as large
LOWERED = (1, 2, 3, 5, 10)  # numbers of largest eigenvalues taken down, to see whether alpha hangs on them
RESAMPLES = 100  # the p of `goodness_p` is then known to 0.03 near the threshold of 0.1
PERMUTATIONS = 3


def power_law(matrix):
    """Exponent alpha of the power law that fits the largest eigenvalues of W^T W best, and how well it does.

    The eigenvalues are x = s^2, without division by a side, as in WeightWatcher; alpha does not depend on their unit.
    Those that the Gram matrix does not resolve, s <= s_1 sqrt(r eps), are left out (WeightWatcher: x <= 1e-5). xmin is
    the value of least KS distance among all, see `nla.numerics.tails.scan`.

    Returns
    -------
    dict
        ``alpha``: 1 + k / sum ln(x/xmin) over the tail x >= xmin, 1 to infinity; ``alpha_error``: (alpha-1) / sqrt k,
        for a known xmin; ``ks_distance``: 0 to 1; ``xmin``; ``tail_size``: k; ``tail_share``: k/r; ``tail_range``:
        x_1/xmin. ``alpha_random_05``, ``_50``, ``_95``: quantiles of alpha for random matrices of this shape.
        ``alpha_hat``: alpha log10 x_1; ``log_alpha_norm``: log10 sum x^alpha; ``log_spectral_norm``: log10 x_1; all
        three depend on the unit of W. ``mp_softrank``: random edge of the bulk over x_1 (`bulk_sigma`), near 1 for a
        random matrix. ``erg_rank``: least number of largest eigenvalues whose product is below 1 when their mean over
        all is 1, 0.73 r for a square random matrix; ``erg_gap``: erg_rank - k.
        ``mp_departure``: KS distance of s from the Marchenko-Pastur law of the same RMS, times r/3, near 1 for a
        random matrix. ``gap_p``: see `nla.numerics.modes.gap_p`. ``lognormal_gain``, ``lognormal_p``,
        ``truncated_gain``, ``truncated_p``: see `nla.numerics.tails.alternative`.
        ``finger_shift``: largest |change of alpha| when the 1, 2, 3, 5 or 10 largest eigenvalues are lowered to the
        next one.
        ``plateau``: sd of alpha over all xmin whose KS distance is at most 1.1 times the least, over alpha.
        ``valid``: 1 if none of these numbers speaks against alpha, by the thresholds of `nla.verdicts`, else 0: what
        the spectrum alone can say. The stable rank is among `nla.spectrum`, rand_distance among `nla.drift`.

    References
    ----------
    Martin & Mahoney, JMLR 22(165), 2021 (arXiv:1810.01075); Clauset, Shalizi & Newman 2009 (arXiv:0706.1062); Martin &
    Hinrichs 2025 (arXiv:2507.17912) for erg_rank.
    """
    s, shape = matrix.singular_values, matrix.shape
    x = _eigenvalues(matrix)
    alphas, ks = tails.scan(x, NEAR)
    fitted = tails.Fit(*(value[0] for value in tails.best(x, alphas, ks)))
    alpha, k = float(fitted.alpha), int(fitted.tail_size)
    near = alphas[ks <= NEAR * ks.min()] if k else np.array([np.nan])
    y = np.log(x[len(x) - k :] / fitted.xmin) if k else np.full(1, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        measured = _of_the_fit(x, s, shape, fitted) | {"plateau": near.std() / alpha}
    for name in ("lognormal", "truncated"):
        measured[f"{name}_gain"], measured[f"{name}_p"] = tails.alternative(y, name)
    random = random_alpha(*shape).alpha
    measured |= {f"alpha_random_{q:02d}": float(np.percentile(random, q)) for q in (5, 50, 95)}
    return measured | {"valid": int(k > 0 and nothing_against(measured))}


power_law.pure = True


def power_law_checks(matrix):
    """What `power_law` leaves open because it takes bootstraps, singular vectors or the spectra of permuted matrices.

    Every random number is seeded by kind and layer.

    Returns
    -------
    dict
        ``goodness_p``: see `tails.goodness`. ``alpha_16``, ``alpha_84``: quantiles of alpha when the eigenvalues
        are resampled; ``alpha_width``: their difference over alpha. ``dip``: sqrt(r) times Hartigan's dip of ln x,
        below 0.535 for 95 % of samples with one mode. ``unresolved``: share of s below the `resolution` of the file.
        ``trap_z``: largest eigenvalue after the entries have been permuted, less its random value for centred entries
        of this variance, in units of its Tracy-Widom fluctuation, -1.2 +- 1.3 for a random matrix; ``traps``: number
        of eigenvalues above the 99 % quantile of that fluctuation. Both are medians over three permutations.
        ``tail_entropy``, ``bulk_entropy``: mean entropy of the singular vectors of the tail and of the others, as
        `entropy_z`, (left + right) / sqrt 2; ``entropy_p``: that the tail's are not lower (Mann-Whitney, one-sided).
    """
    s = matrix.singular_values
    rng = np.random.default_rng(zlib.crc32(f"{matrix.kind} {matrix.layer} power law".encode()))
    x = _eigenvalues(matrix)
    fitted = tails.Fit(*(value[0] for value in tails.fit(x)))
    k = int(fitted.tail_size)
    found = dict.fromkeys(("goodness_p", "alpha_16", "alpha_84", "alpha_width", "dip", "unresolved"), np.nan)
    if k:
        low, high = np.nanpercentile(tails.spread(x, RESAMPLES, rng), [16, 84])
        found |= {"goodness_p": tails.goodness(x, fitted, RESAMPLES, rng), "alpha_16": low, "alpha_84": high}
        found |= {"alpha_width": (high - low) / fitted.alpha, "dip": len(x) ** 0.5 * modes.dip(np.log(x))}
        found["unresolved"] = float((s <= resolution(matrix)).mean())
    return found | _traps(matrix) | _entropies(matrix, k)


power_law_checks.pure = True
power_law_checks.steps = "log"


def random_alpha(m, n):
    """Fits to Gaussian m x n matrices, as `nla.numerics.tails.Fit` of arrays: 102,400 / r of them, from 40 to 256.

    Drawn by `nla.nulls.gaussian_eigenvalues`, seeded by the shape, once per process. For 512 x 512, 5 % of alpha are
    below 4.9, half below 9.2, 5 % above 24: a value in between needs no explanation.
    """
    return _random_alpha(min(m, n), max(m, n))


@computed_once
def _random_alpha(short, long):
    rng = np.random.default_rng([short, long])
    draws = [gaussian.gaussian_eigenvalues(long, short, rng) for _ in range(min(max(40, 102400 // short), 256))]
    return tails.fit(np.stack(draws))


def erg_rank(s):
    """Least k for which x_1 ... x_k < 1, x = s^2 / mean(s^2); r if there is none (all equal)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.cumsum(np.log(s**2 / np.mean(s**2))) < -1e-9
    return int(below.argmax()) + 1 if below.any() else len(s)


def mp_departure(s, m, n):
    """KS distance of a spectrum from the Marchenko-Pastur law of the same RMS, over 3/r, its size for Gaussian noise.

    Eigenvalues repel one another, and so the distance is 3/r and not of the order of 1/sqrt(r).
    """
    if not s.any():
        return np.nan
    return marchenko_pastur.distance(s, m, n, np.sqrt(s @ s / (m * n))) * len(s) / 3


def entropy_z(vectors):
    """Entropy -sum v^2 ln v^2 of each column, less its mean for a random unit vector, over its sd there; tensor (k,).

    v^2 is Dirichlet(1/2, ..., 1/2): mean psi(d/2+1) - psi(3/2), variance 3/(d+2) psi'(3/2) - psi'(d/2+1); about ln d -
    0.73 and 0.80/d. Negative values: the vector is concentrated on few entries.
    """
    d = len(vectors)
    mean, variance = digamma(d / 2 + 1) - digamma(1.5), 3 / (d + 2) * polygamma(1, 1.5) - polygamma(1, d / 2 + 1)
    return (torch.special.entr(vectors**2).sum(0) - mean) / max(variance, 1e-300) ** 0.5


def _of_the_fit(x, s, shape, fitted):
    """The part of `power_law` that takes the eigenvalues, the spectrum and the fit."""
    alpha, k = float(fitted.alpha), int(fitted.tail_size)
    return {
        "alpha": alpha,
        "alpha_error": (alpha - 1) / np.sqrt(k),
        "ks_distance": float(fitted.ks),
        "xmin": float(fitted.xmin),
        "tail_size": k,
        "tail_share": k / len(s),
        "tail_range": s[0] ** 2 / fitted.xmin,
        "alpha_hat": alpha * np.log10(s[0] ** 2),
        "log_alpha_norm": logsumexp(alpha * np.log(x)) / np.log(10) if k else np.nan,
        "log_spectral_norm": np.log10(s[0] ** 2),
        "mp_softrank": (marchenko_pastur.mp_edges(*shape, bulk_sigma(s, *shape))[1] / s[0]) ** 2,
        "erg_rank": erg_rank(s),
        "erg_gap": erg_rank(s) - k,
        "mp_departure": mp_departure(s, *shape),
        "gap_p": modes.gap_p(x, alpha, k),
        "finger_shift": _finger_shift(x, alpha),
    }


def _eigenvalues(matrix):
    """x = s^2, ascending, as far as the Gram matrix resolves them; at least one value."""
    s = matrix.singular_values
    resolved = s > s[0] * (len(s) * np.finfo(float).eps) ** 0.5
    return s[resolved][::-1] ** 2 if resolved.any() else np.zeros(1)


def _finger_shift(x, alpha):
    """Largest change of alpha when some of the largest values are lowered to the next one."""
    counts = [c for c in LOWERED if c < len(x)]
    if not counts or np.isnan(alpha):
        return np.nan
    lowered = np.stack([np.minimum(x, x[-c - 1]) for c in counts])  # left out, they would bias alpha, as a cut-off does
    return float(np.nanmax(np.abs(tails.fit(lowered).alpha - alpha), initial=0.0))


def _traps(matrix):
    (m, n), (values, counts) = matrix.shape, matrix.histogram
    sigma = float((counts @ (values - counts @ values / (m * n)) ** 2 / (m * n)) ** 0.5)
    if not sigma or min(m, n) == 1:
        return {"trap_z": np.nan, "traps": np.nan}
    centre, scale = (gaussian.spectral_norm(m, n, sigma, at) ** 2 for at in (0, 1))
    scale -= centre  # lambda = centre + scale * Tracy-Widom
    z = [(permuted_singular_values(matrix, draw) ** 2 - centre) / scale for draw in range(PERMUTATIONS)]
    above = [int((draw > gaussian.TRACY_WIDOM_Q99).sum()) for draw in z]
    return {"trap_z": float(np.median([draw[0] for draw in z])), "traps": float(np.median(above))}


def _entropies(matrix, k):
    U, s, Vt = matrix.singular_vectors
    z = ((entropy_z(U) + entropy_z(Vt.T)) / 2**0.5).cpu().numpy()
    if not 0 < k < len(z) or not s.any():
        return {"tail_entropy": z[:k].mean() if k else np.nan, "bulk_entropy": np.nan, "entropy_p": np.nan}
    p = float(mannwhitneyu(z[:k], z[k:], alternative="less").pvalue)
    return {"tail_entropy": z[:k].mean(), "bulk_entropy": z[k:].mean(), "entropy_p": p}
