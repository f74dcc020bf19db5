"""By how much each measure of the series changes in each stage, beside random updates of the same norm."""

from itertools import pairwise

import pandas as pd

from nla.figures.parts import PRETRAINING
from nla.studies.fine_tuning_stages import shaken

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


def updates(before, after):
    """The rows of `nla.update` for the last interval of pretraining and for each stage; column ``update`` says which.

    Parameters
    ----------
    before, after : pandas.DataFrame
        Of the ladder and of the chain; the chain's first row is the ladder's last checkpoint.
    """
    parts = [before[before.step == before.step.max()].assign(update=PRETRAINING)]
    parts += [after[after.step > after.step.min()].assign(update=lambda rows: rows.stage)]
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return table[table.delta_norm.notna()] if "delta_norm" in table else table[:0]


def intervals(before, after):
    """[(name, rows before, rows after)] of the last interval of pretraining, if there is one, and of each stage."""
    steps, stages = sorted(set(before.step))[-2:], list(dict.fromkeys(after.stage))
    found = [(PRETRAINING, *(before[before.step == step] for step in steps))] if len(steps) == 2 else []
    return found + [(b, after[after.stage == a], after[after.stage == b]) for a, b in pairwise(stages)]


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
            parts[name, "random"] = draws(random, name).max()
        parts[name, "rising"] = (rows > 0).sum() / rows.notna().sum()
    return pd.DataFrame(parts)


def draws(random, name):
    """Median of |change| over matrices in each draw of the random update `name`: a row per draw."""
    return (
        random[random["update"] == name]
        .drop(columns="update")
        .groupby("draw")
        .agg(lambda values: values.abs().median())
    )


def one_row(matrix):
    """``one_row``: the row that changed most since the previous checkpoint, in squares, over the mean row; from 1."""
    before = matrix.at("previous", same_shape=True)
    change = (matrix.values - before.values).square().sum(1) if before else None
    return {} if change is None else {"one_row": change.max() / change.sum() * len(change)}


one_row.kinds = ("value", "dense_h_to_4h", "embed_in")
COMMON_PASS = [one_row]
