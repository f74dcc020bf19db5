"""What notebook 02 alone needs: measures of matrices that keep the row and column norms of a given one."""

import numpy as np
import torch

from nla.matrices import KINDS, Matrix
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
