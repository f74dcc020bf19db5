"""When and where: times at the resolution of a ladder of checkpoints, and slopes over layers against chance."""

import itertools

import numpy as np
from scipy.stats import rankdata

from nla.evidence import CannotSay


def seen_in(ladder, step):
    """(since, step): what is first seen at `step` of a `ladder` of checkpoints came between these two."""
    ladder = [s for s in ladder if s < step]
    return (ladder[-1] if ladder else step, step)


def timed(spans, window, value):
    """(`value`, whether all `spans` of `seen_in` lie in the `window`), with one checkpoint interval as the resolution.

    False where one span is missing (None) or lies wholly outside. Raises where one reaches across a border of the
    window: what happened came before or after it, and the checkpoints do not tell.
    """
    first, last = window
    if any(span is None or span[1] < first or span[0] >= last for span in spans):
        return value, False
    if not all(first <= since and step <= last for since, step in spans):
        raise CannotSay("the checkpoints on either side lie in and out of the time claimed", value)
    return value, True


def rank_correlation(x, y):
    """Spearman's rho of two arrays, of the places where both are known; NaN for fewer than four or a constant."""
    there = ~(np.isnan(x) | np.isnan(y))
    x, y = rankdata(x[there]), rankdata(y[there])
    return np.corrcoef(x, y)[0, 1] if len(x) > 3 and np.ptp(x) and np.ptp(y) else np.nan


def over_layers(grid, others, draws=2000):
    """Do the columns of `grid` go with others from layer to layer?

    Parameters
    ----------
    grid : pandas.DataFrame
        (layers, kinds).
    others : list of arrays or DataFrames
        (layers,), such as the depth, or (layers, kinds).

    Returns
    -------
    tuple of float
        The median over kinds and `others` of Spearman's rho, and the shares of all orders of the layers (720 for six,
        of more layers 2,000 seeded draws and the one found) with one as low, and as high. All kinds are shuffled alike,
        because they are not independent.
    """
    values = grid.to_numpy(float)
    shape = values.shape
    others = [np.broadcast_to(np.asarray(o, float).reshape(shape[0], -1), shape) for o in others]

    def median(order):
        rho = [rank_correlation(y, other[order, j]) for other in others for j, y in enumerate(values.T)]
        return np.median([r for r in rho if not np.isnan(r)] or [np.nan])

    orders = itertools.permutations(range(shape[0]))
    if shape[0] > 6:
        rng = np.random.default_rng(0)
        orders = [np.arange(shape[0]), *(rng.permutation(shape[0]) for _ in range(draws))]
    found, null = median(np.arange(shape[0])), np.array([median(list(order)) for order in orders])
    if np.isnan(found):
        raise CannotSay("nothing that differs between layers")
    return found, np.mean(null <= found + 1e-9), np.mean(null >= found - 1e-9)


def sloped(rho, falls, rises, value, least=0.5, limit=0.05):
    """(`value`, whether it falls) of the result of `over_layers`; raises where layers in random order do as well.

    True needs a rho of -`least` and p < `limit`, False a p as small for a rise: few layers that show neither
    contradict nothing.
    """
    value = f"{value}, p {min(falls, rises):.2g}"
    if rho <= -least and falls < limit:
        return value, True
    if rises < limit:
        return value, False
    raise CannotSay("layers in random order do as well" if falls >= limit else "too weak to speak of", value)
