"""The few standard plots over steps, layers and kinds."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize

from nla.figures.parts import (
    DEPTH,
    GREY,
    STEPS,
    finish,
    kind_colors,
    label_outer,
    log_axis,
    panels,
    steps_axis,
    steps_bar,
)
from nla.matrices.families import KINDS


def over_steps(table, column, ylabel=None, baseline=None, log=False, sharey=True, null="random matrix"):
    """One panel per kind, one line per layer coloured by depth, `column` against training step.

    Hollow points are not training: the weights there are a copy of another checkpoint's, see `copied`.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `nla.scan`, or of `nla.compare`, whose models differ in the style of their lines.
    baseline : number, or name of a column, optional
        The value for a random matrix of that shape; drawn in the series' grey.
    """
    fig, axs = panels(table.kind.unique(), sharey=sharey)
    if not axs:
        return fig
    depth, copies, styles = Normalize(0, max(table.layer.max(), 1)), copied(table), _styles(table)
    for kind, ax in axs.items():
        for (model, layer), rows in (
            table[table.kind == kind].sort_values("step").groupby(["model", "layer"], sort=False)
        ):
            color = DEPTH(depth(layer)) if layer >= 0 else "black"
            ax.plot(rows.step, rows[column], color=color, ls=styles[model], lw=1.4, marker=".", ms=4)
            again = rows[rows.step.isin(copies)]
            ax.plot(again.step, again[column], "o", color=color, ms=5, mfc="white", mew=1, label="_")
            if isinstance(baseline, str):
                ax.plot(rows.step, rows[baseline], color=GREY, lw=2.5, zorder=0, label=null)
        if baseline is not None and not isinstance(baseline, str):
            ax.axhline(baseline, color=GREY, lw=2.5, zorder=0, label=null)
        steps_axis(ax, table.step)
    if log:
        for ax in axs.values():
            log_axis(ax.yaxis)
    finish(fig, axs, table, ylabel or column, "training step", depth)
    _name_models(fig, styles)
    return fig


def _styles(table):
    """{model: line style}."""
    return dict(zip(table.model.unique(), itertools.cycle(("-", "--", ":", "-.")), strict=False))


def _name_models(fig, styles):
    if len(styles) > 1:
        lines = [plt.Line2D([], [], color="0.3", ls=style, label=model) for model, style in styles.items()]
        fig.legend(handles=lines, loc="outside upper right", ncols=len(lines), fontsize="small")


def over_kinds(table, columns, ylabel=None, random=None, **options):
    """One panel per column in `columns`, one line per kind in its colour, means over layers against training step.

    Parameters
    ----------
    random : str, optional
        Prefix of the columns of `table` that hold the value of each column for a random matrix; drawn in grey.
    """
    size = (3.3 * max(len(columns), 2), 3.4)
    fig, axs = plt.subplots(1, len(columns), figsize=size, sharex=True, squeeze=False, **options)
    styles = _styles(table)
    for ax, column in zip(axs[0], columns, strict=True):
        for (model, kind), rows in table.groupby(["model", "kind"], sort=False):
            means = rows.groupby("step")
            if random is not None:
                means[random + column].mean().plot(ax=ax, color=GREY, lw=2.5, marker="o", ms=3, zorder=0, label="")
            style = {"ls": styles[model], "label": kind if model == table.model.iloc[0] else "_"}
            means[column].mean().plot(ax=ax, color=kind_colors()[kind], lw=1.3, marker=".", ms=5, **style)
        steps_axis(ax, table.step)
        ax.set(title=column, xlabel="training step")
    axs[0, 0].set_ylabel(ylabel)
    axs[0, 0].legend(fontsize="x-small")
    _name_models(fig, styles)
    return fig


def over_layers(table, column, ylabel=None, baseline=None, log=False):
    """One panel per kind, one line per checkpoint coloured by step, `column` against layer; no embeddings."""
    table = table[table.layer >= 0]
    fig, axs = panels(table.kind.unique(), sharey=True)
    if not axs:
        return fig
    scale = Normalize(0, np.log1p(table.step.max()) or 1)
    for kind, ax in axs.items():
        for step, rows in table[table.kind == kind].sort_values("layer").groupby("step"):
            ax.plot(rows.layer, rows[column], color=STEPS(scale(np.log1p(step))), lw=1.4, marker=".", ms=4)
        if baseline is not None:
            ax.axhline(baseline, color=GREY, lw=2.5, zorder=0)
        ax.xaxis.get_major_locator().set_params(integer=True)
    if log:
        for ax in axs.values():
            log_axis(ax.yaxis)
    label_outer(axs, ylabel or column, "layer")
    steps_bar(fig, list(axs.values()), table.step)
    return fig


def heatmap(table, column, label=None, **limits):
    """One panel per kind: layer (up) by checkpoint (right), colour = `column`; no embeddings."""
    table = table[table.layer >= 0]
    fig, axs = panels(table.kind.unique())
    if not axs:
        return fig
    limits = {"vmin": table[column].min(), "vmax": table[column].max(), "cmap": "mako"} | limits
    for kind, ax in axs.items():
        grid = table[table.kind == kind].pivot(index="layer", columns="step", values=column)
        image = ax.imshow(grid, origin="lower", aspect="auto", interpolation="nearest", **limits)
        shown = np.unique(np.linspace(0, grid.shape[1] - 1, 5).astype(int))
        ax.set_xticks(shown, [f"{grid.columns[i]:,}" for i in shown])
        ax.yaxis.get_major_locator().set_params(integer=True)
    label_outer(axs, "layer", "training step")
    fig.colorbar(image, ax=list(axs.values()), label=label or column, aspect=40)
    return fig


def copied(table):
    """Steps whose weights are not their own: later copies of a checkpoint, and earlier ones of the last."""
    if "duplicate_of" not in table:
        return set()
    steps = table[["revision", "step", "duplicate_of"]].drop_duplicates("revision")
    groups = steps.groupby(steps.duplicate_of.fillna(steps.revision)).step
    own = [group.max() if group.max() == table.step.max() else group.min() for _, group in groups]
    return set(steps.step) - set(own)


def add_curve(fig, table, column, label, **style):
    """Draw the mean of `column` over layers into every kind's panel of a figure of `over_steps` of the same kinds."""
    kinds = [k for k in KINDS if k in set(table.kind)]
    for kind, ax in zip(kinds, fig.axes, strict=False):
        mean = table[table.kind == kind].groupby("step")[column].mean()
        ax.plot(mean.index, mean, label=label, **{"zorder": 0} | style)
