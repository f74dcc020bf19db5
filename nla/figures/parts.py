"""Parts of which figures are made: theme, colours, axes, panels, colour bars."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nla.figures.cells import tolerate
from nla.matrices.families import KINDS

GREY = "0.62"  # the random baseline, in every figure
DEPTH = sns.color_palette("flare", as_cmap=True)  # layer number
STEPS = sns.color_palette("viridis", as_cmap=True)  # training step
LABELS = {
    "query": "query",
    "key": "key",
    "value": "value",
    "dense": "dense (attention output)",
    "dense_h_to_4h": "dense_h_to_4h (W1)",
    "dense_4h_to_h": "dense_4h_to_h (W2)",
}
PRETRAINING = "pretraining"  # its last saved interval, beside which the stages are seen


def use_theme():
    """Set the look that all figures of the series share; on a bundle, let cells be left out, see `cells`."""
    tolerate()
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.85)
    plt.rcParams.update({"figure.constrained_layout.use": True, "figure.dpi": 80, "savefig.dpi": 110})
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})


def kind_colors():
    """{kind: colour} of the categorical palette that stands for kinds throughout."""
    return dict(zip(KINDS, sns.color_palette("colorblind", len(KINDS)), strict=True))


def steps_axis(ax, steps):
    """A symlog axis of training steps on which steps 0 to 512 are seen as well as the last."""
    largest = max(max(steps), 1)
    ticks = [0, *(10**i for i in range(int(np.log10(largest)) + 1))]
    ax.set_xscale("symlog", linthresh=1, linscale=0.4)
    ax.set_xticks(ticks, [f"{t:,}" if t < 10000 else f"{t // 1000}k" for t in ticks])
    ax.set_xlim(-0.15, largest * 1.15)
    ax.minorticks_off()


def log_axis(axis):
    """A logarithmic axis (ax.xaxis or ax.yaxis) with plain numbers at 1, 2 and 5 times the powers of ten.

    It stays as it is where nothing drawn on it, or on those that share it, is above 0.
    """
    alike = getattr(axis.axes, f"get_shared_{axis.axis_name}_axes")().get_siblings(axis.axes)
    if not any(np.isfinite(getattr(ax, f"{axis.axis_name}axis").get_minpos()) for ax in alike):
        return
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    low, high = sorted(axis.get_view_interval())
    narrow = np.log10(high / low) < 1.2 if low > 0 else False
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if narrow else (1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def panels(kinds, width=3.1, height=2.5, columns=None, **options):
    """(figure, {kind: axes}): one panel per kind, in the series' order, blank places removed; none if there is none."""
    kinds = [k for k in KINDS if k in set(kinds)]
    if not kinds:
        return plt.figure(), {}
    columns = columns or min({5: 3, 6: 3, 9: 5}.get(len(kinds), 4), len(kinds))
    rows = -(-len(kinds) // columns)
    fig, axs = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    for ax in axs.flat[len(kinds) :]:
        ax.remove()
    for kind, ax in zip(kinds, axs.flat, strict=False):
        ax.set_title(LABELS.get(kind, kind), fontsize="medium")
    return fig, dict(zip(kinds, axs.flat, strict=False))


def layer_panels(table, most=6, width=2.6, height=2.2, columns=3, **options):
    """(figure, {(kind, layer): axes, colour}): a panel for each kind and at most `most` layers, evenly spaced.

    The first and the last layer are among them; embeddings are not. The colour is the layer's.
    """
    pairs = []
    for kind in [k for k in KINDS if k in set(table.kind)]:
        layers = np.unique(table.layer[(table.kind == kind) & (table.layer >= 0)])
        shown = np.unique(np.linspace(0, len(layers) - 1, most).round().astype(int))
        pairs += [(kind, int(layer)) for layer in layers[shown]]
    if not pairs:
        return plt.figure(), {}
    columns, depth = min(columns, len(pairs)), Normalize(0, max(table.layer.max(), 1))
    rows = -(-len(pairs) // columns)
    fig, axs = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    for ax in axs.flat[len(pairs) :]:
        ax.remove()
    for (kind, layer), ax in zip(pairs, axs.flat, strict=False):
        ax.set_title(f"layer {layer}" + (f", {kind}" if table.kind.nunique() > 1 else ""), fontsize="medium")
    return fig, {pair: (ax, DEPTH(depth(pair[1]))) for pair, ax in zip(pairs, axs.flat, strict=False)}


def steps_bar(fig, axs, steps):
    """A colour bar for training step, logarithmic in step + 1; none beside no axes."""
    if not axs:
        return
    steps = sorted(set(steps))
    scale = Normalize(0, np.log1p(steps[-1]) or 1)
    bar = fig.colorbar(ScalarMappable(scale, STEPS), ax=axs, label="training step", aspect=40)
    shown = [0, *(10**i for i in range(int(np.log10(max(steps[-1], 1))) + 1))]
    bar.set_ticks(np.log1p(shown), labels=[f"{s:,}" for s in shown])


def label_outer(axs, ylabel, xlabel):
    """Label the y axis of the first panel of each row, and the x axis of all."""
    for ax in axs.values():
        ax.set_xlabel(xlabel)
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel(ylabel)


def finish(fig, axs, table, ylabel, xlabel, depth):
    """Axis labels, one legend entry for the baseline, and the colour bar of depth."""
    label_outer(axs, ylabel, xlabel)
    first = next(iter(axs.values()))
    handles, labels = first.get_legend_handles_labels()
    if labels:
        first.legend(handles[:1], labels[:1], loc="best", fontsize="small")
    if table.layer.max() > 0:
        bar = fig.colorbar(ScalarMappable(depth, DEPTH), ax=list(axs.values()), label="layer", aspect=40)
        bar.ax.yaxis.get_major_locator().set_params(integer=True)


def holds(ax):
    """Whether a panel shows any number of its own, beside baselines, which have a zorder of 0 or less."""
    shown = [line.get_xydata() for line in ax.lines if line.get_zorder() > 0]
    shown += [patch.get_path().vertices for patch in ax.patches if patch.get_zorder() > 0]
    for each in (each for each in ax.collections if each.get_zorder() > 0):
        scattered = isinstance(each, PathCollection)
        shown += [each.get_offsets()] if scattered else [path.vertices for path in each.get_paths()]
    shown += [image.get_array().reshape(-1, 1) for image in ax.images]
    return any(np.isfinite(np.ma.filled(points.astype(float), np.nan)).all(axis=1).any() for points in shown)


def colors(names):
    """{update: colour}: black for pretraining, a qualitative palette for the stages."""
    stages = [name for name in names if name != PRETRAINING]
    return {PRETRAINING: "black"} | dict(zip(stages, sns.color_palette("Dark2", 8), strict=False))
