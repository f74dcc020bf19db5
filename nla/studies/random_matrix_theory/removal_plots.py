"""Figures of what matrices read, and of what a model loses with parts of their singular values."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from nla import figures
from nla.figures.parts import colors
from nla.studies.random_matrix_theory.plots import grouped

TAKEN = {"untuned": ("s", "0.45"), "before": ("o", "#0072b2"), "after": ("o", "#d55e00")}
TAKEN_LABELS = {"untuned": "not fine-tuned", "before": "taken before", "after": "taken after"}


def overlaps(table):
    """One panel per kind: overlap of right singular vectors with the covariance of the inputs, against the rank.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `overlaps.overlaps`, with a column step. Lines are means of neighbours at the last step, coloured by
        layer; grey that of the first step, over the band of single random vectors.
    """
    fig, axs = figures.panels(table.kind.unique(), 2.5, 1.8, sharey=True)
    depth = Normalize(0, max(table.layer.max(), 1))
    for kind, ax in axs.items():
        rows = table[table.kind == kind]
        last, first = (rows[rows.step == step] for step in (table.step.max(), table.step.min()))
        ax.axhspan(rows.overlap_low.min(), rows.overlap_high.max(), color="0.88", lw=0, label="random vectors")
        for row in last.itertuples():
            ax.plot(*grouped(row.overlap), lw=0.9, color=figures.DEPTH(depth(row.layer)))
        if table.step.nunique() > 1:
            curve = grouped(np.mean(first.overlap.tolist(), axis=0))
            ax.plot(*curve, color=figures.GREY, lw=2, label="first step")
    next(iter(axs.values())).legend(fontsize="x-small")
    figures.label_outer(axs, "overlap with inputs", "rank / r")
    if table.layer.max() > 0:
        bar = fig.colorbar(ScalarMappable(depth, figures.DEPTH), ax=list(axs.values()), label="layer", aspect=40)
        bar.ax.yaxis.get_major_locator().set_params(integer=True)
    return fig


def variances(table):
    """Variance of the inputs along right singular vectors over that along random ones, by tenth and over training.

    Parameters
    ----------
    table : pandas.DataFrame
        See `overlaps`. Lines are means over layers.
    """
    fig, axs = plt.subplots(1, 3, figsize=(8.5, 2.3), sharey=True)
    for kind, rows in table.groupby("kind", sort=False):
        tenths = np.array([[part.mean() for part in np.array_split(curve, 10)] for curve in rows.variance])
        style = {"marker": ".", "color": figures.kind_colors()[kind], "label": kind}
        axs[0].plot(range(1, 11), tenths[rows.step == table.step.max()].mean(0), **style)
        by_step = pd.DataFrame(tenths[:, [0, -1]], rows.step).groupby(level=0).mean()
        for ax, part in zip(axs[1:], by_step, strict=True):
            ax.plot(by_step.index, by_step[part], **style)
    axs[0].set(title="last step", xlabel="tenth (1: the largest)", xticks=range(1, 11), ylabel="variance read / random")
    for ax, title in zip(axs[1:], ("largest tenth", "smallest tenth"), strict=True):
        ax.set(title=title, xlabel="training step")
        figures.steps_axis(ax, table.step)
    for ax in axs:
        ax.axhline(1, color=figures.GREY, lw=2.5, zorder=0)
    figures.log_axis(axs[0].yaxis)
    axs[0].legend(fontsize="xx-small", ncols=2)
    return fig


def deciles(table, single):
    """What each tenth of the singular values is worth: by kind in all layers, and in single layers.

    Parameters
    ----------
    table, single : pandas.DataFrame
        Of `nla.running.surgery.deciles`, one loss named "loss": all layers at once, and layer by layer for some tenths.
    """
    kinds = list(dict.fromkeys(table.kind))
    fig, axs = plt.subplots(1, 3, figsize=(9.8, 2.6), width_ratios=(1.3, 1, 1))
    shades = figures.kind_colors()
    for i, kind in enumerate(kinds):
        rows = table[table.kind == kind].sort_values("part")
        error = 2 * rows.loss_error if "loss_error" in rows else None
        x = rows.part + (i - (len(kinds) - 1) / 2) * 0.07
        axs[0].errorbar(x, rows.loss, error, color=shades[kind], marker=".", lw=1.2, elinewidth=0.7, label=kind)
    axs[0].set(title="all layers", xlabel="tenth taken out (1: the largest)", xticks=sorted(table.part.unique()))
    largest, smallest = single.part.min(), single.part.max()
    for ax, part, title in ((axs[1], largest, "the largest tenth"), (axs[2], smallest, "the smallest tenth")):
        for kind in kinds:
            rows = single[(single.kind == kind) & (single.part == part)].sort_values("layer")
            error = 2 * rows.loss_error if "loss_error" in rows and part == smallest else None
            ax.errorbar(
                rows.layer, rows.loss, error, marker=".", color=shades[kind], lw=1.2, elinewidth=0.5, label=kind
            )
        ax.set(title=f"{title}, one layer", xlabel="layer")
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in axs:
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.axhline(0, color=figures.GREY, lw=2.5, zorder=0)
    axs[0].set_ylabel("rise of the loss [nats per token]")
    axs[1].legend(*axs[0].get_legend_handles_labels(), fontsize="xx-small", loc=(0.3, 0.12), ncols=2)
    return fig


def fine_tuned(later, around):
    """What the smallest tenth of a kind is worth for answers: by stage, and taken out before or after fine-tuning.

    Parameters
    ----------
    later, around : pandas.DataFrame
        kind, rise, error and, in the first, stage, in the second, taken (of `fine_tuning.before_and_after`); either
        may be empty. Bars are two standard errors.
    """
    fig, axs = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True)
    kinds = list(dict.fromkeys([*(later.kind if len(later) else ()), *(around.kind if len(around) else ())]))
    stages = list(dict.fromkeys(later.stage)) if len(later) else []
    shades = ["black", *list(colors(["", *stages]).values())[1:]]
    styles = {stage: ("o", shade, stage) for stage, shade in zip(stages, shades, strict=False)}
    _dots(axs[0], later, "stage", styles, kinds)
    _dots(axs[1], around, "taken", {name: (*style, TAKEN_LABELS[name]) for name, style in TAKEN.items()}, kinds)
    axs[0].set(title="at each stage", ylabel="rise of the loss on answers")
    axs[1].set_title("short fine-tuning")
    return fig


def _dots(ax, table, column, styles, kinds):
    """Dots with error bars by kind, side by side for each value of `column`: {value: (marker, colour, label)}."""
    for i, (value, (marker, color, label)) in enumerate(styles.items()):
        rows = table[table[column] == value] if len(table) else table
        if len(rows):
            x = rows.kind.map(kinds.index) + (i - (len(styles) - 1) / 2) * 0.2
            ax.errorbar(x, rows.rise, 2 * rows.error, fmt=marker, color=color, ms=4, lw=1, label=label)
    ax.axhline(0, color=figures.GREY, lw=2.5, zorder=0)
    ax.set_xticks(range(len(kinds)), kinds, rotation=25, ha="right", rotation_mode="anchor", fontsize="small")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize="x-small")
