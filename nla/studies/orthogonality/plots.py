"""Angles between neurons through training, over the exact density for random directions."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize

from nla import figures, nulls
from nla.figures.spectra import spaced
from nla.numerics import pairs

NEURONS = {"dense_h_to_4h": "rows", "dense_4h_to_h": "columns"}  # what a neuron reads, and what it writes


def histograms(table, count=3, steps=8):
    """What neurons read (W1 rows) above what they write (W2 columns), for `count` layers and `steps` checkpoints.

    Parameters
    ----------
    table : pandas.DataFrame
        Of a scan of `nla.angles`, finite matrices only.

    Returns
    -------
    matplotlib Figure
        Density per degree on a logarithmic axis, so that one pair in a million is seen; colour = training step.
    """
    table = table[table.kind.isin(NEURONS) & table.step.isin(spaced(table.step, steps))]
    kinds = [k for k in NEURONS if (table.kind == k).any()]
    layers = np.unique(np.linspace(*table.layer.agg(["min", "max"]), count).round().astype(int))
    size = (1 + 3.3 * len(layers), 2.6 * len(kinds))
    fig, axs = plt.subplots(len(kinds), len(layers), figsize=size, sharex=True, sharey=True, squeeze=False)
    scale, width = Normalize(0, np.log1p(table.step.max()) or 1), pairs.EDGES[1]
    seen, lowest, highest = np.zeros(len(pairs.EDGES) - 1, dtype=bool), np.inf, 0
    for kind, line in zip(kinds, axs, strict=True):
        like = table[table.kind == kind].iloc[0]
        d = like.cols if NEURONS[kind] == "rows" else like.rows
        for layer, ax in zip(layers, line, strict=True):
            rows = table[(table.kind == kind) & (table.layer == layer)].sort_values("step")
            for row in rows.to_dict("records"):
                counts = np.asarray(row[f"angles_{NEURONS[kind]}"])
                if not counts.any():  # a zero matrix
                    continue
                color = figures.STEPS(scale(np.log1p(row["step"])))
                density = counts / counts.sum() / width
                ax.stairs(density, pairs.EDGES, color=color, lw=1)
                seen |= counts > 0
                lowest, highest = min(lowest, density[counts > 0].min()), max(highest, density.max())
            degrees = np.linspace(0, 180, 2001)
            ax.fill_between(degrees, nulls.angle_density(degrees, d), color=figures.GREY, lw=0, zorder=0)
            ax.set_title(f"{figures.LABELS[kind]} {NEURONS[kind]}, layer {layer}", fontsize="medium")
            ax.axvline(90, color="0.3", lw=0.6, zorder=0)
    axs[0, 0].set(yscale="log", ylim=(lowest / 2, 2 * highest))
    axs[0, 0].set_xlim(pairs.EDGES[:-1][seen][[0, -1]] + np.array([-2, 2 + width]))
    for ax in axs[-1]:
        ax.set_xlabel("angle between two neurons [degrees]")
    for ax in axs[:, 0]:
        ax.set_ylabel("density per degree")
    figures.steps_bar(fig, list(axs.flat), table.step)
    return fig
