"""Matrices of a running language model replaced for a while, to see what of them the model needs."""

from contextlib import contextmanager

import pandas as pd
import torch

from nla.language import language_model
from nla.layout import Layout
from nla.matrices import Weights

PARTS = 10  # into which the singular values of a matrix are sorted, the largest first


class _Places:
    """Stands for the tensors of a model: each entry is its place in the parameter, so that a cut tells where it was."""

    folder = "the model in memory"

    def __init__(self, parameters):
        self.parameters = parameters

    def __iter__(self):
        return iter(self.parameters)

    def __contains__(self, name):
        return name in self.parameters

    def __getitem__(self, name):
        parameter = self.parameters[name]
        return torch.arange(parameter.numel(), dtype=torch.float64).view(parameter.shape)  # exact up to 2^53


@contextmanager
def replaced(model, values):
    """The transformers `model` with other entries in some of its matrices, until the end of the block.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of any family of `nla.families`.
    values : dict
        (kind, layer) -> tensor (out, in), the matrix as `nla.Weights.matrix` would give it.
    """
    parameters = dict(model.named_parameters())
    layout, before = Layout(model.config, _Places(parameters)), {}
    with torch.no_grad():
        try:
            for (kind, layer), new in values.items():
                name = layout.tensor_name(kind, layer)
                before.setdefault(name, parameters[name].clone())
                places = layout.weight(kind, layer).long().flatten()
                parameters[name].view(-1)[places] = new.flatten().to(parameters[name].dtype)
            yield model
        finally:
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


def removal(ladder, losses, parts=(PARTS // 2, -1), last=-1):
    """How much the loss rises when a part of the singular values of one kind is taken out in all layers.

    Parameters
    ----------
    ladder : list of nla.Checkpoint
        In order; the first is where fine-tuning starts from.
    losses : dict
        name -> function of a transformers model that returns a loss.
    parts : iterable of int
        See `without`.
    last : int
        The part that is also taken out before fine-tuning: out of the first checkpoint's matrix, and all that was added
        since put back on top. A stand-in for fine-tuning a model from which it was taken.

    Returns
    -------
    pandas.DataFrame
        stage, kind, part (of `PARTS`, 1 the largest), taken ("after" or "before"), and a column per loss: its rise.
    """
    rows = []
    with Weights(ladder[0], ladder) as first:
        for checkpoint in ladder:
            model = language_model(checkpoint)
            with torch.no_grad():
                whole = {name: loss(model) for name, loss in losses.items()}
            with Weights(checkpoint, ladder) as weights:
                for kind in dict.fromkeys(kind for kind, layer in weights.index() if layer >= 0):
                    matrices = list(weights.matrices([kind]))
                    for part, taken in [*((part, "after") for part in parts), (last, "before")]:
                        if taken == "before" and checkpoint == ladder[0]:
                            continue
                        new = {(kind, m.layer): _taken(m, first, part, taken) for m in matrices}
                        with replaced(model, new):
                            rises = {name: loss(model) - whole[name] for name, loss in losses.items()}
                        row = {"stage": checkpoint.stage, "kind": kind, "part": part % PARTS + 1, "taken": taken}
                        rows.append(row | rises)
    return pd.DataFrame(rows)


def _taken(matrix, first, part, taken):
    if taken == "after":
        return without(matrix, part)
    then = first.matrix(matrix.kind, matrix.layer)
    return without(then, part) + (matrix.values - then.values)
