"""What several test modules share of correlation."""

from types import SimpleNamespace

import numpy as np
import torch

import nla


def matrix_of(w_in, w_out, norm=None, kind="dense_h_to_4h"):
    """A reading matrix with a W2 beside it; w_in and w_out are (neurons, d)."""
    siblings = {"dense_4h_to_h": nla.Matrix("dense_4h_to_h", 0, 0, torch.as_tensor(w_out).float().T)}
    there = {"index": lambda: [("dense_4h_to_h", 0)], "matrix": lambda kind, layer: siblings[kind]}
    weights = SimpleNamespace(**there, norm=lambda kind, layer: norm)
    return nla.Matrix(kind, 0, 0, torch.as_tensor(w_in).float(), None, weights)


def gaussian(n, d, seed):
    return tuple(0.02 * torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed)))


def planted(n, d, rho, seed=0):
    """Pairs of vectors of various lengths whose cosines are exactly `rho`."""
    rng = np.random.default_rng(seed)
    first, other = rng.standard_normal((2, n, d))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    other -= (other * first).sum(1, keepdims=True) * first
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    second = rho[:, None] * first + np.sqrt(1 - rho[:, None] ** 2) * other
    sizes = rng.uniform(0.5, 3, (2, n, 1))
    return sizes[0] * first, sizes[1] * second
