"""How far sketches are off, and how far they say they may be, on a matrix whose spectrum is also computed in full."""

import zlib

import numpy as np
import torch

from nla import nulls
from nla.measures import spectrum
from nla.nulls import bulk_sigma
from nla.numerics import quadrature, sketch

LEADING, VECTORS, ROWS = 8, 36, 64


def sketch_errors(matrix):
    """Errors of the estimators of `sketch` and `quadrature`, relative to the exact value; of counts, over r.

    Returns
    -------
    dict
        ``NAME_off``: estimate over exact value, less 1. ``NAME_error``: what the estimate says of itself, half-width of
        a 95 % interval over exact value. NAME is ``hutchinson`` and ``hutch_pp`` for sum s^4 (36 products with W^T W
        W^T W each); ``range_finder`` and ``block_krylov`` for the worst of 8 leading singular values from 6 and 7
        products with 16 vectors; ``nuclear`` for the sum of s, ``above`` and ``below`` for the numbers outside the
        Marchenko-Pastur edges of the exact bulk, from one quadrature of 24 vectors and 30 steps (``below`` of
        rectangular matrices only: the lower edge of square ones is 0); and ``cosine`` for the mean |cos| of pairs of
        rows from 64 rows (matrices of layers only: all pairs of rows of an embedding are too many). ``NAME_sine``,
        ``NAME_sine_bound`` of ``range_finder`` and ``block_krylov``: Frobenius norm of the sines of the angles between
        the 8 right or left vectors found and the true ones, at most sqrt(8), and its bound.
    """
    W, (s, vectors) = matrix.values, matrix.short_side
    seed = zlib.crc32(f"{matrix.kind} {matrix.layer} {matrix.step}".encode())
    fourth, product = float((s**4).sum()), sketch.squared_gram(W)
    z = sketch.signs(min(matrix.shape), VECTORS, seed=seed, like=W)
    errors = {
        "hutchinson": _relative(sketch.hutchinson(product, z), fourth),
        "hutch_pp": _relative(sketch.hutch_pp(product, z), fourth) if min(matrix.shape) > VECTORS else NOTHING,
        "cosine": _cosine(W, seed) if matrix.layer >= 0 else NOTHING,
    }
    errors |= _from_quadrature(matrix, s.cpu().numpy(), seed)
    sines = {}
    for name in ("range_finder", "block_krylov"):
        found = getattr(sketch, name)(W, min(LEADING, len(s)), seed=seed)
        errors[name], sine = _leading(found, s, vectors)
        sines |= {f"{name}_{k}": v for k, v in sine.items()}
    flat = {f"{k}_{what}": v for k, both in errors.items() for what, v in zip(("off", "error"), both, strict=True)}
    return {k: float(v) for k, v in (flat | sines).items()}


sketch_errors.steps = "log"
NOTHING = (float("nan"), float("nan"))


def _relative(estimate, exact):
    return (estimate.value / exact - 1, estimate.error / exact) if exact else NOTHING


def _cosine(W, seed):
    X = W / W.norm(dim=1, keepdim=True).clamp_min(1e-30)
    exact = sketch.row_pairs(X, torch.abs, len(X)).value
    return _relative(sketch.row_pairs(X, torch.abs, ROWS, seed), exact)


def _leading(found, s, vectors):
    """((off, error) of the worst singular value, its sines) of what a range finder or a Krylov space found."""
    k = len(found.s)
    side = found.long if len(found.long) == len(vectors) else found.short  # of a square matrix `vectors` are left ones
    largest, true, ours = s[:k].cpu().numpy(), vectors[:, :k], side.double()
    with np.errstate(divide="ignore", invalid="ignore"):  # of the zero matrix all are NaN
        off, error = found.s / largest - 1, found.error / largest
    worst = np.abs(off).argmax()
    sine = float((ours - true @ (true.T @ ours)).norm())
    return (off[worst], error[worst]), {"sine": sine, "sine_bound": found.sine}


def _from_quadrature(matrix, s, seed):
    r = len(s)
    density = quadrature.quadrature(matrix.values, seed=seed)
    lower, upper = nulls.mp_edges(*matrix.shape, bulk_sigma(s, *matrix.shape))
    above, not_below = density.count_above(upper), density.count_above(lower)
    return {
        "nuclear": _relative(density.trace(np.abs), s.sum()),
        "above": ((above.value - (s > upper).sum()) / r, above.error / r),
        "below": (((s > lower).sum() - not_below.value) / r, not_below.error / r) if lower > 0 else NOTHING,
    }


def missed(matrix):
    """``missed``: share of the energy of 16 leading directions that a block Krylov space of depth 1 misses."""
    found = sketch.block_krylov(matrix.values, 16, depth=1)
    return {"missed": 1 - (found.s**2).sum() / (matrix.singular_values[:16] ** 2).sum()}


def sketched(matrix):
    """``NAME_sketched``, ``NAME_error``: `nla.spectrum` from sketches, of every matrix."""
    found = spectrum.sketched(1)(matrix)
    return {name if name.endswith("_error") else f"{name}_sketched": value for name, value in found.items()}


missed.kinds, sketched.pure = ("dense_h_to_4h", "dense_4h_to_h", "embed_in", "embed_out"), True
COMMON_PASS = [missed, sketch_errors, sketched]
