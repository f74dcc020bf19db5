"""Figures of low-rank training: what the 26 experiments leave of a model, and what the trained variants lose."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import FuncFormatter

from nla import figures
from nla.studies.low_rank_training.experiments import SHOWN

PARTS = {"qkv": "query_key_value", "dense": "dense", "mlp": "MLP", "embed_in": "embed_in", "embed_out": "embed_out"}
GROUPS = ("whole", "low-rank attention", "attention without dense", "no attention", "MLP too", "embeddings", "control")


def group(name, number):
    """Which of `GROUPS` a variant belongs to, by the number that llm_lora gives it; 0 for controls."""
    if number == 0:
        return "control"
    if "mlp" in name:
        return "MLP too"
    by_number = {1: "whole", 6: "no attention", 25: "embeddings", 26: "embeddings"}
    return by_number.get(number, "attention without dense" if "no dense" in name else "low-rank attention")


def colors():
    """{group: colour}; whole is black."""
    return dict(zip(GROUPS, ["black", *sns.color_palette("colorblind", len(GROUPS) - 1)], strict=True))


def parts(table):
    """A bar per experiment of `experiments.table`: its parameters by part, and the published count."""
    models = list(table.model.unique())
    heights = [len(table[table.model == m]) for m in models]
    shape = {"gridspec_kw": {"height_ratios": heights}, "figsize": (8.5, 0.24 * sum(heights) + 1.2)}
    fig, axs = plt.subplots(len(models), 1, squeeze=False, **shape)
    shades = dict(zip([*SHOWN, "norms"], [*sns.color_palette("colorblind", len(SHOWN)), "0.3"], strict=True))
    for ax, model in zip(axs.flat, models, strict=True):
        rows = table[table.model == model].iloc[::-1]
        names, left = [f"{row.number}  {row.name_}" for row in rows.rename(columns={"name": "name_"}).itertuples()], 0.0
        for part in SHOWN:
            width = rows[part].to_numpy(dtype=float) / 1e6
            ax.barh(names, width, left=left, color=shades[part], height=0.75, label=PARTS[part])
            left = left + width
        wrong = (rows.parameters != rows.published).to_numpy()
        ax.plot(
            rows.published[~wrong] / 1e6, np.flatnonzero(~wrong), "|", color="black", ms=9, mew=1.5, label="published"
        )
        ax.plot(
            rows.published[wrong] / 1e6,
            np.flatnonzero(wrong),
            "x",
            color="red",
            ms=7,
            mew=2,
            label="published, misprint",
        )
        ax.set(ylim=(-0.6, len(rows) - 0.4))
        ax.set_title(model, fontsize="medium", loc="left")
        ax.tick_params(axis="y", length=0, labelsize="x-small")
    axs.flat[-1].set_xlabel("trained parameters [million]")
    axs.flat[0].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def against_parameters(summary, references=None):
    """Loss against parameters, and the same variants by name with the 95 % interval of their rise above whole.

    A variant that was not trained from every seed stands as far above whole's mean as it was in the seeds that it has.

    Parameters
    ----------
    summary : pandas.DataFrame
        Of `nla.studies.low_rank_training.variants.summary`.
    references : dict, optional
        label -> loss of a model that is not one of them, drawn in grey.
    """
    table = summary.sort_values("above", ascending=False)
    shades = colors()
    color = [shades[group(name, row.number)] for name, row in table.iterrows()]
    fig, axs = plt.subplots(1, 2, figsize=(12.5, 0.27 * len(table) + 1.2), gridspec_kw={"width_ratios": (1.1, 1)})
    height = table.loss["whole"] + table.above
    for letter, (name, row), c in zip(_letters(len(table)), table.iterrows(), color, strict=True):
        place = (row.parameters / 1e6, height[name])
        axs[0].errorbar(*place, row.spread, fmt="o", ms=5, color=c, capsize=2)
        axs[0].annotate(letter, place, (5, 3), textcoords="offset points", fontsize="small")
    for label, loss in (references or {}).items():
        axs[0].axhline(loss, color=figures.GREY, lw=2, zorder=0)
        axs[0].annotate(label, (0.01, loss), (0, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                        fontsize="x-small", color="0.4")  # fmt: skip
    axs[0].set(xlabel="trained parameters [million]", ylabel="held-out loss [nats per token]")
    places = np.arange(len(table))
    for x, (_, row), c in zip(places, table.iterrows(), color, strict=True):
        axs[1].errorbar(row.above, x, xerr=np.nan_to_num(row.half), fmt="o", ms=5, color=c, capsize=2)
    names = [
        f"{f'#{row.number:.0f}' if row.number else 'control'}: {name}  {letter}"
        for letter, (name, row) in zip(_letters(len(table)), table.iterrows(), strict=True)
    ]
    axs[1].set_yticks(places, names, fontsize="x-small")
    axs[1].axvline(0, color="black", lw=0.8)
    axs[1].set(xlabel="loss above whole [nats], 95 % interval", ylim=(-0.6, len(table) - 0.4))
    for name, shade in shades.items():
        if shade in color:
            axs[0].plot([], [], "o", ms=5, color=shade, label=name)
    axs[0].legend(fontsize="x-small", loc="best")
    return fig


def _letters(count):
    """a, b, c, ... for the variants from the last of the list to the first."""
    return [chr(ord("a") + count - 1 - i) for i in range(count)]


def curves(table, against="whole"):
    """Held-out loss through training, and its rise above that of `against`, means and ranges over the seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `nla.studies.low_rank_training.variants.rows`.
    """
    wide = table.pivot_table(index="step", columns=["experiment", "seed"], values="held_out_loss")
    above = wide - wide[against].reindex(columns=wide.columns, level="seed")
    names = list(table.experiment.unique())
    shades = dict(zip(names, ["black", *sns.color_palette("colorblind", max(len(names) - 1, 1))], strict=False))
    fig, axs = plt.subplots(1, 2, figsize=(11.5, 3.6))
    for ax, values in zip(axs, (wide, above), strict=True):
        for name in names:
            mean = values[name].mean(axis=1)
            ax.plot(mean.index, mean, color=shades[name], marker=".", lw=1.4, label=name)
            ax.fill_between(
                mean.index, values[name].min(axis=1), values[name].max(axis=1), color=shades[name], alpha=0.2, lw=0
            )
        ax.set_xlabel("training step")
    axs[0].set_ylabel("held-out loss [nats per token]")
    axs[1].set_ylabel(f"above {against} [nats]")
    axs[0].legend(fontsize="x-small")
    return fig


def ranks(summary, even, references):
    """Loss above whole against the rank of query_key_value, without and with a non-linearity between its factors.

    Parameters
    ----------
    summary : pandas.DataFrame
        Of `nla.studies.low_rank_training.variants.summary`.
    even : float
        The rank at which the factors hold as much as the matrix.
    references : dict
        label -> loss; whole attention and none are drawn besides.
    """
    fig, ax = plt.subplots(figsize=(6.5, 3.6))
    only = summary[summary.index.str.fullmatch(r"qkv rank \d+( with GELU)?")]
    ranks = only.index.str.extract(r"rank (\d+)")[0].astype(int).to_numpy()
    bent = only.index.str.contains("GELU")
    blue, orange = sns.color_palette("colorblind", 2)
    for chosen, style, color, label in ((~bent, "o-", blue, "linear"), (bent, "s--", orange, "with GELU between")):
        rows = only[chosen]
        bars = np.nan_to_num(rows.half)
        ax.errorbar(ranks[chosen], rows.above, bars, fmt=style, ms=5, capsize=2, color=color, label=label)
    for name, style in (("whole", "-"), ("no attention", ":")):
        ax.axhline(summary.above[name], color="black", ls=style, lw=1.2, label=name)
    for label, loss in references.items():
        ax.axhline(loss - summary.loss["whole"], color=figures.GREY, lw=2, zorder=0, label=label)
    ax.axvline(even, color="black", lw=0.8, ls="-.", label="break-even")
    ax.set(xscale="log", xlabel="rank of query_key_value", ylabel="loss above whole [nats], 95 % interval")
    ax.set_xticks([*sorted(set(ranks)), even])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.minorticks_off()
    ax.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
