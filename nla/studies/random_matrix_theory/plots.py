"""Figures of spectra and singular vectors against random-matrix theory: by rank, and when they leave it."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from nla import figures, matrices, nulls
from nla.nulls import bulk_sigma, edges

GROUPS = 24  # of neighbouring ranks, averaged, as the fluctuations of single vectors hide what they share
EDGES = {"right": "above the upper edge", "left": "below the lower edge"}


def spectra(pairs):
    """One panel per kind: singular values of one matrix at two checkpoints, over the law of its bulk.

    Parameters
    ----------
    pairs : dict
        kind -> (first, last) `Matrix`.
    """
    fig, axs = figures.panels(pairs, 2.7, 2.2)
    for kind, ax in axs.items():
        first, last = pairs[kind]
        (m, n), width = last.shape, 1 / 30
        edge = nulls.mp_edges(m, n)[1]
        x = np.linspace(nulls.mp_edges(m, n)[0] / edge, 1, 300)
        ax.plot(x[1:], nulls.mp_density(x * edge, m, n)[1:] * edge, color="black", lw=1.2, label="Marchenko-Pastur")
        for matrix, color, label in ((first, figures.GREY, "first"), (last, figures.kind_colors()[kind], "last")):
            s = matrix.singular_values
            sigma = bulk_sigma(s, m, n) or 1.0
            scaled, most = s / sigma / edge, 2.0
            heights, bins = np.histogram(scaled, np.arange(0, most + width, width))
            style = {"fill": True, "alpha": 0.6} if matrix is first else {"lw": 1.5}
            ax.stairs(heights / len(s) / width, bins, color=color, label=f"{label} checkpoint", **style)
        right, left = edges.outliers(s, m, n, sigma)
        out = scaled[(right | left) & (scaled < most)]
        ax.plot(out, np.full(len(out), -0.12), "|", color=color, ms=7)
        beyond = f", {(scaled >= most).sum()} beyond {most:g}" if (scaled >= most).any() else ""
        sides = f"{left.sum()} below, " if m != n else ""
        ax.set_title(f"{figures.LABELS.get(kind, kind)}\n{sides}{right.sum()} above{beyond}", fontsize="small")
        ax.set(xlim=(0, most), ylim=(-0.25, None))
    figures.label_outer(axs, "density", "singular value / edge of its bulk")
    next(iter(axs.values())).legend(fontsize="x-small", loc="upper right")
    return fig


def over_training(table, again=None):
    """Means over layers by kind: distance from the law, and singular values above and below the bulk.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `nla.random_matrix`.
    again : pandas.DataFrame, optional
        rows, cols and ``right``, ``left`` of `nla.nulls.edges.refitted`: dashed.
    """
    rank = table[["rows", "cols"]].min(axis=1)
    panels = {
        "distance from the law / random": table.mp_distance_relative,
        "% above the bulk": 100 * table.outliers_right / rank,
        "% below (rectangular only)": 100 * table.outliers_left / rank,
    }
    fig, axs = plt.subplots(1, 3, figsize=(8.5, 2.4))
    for i, (ax, (title, values)) in enumerate(zip(axs, panels.items(), strict=True)):
        for kind, rows in table.assign(shown=values).groupby("kind", sort=False):
            line = rows.groupby("step").shown.mean()
            if line.notna().any():
                ax.plot(line.index, line, marker=".", color=figures.kind_colors()[kind], lw=1.2, label=kind)
        if again is not None and i:
            shown = 100 * again[("right", "left")[i - 1]] / again[["rows", "cols"]].min(axis=1)
            for kind, rows in again.assign(shown=shown).groupby("kind", sort=False):
                line = rows.groupby("step").shown.mean()
                ax.plot(line.index, line, "--", color=figures.kind_colors()[kind], lw=1)
        ax.axhline(0 if i else 1, color=figures.GREY, lw=2.5, zorder=0)
        figures.steps_axis(ax, table.step)
        ax.set_title(title, fontsize="medium")
        ax.set_xlabel("training step")
    figures.log_axis(axs[0].yaxis)
    axs[1].legend(fontsize="xx-small")
    return fig


def departure_map(found, steps):
    """Three maps layer x kind of the first step of `departures`; white: never, hatched: no such edge."""
    found = found[found.layer >= 0]
    kinds = [k for k in matrices.KINDS if k in set(found.kind)]
    titles = {"distance": "distance at least 3 nulls"} | EDGES
    height = 1.3 + 0.33 * found.layer.nunique()
    fig, axs = plt.subplots(1, 3, figsize=(9, height), sharey=True)
    scale = Normalize(0, np.log1p(max(steps)) or 1)
    shown = found.layer.nunique() <= 12
    for ax, (column, title) in zip(axs, titles.items(), strict=True):
        grid = found.pivot(index="layer", columns="kind", values=column)[kinds]
        image = np.log1p(grid.where(grid >= 0))
        ax.pcolormesh(image, cmap=figures.STEPS, norm=scale, edgecolors="white", lw=0.5)
        for (i, j), step in np.ndenumerate(grid.to_numpy()):
            if step < 0:
                ax.add_patch(plt.Rectangle((j, i), 1, 1, fill=False, hatch="////", ec="0.8", lw=0))
            elif shown:
                dark = np.isnan(step) or np.log1p(step) > 0.75 * scale.vmax
                text = "never" if np.isnan(step) else f"{step:,.0f}"
                ax.text(
                    j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=7, color="black" if dark else "white"
                )
        ax.set_xticks(np.arange(len(kinds)) + 0.5, kinds, rotation=35, ha="right", rotation_mode="anchor", fontsize=8)
        ax.set_title(title, fontsize="medium")
        places = np.unique(np.linspace(0, len(grid) - 1, 8).astype(int))
        ax.set_yticks(places + 0.5, grid.index[places])
    axs[0].set_ylabel("layer")
    bar = fig.colorbar(ScalarMappable(scale, figures.STEPS), ax=axs, label="first step", aspect=20)
    ticks = [0, *(10**i for i in range(int(np.log10(max(max(steps), 1))) + 1))]
    bar.set_ticks(np.log1p(ticks), labels=[f"{t:,}" for t in ticks])
    return fig


def grouped(curve):
    """(x, y): a curve over the rank as means of at most `GROUPS` groups of neighbours, x from 0 to 1."""
    parts = np.array_split(np.asarray(curve, dtype=float), min(GROUPS, len(curve)))
    return (np.arange(len(parts)) + 0.5) / len(parts), np.array([part.mean() for part in parts])


def tenths(curve):
    """(mean over the first tenth of a curve, over the last)."""
    parts = np.array_split(np.asarray(curve, dtype=float), 10)
    return float(parts[0].mean()), float(parts[-1].mean()) if len(parts[-1]) else np.nan


def _by_rank(table, step, kind, column):
    """`grouped` mean over layers of a curve over the rank; None where there is none."""
    rows = table[(table.step == step) & (table.kind == kind)]
    curves = [np.asarray(c, dtype=float) for c in rows[column].dropna() if np.size(c) > 1]
    return grouped(np.nanmean(curves, axis=0)) if curves and not np.isnan(curves).all() else None


def vectors(table):
    """One panel per kind: entropy z-score of singular vectors against their rank, first and last checkpoint."""
    table = table[table.layer >= 0]
    fig, axs = figures.panels(table.kind.unique(), 2.3, 1.6, sharey=True)
    for kind, ax in axs.items():
        for step, sides in ((table.step.min(), {"left": "-", "right": "--"}), (table.step.max(), SIDES)):
            for side, style in sides.items():
                curve = _by_rank(table, step, kind, f"entropy_{side}")
                if curve is not None:
                    last = step == table.step.max()
                    color = figures.kind_colors()[kind] if last else figures.GREY
                    ax.plot(*curve, style, color=color, lw=1.4, label=f"{side} vectors" if last else None)
        ax.axhline(0, color="0.3", lw=0.6, zorder=0)
        ax.set_yscale("symlog", linthresh=1)
    low, high = next(iter(axs.values())).get_ylim()
    ticks = [t for size in (1, 3, 10, 30, 100) for t in (-size, size) if low <= t <= high]
    for ax in axs.values():
        ax.set_yticks([0, *ticks], [f"{t:g}" for t in (0, *ticks)])
        ax.minorticks_off()
    next(iter(axs.values())).legend(fontsize="x-small", loc="lower right")
    figures.label_outer(axs, "entropy z-score", "rank / r")
    return fig


SIDES = {"left": "-", "right": "--"}


def vector_tests(table):
    """Over training: share of vectors that Porter-Thomas rejects, in three parts of the spectrum, and spacings."""
    names = {"rejected_top": "largest tenth", "rejected_middle": "middle", "rejected_bottom": "smallest tenth"}
    fig, axs = plt.subplots(1, 4, figsize=(9.5, 2.2))
    for ax, (column, title) in zip(axs, (names | {"spacing_ratio": "spacing ratio"}).items(), strict=True):
        for kind, rows in table.groupby("kind", sort=False):
            line = rows.groupby("step")[column].mean() * (1 if column == "spacing_ratio" else 100)
            ax.plot(line.index, line, marker=".", color=figures.kind_colors()[kind], label=kind)
        ax.axhline(0.5307 if column == "spacing_ratio" else 1, color=figures.GREY, lw=2.5, zorder=0)
        figures.steps_axis(ax, table.step)
        ax.set(title=title, xlabel="training step")
    high = max(ax.get_ylim()[1] for ax in axs[:3])
    for ax in axs[:3]:
        ax.set_ylim(-0.02 * high, high)
    axs[3].axhline(0.3863, color=figures.GREY, lw=1.5, ls=":", zorder=0)
    axs[3].text(0.98, 0.395, "no repulsion", transform=axs[3].get_yaxis_transform(), ha="right", fontsize="x-small")
    axs[3].set_ylim(0.37, 0.62)
    axs[0].set_ylabel("percent rejected at 1 %")
    axs[0].legend(fontsize="xx-small")
    return fig


def kept(table):
    """One panel per kind: best |cos| of each vector with any of the first checkpoint, against the rank, at the end."""
    table = table[table.layer >= 0]
    fig, axs = figures.panels(table.kind.unique(), 2.3, 1.6, sharey=True)
    for kind, ax in axs.items():
        rows = table[(table.step == table.step.max()) & (table.kind == kind)]
        for column, color, label in (
            ("kept_noise", figures.GREY, "moved as far by noise"),
            ("kept", figures.kind_colors()[kind], "trained"),
        ):
            curve = _by_rank(table, table.step.max(), kind, column)
            if curve is not None:
                ax.plot(*curve, color=color, lw=1.6, label=label)
        ax.axhline(rows.kept_random.mean(), color="0.3", lw=0.8, ls=":", label="random direction")
    next(iter(axs.values())).legend(fontsize="x-small")
    figures.label_outer(axs, "best |cos|, step 0", "rank / r")
    return fig
