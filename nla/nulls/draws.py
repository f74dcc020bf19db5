"""Matrices drawn at random that keep a part of a given one: its scales, its sizes, or the amount of its change.

Draws are seeded by kind, layer and number, so that they are independent between matrices and repeat themselves.
"""

import zlib

import numpy as np
import torch

from nla.numerics import spectra
from nla.numerics.changes import compare
from nla.numerics.scaling import scales

DRAWS = 8


def random_signs(matrix, draw=0):
    """The entries, float32, each where it was but with a random sign.

    All that depends on |w| alone is kept exactly: entrywise and induced norms, norms of rows and of columns, tails.
    What goes is how entries add up along a direction. For entries of equal size the spectrum is that of a Gaussian
    matrix.
    """
    signs = _generator(matrix, draw).choice(np.array([-1, 1], np.float32), matrix.shape)
    return matrix.values * torch.from_numpy(signs).to(matrix.values.device)


def noise_changes(matrix, first, draws=DRAWS):
    """`draws` times a W_0 + G, float32, with the a of W = a W_0 + R (see nla.drift) and Gaussian noise G as large as R.

    What the amount of the change does by itself. `nulls.random_drift` is one such draw, with the same G for all
    matrices of a shape.
    """
    return _moved(matrix, first, (_generator(matrix, draw) for draw in range(draws)))


def rotated_changes(matrix, first, draws=DRAWS):
    """`draws` times a W_0 + U diag(s) V^T, float32, with the a and the singular values s of the R of W = a W_0 + R.

    The columns of U and V are orthonormal and uniformly distributed (Haar measure). What the amount and the rank of
    the change do by themselves, whichever way it points: a few large s displace the leading vectors of W_0 more than as
    much noise does. The draws are orthogonal to W_0 on average; R is exactly.
    """
    kept = float(np.nan_to_num(compare(matrix, first)["projection"])) * first.values
    s = torch.from_numpy(spectra.singular_values(spectra.gram(matrix.values - kept))).float()
    for draw in range(draws):
        generator = _generator(matrix, draw)
        normal = (generator.standard_normal((side, len(s)), dtype=np.float32) for side in matrix.shape)
        U, V = (haar(torch.from_numpy(each)) for each in normal)
        yield kept + ((U * s) @ V.T).to(kept.device)


def haar(normal):
    """Orthonormal columns, uniformly distributed: Q of a matrix of normal numbers, with diag(R) > 0.

    Without the signs it would not be uniform (Mezzadri 2007, Notices of the AMS 54, 592).
    """
    Q, R = torch.linalg.qr(normal)
    return Q * R.diagonal().sign()


def _generator(matrix, draw):
    return np.random.default_rng(zlib.crc32(f"{matrix.kind} {matrix.layer} {draw}".encode()))


def permuted_singular_values(matrix, draw=0):
    """Singular values of the matrix with its entries in random places, seeded by its kind and layer and by `draw`."""
    entries = matrix.values.flatten().cpu().numpy().copy()
    seed = f"{matrix.kind} {matrix.layer}" + (f" {draw}" if draw else "")
    np.random.default_rng(zlib.crc32(seed.encode())).shuffle(entries)
    shuffled = torch.from_numpy(entries).view(matrix.shape).to(matrix.values.device)
    return spectra.singular_values(spectra.gram(shuffled))


def random_drift(matrix, first):
    """The entries, float32, of a W_0 + R with the projection a and the ||R|| of `matrix`, but R Gaussian noise.

    Where singular values lie close, little noise turns their vectors far. The overlap of W_0 with this matrix, not
    k/m, is what to compare with when asking whether training turned the leading directions by more than its amount.
    """
    return next(_moved(matrix, first, [np.random.default_rng(0)]))


def _moved(matrix, first, generators):
    """One a W_0 + G, float32, from each of `generators`; see `noise_changes`."""
    since = compare(matrix, first)
    kept = float(np.nan_to_num(since["projection"])) * first.values
    for generator in generators:
        noise = generator.standard_normal(matrix.shape, dtype=np.float32)
        noise *= np.float32(since["residual"] / noise.size**0.5)
        yield kept + torch.from_numpy(noise).to(kept.device)


def draw(W, rng):
    """One sigma_i z_ij tau_j with standard normal z: (m, n) float64 of the `scales` of W, and nothing else of it.

    The null of whatever unequal rows and columns could produce. It is a generous one: a direction that W strengthens
    in few rows or columns has shaped their norms, and is in part drawn again.
    """
    sigma, tau = scales(W)
    drawn = rng.standard_normal((len(sigma), len(tau)))
    drawn *= sigma[:, None]
    drawn *= tau
    return drawn
