"""Randomised estimates of spectral quantities of one matrix W, m x n, from products with few vectors or from few rows.

Each is an `Estimate`: a value and the half-width of its 95 % interval. In what follows r = min(m, n), and lambda = s^2
are the eigenvalues of the short-side Gram matrix, which is never formed. They are what the libraries lack, or lack
with errors and seeds of their own. The whole spectral density is in `nla.numerics.quadrature`.
"""

from collections import namedtuple

import numpy as np
import torch
from scipy.stats import t as student

Estimate = namedtuple("Estimate", "value error")
Leading = namedtuple("Leading", "s error short long sine")
LEVEL = 0.95


def signs(*shape, seed=0, like=None):
    """Random +-1, independent, seeded; dtype and device of `like`."""
    drawn = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return drawn.to(like) if like is not None else drawn.double()


def mean(draws):
    """`Estimate` of the mean of independent `draws`, by Student's t."""
    draws = np.asarray(draws, dtype=float)
    error = draws.std(ddof=1) / len(draws) ** 0.5 if len(draws) > 1 else np.nan
    return Estimate(float(draws.mean()), float(student.ppf((1 + LEVEL) / 2, len(draws) - 1) * error))


def upright(W):
    """W or W^T, whichever has its shorter side as columns."""
    return W if W.shape[0] >= W.shape[1] else W.T


def squared_gram(W):
    """z -> (W^T W)^2 z, whose trace is sum s^4, as a function of a block (r, k)."""
    W = upright(W)
    return lambda z: W.T @ (W @ (W.T @ (W @ z)))


def hutchinson(product, z):
    """Trace of a symmetric matrix from z^T A z for each column of random signs `z` (r, k): unbiased.

    Variance of one draw 2 (||A||_F^2 - sum a_ii^2). Hutchinson 1990 (doi:10.1080/03610919008812866).
    """
    return mean((z * product(z)).sum(0).double().cpu().numpy())


def hutch_pp(product, z):
    """Trace of a symmetric matrix, the part in a random range of it exactly, the rest by `hutchinson`: unbiased.

    A third of the products with the columns of `z` finds the range, a third takes the trace there, a third the rest.
    For positive A the variance falls with the square of their number where Hutchinson's falls with the number. Meyer,
    Musco, Musco & Woodruff 2021 (doi:10.1137/1.9781611976496.16).
    """
    third = z.shape[1] // 3
    if third < 2:
        raise ValueError(f"Hutch++ takes at least 6 vectors, not {z.shape[1]}")
    Q = torch.linalg.qr(product(z[:, :third]))[0]
    inside = float((Q * product(Q)).double().sum())
    rest = z[:, 2 * third : 3 * third]
    value, error = hutchinson(product, rest - Q @ (Q.T @ rest))
    return Estimate(inside + value, error)


def block_krylov(W, k, depth=3, oversampling=8, seed=0):
    """The k largest singular values and their vectors from a block Krylov space of k + `oversampling` columns.

    Returns
    -------
    Leading
        ``s`` (k,) descending, float64, never above the true ones but for rounding (Cauchy interlacing). ``error``
        (k,): some singular value lies so near to each, sqrt(1/2) of the norm of W^T u - s v and W v - s u (one of them
        is zero), which is the shift unless a direction was missed. ``short`` (r, k), ``long`` (max(m, n), k): singular
        vectors. ``sine``: bound of Wedin on the Frobenius norm of the sines of the angles between short and the true
        subspace; infinite without a gap.

    References
    ----------
    Musco & Musco 2015 (arXiv:1504.05477); Halko, Martinsson & Tropp 2011 (doi:10.1137/090771806) without the powers
    between the first and the last.
    """
    W = upright(W)
    width = min(k + oversampling, W.shape[1])
    block, basis = signs(W.shape[1], width, seed=seed, like=W), []
    for _ in range(max(1, min(depth, W.shape[1] // width))):
        block = torch.linalg.qr(W.T @ (W @ block))[0]
        basis.append(block)
    Q = torch.linalg.qr(torch.cat(basis, 1))[0]
    U, s, Zt = torch.linalg.svd(W @ Q, full_matrices=False)
    return _leading(W, U, s, Q @ Zt.T, k)


def range_finder(W, k, iterations=2, oversampling=8, seed=0):
    """What `block_krylov` returns, from a random range and so many power iterations.

    It takes 2 `iterations` + 2 products with k + `oversampling` vectors, where a Krylov space takes 2 `depth` + 1, and
    keeps the last block only. This is `torch.svd_lowrank` with a generator of its own: that of all is shared by the
    threads of a scan. Halko, Martinsson & Tropp 2011 (doi:10.1137/090771806).
    """
    W = upright(W)
    Q = torch.linalg.qr(W @ signs(W.shape[1], min(k + oversampling, W.shape[1]), seed=seed, like=W))[0]
    for _ in range(iterations):
        Q = torch.linalg.qr(W @ torch.linalg.qr(W.T @ Q)[0])[0]
    U, s, Vt = torch.linalg.svd(Q.T @ W, full_matrices=False)
    return _leading(W, Q @ U, s, Vt.T, k)


def _leading(W, U, s, V, k):
    shown = min(k + 1, len(s))
    U, s, V = U[:, :shown], s[:shown], V[:, :shown]
    residual = torch.hypot((W.T @ U - s * V).norm(dim=0), (W @ V - s * U).norm(dim=0)).double().cpu().numpy()
    s = s.double().cpu().numpy()
    error = residual * 0.5**0.5 + 8 * torch.finfo(W.dtype).eps * s[0]
    gap = s[k - 1] - (s[k] + error[k]) if shown > k else s[-1]
    sine = float(np.linalg.norm(residual[:k]) / gap) if gap > 0 else np.inf
    return Leading(s[:k], error[:k], V[:, :k], U[:, :k], sine)


def row_pairs(X, kernel, rows, seed=0):
    """Mean of kernel(x_i . x_j) over all pairs i < j of rows of X, from those of `rows` rows drawn without replacement.

    Unbiased; the variance is that of a U-statistic (Hoeffding 1948): pairs that share a row are not independent.
    """
    m = X.shape[0]
    k = min(rows, m)
    if k < 2:
        return Estimate(np.nan, np.nan)
    drawn = X[torch.randperm(m, generator=torch.Generator().manual_seed(seed))[:k].to(X.device)].double()
    values = kernel(drawn @ drawn.T)
    values.fill_diagonal_(0)
    per_row = values.sum(1) / (k - 1)
    value, pairs = per_row.mean(), k * (k - 1)
    pair_variance = ((values**2).sum() / pairs - value**2).clamp(min=0)
    row_variance = (per_row.var() - pair_variance / (k - 1)).clamp(min=0)
    variance = (4 / k * row_variance * (1 - k / m) + 2 / pairs * pair_variance) if k < m else torch.zeros(())
    return Estimate(float(value), float(student.ppf((1 + LEVEL) / 2, k - 1) * variance**0.5))
