"""alpha over a whole model: averages, agreement with other measures, and the share of matrices that pass the checks."""

import itertools

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from nla.measures.verdicts import LIMITS

BESIDE = ("rand_distance", "log_spectral_norm", "relative_distance")
TITLES = {
    "tail": "tail large enough",
    "fit": "fit good",
    "stable": "fit stable",
    "shape": "heavy-tailed, unlike random",
    "traps": "no correlation traps",
    "rank": "no rank collapse",
    "agreement": "alpha agrees with other measures",
    "vectors": "tail vectors localised",
}


def averages(table):
    """Averages of alpha over all matrices, by step: DataFrame with the columns mean, median, alpha<8, valid.

    The mean is what WeightWatcher's summary gives; the next two are the answers of issue 307 to "how can a more robust
    average be used?"; the last takes only rows whose ``valid`` is 1 (NaN where there is none).
    """
    steps = table.groupby("step").alpha
    robust = {"mean": steps.mean(), "median": steps.median()}
    robust["alpha<8"] = table[table.alpha < 8].groupby("step").alpha.mean()
    robust["valid"] = table[table.valid == 1].groupby("step").alpha.mean()
    return pd.DataFrame(robust)


def neighbours(table, columns=("step", "alpha", "tail_size", "mp_departure")):
    """The rows of `table` that have a checkpoint before them, in order, with `columns` there as NAME_before."""
    ordered = table.sort_values("step", kind="stable")
    matrix = [c for c in ("model", "stage", "kind", "layer") if c in table]
    before = ordered.groupby(matrix, sort=False)[list(columns)].shift(1).add_suffix("_before")
    return ordered.join(before).dropna(subset=["step_before"])


def shares(table, agreeing):
    """Share of matrices that pass each check, and that are VALID: DataFrame, the checks down, steps across.

    Parameters
    ----------
    table : pandas.DataFrame
        From `verdicts`.
    agreeing : pandas.DataFrame
        From `agreement` of the same; check 7 is passed by a share of the kinds, NaN where there are too few layers.
    """
    table = table[table.step.isin(table.step[table.alpha_width.notna()])]  # where `nla.power_law_checks` was measured
    numbers = dict(zip(LIMITS, (1, 2, 3, 4, 5, 6, 8), strict=True))
    passed = {f"{numbers[c]} {TITLES[c]}": (table[f"check_{c}"] == 1).groupby(table.step).mean() for c in LIMITS}
    layers = agreeing[agreeing.over == "layers"] if len(agreeing) else agreeing
    passed[f"7 {TITLES['agreement']}"] = layers.groupby("at").agrees.mean() if len(layers) else pd.Series(dtype=float)
    passed = dict(sorted(passed.items())) | {"VALID": (table.verdict == 2).groupby(table.step).mean()}
    return pd.DataFrame(passed).T.reindex(columns=sorted(table.step.unique()))


def agreement(table, columns=BESIDE, least_rho=0.5, largest_p=0.05):
    """Check 7: does alpha fall where other measures of learning rise? Spearman's rho of alpha with each of `columns`.

    Over the layers of a kind at each step, and over the steps of each matrix. p is one-sided, that a random order has
    a rho as low: of all orders of up to 7 values, else of 5,000 (seeded). Over steps it is far too small, because
    anything that changes steadily in training correlates with anything else that does.

    Parameters
    ----------
    columns : tuple of str
        What a good alpha should be anticorrelated with; by default the distance from the randomised matrix, the
        spectral norm and the distance from the first checkpoint.

    Returns
    -------
    pandas.DataFrame
        One row per group of four or more values: ``over`` (layers or steps), ``kind``, ``at`` (the step, or the
        layer), ``count``, ``rho_COLUMN`` and ``p_COLUMN`` for each, NaN where a column does not vary, and ``agrees``:
        1 if rho <= -`least_rho` with p < `largest_p` for at least two thirds of the columns.
    """
    rows = []
    for over, at in (("layers", "step"), ("steps", "layer")):
        chosen = table[(table.layer >= 0) | (over == "steps")].dropna(subset=["alpha"])
        for (kind, place), group in chosen.groupby(["kind", at], sort=False):
            if len(group) < 4:
                continue
            found = {column: spearman(group.alpha, group[column]) for column in columns}
            agreeing = [rho <= -least_rho and p < largest_p for rho, p in found.values()]
            row = {"over": over, "kind": kind, "at": place, "count": len(group)}
            row |= {f"rho_{c}": rho for c, (rho, _) in found.items()} | {f"p_{c}": p for c, (_, p) in found.items()}
            rows.append(row | {"agrees": int(sum(agreeing) >= 2 / 3 * len(columns))})
    return pd.DataFrame(rows)


def spearman(x, y, draws=5000):
    """(rho, p) of Spearman's rank correlation, p being one-sided for a low rho; NaN if either is constant or NaN."""
    ranks = np.stack([rankdata(x, nan_policy="propagate"), rankdata(y, nan_policy="propagate")])
    ranks = ranks - ranks.mean(1, keepdims=True)
    norm = np.sqrt((ranks**2).sum(1).prod())
    if not norm > 0:
        return np.nan, np.nan
    n = ranks.shape[1]
    if n <= 7:
        orders = np.array(list(itertools.permutations(range(n))))
    else:
        orders = np.random.default_rng(n).permuted(np.tile(np.arange(n), (draws, 1)), axis=1)
    rho = ranks[0] @ ranks[1] / norm
    return float(rho), float((ranks[0][orders] @ ranks[1] / norm <= rho + 1e-12).mean())
