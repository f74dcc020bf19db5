"""Figures of layers replaced by low-rank factors."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import LogNorm, Normalize

from nla import figures

WAYS = {  # ways to find factors -> colour, in all figures
    "truncated SVD": 1,
    "randomised SVD": 4,
    "scaled (ASVD)": 5,
    "whitened": 0,
    "whitened, with bias": 2,
}


def _colors(names):
    palette = sns.color_palette("Dark2", 8)
    return {name: palette[WAYS.get(name, i)] for i, name in enumerate(names)}


def methods(table):
    """A column per matrix: errors in weights (up) and in outputs (down) against rank / break-even, a line per method.

    `table`: of `calibration.compare_methods`. Grey: a random matrix, its error in the weights by truncation (up) and in
    the outputs by whitening (down); grey and dotted, down: the matrix with random right singular vectors.
    """
    names, colors = list(dict.fromkeys(table.matrix)), _colors(dict.fromkeys(table.method))
    styles = dict(zip(colors, ("-", ":", "-.", "-", "--"), strict=False))
    fig, axs = plt.subplots(2, len(names), figsize=(3.4 * len(names), 5), sharex=True, sharey="row", squeeze=False)
    for name, (top, bottom) in zip(names, axs.T, strict=True):
        rows = table[table.matrix == name]
        for ax, column in ((top, "weights"), (bottom, "outputs")):
            for method, part in rows.groupby("method", sort=False):
                ax.plot(part.relative, part[column], styles[method], color=colors[method], lw=1.6, label=method)
            ax.axvline(1, color="0.3", lw=0.8, ls="--")
            ax.set_ylim(0, 1)
        part = rows[rows.method == rows.method.iloc[0]]
        top.plot(part.relative, part.random, color=figures.GREY, lw=2.5, zorder=0, label="random matrix")
        bottom.plot(part.relative, part.gaussian, color=figures.GREY, lw=2.5, zorder=0)
        top.plot([], [], ":", color=figures.GREY, lw=2.5, label="right vectors turned")
        bottom.plot(part.relative, part.turned, ":", color=figures.GREY, lw=2.5, zorder=0)
        top.set_title(name, fontsize="medium")
        bottom.set_xlabel("rank / break-even rank")
    axs[0, 0].set_ylabel("error in weights")
    axs[1, 0].set_ylabel("error in held-out outputs")
    handles, labels = axs[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, fontsize="small", loc="outside right center")
    return fig


def regression(first, second, closed):
    """Residuals against steps of Adam: llm_lora's Experiment 1 (left) and 2 (right), and the closed form.

    Parameters
    ----------
    first : pandas.DataFrame
        step, layer, residual (of the sum of squares), rate ("constant" or "falling to 0").
    second : pandas.DataFrame
        step, relative (held-out error), rate.
    closed : float
        The error of the closed form in the second.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6))
    depth = Normalize(0, max(first.layer.max(), 1))
    for (rate, layer), rows in first.groupby(["rate", "layer"], sort=False):
        style = "-" if rate == "constant" else ":"
        label = f"layer {layer}, rate {rate}"
        left.plot(rows.step, rows.residual, style, color=figures.DEPTH(depth(layer)), lw=1.5, label=label)
    left.set(xscale="log", yscale="log", xlabel="steps of Adam", ylabel="residual / sum of squares")
    left.set_title("one prompt, rank above its length: 0 is possible", fontsize="medium")
    left.legend(fontsize="x-small")
    for rate, rows in second.groupby("rate", sort=False):
        right.plot(
            rows.step, rows.relative, "-", color=plt.cm.Dark2(1 + list(second.rate.unique()).index(rate)), label=rate
        )
    right.axhline(closed, color="black", lw=1.5, label="closed form")
    right.set(xscale="log", xlabel="steps of Adam, a prompt each", ylabel="held-out output error")
    right.set_title("many prompts, half the rank", fontsize="medium")
    figures.log_axis(right.yaxis)
    right.legend(fontsize="x-small", title="learning rate", title_fontsize="x-small")
    return fig


def controls(samples, table, shown):
    """Left: loss difference against the number of windows. Right: by layer and way; 95 % intervals in both.

    `samples`: of `controls.by_samples`; `shown`: the layer they are of.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.7), width_ratios=(1, 1.25))
    colors = dict(zip(dict.fromkeys(table.way), (*sns.color_palette("Dark2", 2)[::-1], "0.62", "black"), strict=False))
    for i, (way, rows) in enumerate(samples.groupby("way", sort=False)):
        x = rows.windows * 1.06 ** (i - 1.5)
        left.errorbar(x, rows["mean"], _bars(rows), fmt="o-", ms=4, lw=1.2, color=colors[way], label=way)
    left.axhline(0, color="0.3", lw=0.8)
    left.set_xscale("log", base=2)
    left.set(xlabel="evaluation windows", ylabel="loss - loss of the whole model [nats]")
    left.set_title(f"MLP of layer {shown}", fontsize="medium")
    left.xaxis.set_major_formatter("{x:g}")
    for i, (way, rows) in enumerate(table.groupby("way", sort=False)):
        x = rows.layer + 0.16 * (i - 1.5)
        right.errorbar(x, rows["mean"], _bars(rows), fmt="o", ms=4, lw=1.2, color=colors[way], label=way)
    right.set_yscale("symlog", linthresh=0.01)
    right.axhline(0, color="0.3", lw=0.8)
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="layer whose MLP is replaced", ylabel="loss - loss of the whole model [nats]")
    right.legend(fontsize="small")
    return fig


def _bars(rows):
    return [rows["mean"] - rows.low, rows.high - rows["mean"]]


def sensitivity(table):
    """One panel per kind: layer by share of parameters kept, colour = rise of the loss on a logarithmic scale."""
    fig, axs = figures.panels(table.kind.unique(), width=2.7, height=2.4)
    floor = max(table.rise.max() * 1e-4, 1e-12)
    norm = LogNorm(floor, max(table.rise.max(), 10 * floor))
    for kind, ax in axs.items():
        grid = table[table.kind == kind].pivot(index="layer", columns="fraction", values="rise").clip(lower=floor)
        image = ax.imshow(grid, origin="lower", aspect="auto", interpolation="nearest", cmap="mako_r", norm=norm)
        ax.set_xticks(range(grid.shape[1]), [f"{f:g}" for f in grid.columns], fontsize="small")
        ax.set_yticks(range(len(grid)), grid.index, fontsize="small")
        if len(grid) > 12:
            ax.set_yticks(range(0, len(grid), len(grid) // 6), grid.index[:: len(grid) // 6])
    figures.label_outer(axs, "layer", "share of parameters kept")
    fig.colorbar(image, ax=list(axs.values()), label="rise of the loss [nats]", aspect=40)
    return fig


def lines(table, x, xlabel, whole):
    """Loss against column `x`, a line per way; grey: the model as it is."""
    fig, ax = plt.subplots(figsize=(6.4, 3.8))
    palette = sns.color_palette("Dark2", 8)
    order = [1, 0, 2, 3]  # truncated SVD has the colour that it has elsewhere
    for place, (way, rows) in zip(order, table.groupby("way", sort=False), strict=False):
        ax.plot(rows[x], rows.loss, "o-", ms=4, lw=1.5, color=palette[place], label=way)
    ax.axhline(whole, color=figures.GREY, lw=2.5, zorder=0, label="whole model")
    ax.set(xlabel=xlabel, ylabel="held-out loss [nats per token]")
    ax.legend(fontsize="small")
    return fig


def training(table):
    """Left: loss over training, whole and with all matrices replaced. Right: its rise by kind, in the kind's colour."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    everything = table[table["what"] == "all"]
    whole = everything.groupby("step").whole.first()
    left.plot(whole.index, whole, "o-", ms=3, color="black", label="whole model")
    for way, rows in everything.groupby("way", sort=False):
        left.plot(rows.step, rows.loss, "o-", ms=3, color=_colors([way])[way], label=way)
    left.set_ylabel("held-out loss [nats per token]")
    left.legend(fontsize="small")
    for kind, rows in table[table["what"] != "all"].groupby("what", sort=False):
        right.plot(rows.step, rows.rise, "o-", ms=3, color=figures.kind_colors()[kind], label=kind)
    right.set_yscale("symlog", linthresh=0.01)
    right.axhline(0, color="0.3", lw=0.8)
    right.set_ylabel("rise of the loss [nats], whitened")
    right.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    for ax in (left, right):
        figures.steps_axis(ax, np.array(table.step))
        ax.set_xlabel("training step")
    return fig
