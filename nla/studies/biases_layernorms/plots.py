"""Figures of biases and LayerNorms: by norm instead of by kind, by dimension of a head, by column."""

import matplotlib.pyplot as plt
import numpy as np

from nla import figures, matrices

NORMS = {  # a norm is measured in the rows of the kinds that read it; these stand for it
    "query": "norm before attention",
    "dense_h_to_4h": "norm before the MLP",
    "embed_out": "norm before embed_out",
}


def by_norm(table, column, ylabel, **options):
    """`standard.over_steps` with a panel per norm."""
    fig = figures.over_steps(table[table.kind.isin(NORMS)], column, ylabel, **options)
    shown = [kind for kind in matrices.KINDS if kind in set(table.kind) & set(NORMS)]
    for ax, kind in zip(fig.axes, shown, strict=False):
        ax.set_title(NORMS[kind], fontsize="medium")
    return fig


def noise_walk(fig, walk):
    """Draw the RMS of a walk of noise updates, from step 0 on, (steps + 1,), into all panels, with a legend entry."""
    shown = [ax for ax in fig.axes if ax.get_title()]  # a colour bar has no title
    for ax in shown:
        ax.plot(np.arange(1, len(walk)), walk[1:], color=figures.GREY, lw=2.5, zorder=0, label="walk of noise updates")
    if shown:
        shown[0].legend(*(each[-1:] for each in shown[0].get_legend_handles_labels()), fontsize="x-small")


def chance_band(fig, table, length):
    """Shade 0 +- 2 / sqrt(n), two standard deviations of the correlation of n independent pairs, in every panel.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        Of `standard.over_steps` of the same table.
    length : str
        Column of `table` that holds n.
    """
    kinds = [kind for kind in matrices.KINDS if kind in set(table.kind)]
    for ax, kind in zip(fig.axes, kinds, strict=False):
        reach = 2 * table[length][table.kind == kind].iloc[0] ** -0.5
        ax.axhspan(-reach, reach, color="0.88", lw=0, zorder=-1, label="chance, 2 s.d.")
    if kinds:
        fig.axes[0].legend(fontsize="x-small")
    return fig


def by_dimension(biases, turned=None):
    """One map per kind of the RMS over heads of its bias: layer (up) by dimension of the head (right).

    Parameters
    ----------
    biases : dict
        kind -> array (layers, heads, d_head).
    turned : int, optional
        Dimensions that rotary embeddings turn; a line is drawn after them.
    """
    fig, axs = plt.subplots(1, len(biases), figsize=(3.9 * len(biases), 2.9), squeeze=False)
    for ax, (kind, values) in zip(axs.flat, biases.items(), strict=True):
        size = np.sqrt((np.asarray(values) ** 2).mean(1))
        image = ax.imshow(size, origin="lower", aspect="auto", interpolation="nearest", cmap="mako", vmin=0)
        fig.colorbar(image, ax=ax, label="RMS over heads")
        ax.yaxis.get_major_locator().set_params(integer=True)
        if turned:
            ax.axvline(turned - 0.5, color="white", lw=1.2, ls="--")
        ax.set(title=f"bias of {kind}", xlabel="dimension of the head", ylabel="layer")
    return fig


def columns(rows):
    """Gain against the norm of the column that it multiplies, a panel per kind, a point per column, colour = depth.

    Parameters
    ----------
    rows : iterable of dict
        kind, layer, gain (in,), columns (in,): norms of the columns over their mean.
    """
    rows = list(rows)
    kinds = [k for k in matrices.KINDS if k in {r["kind"] for r in rows}]
    depth = plt.Normalize(0, max(max(r["layer"] for r in rows), 1))
    fig, axs = plt.subplots(1, len(kinds), figsize=(3.6 * len(kinds), 3.1), squeeze=False)
    for ax, kind in zip(axs.flat, kinds, strict=True):
        for row in (r for r in rows if r["kind"] == kind):
            color = figures.DEPTH(depth(row["layer"])) if row["layer"] >= 0 else "black"
            ax.plot(row["gain"], row["columns"], ".", ms=2.5, color=color)
        ax.set(title=figures.LABELS.get(kind, kind), xlabel="gain", ylabel="norm of the column / mean")
    bar = fig.colorbar(plt.cm.ScalarMappable(depth, figures.DEPTH), ax=list(axs.flat), label="layer", aspect=30)
    bar.ax.yaxis.get_major_locator().set_params(integer=True)
    return fig
