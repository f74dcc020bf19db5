"""Scales of the rows and columns of a matrix, found as by Sinkhorn and Knopp."""

import numpy as np
import torch


def scales(W):
    """The scales of the rows and columns of a matrix: W / (sigma_i tau_j) has RMS 1 in every row and column.

    Found as by Sinkhorn & Knopp (1967), for W**2: the scaling of `nla.measures.sparsity.balanced_kurtosis`.

    Parameters
    ----------
    W : (m, n) array or tensor

    Returns
    -------
    sigma : (m,) float64, in the units of W; 0 for a row of zeros, NaN all where W is not finite
    tau : (n,) float64, without unit, of RMS 1 (0 for a column of zeros)
    """
    square = torch.as_tensor(W).detach().cpu().double().square().numpy()
    live, used = square.sum(1) > 0, square.sum(0) > 0
    sigma, tau = np.zeros(len(live)), np.zeros(len(used))
    if not np.isfinite(square).all():
        return sigma + np.nan, tau + np.nan
    if not live.any():
        return sigma, tau
    square = square if live.all() and used.all() else square[live][:, used]
    m, n = square.shape
    columns = np.ones(n)  # variances, like rows
    for _ in range(100):
        rows = square @ (1 / columns) / n
        before, columns = columns, (1 / rows) @ square / m
        if np.abs(columns / before - 1).max() < 1e-4:
            break
    unit = columns.mean()
    sigma[live], tau[used] = (rows * unit) ** 0.5, (columns / unit) ** 0.5
    return sigma, tau
