"""Gaussian matrices with the row and column norms of a given one: what unequal norms alone make of any measure."""

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
    square = torch.as_tensor(W).detach().cpu().double().numpy() ** 2
    live, used = square.sum(1) > 0, square.sum(0) > 0
    sigma, tau = np.zeros(len(live)), np.zeros(len(used))
    if not np.isfinite(square).all():
        return sigma + np.nan, tau + np.nan
    if not live.any():
        return sigma, tau
    square = square[live][:, used]
    columns = np.ones(used.sum())
    for _ in range(100):
        rows = (square / columns).mean(1)  # variances
        before, columns = columns, (square / rows[:, None]).mean(0)
        if np.abs(columns / before - 1).max() < 1e-4:
            break
    unit = columns.mean()
    sigma[live], tau[used] = (rows * unit) ** 0.5, (columns / unit) ** 0.5
    return sigma, tau


def draw(W, rng):
    """One sigma_i z_ij tau_j with standard normal z: (m, n) float64 of the `scales` of W, and nothing else of it.

    The null of whatever unequal rows and columns could produce. It is a generous one: a direction that W strengthens
    in few rows or columns has shaped their norms, and is in part drawn again.
    """
    sigma, tau = scales(W)
    return rng.standard_normal((len(sigma), len(tau))) * sigma[:, None] * tau
