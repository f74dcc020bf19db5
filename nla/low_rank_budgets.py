"""Where in a model rank may be saved: what each matrix costs at each rank, and how a budget is shared out."""

import numpy as np
import pandas as pd

from nla import surgery
from nla.factorisation import truncated, whitened, whitened_spectrum
from nla.low_rank_calibration import losses, matrices
from nla.low_rank_models import break_even

FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 3 / 4)  # of the parameters of a matrix


def rank_for(shape, fraction):
    """The largest rank at which two factors have at most this fraction of the parameters of an m x n matrix."""
    return int(fraction * break_even(shape) + 1e-9)


def held_by(shape, rank):
    """Parameters of an m x n matrix at `rank`: as two factors, or whole where that is less, or where rank is None."""
    m, n = shape
    return m * n if rank is None else min(rank * (m + n), m * n)


def all_factors(model, moments=None, keys=None):
    """{(kind, layer): (B, A)} of full rank, of which every lower rank is the beginning.

    By whitening with the `moments` of what each matrix is given, or, without them, by truncation.
    """
    found = {}
    for key, W in matrices(model, keys or (moments and list(moments))).items():
        found[key] = whitened(W, None, moments[key]) if moments else truncated(W, None)
    return {key: (B.float(), A.float()) for key, (B, A) in found.items()}


def product(factors, rank):
    """The matrix of this rank that `factors` of `all_factors` begin with, (m, n)."""
    B, A = factors
    return B[:, :rank] @ A[:rank]


def loss_at(model, factors, ranks, windows):
    """Mean loss of `model` on `windows` with the matrices of `ranks` {(kind, layer): rank or None} at these ranks."""
    new = {key: product(factors[key], rank) for key, rank in ranks.items() if rank is not None}
    with surgery.replaced(model, new):
        return losses(model, windows).mean()


def sensitivity(model, factors, windows, fractions=FRACTIONS):
    """By how much the loss rises when one matrix alone is replaced.

    Returns
    -------
    pandas.DataFrame
        kind, layer, fraction (of the parameters of the matrix), rank, rise (nats per token).
    """
    whole, rows = losses(model, windows).mean(), []
    for (kind, layer), (B, A) in factors.items():
        for fraction in fractions:
            rank = rank_for((len(B), A.shape[1]), fraction)
            rise = loss_at(model, factors, {(kind, layer): rank}, windows) - whole
            rows.append({"kind": kind, "layer": layer, "fraction": fraction, "rank": rank, "rise": rise})
    return pd.DataFrame(rows)


def uniform(shapes, budget):
    """{(kind, layer): rank} that spend `budget` parameters, the same fraction of each matrix; shapes by key."""
    fraction = budget / sum(m * n for m, n in shapes.values())
    return {key: rank_for(shape, fraction) for key, shape in shapes.items()}


def spectra_of(model, moments):
    """{(kind, layer): s} of W S, in which the lost output energy of every rank can be read; see `whitened_spectrum`."""
    return {key: whitened_spectrum(W, moments[key])[0].cpu().numpy() for key, W in matrices(model, moments).items()}


def by_energy(spectra, shapes, budget):
    """The ranks that spend at most `budget` if every matrix may lose the same share of its energy, s^2 summed.

    A matrix that would need its break-even rank or more stays whole: None.
    """
    tails = {key: np.append(np.cumsum((s**2)[::-1])[::-1], 0.0) / (s**2).sum() for key, s in spectra.items()}

    def ranks(share):
        found = {key: int(np.argmax(tail <= share)) for key, tail in tails.items()}
        return {key: None if r >= break_even(shapes[key]) else r for key, r in found.items()}

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        spent = sum(held_by(shapes[key], r) for key, r in ranks(middle).items())
        low, high = (middle, high) if spent > budget else (low, middle)
    return ranks(high)


def by_sensitivity(table, shapes, budget):
    """The ranks that spend at most `budget` where the rises of `sensitivity`, added up, are least.

    The rise is taken as a convex, falling function of what a matrix keeps, so the cheapest steps come first: exact for
    these curves (Fox 1966, doi:10.1287/opre.14.2.210), which leave out how the errors of matrices act together.
    """
    steps, kept = [], {}
    for key, rows in table.groupby(["kind", "layer"], sort=False):
        size = held_by(shapes[key], None)
        points = [(size, 0.0), *sorted(zip(rows.fraction * size, rows.rise.clip(lower=0), strict=True), reverse=True)]
        kept[key], place = size, 0
        while place < len(points) - 1:  # the lower convex hull, from the whole matrix downwards
            slopes = [(y - points[place][1]) / (points[place][0] - x) for x, y in points[place + 1 :]]
            best = len(slopes) - 1 - int(np.argmin(slopes[::-1]))
            steps.append((slopes[best], len(steps), key, points[place][0], points[place + 1 + best][0]))
            place += 1 + best
    spent = sum(kept.values())
    for _, _, key, before, after in sorted(steps):
        if spent <= budget:
            break
        kept[key] = max(after, before - (spent - budget))
        spent -= before - kept[key]
    sizes = {key: held_by(shapes[key], None) for key in kept}
    return {key: None if k == sizes[key] else rank_for(shapes[key], k / sizes[key]) for key, k in kept.items()}


def budgets(model, factors, spectra, table, windows, shares=(0.9, 0.75, 0.6, 0.45, 0.3), plain=None):
    """Loss of the whole model, all its matrices but the embeddings replaced, by what is kept of them and how.

    Parameters
    ----------
    plain : dict, optional
        `all_factors` without moments: uniform truncation is shown too.

    Returns
    -------
    pandas.DataFrame
        way, share (asked for), kept (share of the parameters of these matrices that there are), loss.
    """
    shapes = {key: (len(B), A.shape[1]) for key, (B, A) in factors.items()}
    total = sum(held_by(shape, None) for shape in shapes.values())
    rows = []
    for share in shares:
        ways = {
            "truncated SVD, uniform": (plain, uniform(shapes, share * total)),
            "whitened, uniform": (factors, uniform(shapes, share * total)),
            "whitened, by energy": (factors, by_energy(spectra, shapes, share * total)),
            "whitened, by sensitivity": (factors, by_sensitivity(table, shapes, share * total)),
        }
        for way, (chosen, ranks) in ways.items():
            if chosen is not None:
                kept = sum(held_by(shapes[key], r) for key, r in ranks.items()) / total
                loss = loss_at(model, chosen, ranks, windows)
                rows.append({"way": way, "share": share, "kept": kept, "loss": loss})
    return pd.DataFrame(rows)
