"""Figures of what sketches cost and know, and of training with projected gradients."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import NullFormatter

from nla import figures
from nla.studies.randomised_nla import tables


def stated_against_true(table, names):
    """One panel per name: how far each estimate is off against how far it says it may be, both relative; a point each.

    Points above the grey line are outside their intervals, which 1 in 20 may be.
    """
    high = -(-len(names) // 4)
    fig, grid = plt.subplots(high, 4, figsize=(11.2, 2.6 * high + 0.5), layout="constrained", squeeze=False)
    axs = grid.ravel()
    for ax in axs[len(names) :]:
        ax.axis("off")
    for ax, (name, title) in zip(axs, names.items(), strict=False):
        rows = table[table[f"{name}_off"].notna() & (table[f"{name}_error"] > 0)]
        x, y = rows[f"{name}_error"], rows[f"{name}_off"].abs().clip(lower=1e-7)
        ax.set(title=title)
        if rows.empty:
            continue
        low, high = x.min() / 1.5, x.max() * 1.5
        ax.plot([low, high], [low, high], color=figures.GREY, lw=2.5, zorder=0)
        for kind, each in rows.groupby("kind", sort=False):
            ax.plot(x[each.index], y[each.index], ".", color=figures.kind_colors()[kind], ms=4, label=kind)
        ax.set(xscale="log", yscale="log", xlabel="stated error (95 %)")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(xlim=(low, high), ylim=(max(y.min() / 2, 1e-5 * high), 2 * high))
    for row in grid:
        row[0].set_ylabel("true error")
    handles, labels = max((ax.get_legend_handles_labels() for ax in axs), key=lambda both: len(both[1]))
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small", markerscale=2)
    return fig


def through_training(exact, sketched, column, ylabel):
    """One panel per kind, the middle layer: exact values as a line, sketched ones with their error bars."""
    fig, axs = figures.panels(exact.kind.unique())
    for kind, ax in axs.items():
        rows = exact[exact.kind == kind]
        layer = np.sort(rows.layer.unique())[rows.layer.nunique() // 2]
        for table, bars in ((rows, False), (sketched[sketched.kind == kind], True)):
            table = table[table.layer == layer].sort_values("step")
            if bars:
                error = table[f"{column}_error"]
                ax.errorbar(table.step, table[column], error, fmt="o", ms=3, lw=1, color="black", label="sketch")
            else:
                ax.plot(table.step, table[column], color=figures.kind_colors()[kind], lw=2, label="exact")
        figures.steps_axis(ax, exact.step)
    figures.label_outer(axs, ylabel, "training step")
    next(iter(axs.values())).legend(fontsize="small")
    return fig


def density(quadrature, s, edges, title):
    """Share of singular values below x: exact, and from quadrature, whose stairs bound it where they rise."""
    fig, ax = plt.subplots(figsize=(6.5, 3.4))
    ordered = np.sort(s)
    ax.plot(ordered, np.arange(1, len(s) + 1) / len(s), color="black", lw=1, label="exact")
    nodes, weights = (part.ravel() for part in quadrature.gauss)
    order = np.argsort(nodes)
    heights = np.cumsum(weights[order]) / len(quadrature.gauss[0])
    ax.step(nodes[order], heights, where="post", color="C1", lw=1.2, label="quadrature, mean of all probes")
    for probe, weight in zip(*quadrature.gauss, strict=True):
        order = np.argsort(probe)
        ax.step(probe[order], np.cumsum(weight[order]), where="post", color="C1", lw=0.4, alpha=0.5)
    for edge in edges:
        ax.axvline(edge, color=figures.GREY, lw=2.5, zorder=0, label="random edges" if edge == edges[0] else None)
    ax.set(xlabel="singular value", ylabel="share below", title=title)
    ax.legend(fontsize="small")
    return fig


def costs(table, estimators):
    """By the shorter side: time of an exact spectrum over a sketched one, the same of single estimators, and the error
    of the effective rank.

    In the middle panel lines are of square matrices, but for the dashed one. In the last one points are true errors,
    the line joins those stated for square matrices of Gaussian entries.
    """
    fig, axs = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained")
    markers = {"query": "o", "dense_h_to_4h": "s", "embed_in": "^"}
    for (kind, spiked), rows in table.sort_values("cols").groupby(["kind", "spiked"], sort=False):
        style = dict(color=figures.kind_colors()[kind], marker=markers[kind], ms=5, ls="--" if spiked else "-")
        style |= dict(mfc="white") if spiked else {}
        ratio = rows.exact_seconds / rows.sketched_seconds
        axs[0].plot(rows.cols, ratio, **style, label=f"{kind}{', spiked' if spiked else ''}")
        axs[2].plot(rows.cols, (rows.effective_rank_off / rows.effective_rank).abs(), **style | dict(ls=""))
    square = table[(table.kind == "query") & ~table.spiked].sort_values("cols")
    stated = square.effective_rank_error / square.effective_rank
    axs[2].plot(square.cols, stated, color="0.3", lw=1, label="stated, query")
    single = estimators[estimators.spiked & ~estimators.quantity.isin(["nuclear norm", "below the edge"])]
    for i, (name, rows) in enumerate(single.groupby("quantity", sort=False)):
        label = "density: counts, nuclear norm" if name == "above the edge" else name
        for kind in ("query", "embed_in") if "krylov" in name else ("query",):
            each, own = rows[rows.kind == kind], kind == "query"
            style = dict(marker=markers[kind], ms=4, color=f"C{i}", ls="-" if own else "--")
            ratio = each.exact_seconds / each.seconds
            axs[1].plot(each.cols, ratio, **style, label=label if own else f"block_krylov, {kind}")
    labels = ("time, exact / sketched spectrum", "time, exact / sketch, query, spiked", "error of the effective rank")
    for ax, label in zip(axs, labels, strict=True):
        ax.set(yscale="log", xlabel="shorter side", ylabel=label)
        figures.log_axis(ax.xaxis)
        ax.legend(fontsize="x-small")
    for ax in axs[:2]:
        ax.axhline(1, color=figures.GREY, lw=2.5, zorder=0)
        figures.log_axis(ax.yaxis)
    return fig


def training():
    """The committed runs: loss above AdamW's, energy of the gradient that is kept, and stable rank of gradients."""
    runs, beyond = tables.runs(), tables.excess()
    labels = [name for name in beyond if name != "AdamW"]
    palette = dict(zip(labels, sns.color_palette("colorblind", len(labels)), strict=True))
    palette = {k: figures.GREY if "random" in k else v for k, v in palette.items()}
    fig, axs = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    reference = runs[runs.label == "AdamW"].set_index(["seed", "step"]).held_out_loss
    for name in labels:
        own = runs[(runs.label == name) & (runs.step > 0)].set_index(["seed", "step"]).held_out_loss
        more = (own - reference.reindex(own.index)).groupby("step")
        axs[0].fill_between(more.mean().index, more.min(), more.max(), color=palette[name], alpha=0.2, lw=0)
        axs[0].plot(more.mean(), color=palette[name], marker=".", label=name)
    axs[0].axhline(0, color="black", lw=1)
    axs[0].set(xlabel="training step", ylabel="held-out loss above AdamW's [nats]")
    fig.legend(loc="outside lower left", ncols=len(labels), fontsize="small")  # of the left and the middle panel
    for name, rows in tables.captured().groupby("label", sort=False):
        looks = rows.groupby("step")[["stale", "fresh"]].mean()
        points = [(step, value) for step, look in looks.iterrows() for value in look.dropna()]
        axs[1].plot(*zip(*points, strict=True), color=palette[name], marker=".", ms=4)
    axs[1].set(xlabel="training step", ylabel="gradient energy that the projector keeps", ylim=(0, 1))
    gradients = tables.gradients()
    for kind, rows in gradients.groupby("matrix", sort=False):
        color = figures.kind_colors().get(kind, "black")  # query, key and value are one gradient
        axs[2].plot(rows.groupby("step").stable_rank.median(), color=color, marker=".", label=kind)
    axs[2].set(xlabel="training step", ylabel="stable rank of the gradient, AdamW")
    figures.steps_axis(axs[2], gradients.step)
    figures.log_axis(axs[2].yaxis)
    axs[2].legend(fontsize="x-small")
    return fig
