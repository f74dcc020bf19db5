"""Can any linear map tell what a neuron writes from what it reads? Canonical correlations and ridge regression.

Neurons are the samples, the row of W1 the predictors x, the column of W2 the responses y. A fitted map has d^2 free
coefficients for n = 4d neurons: it finds much where there is nothing, and its null is not 0.
"""

from collections import namedtuple

import numpy as np
import torch

from nla.measures.neurons import READERS, in_out, product
from nla.nulls import directions
from nla.numerics import threads

FOLDS = 5
SHUFFLES = 10
PENALTIES = np.logspace(-4, 4, 33)  # times the mean eigenvalue of the predictors' scatter matrix

Sums = namedtuple("Sums", "inputs cross outputs")  # over the neurons of each fold, with z = [1, x]: of zz', zy', y^2


def neuron_cca(matrix):
    """Canonical correlations of input rows and output columns, and what their size is where nothing is shared.

    Returns
    -------
    dict
        ``canonical_correlations``: descending, in [0, 1]. ``cca_largest``: the first; ``cca_edge``: where they end
        under Wachter's law, 2 sqrt(g (1-g)) with g = d/(n-1), so 0.866 for n = 4d. ``cca_mean_square``: mean of their
        squares; ``cca_mean_square_random``: its mean under shuffles, exactly g, whatever the two sets are. ``cca_z``:
        their difference in standard deviations under rotations of the samples; N(0, 1) if nothing is shared. Empty if
        W2 is not finite.

    References
    ----------
    Hotelling 1936; Wachter 1980 (doi:10.1214/aos/1176345134). With P, Q the projections of R^(n-1) onto the spaces
    spanned by the columns of x and y, of ranks p and q, the squares sum to tr PQ, whose mean over shuffles is pq/(n-1).
    """
    x, y = in_out(matrix)
    if not torch.isfinite(y).all():
        return {}
    n, (sum_x, sum_y) = len(x) - 1, (w.sum(0, dtype=torch.float64) for w in (x, y))
    white_x = _whitener(product(x, x) - sum_x.outer(sum_x) / len(x))
    white_y = _whitener(product(y, y) - sum_y.outer(sum_y) / len(x))
    p, q = white_x.shape[1], white_y.shape[1]
    if not min(p, q):
        return {"canonical_correlations": np.zeros(0)} | dict.fromkeys(CCA, np.nan)
    between = white_x.T @ (product(x, y) - sum_x.outer(sum_y) / len(x)) @ white_y
    between = between if p <= q else between.T
    with threads.one_thread():
        squares = torch.linalg.eigvalsh(between @ between.T).flip(0).clamp(0, 1).cpu().numpy()
    total = float(squares.sum())
    variance = 2 * p * q * (n - p) * (n - q) / (n**2 * max(n - 1, 1) * (n + 2))
    edge = directions.wachter_edges(p, q, n)[1] if p + q < n else 1.0
    z = (total - p * q / n) / variance**0.5 if variance > 0 else np.nan
    values = [total / min(p, q), max(p, q) / n, float(squares[0] ** 0.5), edge, z]
    return {"canonical_correlations": np.sqrt(squares)} | dict(zip(CCA, values, strict=True))


neuron_cca.kinds, neuron_cca.pure, neuron_cca.steps = READERS, True, "log"
CCA = ["cca_mean_square", "cca_mean_square_random", "cca_largest", "cca_edge", "cca_z"]


def _whitener(scatter):
    """V with V' scatter V = I, (d, rank): the directions in which the samples vary."""
    values, vectors = torch.linalg.eigh(scatter)
    kept = values > 1e-12 * values[-1]
    return vectors[:, kept] / values[kept].sqrt()


def neuron_regression(matrix):
    """Share of the variance of the output columns that ridge regression on the input rows explains, cross-validated.

    See `ridge`; empty if W2 is not finite.
    """
    x, y = in_out(matrix)
    if not torch.isfinite(y).all():
        return {}
    return ridge(lambda: [(x, y)], seed=[READERS.index(matrix.kind), matrix.layer + 1])


neuron_regression.kinds, neuron_regression.pure, neuron_regression.steps = READERS, True, "log"


def pooled_regression(weights, kind="dense_h_to_4h", shuffles=2 * SHUFFLES):
    """`ridge` over the neurons of all layers of one checkpoint together; layers with NaN or Inf are left out."""

    def layers():
        pairs = (in_out(matrix) for matrix in weights.matrices(kinds=[kind]))
        return ((x, y) for x, y in pairs if torch.isfinite(x).all() and torch.isfinite(y).all())

    return ridge(layers, shuffles, seed=[READERS.index(kind)])


def ridge(layers, shuffles=SHUFFLES, seed=0):
    """Predict y from x by ridge regression with intercept, on neurons left out of the fit, against shuffled pairs.

    Parameters
    ----------
    layers : function
        Returns an iterable of (x, y), float32 (neurons, d) each, the same at every call; all are one sample.

    Returns
    -------
    dict
        ``ridge_r2``: 1 - squared error / variance of y, over all neurons, each predicted by a map fitted to the other
        four fifths, all columns scaled to variance 1; the best over `PENALTIES`, which is ``ridge_penalty``. 0 for
        predicting the mean. ``ridge_r2_shuffled, ridge_r2_shuffled_sd``: the same, the best penalty included, over
        shuffles of y within each layer. ``ridge_p``: (1 + shuffles with as large an r2) / (1 + shuffles).
        ``least_squares_r2, least_squares_r2_shuffled``: at the smallest penalty; -g/(1-g) with g = d over the number
        of neurons fitted to, if nothing is shared.
    """
    scores, seed = [], np.atleast_1d(seed)
    for draw in range(1 + shuffles):
        total, rng = None, np.random.default_rng([*seed, 1, draw])
        for index, (x, y) in enumerate(layers()):
            folds = np.random.default_rng([*seed, 0, index]).permutation(len(x)) % FOLDS
            y = y[torch.as_tensor(rng.permutation(len(x)), device=y.device)] if draw else y
            part = _sums(x, y, torch.as_tensor(folds, device=x.device), inputs=not draw)
            total = part if total is None else Sums(*(a + b for a, b in zip(total, part, strict=True)))
        if not draw:
            count = 0 if total is None else int(total.inputs[:, 0, 0].sum())
            if count < 2 * FOLDS:
                return dict.fromkeys(RIDGE, np.nan)
            fits = _fits(total.inputs)
        scores.append(_explained(count, fits, total))
    scores = torch.stack(scores).cpu().numpy()
    best, least = scores.max(1), scores[:, 0]
    p = (1 + (best[1:] >= best[0]).sum()) / (1 + shuffles)
    penalty = PENALTIES[scores[0].argmax()]
    values = [best[0], penalty, best[1:].mean(), best[1:].std(ddof=1), p, least[0], least[1:].mean()]
    return dict(zip(RIDGE, map(float, values), strict=True))


RIDGE = ["ridge_r2", "ridge_penalty", "ridge_r2_shuffled", "ridge_r2_shuffled_sd", "ridge_p"]
RIDGE += ["least_squares_r2", "least_squares_r2_shuffled"]


def _sums(x, y, folds, inputs=True):
    """`Sums` of one layer; its first part costs as much as the second, and is the same for all shuffles of y."""
    parts = []
    for k in range(FOLDS):
        z = torch.nn.functional.pad(x[folds == k].double(), (1, 0), value=1.0)  # (neurons of the fold, 1 + d)
        t = y[folds == k].double()
        parts.append((z.T @ z if inputs else z.new_zeros(()), z.T @ t, (t * t).sum(0)))
    return Sums(*(torch.stack(part) for part in zip(*parts, strict=True)))


def _fits(inputs):
    """For each fold what x alone fixes: eigenbasis of the neurons fitted to, and those predicted expressed in it."""
    total, fits = inputs.sum(0), []
    variance = total.diag()[1:] - total[0, 1:] ** 2 / total[0, 0]
    scale = torch.where(variance > 0, variance, torch.inf).rsqrt()[:, None]
    for part in inputs:
        rest, own = total - part, part[0]
        centre = rest[0] / rest[0, 0]  # [1, mean of the neurons fitted to]
        scatter = (rest - rest[0, 0] * centre.outer(centre))[1:, 1:]
        values, vectors = torch.linalg.eigh(scale * scatter * scale.T)
        vectors = scale * vectors
        predicted = part - centre.outer(own) - own.outer(centre) + own[0] * centre.outer(centre)
        fits.append((rest[0, 0], own, centre, values, vectors, vectors.T @ predicted[1:, 1:] @ vectors))
    return fits


def _explained(count, fits, sums):
    """1 - squared error / variance at each of `PENALTIES`: a quadratic form in 1/(eigenvalue + penalty)."""
    total, squares = sums.cross.sum(0), sums.outputs.sum(0)
    variance = squares - total[0] ** 2 / count
    weight = torch.where(variance > 0, 1 / variance, 0.0)
    penalties, error = torch.as_tensor(PENALTIES, device=total.device)[:, None], 0.0
    for fit, cross, outputs in zip(fits, sums.cross, sums.outputs, strict=True):
        size, own, centre, values, vectors, predicted = fit
        mean = (total - cross)[0] / size
        fitted = vectors.T @ (total - cross - size * centre.outer(mean))[1:]
        seen = vectors.T @ (cross - centre.outer(cross[0]) - own.outer(mean) + own[0] * centre.outer(mean))[1:]
        resistance = values.clamp(min=0) + penalties * values.mean()  # (penalties, d)
        shrink = torch.where(resistance > 0, 1 / resistance, 0.0)
        quadratic = predicted * ((fitted * weight) @ fitted.T)
        spread = (weight * (outputs - 2 * mean * cross[0] + own[0] * mean**2)).sum()
        error += spread - 2 * shrink @ (seen * fitted * weight).sum(1) + ((shrink @ quadratic) * shrink).sum(1)
    return 1 - error / (weight > 0).sum()
