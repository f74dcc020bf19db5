"""What notebook 02 alone needs: measures of matrices that keep the row and column norms of a given one."""

import numpy as np
import torch

from nla.matrices import KINDS, Matrix
from nla.measures import spectrum
from nla.nulls import bulk_sigma, mp_edges
from nla.nulls.draws import draw


def expected(matrix, *measures, draws=3):
    """{name: mean over `draws` matrices drawn} of the numbers that `measures` return; curves are left out.

    The same matrices are drawn again for the same kind and layer.
    """
    rng, found = np.random.default_rng([KINDS.index(matrix.kind), matrix.layer + 1]), []
    for _ in range(draws):
        weight = torch.from_numpy(draw(matrix.values, rng)).float()
        drawn = Matrix(matrix.kind, matrix.layer, matrix.step, weight)
        found.append({name: value for measure in measures for name, value in measure(drawn).items()})
    return {name: float(np.mean([f[name] for f in found])) for name, v in found[0].items() if not np.ndim(v)}


def unequal(matrix):
    """``norms_NAME``: `nla.spectrum` of such matrices; ``norms_rest``: mp_rank, of W less its first direction."""
    U, s, Vt = matrix.singular_vectors
    rest = (matrix.values - torch.outer(U[:, 0] * s[0], Vt[0])).float()
    rest = Matrix(matrix.kind, matrix.layer, matrix.step, rest)
    found = expected(matrix, spectrum) | {"rest": expected(rest, spectrum)["mp_rank"]}
    return {f"norms_{name}": value for name, value in found.items()}


def emptied(matrix):
    """``emptied``: share of the singular values well below the random edge, 0 to 1; 0 for a random matrix."""
    s, sigma = matrix.singular_values, bulk_sigma(matrix.singular_values, *matrix.shape)
    return {"emptied": (s < 0.98 * mp_edges(*matrix.shape, sigma)[0]).mean()}


def unequal_emptied(matrix):
    """``norms_emptied``: `emptied` of matrices with the row and column norms of this one."""
    return {f"norms_{name}": value for name, value in expected(matrix, emptied).items()}


unequal.steps = unequal_emptied.steps = "log6"
COMMON_PASS = [unequal, unequal_emptied]
