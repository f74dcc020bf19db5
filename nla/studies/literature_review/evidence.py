"""A claim from the literature, held against the scans of one model: supports, contradicts, or cannot say and why."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nla.matrices import KINDS

VERDICTS = ("supports", "contradicts", "cannot say")
PYTHIA_WARMUP = 1430  # updates, of 143,000; steps reported for Pythia are converted by it

Finding = namedtuple("Finding", "value verdict reason")


class CannotSay(Exception):
    """The model, or the scan, does not offer what a claim needs; the message says what."""


@dataclass(frozen=True, eq=False)
class Claim:
    """One statement of a publication and the test it is put to here.

    Parameters
    ----------
    text, source : str
        What is claimed, in our words; key in `references.bib`.
    measured : str
        What stands for it here, with the threshold of the verdict.
    measures : tuple of functions
        The measures whose columns `judge` reads.
    judge : function
        `Evidence` -> (value as text, holds); True supports, False contradicts. Raises `CannotSay`, with the reason and,
        as second argument, what could be measured all the same.
    """

    text: str
    source: str
    measured: str
    measures: tuple
    judge: callable

    def finding(self, evidence):
        """`Finding` of this claim for one model."""
        try:
            value, holds = self.judge(evidence)
        except CannotSay as reason:
            return Finding(reason.args[1] if len(reason.args) > 1 else "", "cannot say", reason.args[0])
        return Finding(value, "supports" if holds else "contradicts", "")


def claim(text, source, measured, *measures):
    """Make the function below it the `judge` of a `Claim`."""
    return lambda judge: Claim(text, source, measured, measures, judge)


class Evidence:
    """The scans of one model, as claims ask for them.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `nla.scan`, with the columns of all measures. Rows of matrices that hold NaN or Inf are left out.
    recipe : nla.Recipe or None
    history : dict, optional
        Of `nla.history`: the losses of training.
    chain : pandas.DataFrame, optional
        Of a scan of `nla.update` over the stages that follow, see `models.chains`; its stage "base" is the change from
        the first checkpoint to the last, if the chain begins with the first.
    """

    def __init__(self, table, recipe=None, history=None, chain=None):
        order = table.kind.map({kind: place for place, kind in enumerate(KINDS)})
        table = table.assign(order=order).sort_values(["step", "layer", "order"], kind="stable")
        self.table, self.recipe = table[table.finite.astype(bool)], recipe
        self.steps = sorted(self.table.step.unique())
        self.history, self.chain = history, chain

    def rows(self, column, kinds=None):
        """The rows where `column` has a value, of these kinds, by default of all but the embeddings."""
        rows = self.table[self.table.layer >= 0]
        if kinds is not None:
            kinds = (kinds,) if isinstance(kinds, str) else kinds
            rows = self.table[self.table.kind.isin(kinds)]
            missing = [k for k in kinds if k not in set(rows.kind)]
            if missing:
                raise CannotSay(f"this model has no {' or '.join(missing)}, or none without NaN")
        if column not in rows or rows[column].isna().all():
            raise CannotSay(f"{column} could not be measured")
        rows = rows[rows[column].notna()]
        if missing := [kind for kind in kinds or () if kind not in set(rows.kind)]:
            raise CannotSay(f"{column} of {' and '.join(missing)} could not be measured")
        return rows

    def course(self, column, kinds=None):
        """Medians over layers, DataFrame (steps, kinds), where every kind has one; needs two checkpoints or more."""
        rows = self.rows(column, kinds)
        course = rows.groupby(["step", "kind"], sort=False)[column].median().unstack("kind")[list(rows.kind.unique())]
        course = course.dropna()
        if len(course) < 2:
            raise CannotSay("one checkpoint: no training to be seen")
        return course.sort_index()

    def outside(self, column, summary):
        """As text behind a value, `summary` of the course of `column` of each embedding; nothing if there is none."""
        rows = self.table[(self.table.layer < 0) & self.table[column].notna()].sort_values("step")
        beside = rows.groupby("kind", sort=False)[column].agg(summary)
        return f"; outside the layers {numbers(beside)}" if len(beside) else ""

    def last(self, column, kinds=None):
        """Medians over layers at the last checkpoint, Series by kind."""
        return self.end(column, kinds).groupby("kind", sort=False)[column].median()

    def end(self, column, kinds=None):
        """`rows` of the last checkpoint, where none of their kinds may be missing."""
        rows = self.rows(column, kinds)
        last = rows[rows.step == self.steps[-1]]
        if missing := [kind for kind in rows.kind.unique() if kind not in set(last.kind)]:
            raise CannotSay(f"at the last checkpoint there is no {' or '.join(missing)} without NaN")
        return last

    def by_layer(self, column, kinds=None, least=4):
        """Values at the last checkpoint, DataFrame (layers, kinds); needs `least` layers."""
        rows = self.rows(column, kinds)
        grid = rows[rows.step == self.steps[-1]].pivot(index="layer", columns="kind", values=column)
        grid = grid[[kind for kind in KINDS if kind in grid]]
        if len(grid) < least:
            raise CannotSay(f"{len(grid)} layers: too few to speak of depth")
        return grid

    @property
    def warmup(self):
        """Updates of the warm-up; needs a known recipe."""
        if not (self.recipe and self.recipe.warmup):
            raise CannotSay("the length of the warm-up is not known")
        return self.recipe.warmup

    @property
    def loss(self):
        """Held-out loss at each checkpoint, Series by step; needs a record of training."""
        known = {row["step"]: row["held_out_loss"] for row in (self.history or {}).get("saved", ())}
        loss = pd.Series({step: known[step] for step in self.steps if step in known}, dtype=float)
        if len(loss) < len(self.steps) or loss.empty:
            raise CannotSay("the loss is not known at every checkpoint")
        return loss

    def stage(self, names):
        """The rows of the first stage of the chain that has one of these names, of all matrices but the embeddings."""
        chain = self.chain
        known = [] if chain is None else [s for s in chain.stage.unique() if any(name in str(s) for name in names)]
        if not known:
            raise CannotSay(f"no stage of this kind ({', '.join(names)}) is known of this model")
        rows = chain[(chain.stage == known[0]) & (chain.layer >= 0) & chain.finite.astype(bool)]
        if rows.empty or rows.delta_norm.isna().all():
            raise CannotSay("its update could not be measured")
        return rows

    def from_start(self):
        """Raise unless the first checkpoint is the model before training."""
        if len(self.steps) < 2 or self.steps[0] != 0:
            raise CannotSay("no ladder that begins at step 0")


def halfway(course):
    """First step at which a fall from the first value to the lowest is half done, on a log scale; Series -> step."""
    if course.min() > 0.9 * course.iloc[0]:
        return np.nan  # a fall of less than 10 % is none
    return course.index[course <= np.sqrt(course.iloc[0] * course.min())][0]


def lowest(series, names):
    """Whether the values of `names` lie below all others; raises where the nearest two differ by less than 2 %."""
    high, low = series[names].max(), series.drop(names).min()
    if abs(high - low) <= 0.02 * abs(low):
        raise CannotSay("the nearest two differ by less than 2 %", numbers(series))
    return high < low


def numbers(series, digits=3):
    """A Series as text: name value, name value."""
    return ", ".join(f"{name} {value:.{digits}g}" for name, value in series.items())


def as_markdown(table, cited):
    """`table_of` as a Markdown table; `cited` turns a key into a reference."""
    lines = ["| claim | source | measured here | value | verdict |", "|---|---|---|---|---|"]
    for row in table.itertuples():
        verdict = f"**{row.verdict}**" + (f": {row.reason}" if row.reason else "")
        cells = [row.claim, cited(row.source), row.measured, row.value, verdict]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def table_of(claims, evidence):
    """All claims held against one model, DataFrame: claim, source, measured, value, verdict, reason."""
    rows = [(c.text, c.source, c.measured, *c.finding(evidence)) for c in claims]
    return pd.DataFrame(rows, columns=["claim", "source", "measured", "value", "verdict", "reason"])
