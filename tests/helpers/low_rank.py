"""What several test modules share of low_rank."""

import numpy as np
import torch


def svd(W, rank, key):
    """An independent factorisation."""
    U, s, Vt = np.linalg.svd(W.double().numpy(), full_matrices=False)
    return torch.tensor(U[:, :rank] * s[:rank]), torch.tensor(Vt[:rank])


def problem(shape, seed=0, count=200):
    """A matrix, inputs of very different directions and a mean that is not 0."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((shape[1], shape[1])) * np.geomspace(3, 0.05, shape[1])
    X = rng.standard_normal((count, shape[1])) @ mix.T + rng.standard_normal(shape[1])
    return torch.tensor(rng.standard_normal(shape)), torch.tensor(X)
