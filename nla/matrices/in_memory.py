"""The matrices of a running model, cut out of its parameters as those of a file are cut out of its tensors."""

import torch

from nla.matrices.layout import Layout
from nla.matrices.matrix import Matrix


class Held(dict):
    """Stands for the tensors of a model in memory, under their usual names also where they were replaced."""

    folder = "the model in memory"

    def __init__(self, model):
        replaced = (name for name, m in model.named_modules() if hasattr(m, "affine"))
        super().__init__(dict.fromkeys(f"{name}.weight" for name in replaced) | dict(model.named_parameters()))


class _Tensors:
    """Stands for the tensors of a file: the parameters of a running model, or the place of each of their entries.

    Places are what a cut of the parameters is written back to.
    """

    folder = "the model in memory"

    def __init__(self, parameters, places=False):
        self.parameters, self.places = parameters, places

    def __iter__(self):
        return iter(self.parameters)

    def __contains__(self, name):
        return name in self.parameters

    def __getitem__(self, name):
        parameter = self.parameters[name].detach()
        if not self.places:
            return parameter
        return torch.arange(parameter.numel(), dtype=torch.float64).view(parameter.shape)  # exact up to 2^53


class _InMemory(Layout):
    """The matrices of a running model by kind and layer, as `Weights` has those of a file."""

    def matrix(self, kind, layer):
        """One `Matrix`, of the parameters as they are now."""
        return Matrix(kind, layer, 0, self.weight(kind, layer), self.heads.get(kind))


def in_memory(model):
    """The `nla.matrices.Layout` of a running model, with a function ``matrix(kind, layer)``."""
    return _InMemory(model.config, _Tensors(dict(model.named_parameters())))
