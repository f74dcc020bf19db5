"""Figures of notebook 03: how far the leading singular subspaces have turned, and when they are those of the end."""

import numpy as np

from nla import figures


def turning(table):
    """One panel per kind: overlap of the leading left subspaces with the first checkpoint, mean over layers.

    Dashed with a band of two standard deviations is a change of the same singular values in random directions, dotted
    as much noise, and grey a random subspace; `table` is of `nla.studies.drift_from_init.turning.turning`.
    """
    fig, axs = figures.panels(table.kind.unique(), sharey=True)
    for kind, ax in axs.items():
        rows = table[table.kind == kind]
        means = rows.groupby("step")[["left", "left_rotated", "left_noise"]].mean()
        sd = rows.groupby("step").left_rotated_sd.agg(lambda sd: np.sqrt(np.square(sd).sum()) / len(sd))
        low, high = means.left_rotated - 2 * sd, means.left_rotated + 2 * sd
        ax.axhline((rows.k / rows.rows).mean(), color=figures.GREY, lw=2.5, zorder=0, label="random subspace")
        ax.fill_between(means.index, low.clip(lower=1e-4), high, color="0.3", alpha=0.25, lw=0)
        ax.plot(means.index, means.left_noise, color="0.3", lw=1.2, ls=":", label="as much noise")
        ax.plot(means.index, means.left_rotated, color="0.3", lw=1, ls="--", label="rotated change")
        ax.plot(means.index, means.left, color=figures.kind_colors()[kind], lw=1.4, marker=".", label="measured")
        figures.steps_axis(ax, table.step)
    for ax in axs.values():
        figures.log_axis(ax.yaxis)
    figures.label_outer(axs, f"left overlap, k = {table.k.max():.0f}", "training step")
    next(iter(axs.values())).legend(fontsize="x-small")
    return fig


def settling(table):
    """One map per kind, k by checkpoint: overlap with the final left subspaces above random, (O_k - k/m)/(1 - k/m).

    `table` is of `nla.subspaces`.
    """
    fig, axs = figures.panels(table.kind.unique())
    for kind, ax in axs.items():
        rows = table[table.kind == kind]
        steps, ks = sorted(rows.step.unique()), rows.subspace_k.iloc[0]
        overlap = np.stack([np.stack(rows.left_final[rows.step == step]).mean(0) for step in steps], 1)
        random = (ks / rows.rows.iloc[0])[:, None]
        image = ax.imshow((overlap - random) / (1 - random), vmin=0, vmax=1, cmap="mako", origin="lower", aspect="auto")
        shown = np.unique(np.linspace(0, len(steps) - 1, 5).astype(int))
        ax.set_xticks(shown, [f"{steps[i]:,}" for i in shown])
        ax.set_yticks(range(len(ks)), ks)
    figures.label_outer(axs, "k", "training step")
    fig.colorbar(image, ax=list(axs.values()), label="overlap with the end, above random", aspect=40)
    return fig
