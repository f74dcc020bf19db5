"""Where in a model rank may be saved: what each matrix costs at each rank, and how a budget is shared out."""

import numpy as np
import pandas as pd

from nla.low_rank.counts import break_even
from nla.low_rank.factorisation import truncated, whitened
from nla.running import surgery
from nla.running.losses import losses
from nla.running.resumed import Resumed
from nla.studies.low_rank_compression.calibration import matrices

FRACTIONS = (1 / 8, 1 / 4, 1 / 2)  # of the parameters of a matrix


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


def cut(factors, rank):
    """(B, A) of this rank, which those of `all_factors` begin with."""
    B, A = factors
    return B[:, :rank], A[:rank]


def product(factors, rank):
    """The matrix of this rank that `factors` of `all_factors` begin with, (m, n)."""
    B, A = cut(factors, rank)
    return B @ A


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
    above, rows = Resumed(model, windows), []
    whole = above.losses().mean()
    for (kind, layer), (B, A) in factors.items():
        above.reach(layer)
        for fraction in fractions:
            rank = rank_for((len(B), A.shape[1]), fraction)
            with surgery.replaced(model, {(kind, layer): product((B, A), rank)}):
                rise = above.losses().mean() - whole
            rows.append({"kind": kind, "layer": layer, "fraction": fraction, "rank": rank, "rise": rise})
    return pd.DataFrame(rows)


def uniform(shapes, budget):
    """{(kind, layer): rank} that spend `budget` parameters, the same fraction of each matrix; shapes by key."""
    fraction = budget / sum(m * n for m, n in shapes.values())
    return {key: rank_for(shape, fraction) for key, shape in shapes.items()}


def energies(factors, moments):
    """{(kind, layer): (r,)}: E (a x)^2 of each row a of A, the output energy lost with that rank."""
    return {key: ((A.double() @ moments[key].second) * A).sum(1).cpu().numpy() for key, (_, A) in factors.items()}


def by_energy(energies, shapes, budget):
    """The ranks that spend at most `budget` if every matrix may lose the same share of its output energy.

    A matrix that would need its break-even rank or more stays whole: None.
    """
    tails = {key: np.append(np.cumsum(e[::-1])[::-1], 0.0) / e.sum() for key, e in energies.items()}

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
    """The ranks of `shares_by_sensitivity`; None: whole."""
    shares = shares_by_sensitivity(table, {key: m * n for key, (m, n) in shapes.items()}, budget)
    return {key: None if share == 1 else rank_for(shapes[key], share) for key, share in shares.items()}


def shares_by_sensitivity(table, sizes, budget):
    """{(kind, layer): share of its parameters} where `budget` is kept and the rises of `sensitivity` add up to least.

    The rise is taken as a convex, falling function of the share, so that the cheapest steps come first: exact for such
    curves (Fox 1966, doi:10.1287/opre.14.2.210), which leave out how the errors of matrices act together.
    """
    steps, shares = [], {}
    for key, rows in table.groupby(["kind", "layer"], sort=False):
        rows = rows.sort_values("fraction", ascending=False)
        x, y = np.r_[1.0, rows.fraction], np.r_[0.0, rows.rise.clip(lower=0)]
        shares[key], place = 1.0, 0
        while place < len(x) - 1:  # the lower convex hull, from the whole matrix downwards
            slopes = (y[place + 1 :] - y[place]) / (x[place] - x[place + 1 :])
            best = place + 1 + len(slopes) - 1 - int(np.argmin(slopes[::-1]))
            steps.append((slopes[best - place - 1] / sizes[key], len(steps), key, x[best]))
            place = best
    spent = sum(sizes.values())
    for _, _, key, share in sorted(steps):
        if spent <= budget:
            break
        new = max(share, shares[key] - (spent - budget) / sizes[key])
        spent -= (shares[key] - new) * sizes[key]
        shares[key] = new
    return shares


def budgets(model, factors, energies, table, windows, shares=(0.85, 0.65, 0.45, 0.3), plain=None):
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
            "whitened, by energy": (factors, by_energy(energies, shapes, share * total)),
            "whitened, by sensitivity": (factors, by_sensitivity(table, shapes, share * total)),
        }
        for way, (chosen, ranks) in ways.items():
            if chosen is not None:
                kept = sum(held_by(shapes[key], r) for key, r in ranks.items()) / total
                loss = loss_at(model, chosen, ranks, windows)
                rows.append({"way": way, "share": share, "kept": kept, "loss": loss})
    return pd.DataFrame(rows)
