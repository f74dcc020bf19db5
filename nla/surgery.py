"""Matrices of a running language model replaced for a while, to see what of them the model needs."""

from contextlib import contextmanager

import torch

from nla.layout import Layout

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
