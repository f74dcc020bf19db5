"""Measures of the matrices of one open checkpoint -> rows: threads over matrices, one BLAS thread each."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from nla.matrices import kept
from nla.matrices.families import KINDS
from nla.models.errors import CheckpointError, Missed
from nla.numerics.threads import one_thread_each
from nla.scanning import fingerprint

KEYS = ["model", "revision", "step", "stage", "layer", "kind", "rows", "cols", "duplicate_of", "finite"]


@dataclass(frozen=True)
class Selection:
    """Which matrices of each checkpoint: of these kinds, in these layers; None for all."""

    kinds: tuple | None
    layers: tuple | None

    def suffix(self):
        """What is added to the name of a file that holds this part only."""
        chosen = [",".join(map(str, choice or ())) for choice in (self.kinds, self.layers)]
        return f"--{chosen[0]}--{chosen[1]}" if any(chosen) else ""

    def of_table(self, table):
        """Those rows of a table."""
        for column, choice in (("kind", self.kinds), ("layer", self.layers)):
            table = table[table[column].isin(choice)] if choice and len(table) else table
        return table.reset_index(drop=True)


@dataclass(frozen=True)
class Row:
    """One matrix: what identifies it, {measure: its dict of numbers}, and what of it is kept."""

    place: tuple  # (kind, layer)
    matrix: dict
    found: dict
    kept: dict


def rows(weights, measures, selection, workers, available, alive=lambda: None, norms=False):
    """[Row] of the matrices of `weights`, in order, with `norms` of rows and columns too; `alive()` after each."""
    tasks = weights.index(selection.kinds, selection.layers)
    workers = max(1, min(workers, len(tasks)))
    if torch.device(weights.device).type != "cpu":
        weights.batch(tasks)
    with one_thread_each(workers, available), ThreadPoolExecutor(workers) as pool:
        # Embeddings first: they are the largest, and the small ones fill the gaps at the end. File by file, though.
        order = sorted(tasks, key=lambda t: (weights.place(*t), t[1] >= 0))
        futures = {t: pool.submit(_row, weights, *t, measures, norms) for t in order}
        for future in futures.values():
            future.add_done_callback(lambda _: alive())
        try:
            return [futures[t].result() for t in tasks]
        finally:
            pool.shutdown(cancel_futures=True)


def _row(weights, kind, layer, measures, norms):
    matrix, checkpoint = weights.matrix(kind, layer), weights.checkpoint
    row = {name: getattr(checkpoint, name) for name in ("model", "revision", "step", "stage")}
    row |= dict(layer=layer, kind=kind, rows=matrix.shape[0], cols=matrix.shape[1], finite=matrix.finite)
    found = {}
    for measure in measures:
        if kind in getattr(measure, "kinds", (kind,)):
            try:
                found[measure] = _flat(measure(matrix), measure) if matrix.finite else {}
            except Missed:
                found[measure] = {}
            except Exception as error:
                if not isinstance(error, CheckpointError):
                    error.add_note(f"in {fingerprint.name_of(measure)} of {kind}, layer {layer}, {checkpoint.revision}")
                raise
    if norms and matrix.finite and weights.opened:  # to be kept
        matrix.row_norms, matrix.column_norms  # noqa: B018
    return Row((kind, layer), row, found, kept.of(matrix))


def table(rows, measure):
    """What `measure` found, a DataFrame with one row per matrix that it looks at."""
    return pd.DataFrame([row.matrix | row.found[measure] for row in rows if measure in row.found])


def _flat(result, measure):
    """The measure's dict with plain numbers and 1-D NumPy arrays as values."""
    if not isinstance(result, dict):
        raise TypeError(f"{fingerprint.name_of(measure)} returned a {type(result).__name__}, not a dict of numbers")
    flat = {}
    for name, value in result.items():
        value = value.cpu().numpy() if torch.is_tensor(value) else np.asarray(value)
        if value.ndim > 1 or value.dtype.kind not in "biuf":
            raise TypeError(f"{fingerprint.name_of(measure)}[{name!r}] is neither a number nor a 1-D array of numbers")
        if name in KEYS:
            raise ValueError(f"{fingerprint.name_of(measure)} may not use the column name {name!r}")
        flat[str(name)] = value if value.ndim else value.item()
    return flat


def join(tables, measures):
    """Tables of several measures, same checkpoint, side by side; matrices in the order of `Weights.index`."""
    joined, owner = None, {}
    for table, measure in [pair for pair in zip(tables, measures, strict=True) if len(pair[0])]:
        name = fingerprint.name_of(measure)
        for column in table.columns.difference(KEYS):
            if column in owner:
                raise ValueError(f"{name} and {owner[column]} both return {column!r}")
            owner[column] = name
        joined = table if joined is None else joined.merge(table, how="outer", on=[k for k in KEYS if k in joined])
    if joined is None:
        return tables[0]
    place = {"outer": joined.layer < 0, "layer": joined.layer, "kind": joined.kind.map(KINDS.index)}
    order = pd.DataFrame(place).sort_values(list(place)).index
    return joined.loc[order].reset_index(drop=True)
