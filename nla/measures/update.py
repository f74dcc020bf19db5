"""What one stage of training added to a matrix: the update since the checkpoint before, taken as a matrix itself."""

import numpy as np
import torch

from nla.measures.spectrum import random_ranks
from nla.numerics import spectra

PARTS = 10  # into which the singular directions are sorted, largest singular values first


def update(matrix):
    """The update D = W - W_p since the checkpoint before this one, W_p: its size, its rank, and where in W_p it lies.

    A vocabulary may have been resized between stages; of embeddings the rows that both have are compared. In a chain
    of stages the checkpoint before is the stage before, in a ladder the saved step before. Nothing at the first one.

    Returns
    -------
    dict
        ``delta_norm``: ||D|| / ||W_p||; ``delta_floor``: what rounding to the dtype of the files alone makes of it;
        ``delta_changed``: share of the entries that differ, in the coarser of the two dtypes; ``delta_rows``: rows
        compared; ``delta_along``: cosine of D with W_p, -1 where W_p only decayed.
        ``delta_stable_rank``, ``delta_effective_rank`` of D, and the same over those of a random matrix
        (``..._relative``).
        ``delta_deciles_out``, ``delta_deciles_in``: share of ||D||^2 along tenths of the left (right) singular vectors
        of W_p, those of the largest singular values first, over its value for a random D; ``delta_top_out, _in`` and
        ``delta_bottom_out, _in`` are the first and the last of these. ``delta_diagonal``: share of ||D||^2 in the
        diagonal of U^T D V, that is in changes of singular values alone, over its random value 1 / max(m, n).
        ``delta_cosine``: cosine of D with the update before, 0 +- 1/sqrt(mn) if independent; ``delta_overlap_out``,
        ``delta_overlap_in``: mean cos^2 of the principal angles between the leading tenths of the left (right)
        singular vectors of the two updates, over its random value, k/m (k/n).
        NaN where there is no update before, and where D is zero.
    """
    before = _earlier(matrix)
    if before is None:
        return {}
    D = _change(matrix, before)
    W = before.weight[: len(D)].double()
    size, change = float(W.norm()), float(D.norm())
    floor = np.hypot(*(_rounding(m.weight[: len(D)]) for m in (matrix, before)))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "delta_norm": float(np.divide(change, size)),
            "delta_floor": float(np.divide(floor, size)),
            "delta_changed": _changed(matrix.weight, before.weight),
            "delta_rows": len(D),
            "delta_along": float(np.divide(float((W * D).sum()), size * change)),
        }
    return found | _ranks(D) | _places(W, D) | _beside_last(D, before)


update.steps = "log"


def _earlier(matrix):
    """The same matrix at the checkpoint before, as wide as it is; else None."""
    before = matrix.at("previous")
    return before if before is None or before.shape[1] == matrix.shape[1] else matrix.at("previous", same_shape=True)


def _change(now, then):
    """W - W_p on the rows that both have, float64."""
    rows = min(now.shape[0], then.shape[0])
    return now.weight[:rows].double() - then.weight[:rows].double()


def _rounding(weight):
    return float(spectra.rounding_variance(weight).sum()) ** 0.5


def _changed(now, then):
    coarser = max((now.dtype, then.dtype), key=lambda dtype: torch.finfo(dtype).eps)
    rows = min(len(now), len(then))
    return float((now[:rows].to(coarser) != then[:rows].to(coarser)).double().mean())


def _sides(D):
    """Names of the shorter and of the longer side: left singular vectors are what a matrix puts out."""
    return ("out", "in") if D.shape[0] < D.shape[1] else ("in", "out")


def _tall(D):
    return D.T if D.shape[0] < D.shape[1] else D


def _ranks(D):
    own, random = spectra.ranks(spectra.singular_values(_gram(D))), random_ranks(*D.shape)
    names = ("stable_rank", "effective_rank")
    relative = {f"delta_{n}_relative": own[n] / random[n] for n in names}
    return {f"delta_{n}": own[n] for n in names} | relative


def _gram(D):
    return _tall(D).T @ _tall(D)


def _places(W, D):
    """Shares of ||D||^2 by singular directions of W; all from short-side products, no long vector is formed.

    With W = U S V^T, taller than wide, the diagonal of V^T D^T D V holds the energies along V, and the rows of
    U^T D = S^-1 V^T W^T D those along U.
    """
    sides, W, D = _sides(D), _tall(W), _tall(D)
    s, V = spectra.short_side(W.T @ W)
    resolved = s > 1e-7 * s.max()  # the Gram matrix does not resolve smaller ones
    along_long = torch.where(resolved, 1 / torch.where(resolved, s, 1.0), 0.0)[:, None] * (V.T @ (W.T @ D))  # U^T D
    energies = ((D @ V).square().sum(0), along_long.square().sum(1))
    total, found = D.square().sum(), {}
    for side, energy, length in zip(sides, energies, D.shape[::-1], strict=True):
        parts = torch.tensor_split(energy / total * length, min(PARTS, len(s)))
        deciles = np.array([float(part.mean()) for part in parts])
        found |= {f"delta_deciles_{side}": deciles}
        found |= {f"delta_top_{side}": deciles[0], f"delta_bottom_{side}": deciles[-1]}
    diagonal = (along_long @ V).diagonal().square().sum() / total * len(D)
    return found | {"delta_diagonal": float(diagonal)}


def _beside_last(D, before):
    """Cosine, and overlap of leading directions, with the update before this one."""
    names = ("delta_cosine", "delta_overlap_in", "delta_overlap_out")
    earlier = _earlier(before)
    if earlier is None:
        return dict.fromkeys(names, np.nan)
    last = _change(before, earlier)
    rows = min(len(D), len(last))
    sides, (D, last) = _sides(D[:rows]), (_tall(each[:rows]) for each in (D, last))
    k = max(1, D.shape[1] // PARTS)
    cosine = float((D * last).sum() / (D.norm() * last.norm()))
    found, bases = {"delta_cosine": cosine}, [_leading(each, k) for each in (D, last)]
    for side, one, other, length in zip(sides, *bases, D.shape[::-1], strict=True):
        found[f"delta_overlap_{side}"] = float((one.T @ other).square().sum() / k * length / k)
    return found


def _leading(D, k):
    """The k leading right and left singular vectors of a D that is at least as tall as wide, as columns."""
    _, V = spectra.short_side(D.T @ D)
    return V[:, :k], torch.linalg.qr(D @ V[:, :k]).Q  # the span is what counts
