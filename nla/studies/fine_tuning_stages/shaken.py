"""A checkpoint shaken by a random update of a given size, measured as any other."""

import zlib

import numpy as np
import pandas as pd
import torch

from nla import measures as nla_measures
from nla.matrices import Matrix, load
from nla.measures import neurons
from nla.numerics import changes, distributions, pairs, threads
from nla.scanning import rows as scanning_rows


class Shaken:
    """The `nla.Weights` of a checkpoint, each matrix moved by an independent Gaussian update of given relative norm.

    Parameters
    ----------
    weights : nla.Weights
    sizes : dict
        (kind, layer) -> ||update|| / ||W||; a matrix that is not there stays as it is.
    seed : int
        Of the update; that of one matrix does not depend on which others are asked for.
    """

    def __init__(self, weights, sizes, seed):
        self.weights, self.sizes, self.seed, self.memo = weights, sizes, seed, {}

    def __getattr__(self, name):
        return getattr(self.weights, name)

    def matrix(self, kind, layer=-1):
        """As that of `nla.Weights`, in the same dtype; its other steps and its neighbours are not moved."""
        m = self.weights.matrix(kind, layer)
        size = self.sizes.get((kind, layer), 0.0)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{kind} {layer} {self.seed}".encode()))
        noise = torch.randn(m.shape, generator=generator, dtype=torch.float64).to(m.weight.device)
        W = m.weight.double()
        moved = (W + noise * (size * W.norm() / noise.norm())).to(m.weight.dtype)
        return Matrix(kind, layer, m.step, moved, m.heads, self)


def distance(matrix):
    """Two numbers of `nla.drift`, without the spectrum of the permuted matrix."""
    since = changes.compare(matrix, matrix.at("initial", same_shape=True))
    return {"relative_distance": since["distance"] / since["norm"], "cosine": since["cosine"]}


def unevenness(matrix):
    """Two numbers of `nla.sparsity`, without fits and powers of the entries."""
    rows = pairs.lengths(matrix.values).cpu().numpy()
    return {"hoyer": distributions.hoyer(*matrix.histogram), "row_gini": distributions.gini(rows)}


def neuron_cosine(matrix):
    """One number of `nla.correlation`, without the shuffles that it is compared with."""
    rho = neurons.cosines(*neurons.in_out(matrix))
    return {"rho_mean_abs": rho[rho.isfinite()].abs().mean()}


neuron_cosine.kinds = neurons.READERS
BRIEF = {nla_measures.drift: distance, nla_measures.sparsity: unevenness, nla_measures.correlation: neuron_cosine}


def shaken(model, step, sizes, measures, draws=3):
    """Measures of one checkpoint of `model` after a random update of each matrix: what is no sign of training.

    Parameters
    ----------
    step : int
    sizes : dict
        See `Shaken`; only these matrices are measured.
    measures : iterable of functions
    draws : int
        Independent updates.

    Returns
    -------
    pandas.DataFrame
        kind, layer, draw, and the numbers of the measures.
    """
    rows = []
    with load(model, step) as weights:
        for draw in range(draws):
            moved, every = Shaken(weights, sizes, draw), scanning_rows.Selection(None, None)
            for row in scanning_rows.rows(moved, measures, every, threads.cores(), None):
                if row.place in sizes:
                    numbers = {n: v for result in row.found.values() for n, v in result.items() if np.ndim(v) == 0}
                    rows.append({"kind": row.place[0], "layer": row.place[1], "draw": draw} | numbers)
    return pd.DataFrame(rows)
