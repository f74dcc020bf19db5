"""Spectra through training over the Marchenko-Pastur density: one above the other, and as an animation."""

import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize
from PIL import Image

from nla.figures import parts, saving
from nla.nulls import marchenko_pastur

SHAPES = ("query", "value", "dense_h_to_4h", "dense_4h_to_h")  # two square kinds, two rectangular ones
XLABEL = "singular value / random edge"


def spaced(steps, count):
    """At most `count` of the training `steps`, evenly spaced in log(step + 1), first and last included."""
    steps = np.unique(steps)
    if len(steps) <= count:
        return steps.tolist()
    targets = np.linspace(*np.log1p(steps[[0, -1]]), count)
    return steps[np.unique([np.abs(np.log1p(steps) - t).argmin() for t in targets])].tolist()


def in_edges(rows):
    """All singular values of the matrices in `rows`, each over its matrix's random edge RMS (sqrt m + sqrt n)."""
    scaled = []
    for row in rows.itertuples():
        s = np.asarray(row.singular_values, dtype=float)
        scaled.append(
            s / max(marchenko_pastur.mp_edges(row.rows, row.cols, np.sqrt(s @ s / (row.rows * row.cols)))[1], 1e-300)
        )
    return np.concatenate(scaled)


def draw(ax, rows, width, color, base=0.0):
    """The spectra of `rows` together, as a histogram over the random density, which is grey and 1 high; the artists.

    Singular values outside the random edges by more than 0.02 are marked by ticks below the histogram.
    """
    m, n = rows.rows.iloc[0], rows.cols.iloc[0]
    lower, upper = marchenko_pastur.mp_edges(m, n)
    s, x = in_edges(rows), np.linspace(lower / upper, 1, 200)
    density, under = marchenko_pastur.mp_density(x * upper, m, n) * upper, 1 - base / 50
    peak = density[1:].max()  # [0] is 0, which a square matrix has nowhere else
    bins = np.arange(0, s.max() + 2 * width, width)
    outside = s[(s > 1.02) | (s < x[0] - 0.02)]
    grey = ax.fill_between(x[1:], base, base + density[1:] / peak, color=parts.GREY, lw=0, zorder=under)
    heights = base + np.histogram(s, bins, density=True)[0] / peak
    curve = ax.stairs(heights, bins, baseline=base, color=color, lw=1.2, zorder=under + 0.01)
    (ticks,) = ax.plot(outside, np.full(len(outside), base - 0.1), "|", color=color, ms=4, mew=0.8, zorder=under + 0.01)
    return [grey, curve, ticks]


def ridges(table, kinds=SHAPES, count=14):
    """Up to `count` checkpoints one above the other, a panel per kind, colour = step; all layers of a kind together.

    Parameters
    ----------
    table : pandas.DataFrame
        Of a scan of `nla.spectrum`, finite matrices only.
    """
    table = table[table.kind.isin(kinds)]
    steps, scale = spaced(table.step, count), Normalize(0, np.log1p(table.step.max()) or 1)
    columns = table.kind.nunique()
    fig, axs = parts.panels(table.kind, min(11 / columns, 4), 0.9 + 0.34 * len(steps), columns, sharey=True)
    for kind, ax in axs.items():
        for i, step in enumerate(steps):
            rows = table[(table.kind == kind) & (table.step == step)]
            if len(rows):
                draw(ax, rows, 1 / 30, parts.STEPS(scale(np.log1p(step))), 1.3 * i)
        ax.set_yticks(1.3 * np.arange(len(steps)), [f"{s:,}" for s in steps])
    parts.label_outer(axs, "training step", XLABEL)
    return fig


def animation(table, kinds=SHAPES, count=24):
    """The same, one checkpoint after the other, colour = kind: a list of pictures with one palette; see `show`."""
    table = table[table.kind.isin(kinds)]
    columns, steps, frames = table.kind.nunique(), spaced(table.step, count), []
    fig, axs = parts.panels(table.kind, min(11 / columns, 4), 2.5, columns, sharey=True)
    drawn = {step: [] for step in steps}  # all at once, so that the axes have room for all; hidden until their turn
    for (kind, step), rows in table[table.step.isin(steps)].groupby(["kind", "step"]):
        drawn[step] += draw(axs[kind], rows, 1 / 30, parts.kind_colors()[kind])
        plt.setp(drawn[step], visible=False)
    for ax in axs.values():
        ax.set_yticks([])
    parts.label_outer(axs, "density", XLABEL)
    for step in steps:
        plt.setp(drawn[step], visible=True)
        fig.suptitle(f"training step {step:,} (grey: random matrix)", fontsize="large")
        buffer = io.BytesIO()
        fig.savefig(buffer, dpi=76)
        frames.append(Image.open(buffer).convert("RGB"))
        plt.setp(drawn[step], visible=False)
    plt.close(fig)
    width, height = frames[0].size
    sheet = Image.new("RGB", (width, height * len(frames)))
    for i, frame in enumerate(frames):
        sheet.paste(frame, (0, i * height))
    sheet = sheet.quantize(32, dither=Image.Dither.NONE)
    return [sheet.crop((0, i * height, width, (i + 1) * height)) for i in range(len(frames))]


def show(frames, name, model):
    """Save an animation as figures/MODEL/NAME.gif, and show it in the notebook.

    The notebook gets the same frames as an animated PNG, because not every viewer of notebooks shows a GIF.
    """
    path = saving.folder(model) / f"{name}.gif"
    timing = {"save_all": True, "duration": [600] * (len(frames) - 1) + [2500], "loop": 0}
    frames[0].save(path, append_images=frames[1:], **timing)
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", append_images=frames[1:], optimize=True, **timing)
    saving.display_png(buffer.getvalue(), f"animation {name} for {saving.name_of(model)}")
