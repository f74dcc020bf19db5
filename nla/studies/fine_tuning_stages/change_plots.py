"""By how much each measure of the series changes in each stage, beside random updates of the same norm."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nla import figures
from nla.figures.parts import colors
from nla.studies.fine_tuning_stages import shaken
from nla.studies.fine_tuning_stages.stage_plots import intervals

COLUMNS = {  # of each of notebooks 01 to 06, 08 and 09
    "rms": "RMS",
    "spectral": "spectral norm",
    "nuclear_relative": "nuclear norm / random",
    "linf_relative": "largest entry / random",
    "stable_rank": "stable rank",
    "effective_rank": "effective rank",
    "condition_number": "condition number",
    "relative_distance": "distance from step 0",
    "cosine": "cosine with step 0",
    "hoyer": "Hoyer sparsity",
    "row_gini": "Gini of row norms",
    "rms_cosine_rows": "RMS cosine of rows",
    "procrustes": "distance from orthogonality",
    "rho_mean_abs": "mean |cos| of W1 row, W2 column",
    "mp_distance_relative": "distance from Marchenko-Pastur / random",
    "outliers_right": "values above the random bulk",
    "alpha": "alpha",
}


def changes(before, after, columns=COLUMNS):
    """By how much each column of each matrix changes in each update: 100 (value / value before - 1).

    Only columns that the tables have.

    Returns
    -------
    pandas.DataFrame
        Index kind, layer; update, and the columns, in percent.
    """
    found = [relative(then, now, columns).assign(update=name) for name, then, now in intervals(before, after)]
    return pd.concat(found) if found else before[:0].assign(update=None)


def relative(then, now, columns=COLUMNS):
    """The same between two tables of the same matrices, index (kind, layer); `now` may hold several draws of each."""
    columns = [name for name in columns if name in then and then[name].notna().any()]
    then, now = (rows.set_index(["kind", "layer"])[columns].astype(float) for rows in (then, now))
    return 100 * (now / then.reindex(now.index) - 1)


def random_changes(before, after, measures, draws=3):
    """`changes` after a random update of each matrix instead, of the norm that its own had; with a column draw.

    Each is measured on the spot, see `nla.studies.fine_tuning_stages.shaken.shaken`, with `measures`, or what is
    `BRIEF` there: the same numbers, of `COLUMNS` alone.
    """
    found, measures = [], [shaken.BRIEF.get(measure, measure) for measure in measures]
    for name, then, now in intervals(before, after):
        sizes = now[now.delta_norm.notna()].set_index(["kind", "layer"]).delta_norm.to_dict()
        table = shaken.shaken(then.model.iloc[0], int(then.step.iloc[0]), sizes, measures, draws)
        found.append(
            relative(then, table, [c for c in COLUMNS if c in table]).assign(update=name, draw=table.draw.values)
        )
    return pd.concat(found) if found else None


def change_table(found, random=None):
    """Summary of `changes`: how much a measure changes in the middle matrix, and in which share of them it rises.

    Parameters
    ----------
    found : pandas.DataFrame
        Of `changes`.
    random : pandas.DataFrame, optional
        The same after random updates of the same norm, with a column draw.

    Returns
    -------
    pandas.DataFrame
        A row per column; by update: ``change``, the median of |change| over matrices, in percent; ``random``, the
        largest over draws of that of a random update; ``rising``, the share of matrices in which it rises.
    """
    parts = {}
    for name, rows in found.groupby("update", sort=False):
        rows = rows.drop(columns="update").dropna(axis=1, how="all")
        parts[name, "change"] = rows.abs().median()
        if random is not None and (random["update"] == name).any():
            parts[name, "random"] = _draws(random, name).max()
        parts[name, "rising"] = (rows > 0).sum() / rows.notna().sum()
    return pd.DataFrame(parts)


def _draws(random, name):
    """Median of |change| over matrices in each draw of the random update `name`: a row per draw."""
    return (
        random[random["update"] == name]
        .drop(columns="update")
        .groupby("draw")
        .agg(lambda values: values.abs().median())
    )


def change_dots(found, random=None, labels=COLUMNS):
    """A row per measure: median of |change| over matrices in each update; grey, that of random updates of its norm.

    Parameters
    ----------
    found, random : pandas.DataFrame
        See `change_table`.
    """
    table = change_table(found, random)
    names = list(dict.fromkeys(found["update"]))
    fig, ax = plt.subplots(figsize=(7.6, 0.3 * len(table) + 1.2))
    for i, name in enumerate(names):
        y = np.arange(len(table)) + (i - (len(names) - 1) / 2) * 0.26
        if (name, "random") in table:
            for j, (_, draw) in enumerate(_draws(random, name).iterrows()):
                label = None if i or j else "random update\nof that norm"
                ax.plot(draw.reindex(table.index), y, "|", ms=6, mew=1.6, color=figures.GREY, label=label, zorder=1)
        ax.plot(table[name, "change"], y, "o", ms=4.5, mew=0, color=colors(names)[name], label=name)
    ax.set_xscale("symlog", linthresh=1e-3, linscale=0.5)
    ticks = [0, 0.001, 0.01, 0.1, 1, 10, 100]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_yticks(range(len(table)), [labels.get(name, name) for name in table.index], fontsize="small")
    ax.set_yticks(np.arange(len(table) + 1) - 0.5, minor=True)
    ax.grid(axis="y", which="minor", lw=0.4)
    ax.tick_params(axis="y", which="minor", length=0)
    ax.set(xlabel="|change| [%], median over all matrices", ylim=(len(table) - 0.5, -0.5), xlim=(-1e-4, None))
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
