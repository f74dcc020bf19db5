"""The matrices of a running model, cut out of its parameters as those of a file are cut out of its tensors."""

import torch

from nla.matrices.layout import Layout
from nla.matrices.matrix import Matrix


class _Held:
    """Stands for the tensors of a file: the parameters of a model, or the place of each of their entries.

    Places are what a cut of the parameters is written back to. What was replaced by factors is there by its name only.
    """

    folder = "the model in memory"

    def __init__(self, model, places):
        replaced = (f"{name}.weight" for name, m in model.named_modules() if hasattr(m, "affine"))
        self.parameters, self.places = dict.fromkeys(replaced) | dict(model.named_parameters()), places

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

    _second_head = ""  # what is tied is one parameter

    def matrix(self, kind, layer):
        """One `Matrix`, of the parameters as they are now."""
        return Matrix(kind, layer, 0, self.weight(kind, layer), self.heads.get(kind))


def in_memory(model, places=False):
    """The `nla.matrices.Layout` of a running model, with a function ``matrix(kind, layer)``; see `_Held`."""
    return _InMemory(model.config, _Held(model, places))
