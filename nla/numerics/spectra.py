"""One factorisation per matrix: the eigenvalues of its short-side Gram matrix, in float64.

The relative error of s_i is about 1e-16 (s_1/s_i)^2: fine up to condition numbers of 1e5, which is beyond what a
16-bit file can hold. A float32 Gram would lose the small singular values already at 1e3.
"""

import numpy as np
import torch
from scipy.special import entr

from nla.numerics.threads import one_thread

BLOCK = 2**23  # entries in float64 at once


def gram(values):
    """W W^T or W^T W, whichever is smaller, in float64; (r, r) with r the short side, W W^T if W is square.

    Rows of the long side are taken in blocks, so that there is no float64 copy of a whole embedding. NumPy multiplies
    an array with its own transpose by the symmetric rank-k update of BLAS, half the work of a matrix product.
    """
    tall = values if values.shape[0] > values.shape[1] else values.T
    total = tall.new_zeros(tall.shape[1], tall.shape[1], dtype=torch.float64)
    for rows in tall.split(max(tall.shape[1], BLOCK // tall.shape[1], 1)):
        rows = rows.double()
        total += torch.from_numpy(rows.numpy().T @ rows.numpy()) if rows.device.type == "cpu" else rows.T @ rows
    return total


def singular_values(gram):
    """Singular values, descending, float64 NumPy (..., r), of the matrix whose short-side Gram matrix is `gram`.

    `gram` may be a stack of them, (..., r, r).
    """
    with one_thread():
        eigenvalues = torch.linalg.eigvalsh(gram).flip(-1).cpu().numpy()
    return np.sqrt(np.maximum(eigenvalues, 0.0))


def short_side(gram):
    """(s, vectors) of the matrix whose short-side Gram matrix is `gram`, by its eigenvectors; float64 tensors.

    s (r,) are the singular values, descending; the columns of vectors (r, r) are the singular vectors of the shorter
    side, left ones if the matrix is square. They are orthonormal to 1e-14; each is wrong by 1e-16 s_1^2 over the
    distance from s_i^2 to its neighbours, as any eigenvector is.
    """
    with one_thread():
        eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.flip(0).clamp(min=0).sqrt(), vectors.flip(1)


def long_side(values, s, vectors):
    """Singular vectors of the longer side, (max(m, n), k), from k of the shorter: W^T u / s or W v / s; float64.

    They are orthonormal to about 1e-16 (s_1/s_i)^2. Where s_i < 1e-7 s_1 the Gram matrix does not resolve them, and
    they are zero.
    """
    tall = values.T if values.shape[0] <= values.shape[1] else values
    product = torch.cat([rows.double() @ vectors for rows in tall.split(4096)])  # no float64 copy of the whole
    resolved = s > 1e-7 * s.max()
    return torch.where(resolved, product / torch.where(resolved, s, 1.0), 0.0)


def singular_vectors(values, s, vectors):
    """(U, s, Vt) with U (m, k), s (k,), Vt (k, n) from singular values and vectors of the shorter side."""
    other = long_side(values, s, vectors)
    return (vectors, s, other.T) if values.shape[0] <= values.shape[1] else (other, s, vectors.T)


def rounding_variance(weight):
    """Variance, float64, of the error made by rounding each entry to the dtype of `weight`: its (spacing)^2 / 12.

    Entries below the smallest normal number are as far apart as those at it.
    """
    info = torch.finfo(weight.dtype)
    exponent = torch.frexp(weight.float().abs().clamp_min(info.tiny)).exponent.double()  # 2^(exponent-1) <= |w|
    return torch.exp2(2 * (exponent - 1)) * info.eps**2 / 12


def ranks(s, tolerance=0.0):
    """How many directions a descending spectrum `s` of r values is spread over, by several definitions.

    All but the first do not change when s is multiplied by a number.

    Returns
    -------
    dict
        ``numerical_rank``: number of s_i > `tolerance`. ``stable_rank``: sum s^2 / s_1^2. ``effective_rank``:
        exp(-sum p ln p), p = s / sum s. ``participation_ratio``: (sum s^2)^2 / sum s^4. ``energy_rank_90`` (95, 99):
        least k with s_1^2 + ... + s_k^2 >= 90 % of the sum. All these lie between 1 and r; equal s_i give r, or 90 %
        of it for an energy rank, and zeros NaN, or 0 for a count. ``condition_number``: s_1 / s_r, 1 to infinity.

    References
    ----------
    Rudelson & Vershynin 2007 (doi:10.1145/1255443.1255449) for the stable rank, Roy & Vetterli 2007 (EUSIPCO) for the
    effective rank.
    """
    energy = s**2
    cumulative = np.concatenate([[0.0], np.cumsum(energy)])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "numerical_rank": int((s > tolerance).sum()),
            "stable_rank": float(energy.sum() / energy[0]),
            "effective_rank": float(np.exp(entr(s / s.sum()).sum())),
            "participation_ratio": float(energy.sum() ** 2 / (energy @ energy)),
            "condition_number": float(s[0] / s[-1]),
        }
    levels = {f"energy_rank_{q}": int(np.searchsorted(cumulative, q / 100 * cumulative[-1])) for q in (90, 95, 99)}
    return found | levels
