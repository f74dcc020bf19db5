"""What several test modules share of orthogonality."""

import numpy as np
import torch

import nla


def matrix_of(weight, kind="dense_h_to_4h", heads=None):
    return nla.Matrix(kind, 0, 0, torch.as_tensor(weight), heads)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def orthonormal(m, n, seed=0):
    """m x n, m >= n, orthonormal columns, correct to float64; rounded to float32 by whoever uses it."""
    return torch.linalg.qr(normal(m, n, seed=seed).double())[0]


def brute(vectors):
    """Cosines of all pairs, the slow way, in float64."""
    V = np.asarray(vectors, dtype=np.float64)
    V = V[np.abs(V).sum(1) > 0]
    V = V / np.sqrt((V**2).sum(1, keepdims=True))
    return np.array([V[i] @ V[j] for i in range(len(V)) for j in range(i + 1, len(V))])
