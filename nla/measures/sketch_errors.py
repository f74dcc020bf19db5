"""How far sketches are off, and how far they say they may be, on a matrix whose spectrum is also computed in full."""

import zlib

import torch

from nla import sketch

LEADING, VECTORS, ROWS = 8, 36, 64


def sketch_errors(matrix):
    """Errors of the estimators of `nla.sketch`, all relative to the exact value but for ``sine``.

    Returns
    -------
    dict
        ``NAME_off``: estimate over exact value, less 1. ``NAME_error``: what the estimate says of itself, half-width of
        a 95 % interval over exact value. NAME is ``hutchinson`` and ``hutch_pp`` for sum s^4 (36 products with W^T W
        W^T W each), ``leading`` for the worst of 8 leading singular values from a block Krylov space of depth 3, and
        ``cosine`` for the mean |cos| of pairs of rows from 64 rows (matrices of layers only: all pairs of rows of an
        embedding are too many). ``sine``, ``sine_bound``: Frobenius norm of the sines of the angles between the 8
        right or left vectors found and the true ones, at most sqrt(8), and its bound.
    """
    W, (s, vectors) = matrix.values, matrix.short_side
    seed = zlib.crc32(f"{matrix.kind} {matrix.layer} {matrix.step}".encode())
    fourth, product = float((s**4).sum()), sketch.squared_gram(W)
    z = sketch.signs(min(matrix.shape), VECTORS, seed=seed, like=W)
    k = min(LEADING, len(s))
    found = sketch.block_krylov(W, k, seed=seed)
    off = (torch.from_numpy(found.s) / s[:k].cpu() - 1).numpy()
    worst = abs(off).argmax()
    true, ours = vectors[:, :k], found.short.double()
    errors = {
        "hutchinson": _relative(sketch.hutchinson(product, z), fourth),
        "hutch_pp": _relative(sketch.hutch_pp(product, z), fourth) if min(matrix.shape) > VECTORS else (None, None),
        "leading": (off[worst], found.error[worst] / float(s[worst])),
        "cosine": _cosine(W, seed) if matrix.layer >= 0 else (None, None),
    }
    flat = {f"{k}_{what}": v for k, both in errors.items() for what, v in zip(("off", "error"), both, strict=True)}
    flat = {k: float("nan") if v is None else float(v) for k, v in flat.items()}
    return flat | {"sine": float((ours - true @ (true.T @ ours)).norm()), "sine_bound": found.sine}


sketch_errors.steps = "log"


def _relative(estimate, exact):
    return (estimate.value / exact - 1, estimate.error / exact) if exact else (None, None)


def _cosine(W, seed):
    X = W / W.norm(dim=1, keepdim=True).clamp_min(1e-30)
    exact = sketch.row_pairs(X, torch.abs, len(X)).value
    return _relative(sketch.row_pairs(X, torch.abs, ROWS, seed), exact)
