"""Theme, the few standard plots over steps, layers and kinds, and saving."""

import base64
import io
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from nla.families import KINDS
from nla.models import slug
from nla.store import root

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


def use_theme():
    """Set the look that all figures of the series share."""
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


def over_steps(table, column, ylabel=None, baseline=None, log=False, sharey=True, null="random matrix"):
    """One panel per kind, one line per layer coloured by depth, `column` against training step.

    Hollow points are not training: the weights there are a copy of another checkpoint's, see `copied`.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `nla.scan`.
    baseline : number, or name of a column, optional
        The value for a random matrix of that shape; drawn in the series' grey.
    """
    fig, axs = panels(table.kind.unique(), sharey=sharey)
    if not axs:
        return fig
    depth, copies = Normalize(0, max(table.layer.max(), 1)), copied(table)
    for kind, ax in axs.items():
        for layer, rows in table[table.kind == kind].sort_values("step").groupby("layer"):
            color = DEPTH(depth(layer)) if layer >= 0 else "black"
            ax.plot(rows.step, rows[column], color=color, lw=1.4, marker=".", ms=4)
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
    return fig


def over_kinds(table, columns, ylabel=None, random=None, **options):
    """One panel per column in `columns`, one line per kind in its colour, means over layers against training step.

    Parameters
    ----------
    random : str, optional
        Prefix of the columns of `table` that hold the value of each column for a random matrix; drawn in grey.
    """
    size = (3.3 * max(len(columns), 2), 3.4)
    fig, axs = plt.subplots(1, len(columns), figsize=size, sharex=True, squeeze=False, **options)
    for ax, column in zip(axs[0], columns, strict=True):
        for kind, rows in table.groupby("kind", sort=False):
            means = rows.groupby("step")
            if random is not None:
                means[random + column].mean().plot(ax=ax, color=GREY, lw=2.5, marker="o", ms=3, zorder=0, label="")
            means[column].mean().plot(ax=ax, color=kind_colors()[kind], lw=1.3, marker=".", ms=5, label=kind)
        steps_axis(ax, table.step)
        ax.set(title=column, xlabel="training step")
    axs[0, 0].set_ylabel(ylabel)
    axs[0, 0].legend(fontsize="x-small")
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


def layer_panels(table, most=6, width=2.6, height=2.2, columns=3, **options):
    """(figure, {(kind, layer): axes, colour}): a panel for each kind and at most `most` layers, evenly spaced.

    The first and the last layer are among them; embeddings are not. The colour is the layer's.
    """
    pairs = []
    for kind in [k for k in KINDS if k in set(table.kind)]:
        layers = np.unique(table.layer[(table.kind == kind) & (table.layer >= 0)])
        shown = np.unique(np.linspace(0, len(layers) - 1, most).round().astype(int))
        pairs += [(kind, int(layer)) for layer in layers[shown]]
    columns, depth = min(columns, len(pairs)), Normalize(0, max(table.layer.max(), 1))
    rows = -(-len(pairs) // columns)
    fig, axs = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    for ax in axs.flat[len(pairs) :]:
        ax.remove()
    for (kind, layer), ax in zip(pairs, axs.flat, strict=False):
        ax.set_title(f"layer {layer}" + (f", {kind}" if table.kind.nunique() > 1 else ""), fontsize="medium")
    return fig, {pair: (ax, DEPTH(depth(pair[1]))) for pair, ax in zip(pairs, axs.flat, strict=False)}


def steps_bar(fig, axs, steps):
    """A colour bar for training step, logarithmic in step + 1."""
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


def folder(model):
    """figures/MODEL/, made if it is not there; the environment variable NLA_FIGURES moves figures/."""
    path = Path(os.environ.get("NLA_FIGURES") or root() / "figures") / slug(model)
    path.mkdir(parents=True, exist_ok=True)
    return path


def save(fig, name, model):
    """Write figures/MODEL/NAME.png and return its path; with NLA_PDF=1 in the environment also NAME.pdf, for papers."""
    path = folder(model) / f"{name}.png"
    if os.environ.get("NLA_PDF", "") not in ("", "0"):
        fig.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    buffer = io.BytesIO()
    fig.savefig(buffer, metadata={"Software": None})
    # 256 colours are enough for lines and maps, and a third of the bytes: notebooks carry these pictures.
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def show(fig, name, model):
    """Save the figure, and show in the notebook exactly what was saved; where nothing is in it, say so."""
    if not fig.axes:
        plt.close(fig)
        print(f"figure {name}: nothing of {Path(model).name} can be shown here")
        return
    path = save(fig, name, model)
    plt.close(fig)
    display_png(path.read_bytes(), f"figure {name} for {Path(model).name}")


def display_png(data, text):
    """Show the bytes of a PNG in the notebook, with `text` for those who do not see it: IPython 7's Image has none."""
    from IPython.display import display

    shown = {"image/png": base64.b64encode(data).decode(), "text/plain": text}
    display(shown, raw=True, metadata={"image/png": {"alt": text}})


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
