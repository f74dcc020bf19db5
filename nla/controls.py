"""Matrices that keep a part of what a matrix has learnt and draw the rest at random; those of nla.nulls learnt nothing.

Draws are seeded by kind, layer and number, so that they are independent between matrices and repeat themselves.
"""

import zlib

import numpy as np
import torch

from nla import spectra
from nla.measures.drift import compare
from nla.measures.subspaces import ANGLES, dimensions

DRAWS = 8


def random_signs(matrix, draw=0):
    """The entries, float32, each where it was but with a random sign.

    All that depends on |w| alone is kept exactly: entrywise and induced norms, norms of rows and of columns, tails.
    What goes is how entries add up along a direction. For entries of equal size the spectrum is that of a Gaussian
    matrix.
    """
    signs = _generator(matrix, draw).choice(np.array([-1, 1], np.float32), matrix.shape)
    return matrix.values * torch.from_numpy(signs).to(matrix.values.device)


def random_sign_spectral(matrix, draws=3):
    """``sign_spectral``: mean spectral norm of `random_signs`, which is what the norms of rows and columns explain."""
    drawn = [spectra.singular_values(spectra.gram(random_signs(matrix, draw)))[0] for draw in range(draws)]
    return {"sign_spectral": float(np.mean(drawn))}


random_sign_spectral.pure = True


def noise_changes(matrix, first, draws=DRAWS):
    """`draws` times a W_0 + G, float32, with the a of W = a W_0 + R (see nla.drift) and Gaussian noise G as large as R.

    What the amount of the change does by itself. `nla.random_drift` is one such draw, with the same G for all matrices
    of a shape.
    """
    since = compare(matrix, first)
    kept = np.nan_to_num(since["projection"]) * first.values
    for draw in range(draws):
        noise = _generator(matrix, draw).standard_normal(matrix.shape, dtype=np.float32)
        noise *= np.float32(since["residual"] / noise.size**0.5)
        yield kept + torch.from_numpy(noise).to(kept.device)


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
        U, V = (_haar(side, len(s), generator) for side in matrix.shape)
        yield kept + ((U * s) @ V.T).to(kept.device)


def turning(matrix, draws=DRAWS):
    """How far the k leading singular subspaces of W turned from those of W_0, and how far random changes turn them.

    Returns
    -------
    dict
        ``k``: 16, or the largest dimension of nla.subspaces if that is less. ``left``, ``right``: overlap
        ||U_k^T U'_k||_F^2 / k with the first checkpoint, from 0 to 1; k/m or k/n for random vectors. ``in_spectrum``:
        ||s - s_0||^2 over ||W - W_0||^2, at most 1 (Mirsky 1960); the rest, 2 (sum s_i s_0i - <W, W_0>), is 0 if and
        only if the singular vectors agree. Of each ``NAME_noise``, ``NAME_rotated``: mean over the draws of
        `noise_changes` and of `rotated_changes`; ``NAME_noise_sd``, ``NAME_rotated_sd``: standard deviation of one.
        NaN without a first checkpoint to compare with.
    """
    first, names = matrix.alike("initial"), ("left", "right", "in_spectrum")
    controls = {"noise": noise_changes, "rotated": rotated_changes}
    if first is None:
        ends = ("", *(f"_{name}{sd}" for name in controls for sd in ("", "_sd")))
        return {"k": np.nan} | {name + end: np.nan for name in names for end in ends}
    k = int(min(ANGLES, dimensions(*matrix.shape)[-1]))
    start = _leading(first.values, k)
    found = {"k": k} | dict(zip(names, _turned(matrix.values, first.values, start, k), strict=True))
    for control, changes in controls.items():
        drawn = np.array([_turned(values, first.values, start, k) for values in changes(matrix, first, draws)])
        found |= {f"{name}_{control}": mean for name, mean in zip(names, drawn.mean(0), strict=True)}
        found |= {f"{name}_{control}_sd": sd for name, sd in zip(names, drawn.std(0, ddof=1), strict=True)}
    return found


turning.steps = "log"


def compared(table, name, draws=DRAWS):
    """Means over layers of `name`, one of those of `turning`, beside its controls; a pandas.DataFrame by kind.

    ``sd`` is the standard deviation of such a mean under each control, of whose draws the mean over layers is taken;
    ``z`` is measured - rotated in units of it, with the error that the mean of a few `draws` itself has.
    """
    kinds = table.groupby("kind", sort=False)
    found = kinds[[name]].mean().set_axis(["measured"], axis=1)
    for control in ("rotated", "noise"):
        found[control] = kinds[f"{name}_{control}"].mean()
        found[f"sd {control}"] = kinds[f"{name}_{control}_sd"].agg(lambda sd: np.sqrt(np.square(sd).sum()) / len(sd))
    error = found["sd rotated"] * (1 + 1 / draws) ** 0.5
    found.insert(3, "z", (found["measured"] - found["rotated"]) / error.where(error > 1e-9))  # below it: rounding
    return found


def _turned(values, initial, start, k):
    """(left overlap, right overlap, share of the squared distance seen in the singular values) of `values`."""
    (left, right, s), (left_0, right_0, s_0) = _leading(values, k), start
    distance2 = float((values - initial).square().sum(dtype=torch.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.divide(float((s - s_0).square().sum()), distance2)
    return *(float((a.T @ b).square().sum() / k) for a, b in ((left, left_0), (right, right_0))), seen


def _leading(values, k):
    """(k left, k right singular vectors as columns, all singular values), float64."""
    s, vectors = spectra.short_side(spectra.gram(values))
    U, _, Vt = spectra.singular_vectors(values, s[:k], vectors[:, :k])
    return U, Vt.T, s


def _haar(rows, columns, generator):
    """Orthonormal columns, float32 (rows, columns), uniformly distributed: Q of a Gaussian matrix, diag(R) > 0.

    Without the signs it would not be uniform (Mezzadri 2007, Notices of the AMS 54, 592).
    """
    Q, R = torch.linalg.qr(torch.from_numpy(generator.standard_normal((rows, columns), dtype=np.float32)))
    return Q * R.diagonal().sign()


def _generator(matrix, draw):
    return np.random.default_rng(zlib.crc32(f"{matrix.kind} {matrix.layer} {draw}".encode()))
