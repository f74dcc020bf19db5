"""The matrices of a running model, cut out of its parameters as those of a file are cut out of its tensors."""

import torch

from nla.matrices.layout import Layout
from nla.matrices.matrix import Matrix


class _Parameters(dict):
    """In place of the tensors of a file; of what was replaced by factors the name alone."""

    folder = "the model in memory"

    def __getitem__(self, name):
        return super().__getitem__(name).detach()


class _Places(_Parameters):
    """The place of each of their entries, which a cut is written back to; exact up to 2^53."""

    def __getitem__(self, name):
        parameter = super().__getitem__(name)
        return torch.arange(parameter.numel(), dtype=torch.float64).view(parameter.shape)


class _InMemory(Layout):
    _second_head = ""  # what is tied is one parameter

    def matrix(self, kind, layer):
        """One `Matrix`, of the parameters as they are now."""
        return Matrix(kind, layer, 0, self.weight(kind, layer), self.heads.get(kind))


def in_memory(model, places=False):
    """The `nla.matrices.Layout` of a running model, with a function ``matrix(kind, layer)``; see `_Places`."""
    replaced = (f"{name}.weight" for name, m in model.named_modules() if hasattr(m, "affine"))
    held = dict.fromkeys(replaced) | dict(model.named_parameters())
    return _InMemory(model.config, (_Places if places else _Parameters)(held))
