"""When and where: times at the resolution of a ladder of checkpoints, and slopes over layers against chance."""

import itertools

import numpy as np
import pandas as pd

from nla.studies.literature_review.evidence import CannotSay


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
    x, y = np.asarray(x, float), np.asarray(y, float)
    return _rank_correlations(y, x, np.arange(len(x))[None])[0]


def _rank_correlations(y, x, orders):
    """Spearman's rho of y with x[order] of each of `orders`, (n, len(y)); see `rank_correlation`."""
    # The rank of y_i less the mean rank is half the sum over k of sign(y_i - y_k): a product for all orders at once.
    signs = [np.greater.outer(v, v).astype(float) - np.less.outer(v, v) for v in (y, x)]
    there = ~np.isnan(y) & ~np.isnan(x)[orders]  # (n, len(y))
    ours = there @ signs[0].T * there
    theirs = np.take_along_axis(there, np.argsort(orders, 1), 1) @ signs[1].T  # by the places of x
    theirs = np.take_along_axis(theirs, orders, 1) * there
    spread = np.sqrt((ours**2).sum(1) * (theirs**2).sum(1))
    known = (spread > 0) & (there.sum(1) > 3)
    return np.where(known, (ours * theirs).sum(1) / np.where(known, spread, 1), np.nan)


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
    if shape[0] <= 6:
        orders = np.array(list(itertools.permutations(range(shape[0]))), dtype=int)  # the first is as found
    else:
        rng = np.random.default_rng(0)
        orders = np.array([np.arange(shape[0]), *(rng.permutation(shape[0]) for _ in range(draws))])
    rho = [_rank_correlations(y, other[:, j], orders) for other in others for j, y in enumerate(values.T)]
    null = pd.DataFrame(rho).median().to_numpy()  # of what is known
    found = null[0]
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
