"""Figures of the norms of rows and columns: of the vectors of each head, and of rows beside their initial selves."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nla import figures


def by_head(matrices, rotary):
    """(figure, table) of the norms of the vectors of each head in their order within it, a line a head.

    The grey band holds 99.7 % of the vectors of a Gaussian matrix.

    Parameters
    ----------
    matrices : iterable of nla.Matrix
        Query, key, value, dense; those that are not finite are left out.
    rotary : float
        Share of the dimensions of a head that rotary embeddings turn, the first.

    Returns
    -------
    matplotlib.figure.Figure
    pandas.DataFrame
        A row a head: ``kind, layer``; ``place``, from 0 to 1 among the heads of its matrix, so that heads of queries
        that share one of keys have it within theirs; ``index`` of its longest vector; ``rotary``, whether that is
        turned; ``ratio``: norm of the head over the median head of its matrix.
    """
    matrices = [m for m in matrices if m.finite]
    if not matrices:
        return plt.figure(), pd.DataFrame(columns=["kind", "layer", "place", "index", "rotary", "ratio"], dtype=float)
    layers = pd.DataFrame({"layer": [m.layer for m in matrices]})
    fig, axs = figures.panels({m.kind for m in matrices}, sharex=True, sharey=True)
    depth, heads = plt.Normalize(0, max(layers.layer.max(), 1)), []
    for matrix in matrices:
        norms = matrix.per_head.norm(dim=2)  # (heads, d_head)
        whole, ax = norms.norm(dim=1), axs[matrix.kind]
        for head in norms / norms.median():
            ax.plot(head, color=figures.DEPTH(depth(matrix.layer)), lw=0.8)
        spread = 3 / (2 * matrix.per_head.shape[2]) ** 0.5
        ax.axhspan(1 - spread, 1 + spread, color=figures.GREY, lw=0, zorder=0)
        table = pd.DataFrame({"index": norms.argmax(1), "ratio": whole / whole.median()})
        table["rotary"] = table["index"] < rotary * norms.shape[1]
        heads.append(table.assign(kind=matrix.kind, layer=matrix.layer, place=np.arange(len(norms)) / len(norms)))
    figures.finish(fig, axs, layers, "norm / median", "index within the head", depth)
    next(iter(axs.values())).xaxis.get_major_locator().set_params(integer=True)
    return fig, pd.concat(heads, ignore_index=True)


def met(heads):
    """The heads of queries of `by_head`'s table, ``index_key`` beside ``index``: that of the keys which they meet."""
    query, key = (heads[heads.kind == kind].sort_values("place") for kind in ("query", "key"))
    return pd.merge_asof(
        query, key[["place", "layer", "index"]], on="place", by="layer", suffixes=("", "_key")
    ).dropna()


def against_start(sine, ratio, alone, decay=None):
    """Rows by the ratio of their norm to the initial one and the sine of the angle to it, a cross where `alone`.

    Parameters
    ----------
    sine, ratio : (m,) arrays
        See `nla.measures.departure`.
    alone : (m,) bool
        Rows that are a number times themselves at the start.
    decay : float, optional
        That number where a weight only decays; a grey line.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.6))
    if decay is not None:
        ax.axvline(decay, color=figures.GREY, lw=2.5, label="decay only", zorder=0)
    color, sine = figures.kind_colors()["embed_in"], np.maximum(sine, 1e-5)
    ax.scatter(ratio[~alone], sine[~alone], s=14, alpha=0.8, color=color, label="learnt")
    ax.scatter(ratio[alone], sine[alone], s=30, lw=0.8, marker="x", color="black", label="untouched")
    ax.set(xlabel="norm / initial norm", ylabel="sine of angle to the initial row", yscale="log", ylim=(5e-6, 1.5))
    ax.legend(loc="center right")
    return fig
