"""Rows of W1 and columns of W2, neuron by neuron: does a neuron write along the direction it reads?"""

import numpy as np
import torch
from scipy.stats import rankdata

from nla.measures.neurons import (
    READERS,
    blocks,
    cosines,
    fold,
    in_out,
    mantel_moments,
    product,
    shuffled_cosines,
    significance,
)
from nla.nulls import directions
from nla.numerics.pairs import lengths

QUANTILES = {f"q{p:02d}": p / 100 for p in (1, 5, 25, 50, 75, 95, 99)}


def correlation(matrix):
    """Cosines of input rows and output columns, and whether they are more than chance; empty if W2 is not finite.

    Returns
    -------
    dict
        For the cosines rho of the neurons, and as ``folded_*`` with the normalisation before the MLP folded in (NaN
        where there is none): ``rho_mean, rho_mean_abs, rho_skew``; ``rho_q01 ... rho_q99``: quantiles;
        ``rho_inflation``: sd times sqrt(d), d-1 if folding centres; ``rho_pairs_inflation``: the same for the cosines
        of *all* pairs w_in_i, w_out_j, above 1 if rows and columns crowd into the same directions, whoever goes with
        whom; ``rho_beyond``: share of |rho| above the 99.9 % quantile of the null. `random_cosines` has their values
        for random matrices. ``rho_mean_z, rho_mean_p, rho_abs_z, rho_abs_p``: mean rho and mean |rho| against shuffles
        of W2's neurons, see `significance`; N(0, 1) and uniform if who goes with whom means nothing.
        ``neurons_alive``: those with w_in and w_out not zero, the only ones with a cosine. ``norm_pearson,
        norm_spearman``: correlation of ||w_in|| and ||w_out|| over all neurons; random: 0, sd 1/sqrt(neurons - 1).
        ``trace ... cka_shuffled``: see `pair_statistics`.
    """
    w_in, w_out = in_out(matrix)
    if not torch.isfinite(w_out).all():
        return {}
    d, seed = w_in.shape[1], [READERS.index(matrix.kind), matrix.layer + 1]  # the same shuffles at every step
    raw, norm = _summary(w_in, w_out, d, seed), matrix.norm
    folded = _summary(*fold(w_in, w_out, norm), d - norm.centred, seed) if norm else dict.fromkeys(NAMES, np.nan)
    sizes = [lengths(w).cpu().numpy() for w in (w_in, w_out)]
    return {
        **{f"rho_{name}": value for name, value in raw.items()},
        **{f"folded_{name}": value for name, value in folded.items()},
        "neurons_alive": int(np.sum((sizes[0] > 0) & (sizes[1] > 0))),
        "norm_pearson": _pearson(*sizes),
        "norm_spearman": _pearson(*map(rankdata, sizes)),
        **pair_statistics(w_in, w_out),
    }


correlation.kinds, correlation.pure = READERS, True


def neuron_cosines(matrix):
    """``rho`` and ``folded_rho``: the cosine of each neuron, raw and folded, float32 (neurons,); see `correlation`."""
    w_in, w_out = in_out(matrix)
    if not torch.isfinite(w_out).all():
        return {}
    folded = fold(w_in, w_out, matrix.norm) if matrix.norm else (w_in * np.nan, w_out)
    return {"rho": cosines(w_in, w_out).float(), "folded_rho": cosines(*folded).float()}


neuron_cosines.kinds, neuron_cosines.pure, neuron_cosines.steps = READERS, True, "log"


def random_cosines(d):
    """What `correlation` says, by its names without the prefix, of cosines in d dimensions that know nothing."""
    quantiles = {name: float(directions.cosine_quantile(p, d)) for name, p in QUANTILES.items()}
    typical = {"mean": 0.0, "mean_abs": directions.cosine_mean_abs(d), "inflation": 1.0, "pairs_inflation": 1.0}
    return typical | {"skew": 0.0, "beyond": 0.001} | quantiles


NAMES = [*random_cosines(2), "mean_z", "mean_p", "abs_z", "abs_p"]


def _summary(w_in, w_out, d, seed):
    """{name: value} for `NAMES`, of neurons that read and write in d dimensions."""
    rho = cosines(w_in, w_out)
    alive = torch.isfinite(rho)
    if alive.sum() < 2:
        return dict.fromkeys(NAMES, np.nan)
    if not alive.all():
        w_in, w_out, rho = w_in[alive], w_out[alive], rho[alive]
    signed, absolute, spread = shuffled_cosines(w_in, w_out, seed=seed)
    rho = rho.cpu().numpy()
    mean, mean_abs, sd = rho.mean(), np.abs(rho).mean(), rho.std()
    skew = ((rho - mean) ** 3).mean() / sd**3 if sd > 0 else np.nan
    beyond = (np.abs(rho) > directions.cosine_quantile(1 - 0.001 / 2, d)).mean()
    values = [mean, mean_abs, sd * d**0.5, spread * d**0.5, skew, beyond, *np.quantile(rho, list(QUANTILES.values()))]
    return dict(zip(NAMES, [*values, *significance(mean, signed), *significance(mean_abs, absolute)], strict=True))


def pair_statistics(w_in, w_out):
    """What all pairs of neurons say, exactly, from d x d matrices: no neurons x neurons matrix is needed.

    Returns
    -------
    dict
        ``trace``: tr(W2 W1), the sum over neurons of w_in . w_out. ``trace_z``: its distance from the mean over all
        shuffles of W2's neurons, in their standard deviations. ``alignment``: cosine of W1 and W2' as long vectors,
        in [-1, 1]; its square is the share of W2's squared entries that w_out = a w_in explains; random: 0, sd
        1/sqrt(neurons d). ``gram_correlation``: correlation over pairs i < j of (W1 W1')_ij and (W2' W2)_ij: do neurons
        that read alike write alike? Random: 0, sd about sqrt(2)/neurons. ``gram_z``: the same over its standard
        deviation under shuffles. ``cka``: linear CKA with neurons as samples, in [0, 1]; ``cka_shuffled``: its mean
        under shuffles, d/(neurons - 1 + d) for Gaussian matrices, which is what it must be compared with.

    References
    ----------
    Hoeffding 1951 for the trace; Mantel 1967 for gram_correlation; Kornblith et al. 2019 (arXiv:1905.00414) for CKA,
    its mean because the mean of P K P' over all shuffles P is tr K/(n-1) (I - 11'/n) if K 1 = 0.
    """
    n = len(w_in)
    reads, writes, cross = product(w_in, w_in), product(w_out, w_out), product(w_out, w_in)
    sums, sizes = zip(*((w.sum(0, dtype=torch.float64), lengths(w)) for w in (w_in, w_out)), strict=True)
    own = [_off_diagonal(*side) for side in zip((reads, writes), (w_in, w_out), sums, sizes, strict=True)]
    together = float((cross**2).sum() - ((sizes[0] * sizes[1]) ** 2).sum())
    mean, sd = mantel_moments(*own, n) if n > 3 else (np.nan, np.nan)
    spread = [max(squares - total**2 / max(n * (n - 1), 1), 0) ** 0.5 for total, squares, _ in own]
    a, b = (gram - s.outer(s) / n for gram, s in zip((reads, writes), sums, strict=True))  # of centred columns
    centred, size = cross - sums[1].outer(sums[0]) / n, float(a.norm() * b.norm())
    trace, expected = float(cross.trace()), float(sums[0] @ sums[1]) / n
    return {
        "trace": trace,
        "trace_z": _ratio(trace - expected, (max(float((a * b).sum()), 0) / max(n - 1, 1)) ** 0.5),
        "alignment": _ratio(trace, float(reads.trace() * writes.trace()) ** 0.5),
        "gram_correlation": _ratio(together - mean, spread[0] * spread[1]),
        "gram_z": _ratio(together - mean, sd),
        "cka": _ratio(float((centred**2).sum()), size),
        "cka_shuffled": _ratio(float(a.trace() * b.trace()), (n - 1) * size),
    }


def _off_diagonal(gram, w, total, sizes):
    """Sums over the off-diagonal part of w w': of the entries, of their squares, of the squares of the row sums."""
    row_sums = torch.cat([block.double() @ total for (block,) in blocks(w)]) - sizes**2
    return float(row_sums.sum()), float((gram**2).sum() - (sizes**4).sum()), float((row_sums**2).sum())


def _ratio(a, b):
    return float(a / b) if b > 0 else np.nan


def _pearson(x, y):
    x, y = x - x.mean(), y - y.mean()
    return _ratio(x @ y, ((x @ x) * (y @ y)) ** 0.5)
