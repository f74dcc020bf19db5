"""Singular vectors of a matrix beside the directions in which its inputs vary."""

import numpy as np
import pandas as pd
import torch
from scipy.special import betaincinv
from scipy.stats import norm

from nla.matrices import Matrix
from nla.matrices.in_memory import in_memory
from nla.measures import random_matrix
from nla.running.activations import covariances
from nla.running.evaluation import running

SIGMAS = 3.0  # of the random band


def overlap(matrix, covariance):
    """The right singular vectors v_k of one matrix, m x n, beside the covariance C of what it reads; curves over k.

    Returns
    -------
    dict
        ``overlap``: max_j |v_k . f_j| over the eigenvectors f_j of C, 1/sqrt(n) to 1; ``overlap_low``,
        ``overlap_high``: its `random_overlap`. It says that v_k is near some f_j, not near which: ``place`` is that of
        the best f_j among them, from 0, the most variance, to 1, the least. ``variance``: v_k^T C v_k over the mean of
        all directions, tr C / n: 1 on average for a random v_k; ``energy``: share of tr C in the span of all v_k.

    References
    ----------
    Staats, Thamm & Rosenow 2025 (arXiv:2410.17770), for the overlap.
    """
    _, s, Vt = matrix.singular_vectors
    C, F = covariance.matrix, covariance.eigenvectors
    along = ((Vt @ C) * Vt).sum(1) / C.trace()
    low, high = random_overlap(len(C), F.shape[1])
    best, nearest = (Vt @ F).abs().max(1) if F.shape[1] else (torch.full_like(s, torch.nan),) * 2
    return {
        "overlap": best.cpu().numpy(),
        "place": ((nearest + 0.5) / F.shape[1]).cpu().numpy() if F.shape[1] else nearest.cpu().numpy(),
        "overlap_low": low,
        "overlap_high": high,
        "variance": (along * len(C)).cpu().numpy(),
        "energy": float(along.sum()),
    }


def random_overlap(d, count):
    """(low, high) limits of max_j |v . f_j| for random v and `count` orthonormal f_j in R^d, at -+ `SIGMAS` sigma.

    Each cos^2 is Beta(1/2, (d-1)/2), and `count` of them are taken as independent; near sqrt(2 ln(count)/d). That the
    squares add up to 1 makes the lower limit a little too low; above the upper one lie 1.35 of 1,000.
    """
    levels = norm.cdf([-SIGMAS, SIGMAS]) ** (1 / max(count, 1))
    low, high = np.sqrt(betaincinv(0.5, (d - 1) / 2, levels)) if d > 1 else (1.0, 1.0)
    return float(low), float(high)


def overlaps(model, windows, layers=None):
    """List of dicts, one per matrix of the layers of a running model: kind, layer, tokens, and what `overlap` gives."""
    rows, layout = [], in_memory(model)
    for kinds, layer, covariance in covariances(model, windows, layers):
        for kind in kinds:
            found = overlap(layout.matrix(kind, layer), covariance)
            rows.append({"kind": kind, "layer": layer, "tokens": covariance.tokens} | found)
    return rows


def beyond(table):
    """Share of vectors whose overlap is above the random band, in the largest tenth, between, and the smallest tenth.

    Parameters
    ----------
    table : pandas.DataFrame
        See `overlaps`.

    Returns
    -------
    pandas.DataFrame
        step, kind, layer, and the columns largest, middle, smallest: shares from 0 to 1.
    """
    return _in_parts(table, lambda row: np.asarray(row.overlap) > row.overlap_high)


def variance_read(table):
    """Like `beyond`, the mean of the variance of the inputs along the vectors over that along random ones, 1."""
    return _in_parts(table, lambda row: np.asarray(row.variance))


def by_step(found, unit=1):
    """Text: means over layers of what `beyond` or `variance_read` found, times `unit`, kinds across."""
    means = unit * found.groupby(["kind", "step"], sort=False)[["largest", "middle", "smallest"]].mean()
    return means.unstack("kind").stack(0).to_string(float_format="{:.3g}".format)


def _in_parts(table, curve):
    rows = []
    for row in table.itertuples():
        parts = np.array_split(curve(row), 10)
        found = {"largest": parts[0], "middle": np.concatenate(parts[1:-1]), "smallest": parts[-1]}
        found = {name: float(part.mean()) for name, part in found.items()}
        rows.append({"step": row.step, "kind": row.kind, "layer": row.layer} | found)
    return pd.DataFrame(rows)


def far_end(table, least=2 / 3):
    """{kind: (matches, far)} of the smallest tenth at the last step: vectors above the random band, and which of them
    match an eigenvector of the inputs of little variance, from place `least` up; `table` as of `overlaps`."""
    found = {}
    for row in table[table.step == table.step.max()].itertuples():
        tenth = np.array_split(np.arange(len(row.overlap)), 10)[-1]
        above = tenth[np.asarray(row.overlap)[tenth] > row.overlap_high]
        before = found.get(row.kind, (0, 0))
        found[row.kind] = (before[0] + len(above), before[1] + int((np.asarray(row.place)[above] >= least).sum()))
    return found


def change(matrix):
    """``change``: ``mp_distance_relative`` of W - W_0, as `nla.random_matrix` has it; NaN at the first checkpoint."""
    first = matrix.at("initial", same_shape=True)
    D = 0 * matrix.values if first is None else matrix.values - first.values
    return {"change": random_matrix(Matrix(matrix.kind, matrix.layer, matrix.step, D))["mp_distance_relative"]}


def reads(checkpoint):
    """`overlaps` of a checkpoint on every third window of the text; or `CannotRun`."""
    now = running(checkpoint)
    return pd.DataFrame(overlaps(now.model, now.windows[::3, :-1])).assign(step=checkpoint.step)


change.kinds = ("query", "dense_h_to_4h")
COMMON_PASS, RUNS = [change], [(reads, "log4")]
