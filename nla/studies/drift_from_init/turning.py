"""How far the leading directions of a matrix turned, beside random changes of the same amount and of the same rank."""

import numpy as np
import torch

from nla.measures.subspaces import ANGLES, dimensions
from nla.models import choose
from nla.nulls.draws import DRAWS, noise_changes, rotated_changes
from nla.numerics import spectra


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
    first, names = matrix.at("initial", same_shape=True), ("left", "right", "in_spectrum")
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


def _shown(ladder):
    """The last checkpoint and some before it, not the first: eight draws of each null take a while."""
    later = choose(ladder, "log")[1:] or ladder
    return later[:: -max(len(later) // 6, 1)][:5][::-1]


turning.steps = _shown


def signs(matrix):
    """``signs_kept``: share of the entries that have the sign which they had at first."""
    first = matrix.at("initial", same_shape=True)
    return {"signs_kept": np.nan if first is None else ((matrix.weight > 0) == (first.weight > 0)).double().mean()}


signs.steps, signs.kinds = "log", ("query", "dense_h_to_4h")


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


COMMON_PASS = [turning, signs]
