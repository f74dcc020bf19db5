"""Figures of the norms of rows: of the vectors of each head, and of rows beside their initial selves."""

import matplotlib.pyplot as plt
import numpy as np

from nla import figures


def by_head(table):
    """Norms of the vectors of each head in their order within it, a line a head.

    The grey band holds 99.7 % of the vectors of a Gaussian matrix.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `nla.studies.sparsity.row_norms.by_head`.
    """
    if table.empty:
        return plt.figure()
    fig, axs = figures.panels(set(table.kind), sharex=True, sharey=True)
    depth = plt.Normalize(0, max(table.layer.max(), 1))
    for (kind, layer), rows in table.groupby(["kind", "layer"], sort=False):
        for norms in rows.norms:
            axs[kind].plot(norms, color=figures.DEPTH(depth(layer)), lw=0.8)
        spread = 3 / (2 * rows.width.iloc[0]) ** 0.5
        axs[kind].axhspan(1 - spread, 1 + spread, color=figures.GREY, lw=0, zorder=0)
    figures.finish(fig, axs, table, "norm / median", "index within the head", depth)
    next(iter(axs.values())).xaxis.get_major_locator().set_params(integer=True)
    return fig


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
