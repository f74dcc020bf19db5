"""One factorisation per matrix: the eigenvalues of its short-side Gram matrix, in float64.

The relative error of s_i is about 1e-16 (s_1/s_i)^2: fine up to condition numbers of 1e5, which is beyond what a
16-bit file can hold. A float32 Gram would lose the small singular values already at 1e3.
"""

import numpy as np
import torch


def gram(values):
    """W W^T or W^T W, whichever is smaller, in float64; (r, r) with r the short side."""
    wide = values.double()
    wide = wide if wide.shape[0] <= wide.shape[1] else wide.T
    return wide @ wide.T


def singular_values(gram):
    """Singular values, descending, float64 NumPy (r,), of the matrix whose short-side Gram matrix is `gram`."""
    eigenvalues = torch.linalg.eigvalsh(gram).flip(0).cpu().numpy()
    return np.sqrt(np.maximum(eigenvalues, 0.0))
