"""What several test modules share of random_matrix."""

import numpy as np
import torch

import nla
from nla import nulls


def matrix_of(values, kind="dense"):
    return nla.Matrix(kind, 0, 0, torch.as_tensor(values).float())


def gaussian(m, n, seed, sigma=1.0):
    return sigma * np.random.default_rng(seed).standard_normal((m, n))


def planted(m, n, theta, seed, sigma=1.0):
    """Noise with one direction of strength theta, and the direction."""
    rng = np.random.default_rng(seed)
    u, v = (x / np.linalg.norm(x) for x in (rng.standard_normal(m), rng.standard_normal(n)))
    return sigma * rng.standard_normal((m, n)) + theta * np.outer(u, v), u, v


def draws(m, n, count, seed=0):
    """Descending spectra of Gaussian matrices."""
    rng = np.random.default_rng(seed)
    return [np.sqrt(nulls.gaussian_eigenvalues(m, n, rng))[::-1] for _ in range(count)]
