"""All scalars of one MODEL as files that need no Python, with a dictionary of the columns from the docstrings."""

import inspect
import re

import pandas as pd

from nla import measures, models
from nla.models import paths
from nla.scanning import KEYS
from nla.scanning.scan import scan

MEANINGS = {
    "model": "MODEL as it was asked for",
    "revision": "branch on the Hub, or folder",
    "step": "training step; in a chain of stages, its place",
    "shifted_by": "by how much step is more than the revision's name says, in a stage that counts anew",
    "stage": "pretraining, sft, dpo ...",
    "layer": "0-based depth; -1: embeddings",
    "kind": "which matrix: query, key, value, dense (attention output), dense_h_to_4h (W1), dense_4h_to_h (W2) ...",
    "rows": "outputs of the matrix",
    "cols": "inputs of the matrix",
    "duplicate_of": "earlier revision with the same weights",
    "finite": "False: the matrix holds NaN or Inf and its measures are empty",
}


def write(model, steps="all", folder=None):
    """Write ``scalars.csv``, ``scalars.parquet``, a row per matrix and checkpoint, and ``dictionary.csv``; the folder.

    Parameters
    ----------
    model, steps : str
        As for `nla.scan`; what is on disk is not measured again.
    folder : pathlib.Path, optional
        By default build/MODEL/tables.
    """
    every = [getattr(measures, name) for name in measures.__all__]
    table = scan(model, every, steps)
    scalars = table[[c for c in table if c in KEYS or pd.api.types.is_numeric_dtype(table[c])]]
    folder = folder or paths.build(models.slug(models.absolute(model))) / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    scalars.to_csv(folder / "scalars.csv", index=False)
    scalars.to_parquet(folder / "scalars.parquet", index=False)
    owners = {column: measure for measure in every for column in _columns(model, measure, steps)}
    dictionary(scalars, owners).to_csv(folder / "dictionary.csv", index=False)
    return folder


def compare(models, measures, steps="all", **how):
    """One table of `nla.scan` of each of `models`, a list, told apart by the column ``model``."""
    tables = [scan(model, measures, steps, **how) for model in models]
    joined = pd.concat([table.dropna(axis=1, how="all") for table in tables], ignore_index=True)
    return joined.reindex(columns=list(dict.fromkeys(column for table in tables for column in table)))


def dictionary(table, owners):
    """DataFrame: column, measure, meaning, for each column of `table`; `owners` is {column: measure}.

    The meaning is what the docstring of the measure says of that name, or where it tells of several at once, with names
    put together from parts, all that it says of its columns.
    """
    rows = []
    for column in table:
        measure = owners.get(column)
        text = MEANINGS[column] if measure is None else meaning(column, measure)
        rows.append({"column": column, "measure": measure.__name__ if measure else "", "meaning": text})
    return pd.DataFrame(rows)


def meaning(column, measure):
    """What the docstring of `measure` says about `column`."""
    doc = inspect.getdoc(measure)
    returned = re.search(r"Returns\n-+\ndict\n(.*?)(?=\n\w+\n-+\n|\Z)", doc, re.S)
    returned = " ".join((returned[1] if returned else doc).split())
    parts = re.split(r"((?:``[^`]+``(?:,| and)? ?)+(?: \([^)]*\))?:)", returned)
    for head, text in zip(parts[1::2], parts[2::2], strict=True):
        if column in re.findall(r"[\w.]+", " ".join(re.findall(r"``([^`]+)``", head))):
            return text.strip(" ;.") if len(text) > 20 else returned
    return returned


def _columns(model, measure, steps):
    return set(scan(model, measure, steps, progress=False)) - set(MEANINGS)
