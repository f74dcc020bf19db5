"""Figures of chains of stages: pretraining and what follows on one axis, and the updates side by side."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize

from nla import figures, matrices
from nla.figures.parts import PRETRAINING, colors
from nla.studies.fine_tuning_stages.stage_changes import COLUMNS, change_table, draws, intervals


def over_stages(before, after, column, ylabel=None, baseline=None, log=False):
    """One panel per kind: `column` against training step, and behind the broken line at each stage; colour = depth."""
    kinds = [kind for kind in matrices.KINDS if kind in set(before.kind)]
    fig, axs = figures.panels(kinds, 2.9, 2.2, sharey=True)
    depth, last = Normalize(0, max(before.layer.max(), 1)), np.log1p(max(before.step.max(), 1))
    later = after[after.step > after.step.min()]
    stages = list(dict.fromkeys(later.stage))
    places = {stage: 1.12 + 0.14 * i for i, stage in enumerate(stages)}
    for kind, ax in axs.items():
        for layer, rows in before[before.kind == kind].sort_values("step").groupby("layer"):
            color = figures.DEPTH(depth(layer)) if layer >= 0 else "black"
            tail = later[(later.kind == kind) & (later.layer == layer)].sort_values("step")
            x, y = np.log1p(rows.step) / last, rows[column]
            ax.plot(x, y, color=color, lw=1.4, marker=".", ms=4)
            stage_x, stage_y = [x.iloc[-1], *tail.stage.map(places)], [y.iloc[-1], *tail[column]]
            ax.plot(stage_x, stage_y, color=color, lw=1.4, ls=":", marker=".", ms=6)
        if isinstance(baseline, str):
            ax.plot(
                x,
                before[(before.kind == kind) & (before.layer == layer)][baseline],
                color=figures.GREY,
                lw=2.5,
                zorder=0,
            )
        elif baseline is not None:
            ax.axhline(baseline, color=figures.GREY, lw=2.5, zorder=0, label="random matrix")
        steps = [0, *(10**i for i in range(1, int(np.log10(max(before.step.max(), 1))) + 1))]
        ax.set_xticks(
            [*np.log1p(steps) / last, *places.values()], [*(f"{s:,}" for s in steps), *stages], fontsize="x-small"
        )
        ax.axvline(1.05, color="0.3", lw=0.8, ls="--")
        if log:
            figures.log_axis(ax.yaxis)
    figures.finish(fig, axs, before, ylabel or column, "training step | stage", depth)
    return fig


def by_kind(table, columns):
    """One panel per column, {column: (label, random value or None, log)}: a dot per layer, by kind, colour = update."""
    kinds = [kind for kind in matrices.KINDS if kind in set(table.kind)]
    names = list(dict.fromkeys(table["update"]))
    fig, axs = plt.subplots(1, len(columns), figsize=(4.2 * len(columns), 3.4), squeeze=False)
    for ax, (column, (label, random, log)) in zip(axs.flat, columns.items(), strict=True):
        for i, name in enumerate(names):
            rows = table[table["update"] == name]
            x = rows.kind.map(kinds.index) + (i - (len(names) - 1) / 2) * 0.22
            ax.plot(x, rows[column], "o", ms=3.5, mew=0, color=colors(names)[name], label=name)
        if isinstance(random, str):
            ax.plot(table.kind.map(kinds.index), table[random], "_", ms=14, mew=2, color=figures.GREY, zorder=0)
        elif random is not None:
            ax.axhline(random, color=figures.GREY, lw=2.5, zorder=0)
        if log:
            figures.log_axis(ax.yaxis)
        ax.set_xticks(range(len(kinds)), kinds, rotation=40, ha="right", rotation_mode="anchor", fontsize="small")
        ax.set_ylabel(label)
    axs.flat[-1].legend(fontsize="small")
    return fig


def deciles(table):
    """One panel per kind: share of the update along each tenth of the singular directions before it, over random.

    Full lines what the matrix puts out, dashed what it takes in; medians over layers.
    """
    names = list(dict.fromkeys(table["update"]))
    fig, axs = figures.panels(table.kind.unique(), sharey=True)
    for kind, ax in axs.items():
        for name in names:
            rows = table[(table.kind == kind) & (table["update"] == name)]
            for side, style in (("out", "-"), ("in", "--")):
                shares = np.median(np.stack(list(rows[f"delta_deciles_{side}"])), axis=0)
                x = np.arange(1, len(shares) + 1)
                ax.plot(x, shares, style, color=colors(names)[name], lw=1.4, label=f"{name}, {side}")
        ax.axhline(1, color=figures.GREY, lw=2.5, zorder=0)
        ax.set_xticks([1, 5, 10])
        figures.log_axis(ax.yaxis)
    figures.label_outer(axs, "share / random", "tenth, largest s first")
    handles, labels = next(iter(axs.values())).get_legend_handles_labels()
    fig.legend(handles, labels, fontsize="x-small", loc="outside right center")
    return fig


def spectra(before, after):
    """One panel per kind: by how much singular values change in each update, percent; medians over layers, smoothed."""
    found = intervals(before, after)
    names = [name for name, *_ in found]
    fig, axs = figures.panels(before.kind[before.layer >= 0].unique(), sharey=True)
    for name, *ends in found:
        then, now = (rows.set_index(["kind", "layer"]).singular_values for rows in ends)
        for kind, ax in axs.items():
            pairs = [(then[key], now[key]) for key in now.index if key[0] == kind and key in then.index]
            change = [100 * (np.asarray(b, dtype=float) / np.asarray(a, dtype=float) - 1) for a, b in pairs]
            if change:
                medians = np.array_split(np.median(change, axis=0), min(25, len(change[0])))
                x = (np.arange(len(medians)) + 0.5) / len(medians)
                ax.plot(x, [part.mean() for part in medians], color=colors(names)[name], lw=1.4, label=name)
    for ax in axs.values():
        ax.axhline(0, color="0.3", lw=0.8, zorder=0)
        ax.set_yscale("symlog", linthresh=1)
    axs[next(iter(axs))].legend(fontsize="x-small")
    figures.label_outer(axs, "change of s [%]", "index / r, largest s first")
    return fig


def by_size(before, table, lengths=None, controls=None, column="delta_stable_rank_relative", ylabel=None):
    """`column` of every saved update of pretraining and of the stages against its size and, if known, its length.

    Medians over the matrices of layers, bars the middle half; pretraining's points carry the step they end at.
    Updates of nothing are left out.

    Parameters
    ----------
    before, table : pandas.DataFrame
        Of the ladder, and of `stage_changes.updates`.
    lengths : dict, optional
        stage -> number of updates.
    controls : pandas.DataFrame, optional
        Of `nla.studies.fine_tuning_stages.controls.of_chain`; open circles.
    """
    ladder = before[(before.layer >= 0) & (before.delta_norm > 0)]
    table = table[(table.layer >= 0) & (table["update"] != PRETRAINING) & (table.delta_norm > 0)]
    if ladder.empty and table.empty:
        return plt.figure()
    shades = colors([PRETRAINING, *dict.fromkeys(table["update"])])
    axes = {"delta_norm": "||update|| / ||W||"} | ({"length": "updates"} if lengths else {})
    fig, axs = plt.subplots(1, len(axes), figsize=(4.4 * len(axes), 3.4), sharey=True, squeeze=False)
    dots = [(name, rows, {"label": name}) for name, rows in table.groupby("update", sort=False)]
    for name, rows in controls.groupby("stage", sort=False) if controls is not None else ():
        dots.append((name, rows, {"mfc": "white", "label": f"pretraining as long as {name}"}))

    def place(ax, x, rows, **style):
        low, middle, high = rows[column].quantile([0.25, 0.5, 0.75])
        ax.errorbar(x, middle, [[middle - low], [high - middle]], ms=5, elinewidth=0.7, **style)

    for ax, (of, xlabel) in zip(axs.flat, axes.items(), strict=True):
        ladder_x = ladder.delta_norm if of == "delta_norm" else ladder.update_steps
        points = ladder.assign(x=ladder_x).groupby("step")[["x", column]].median()
        ax.plot(points.x, points[column], color="black", lw=0.8, zorder=1)
        for step, rows in ladder.groupby("step"):
            label, at = PRETRAINING if step == points.index[0] else None, (points.x[step], points[column][step])
            place(ax, points.x[step], rows, fmt=".", color="black", label=label)
            ax.annotate(f"{step:,}", at, (3, -8), textcoords="offset points", fontsize=6)
        for name, rows, style in dots:
            if name in shades and (of == "delta_norm" or name in lengths):
                x = rows.delta_norm.median() if of == "delta_norm" else lengths[name]
                place(ax, x, rows[rows.layer >= 0], fmt="o", color=shades[name], **style)
        ax.axhline(1, color=figures.GREY, lw=2.5, zorder=0)
        figures.log_axis(ax.yaxis)
        ax.set(xscale="log", xlabel=xlabel)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axs.flat[0].set_ylabel(ylabel or column)
    axs.flat[-1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def change_dots(found, random=None, labels=COLUMNS):
    """A row per measure: median of |change| over matrices in each update; grey, that of random updates of its norm.

    Parameters
    ----------
    found, random : pandas.DataFrame
        See `stage_changes.change_table`.
    """
    table = change_table(found, random)
    names = list(dict.fromkeys(found["update"]))
    fig, ax = plt.subplots(figsize=(7.6, 0.3 * len(table) + 1.2))
    for i, name in enumerate(names):
        y = np.arange(len(table)) + (i - (len(names) - 1) / 2) * 0.26
        if (name, "random") in table:
            for j, (_, draw) in enumerate(draws(random, name).iterrows()):
                label = None if i or j else "random update\nof that norm"
                ax.plot(draw.reindex(table.index), y, "|", ms=6, mew=1.6, color=figures.GREY, label=label, zorder=1)
        ax.plot(table[name, "change"], y, "o", ms=4.5, mew=0, color=colors(names)[name], label=name)
    ax.set_xscale("symlog", linthresh=1e-3, linscale=0.5)
    ticks = [0, 0.001, 0.01, 0.1, 1, 10, 100]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_yticks(range(len(table)), [labels.get(name, name) for name in table.index], fontsize="small")
    ax.set_yticks(np.arange(len(table) + 1) - 0.5, minor=True)
    ax.grid(axis="y", which="minor", lw=0.4)
    ax.tick_params(axis="y", which="minor", length=0)
    ax.set(xlabel="|change| [%], median over all matrices", ylim=(len(table) - 0.5, -0.5), xlim=(-1e-4, None))
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
