"""Figures of the embedded chain's training, and of what models lose with a part of their singular values."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from nla.figures.parts import colors


def training(record):
    """What the two stages of the embedded chain did: loss of every update, and checks of held-out answers by stage."""
    fig, axs = plt.subplots(1, 3, figsize=(11.5, 3.2))
    for ax, (stage, label) in zip(axs, (("sft", "loss [nats per token]"), ("dpo", "DPO loss")), strict=False):
        losses = pd.Series(record[stage]["batch_loss"])
        ax.plot(losses.rolling(15, center=True, min_periods=1).mean(), color=colors(["sft", "dpo"])[stage])
        ax.set(title=f"{stage}: training", xlabel="update", ylabel=label)
    axs[1].axhline(np.log(2), color="0.3", lw=0.8, ls="--")
    stages = [s for s in record if isinstance(record[s], dict) and "evaluation" in record[s]]
    for name, style in (("closed", ":"), ("sentence", "--"), ("named", "-."), ("reward", "-")):
        values = [record[s]["evaluation"][name] for s in stages] + [record["docstrings"][name]]
        axs[2].plot([*stages, "true\ndocstrings"], values, style, marker=".", color="black", label=name)
    axs[2].set(title="answers to held-out signatures", ylim=(-0.03, 1.05))
    axs[2].legend(fontsize="x-small", handlelength=3.6, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def removal(table):
    """One panel per loss: its rise when a tenth of the singular values of a kind is taken out; see `surgery.removal`.

    Dots are the smallest tenth, open ones taken out of the base model; bars a middle one. Error bars, where the losses
    were arrays, are two standard errors.
    """
    names = [c for c in table if c not in ("stage", "kind", "part", "taken") and not c.endswith(("_error", "_beyond"))]
    kinds, stages = list(dict.fromkeys(table.kind)), list(dict.fromkeys(table.stage))
    shades = dict(zip(stages, ["black", *sns.color_palette("Dark2", 8)], strict=False))
    fig, axs = plt.subplots(1, len(names), figsize=(6.2 * len(names), 3.6), squeeze=False)
    smallest = table.part.max()
    for ax, name in zip(axs.flat, names, strict=True):
        for i, stage in enumerate(stages):
            for (part, taken), rows in table[table.stage == stage].groupby(["part", "taken"], sort=False):
                x = rows.kind.map(kinds.index) + (i - (len(stages) - 1) / 2) * 0.2
                if part != smallest:
                    ax.plot(x, rows[name], "_", ms=9, mew=2, color=shades[stage], alpha=0.4)
                else:
                    style = {"mfc": "white"} if taken == "before" else {}
                    label = f"{stage}{', taken before' if taken == 'before' else ''}"
                    x = x + (0.06 if taken == "before" else 0)
                    error = 2 * rows[f"{name}_error"] if f"{name}_error" in rows else None
                    ax.errorbar(x, rows[name], error, fmt="o", ms=4, lw=0.8, color=shades[stage], label=label, **style)
        ax.axhline(0, color="0.3", lw=0.8)
        ax.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right", rotation_mode="anchor", fontsize="small")
        ax.set(title=f"loss on {name}", ylabel="rise [nats per token]")
    axs.flat[-1].legend(fontsize="x-small", title="smallest tenth (bars: a middle one)", title_fontsize="x-small")
    return fig
