"""Matrices of a running model replaced for a while, to see what it needs."""

from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch

from nla.matrices.in_memory import in_memory
from nla.matrices.weights import Weights
from nla.running import evaluation

PARTS = 10  # into which the singular values of a matrix are sorted, the largest first


@contextmanager
def replaced(model, values):
    """The transformers `model` with other entries in some of its matrices, until the end of the block.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of any family of `nla.matrices.families`.
    values : dict
        (kind, layer) -> tensor (out, in), the matrix as `nla.Weights.matrix` would give it.
    """
    layout, parameters, before = in_memory(model, places=True), dict(model.named_parameters()), {}
    try:
        with torch.no_grad():
            for (kind, layer), new in values.items():
                name = layout.tensor_name(kind, layer)
                before.setdefault(name, parameters[name].clone())
                places = layout.weight(kind, layer).long().flatten()
                parameters[name].view(-1)[places] = new.flatten().to(parameters[name].dtype)
        yield model
    finally:
        with torch.no_grad():
            for name, old in before.items():
                parameters[name].copy_(old)


def without(matrix, part):
    """The matrix without one of `PARTS` parts of its singular values, 0 the largest, -1 the least; float32."""
    _, vectors = matrix.short_side
    chosen = torch.tensor_split(vectors, min(PARTS, vectors.shape[1]), dim=1)[part]
    values = matrix.values.double()
    wide = values.shape[0] <= values.shape[1]
    removed = chosen @ (chosen.T @ values) if wide else (values @ chosen) @ chosen.T
    return (values - removed).float()


def deciles(model, losses, kinds=None, parts=range(PARTS), layers=None):
    """How much the loss of a running model rises when each part of the singular values of one kind is taken out.

    The matrices are put back after each; the model is left as it was.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    losses : dict
        name -> function of the model that returns a loss, or an array of the losses on each part of a text.
    kinds : iterable, optional
        By default all within the layers.
    parts : iterable of int
        See `without`.
    layers : iterable of int, optional
        Out of one layer at a time, these; by default out of all layers at once.

    Returns
    -------
    pandas.DataFrame
        kind, layer (-1: all), part (of `PARTS`, 1 the largest), and a column per loss: its rise. Of an array the
        mean rise, and in ``NAME_error`` its standard error: the rises of the same parts of a text are compared.
    """
    layout, rows = in_memory(model), []
    kinds = kinds or dict.fromkeys(kind for kind, layer in layout.index if layer >= 0)
    with torch.no_grad():
        whole = {name: loss(model) for name, loss in losses.items()}
    for kind in kinds:
        matrices = [layout.matrix(kind, layer) for layer in (range(layout.layers) if layers is None else layers)]
        for taken in [matrices] if layers is None else [[m] for m in matrices]:
            for part in parts:
                new = {(kind, m.layer): without(m, part) for m in taken}
                row = {"kind": kind, "layer": taken[0].layer if layers is not None else -1, "part": part % PARTS + 1}
                rows.append(row | _rises(model, new, losses, whole))
    return pd.DataFrame(rows)


@torch.no_grad()
def _rises(model, new, losses, whole):
    """{name: mean rise over `whole`[name] with the matrices `new` in place, name_error: its standard error}."""
    return _means(_apart(model, new, losses, whole))


@torch.no_grad()
def _apart(model, new, losses, whole):
    """{name: rises over `whole`[name] with the matrices `new` in place, (n,)}."""
    with replaced(model, new):
        return {name: np.atleast_1d(loss(model) - whole[name]) for name, loss in losses.items()}


def _means(rises, suffix=""):
    """{name and suffix: mean of an array, with _error behind it: its standard error} where there is more than one."""
    means = {}
    for name, rise in rises.items():
        means[name + suffix] = float(rise.mean())
        if len(rise) > 1:
            means[f"{name}{suffix}_error"] = float(rise.std(ddof=1) / len(rise) ** 0.5)
    return means


def removal(ladder, losses, parts=(PARTS // 2, -1), last=-1, kinds=None):
    """How much the loss rises when a part of the singular values of one kind is taken out in all layers.

    Parameters
    ----------
    ladder : list of nla.Checkpoint
        In order; the first is where fine-tuning starts from.
    losses : dict
        name -> function of a transformers model that returns a loss, or an array of the losses on each part of a text.
    parts : iterable of int
        See `without`.
    last : int
        The part that is also taken out before fine-tuning: out of the first checkpoint's matrix, and all that was added
        since put back on top. A stand-in for fine-tuning a model from which it was taken.
    kinds : iterable, optional
        By default all within the layers.

    Returns
    -------
    pandas.DataFrame
        stage, kind, part (of `PARTS`, 1 the largest), taken ("after" or "before"), and a column per loss: its rise; and
        ``NAME_error`` as in `deciles`. Where it was taken before, ``NAME_beyond``: by how much more the loss rises than
        where the same part is taken after, and ``NAME_beyond_error``: on the same parts of the text. If `last` is not
        among the `parts`, these are not there.
    """
    rows = []
    with Weights(ladder[0], ladder) as first:
        for checkpoint in ladder:
            model = _sound(checkpoint)
            with torch.no_grad():
                whole = {name: loss(model) for name, loss in losses.items()}
            with Weights(checkpoint, ladder) as weights:
                for kind in kinds or dict.fromkeys(kind for kind, layer in weights.index() if layer >= 0):
                    matrices = list(weights.matrices([kind]))
                    after = {}
                    for part, taken in [*((part, "after") for part in parts), (last, "before")]:
                        if taken == "before" and checkpoint == ladder[0]:
                            continue
                        new = {(kind, m.layer): _taken(m, first, part, taken) for m in matrices}
                        row = {"stage": checkpoint.stage, "kind": kind, "part": part % PARTS + 1, "taken": taken}
                        rises = _apart(model, new, losses, whole)
                        row |= _means(rises)
                        if taken == "after":
                            after[part % PARTS] = rises
                        elif part % PARTS in after:
                            row |= _means({n: r - after[part % PARTS][n] for n, r in rises.items()}, "_beyond")
                        rows.append(row)
    return pd.DataFrame(rows)


def _sound(checkpoint):
    """`evaluation.sound`, whose `CannotRun` names the checkpoint."""
    try:
        return evaluation.sound(checkpoint)
    except evaluation.CannotRun as why:
        raise evaluation.CannotRun(f"{checkpoint.revision}: {why}") from why


def _taken(matrix, first, part, taken):
    if taken == "after":
        return without(matrix, part)
    then = first.matrix(matrix.kind, matrix.layer)
    return without(then, part) + (matrix.values - then.values)
