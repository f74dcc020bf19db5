"""Scales of the rows and columns of a matrix, found as by Sinkhorn and Knopp."""

import numpy as np
import torch


def scales(W):
    """The scales of the rows and columns of a matrix: W / (sigma_i tau_j) has RMS 1 in every row and column.

    Parameters
    ----------
    W : (m, n) array or tensor

    Returns
    -------
    sigma : (m,) float64, in the units of W; 0 for a row of zeros, NaN all where W is not finite
    tau : (n,) float64, without unit, of RMS 1 (0 for a column of zeros)
    """
    square = torch.as_tensor(W).detach().cpu().double().square()
    live, used = square.sum(1) > 0, square.sum(0) > 0
    sigma, tau = np.zeros(len(live)), np.zeros(len(used))
    if not square.isfinite().all():
        return sigma + np.nan, tau + np.nan
    if live.any():
        rows, columns = (1 / factors.numpy() for factors in balanced(square[live][:, used]))  # variances
        unit = columns.mean()
        sigma[live.numpy()], tau[used.numpy()] = (rows * unit) ** 0.5, (columns / unit) ** 0.5
    return sigma, tau


def balanced(square):
    """(rows (m,), columns (n,)), such that rows_i square_ij columns_j has mean 1 in every row and in every column.

    Found as by Sinkhorn & Knopp (1967), in the dtype of the tensor `square`, none of whose rows and columns is zero.
    """
    m, n = square.shape
    columns = torch.ones_like(square[0])
    for _ in range(100):
        rows = n / (square @ columns)
        before, columns = columns, m / (square.T @ rows)
        if (columns / before - 1).abs().max() < 1e-4:
            break
    return rows, columns
