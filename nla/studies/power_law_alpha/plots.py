"""Figures of alpha: through training over its random band, its averages and checks, its jumps, and planted tails."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nla import figures
from nla.figures.spectra import spaced
from nla.measures.verdicts import word
from nla.numerics import tails

VERDICT_COLORS = ("0.82", "#f0c05a", "#3a9d6b")  # SPURIOUS, WEAK, VALID
TICKS = (1, 2, 3, 4, 6, 8, 12, 20, 40)
STEPS_SHOWN = 16  # columns with a number each that fit in a figure


def through_training(table):
    """One panel per kind: alpha of each layer, the bootstrap of the median layer, and the band of random matrices."""
    fig, axs = figures.panels(table.kind.unique(), sharey=True)
    depth = Normalize(0, max(table.layer.max(), 1))
    for kind, ax in axs.items():
        rows, color = table[table.kind == kind].sort_values("step"), figures.kind_colors()[kind]
        columns = ["alpha", "alpha_16", "alpha_84", "alpha_random_05", "alpha_random_50", "alpha_random_95"]
        middle = rows.groupby("step")[columns].median()
        band = ax.fill_between(middle.index, middle.alpha_random_05, middle.alpha_random_95, color="0.88", lw=0)
        (null,) = ax.plot(middle.index, middle.alpha_random_50, color=figures.GREY, lw=2.5, marker=".")
        for layer, line in rows.groupby("layer"):
            ax.plot(line.step, line.alpha, color=figures.DEPTH(depth(layer)) if layer >= 0 else "black", lw=0.8)
        known = middle.dropna()  # bootstraps are made at some steps only
        ax.fill_between(known.index, known.alpha_16, known.alpha_84, color=color, alpha=0.3, lw=0)
        ax.plot(middle.index, middle.alpha, color=color, lw=2.4, marker=".")
        valid = rows[rows.valid == 1]
        (good,) = ax.plot(valid.step, valid.alpha, "o", color="none", mec="black", ms=7)
        figures.steps_axis(ax, table.step)
        _alpha_axis(ax.yaxis)
    figures.finish(fig, axs, table, "alpha", "training step", depth)
    handles = {
        "random matrices, median and 5 to 95 %": (band, null),
        # of no kind's colour:
        "median layer, with its bootstrap": (Patch(color="0.75"), Line2D([], [], color="0.3", lw=2.4, marker=".")),
        "nothing in the spectrum against it": good,
    }
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize="small")
    return fig


def averages(table, means):
    """The averages of alpha over a model by step, beside the distributions that they are averages of.

    Parameters
    ----------
    table : pandas.DataFrame
        From `nla.scan` of `nla.power_law`.
    means : pandas.DataFrame
        From `nla.studies.power_law_alpha.averages.averages` of the same.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), sharey=True, width_ratios=(1, 1.3))
    random = table.groupby("step")[["alpha_random_05", "alpha_random_50", "alpha_random_95"]].median()
    left.fill_between(random.index, random.alpha_random_05, random.alpha_random_95, color="0.88", lw=0)
    left.plot(random.index, random.alpha_random_50, color=figures.GREY, lw=2.5, marker=".", label="random matrices")
    for (name, line), style in zip(means.items(), ("o-", "s--", "^:", "D"), strict=True):
        left.plot(line.index, line, style, color="0.15", mfc="white", ms=5, lw=1.3, label=name)
    left.legend(fontsize="small")
    figures.steps_axis(left, means.index)
    left.set(ylabel="alpha", xlabel="training step", title="four averages over all matrices")
    shown = spaced(table.step, STEPS_SHOWN)
    for i, step in enumerate(shown):
        rows = table[(table.step == step) & table.alpha.notna()].sort_values("alpha")
        place = i + np.linspace(-0.35, 0.35, len(rows))
        right.scatter(place, rows.alpha, s=9, c=[figures.kind_colors()[k] for k in rows.kind], lw=0)
        right.plot([i - 0.4, i + 0.4], [rows.alpha.median()] * 2, color="black", lw=1.6)
    for kind in table.kind.unique():
        right.scatter([], [], s=16, color=figures.kind_colors()[kind], label=kind)
    right.legend(fontsize="x-small", ncols=2, loc="upper left", handletextpad=0.2)
    right.set_xticks(range(len(shown)), [f"{s:,}" for s in shown], fontsize="x-small")
    right.set(xlabel="training step", title="every matrix (bar: median)")
    _alpha_axis(left.yaxis)
    return fig


def check_shares(shares):
    """A table of the percentages of `averages.shares`, checks down, training steps across."""
    shares = shares[spaced(shares.columns, STEPS_SHOWN)]
    fig, ax = plt.subplots(figsize=(11, 0.36 * len(shares) + 1.2))
    labels = [f"{s:,}" for s in shares.columns]
    sns.heatmap(
        100 * shares, ax=ax, vmin=0, vmax=100, cmap="mako", annot=True, fmt=".0f", cbar=False, xticklabels=labels
    )
    ax.set(xlabel="training step", ylabel="", title="% of matrices that pass (check 7: % of kinds)")
    ax.tick_params(length=0)
    return fig


def jump(before, after):
    """Why alpha changed from one checkpoint to the next: ks and alpha of every tail, for two `Matrix` objects."""
    fig, axs = plt.subplots(1, 2, figsize=(10, 3.6))
    for matrix, color in ((before, figures.STEPS(0.25)), (after, figures.STEPS(0.75))):
        x = matrix.singular_values[::-1] ** 2
        alpha, ks = (v[0] for v in tails.scan(x[x > 0], np.inf))
        size = len(alpha) - np.arange(len(alpha))
        best = ks.argmin()
        for ax, values in zip(axs, (ks, alpha), strict=True):
            ax.plot(size, values, color=color, lw=1.4, label=f"step {matrix.step:,}")
            ax.plot(size[best], values[best], "o", color=color, ms=8)
    for ax, name in zip(axs, ("KS distance", "alpha"), strict=True):
        ax.set(xscale="log", xlabel="size of the tail", ylabel=name, xlim=(3, len(x)))
    axs[0].set_ylim(0, 0.4)
    axs[0].set_title("the least KS distance decides ...")
    axs[1].set_title("... which alpha is reported")
    axs[1].set_ylim(1, 16)
    _alpha_axis(axs[1].yaxis)
    axs[0].legend(fontsize="small")
    fig.suptitle(f"{before.kind}, layer {before.layer}", fontsize="medium")
    return fig


def against_loss(curves, loss):
    """Each column of `curves` against the loss at the same steps, in the order of training, colour = step."""
    fig, axs = plt.subplots(1, curves.shape[1], figsize=(2.8 * curves.shape[1], 3.2), sharey=True, squeeze=False)
    scale = Normalize(0, np.log1p(curves.index.max()) or 1)
    for ax, (name, line) in zip(axs[0], curves.items(), strict=True):
        ax.plot(line, loss, color="0.7", lw=1, zorder=1)
        ax.scatter(line, loss, c=figures.STEPS(scale(np.log1p(curves.index))), s=36, zorder=2)
        ax.set(xlabel=name)
    axs[0, 0].set_ylabel("held-out loss [nats per token]")
    figures.steps_bar(fig, list(axs[0]), curves.index)
    return fig


def planted(table, spectra):
    """Above, the spectra of planted matrices and the power laws fitted to them; below, alpha and verdict by step.

    Parameters
    ----------
    table : pandas.DataFrame
        From `nla.verdicts` of `nla.studies.power_law_alpha.planted.planted_table`.
    spectra : dict
        Singular values of the last step by kind.
    """
    fig, axs = plt.subplots(2, len(spectra), figsize=(2.6 * len(spectra), 5.2), squeeze=False, height_ratios=(2, 1.3))
    for i, (kind, s) in enumerate(spectra.items()):
        top, bottom = axs[:, i]
        rows = table[table.kind == kind].sort_values("step")
        fit, x = rows.iloc[-1], s**2 / np.mean(s**2)
        top.loglog(x, np.arange(1, len(x) + 1) / len(x), color="0.15", lw=1.8)
        tail = np.geomspace(fit.xmin / np.mean(s**2), x[0], 20)
        top.loglog(tail, fit.tail_share * (tail / tail[0]) ** (1 - fit.alpha), color="crimson", lw=1.4, ls="--")
        top.set(title=f"{kind}: {word(fit.verdict)}", xlabel="eigenvalue / mean", xlim=(0.05, 60), ylim=(8e-4, 1.3))
        bottom.plot(rows.step, rows.alpha, color="0.5", lw=1)
        colors = [VERDICT_COLORS[int(v)] for v in rows.verdict]
        bottom.scatter(rows.step, rows.alpha, c=colors, s=55, ec="black", lw=0.6, zorder=2)
        bottom.fill_between(rows.step, rows.alpha_random_05, rows.alpha_random_95, color="0.92", lw=0, zorder=0)
        bottom.set(xlabel="% planted", ylim=(2, 40))
        _alpha_axis(bottom.yaxis)
    axs[0, 0].set_ylabel("share above")
    axs[1, 0].set_ylabel("alpha")
    return fig


def _alpha_axis(axis):
    axis.axes.set_yscale("log")
    axis.set_ticks(TICKS, labels=[str(t) for t in TICKS])
    axis.axes.minorticks_off()
