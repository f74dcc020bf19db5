"""What several test modules share of power_law."""

from types import SimpleNamespace

import numpy as np
import torch

import nla
from nla import nulls


def matrix_of(weight, kind="dense", layer=0, step=0):
    return nla.Matrix(kind, layer, step, torch.as_tensor(weight, dtype=torch.float32))


def spectrum_of(s, shape):
    """What `power_law` asks of a matrix."""
    return SimpleNamespace(singular_values=np.sort(s)[::-1].copy(), shape=shape)


def gaussian_spectrum(m, n, rng):
    return spectrum_of(np.sqrt(nulls.gaussian_eigenvalues(m, n, rng)), (m, n))


def pareto(alpha, shape, rng):
    """Ascending rows of a power law from 1 up."""
    return np.sort((1 - rng.random(shape)) ** (1 / (1 - alpha)), axis=-1)


def everything(matrix):
    return nla.power_law(matrix) | nla.power_law_checks(matrix) | nla.drift(matrix)
