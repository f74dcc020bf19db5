"""From which checkpoint on each matrix has left random-matrix theory."""

import numpy as np
import pandas as pd

from nla.nulls import edges, marchenko_pastur

SIDES = ("right", "left")


def departures(table):
    """The first checkpoint from which on each matrix has left its null, by three signs of it; DataFrame.

    ``distance``: `mp_distance_relative` at least 3. ``right``, ``left``: the largest (smallest) singular value beyond
    the edge by more than 1 random matrix of 100 times their number would show, so that there is 1 false alarm in 100
    tables. From which on: at every later checkpoint too. NaN: it never does; -1: there is no such edge.
    """
    last = table[table.step == table.step.max()]
    limit = edges.TRACY_WIDOM.isf((1 - edges.LEVEL) / max(len(last), 1))
    found = []
    for (kind, layer), rows in table.sort_values("step").groupby(["kind", "layer"], sort=False):
        row = {"kind": kind, "layer": layer, "distance": _from(rows, "mp_distance_relative", marchenko_pastur.DEPARTED)}
        row |= {side: _from(rows, f"edge_{side}", limit) for side in SIDES}
        found.append(row)
    return pd.DataFrame(found)


def _from(rows, column, limit):
    values = rows[column].to_numpy(dtype=float)
    if np.isnan(values).all():
        return -1.0
    stays = np.logical_and.accumulate((values >= limit)[::-1])[::-1]
    return float(rows.step.to_numpy()[stays.argmax()]) if stays.any() else np.nan


def span(steps):
    """First steps of several matrices in words: from the earliest to the latest, and how many never or not at all."""
    there = steps[steps >= 0]
    if (steps == -1).all():
        return "no such edge"
    text = f"{there.min():.0f}-{there.max():.0f}" if len(there) else "none"
    return text + (f" ({steps.isna().sum()} of {len(steps)} never)" if steps.isna().any() else "")
