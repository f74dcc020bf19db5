"""What several test modules share of drift."""

import torch

import nla


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def moved(now, initial=None, previous=None, final=None, kind="dense"):
    """A Matrix `now` with these as the same matrix at other checkpoints."""
    matrix = nla.Matrix(kind, 0, 20, torch.as_tensor(now))
    for step, (name, other) in enumerate({"initial": initial, "previous": previous, "final": final}.items()):
        if other is not None:
            vars(matrix)[name] = nla.Matrix(kind, 0, step, torch.as_tensor(other))  # where cached_property looks
    return matrix
