"""Measures of the matrices of one open checkpoint -> rows: threads over matrices, one BLAS thread each."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch

from nla.matrices.families import KINDS
from nla.models.errors import CheckpointError
from nla.numerics.threads import one_thread_each
from nla.scanning import fingerprint

KEYS = ["model", "revision", "step", "stage", "layer", "kind", "rows", "cols", "duplicate_of", "finite"]


def rows(weights, measures, kinds, layers, workers, available, alive=lambda: None):
    """([(what identifies the matrix, {measure: its dict})], hash of the entries) of matrices of `weights`, in order.

    `alive()` is called, in some thread, after each of them.
    """
    tasks = weights.index(kinds, layers)
    workers = max(1, min(workers, len(tasks)))
    if torch.device(weights.device).type != "cpu":
        weights.batch(tasks)
    with one_thread_each(workers, available), ThreadPoolExecutor(workers) as pool:
        # Embeddings first: they are the largest, and the small ones fill the gaps at the end. File by file, though.
        order = sorted(tasks, key=lambda t: (weights.place(*t), t[1] >= 0))
        futures = {t: pool.submit(_measure, weights, *t, measures) for t in order}
        for future in futures.values():
            future.add_done_callback(lambda _: alive())
        try:
            found = [futures[t].result() for t in tasks]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    entries = hashlib.sha256("".join(sha for *_, sha in found).encode()).hexdigest()[:16]
    return [(row, results) for row, results, _ in found], entries


def _measure(weights, kind, layer, measures):
    """(what identifies the matrix, {measure: its dict}, hash of the entries) of one matrix."""
    matrix, checkpoint = weights.matrix(kind, layer), weights.checkpoint
    row = dict(model=checkpoint.model, revision=checkpoint.revision, step=checkpoint.step, stage=checkpoint.stage)
    row |= dict(layer=layer, kind=kind, rows=matrix.shape[0], cols=matrix.shape[1], finite=matrix.finite)
    results = {}
    for measure in measures:
        if kind in getattr(measure, "kinds", (kind,)):
            try:
                results[measure] = _flat(measure(matrix), measure) if matrix.finite else {}
            except CheckpointError:
                raise
            except Exception as error:
                error.add_note(f"in {fingerprint.name_of(measure)} of {kind}, layer {layer}, {checkpoint.revision}")
                raise
    entries = matrix.weight.contiguous().view(torch.uint8).cpu().numpy()
    return row, results, hashlib.sha256(entries).hexdigest()


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


def join(frames, measures):
    """Frames of several measures, same checkpoint, side by side; matrices in the order of `Weights.index`."""
    pairs = list(zip(frames, measures, strict=True))
    (joined, first), *rest = [pair for pair in pairs if len(pair[0])] or pairs[:1]
    owner = dict.fromkeys(joined, fingerprint.name_of(first))
    keys = [k for k in KEYS if k in joined]
    for frame, measure in rest:
        for column in frame.columns.difference(keys):
            if column in owner:
                raise ValueError(f"{fingerprint.name_of(measure)} and {owner[column]} both return {column!r}")
            owner[column] = fingerprint.name_of(measure)
        joined = joined.merge(frame, how="outer", on=keys)
    place = {"outer": joined.layer < 0, "layer": joined.layer, "kind": joined.kind.map(KINDS.index)}
    order = pd.DataFrame(place).sort_values(["outer", "layer", "kind"]).index
    return joined.loc[order].reset_index(drop=True)
