"""The 26 experiments of llm_lora on Pythia: which parts of which layers, at which rank; at any size, in any family.

Names, parameter counts and conclusions are from its README. What a count needs and the README does not say is
from the code of its repository, and is said where it stands. Counts are of the parameters that training changes.
"""

from dataclasses import dataclass, replace

import pandas as pd

from nla.low_rank.changes import PARTS, Change, apply
from nla.low_rank.counts import parameters, skeleton
from nla.matrices.in_memory import in_memory
from nla.models.published import PYTHIA

GEOMETRY = {
    f"pythia-{size}": {
        "model_type": "gpt_neox",
        "num_hidden_layers": layers,
        "hidden_size": d,
        "num_attention_heads": heads,
        "intermediate_size": 4 * d,
        "vocab_size": vocabulary,
    }
    for size, (d, layers, heads, vocabulary) in PYTHIA.items()
}
CORRECTED = {18: 220_353_704, 26: 380_102_656}  # what the recipes of two experiments give in place of another's number
CONCLUSIONS = {  # what llm_lora says of their loss; of the others it says nothing
    23: "matched the original in the end",
    24: "matched the original",
    25: "much higher than the original's",
    26: "higher than the original's; better leave embeddings alone",
}
SHOWN = ("qkv", "dense", "mlp", "embed_in", "embed_out")


@dataclass(frozen=True)
class Experiment:
    """A model that differs by `changes` from `model`, and how many parameters llm_lora says that it has."""

    number: int
    name: str
    changes: tuple = ()
    published: int | None = None
    model: str = "pythia-410m"


def qkv(rank, start=0, activation=None):
    """Query, key and value as one matrix of rank `rank` from layer `start` on."""
    return Change("qkv", "factored", rank, start, activation=activation)


def narrow(rank, start=0):
    """llm_lora's non-linear low-rank MLP, h -> rank -> GELU -> h, is an MLP of that many neurons."""
    return Change("mlp", "narrow", rank, start)


def factored_mlp(rank, start, stop=None):
    """Both matrices of the MLP as two factors each, the non-linearity between them kept."""
    return Change("mlp", "factored", rank, start, stop)


NO_DENSE = Change("dense", "skipped")  # llm_lora's class of low-rank attention has no output projection
TO_6 = (qkv(8, 6), NO_DENSE)  # "full attention up to layer 6": but dense is missing from these layers too
TO_3 = (qkv(8, 3), NO_DENSE)

EXPERIMENTS = (
    Experiment(1, "original", (), 405_334_016),
    Experiment(2, "linear 8", (qkv(8),), 330_623_168),  # the README says all layers in attention, but dense stays
    Experiment(3, "non-linear 8", (qkv(8, activation="gelu"),), 330_623_168),
    Experiment(4, "linear 32", (qkv(32),), 332_983_040),
    Experiment(5, "linear 256", (qkv(256),), 355_008_512),
    Experiment(6, "no attention", (Change("attention", "silent"),), 304_572_416),  # both LayerNorms stay
    Experiment(7, "linear 8, dense 8", (qkv(8), Change("dense", "factored", 8)), 305_850_752),
    Experiment(8, "linear 8, no dense", (qkv(8), NO_DENSE), 305_432_768),
    Experiment(9, "8 + linear MLP", (qkv(8), NO_DENSE, Change("mlp", "linear")), 305_432_768),
    Experiment(10, "8 + MLP of 8", (qkv(8), NO_DENSE, narrow(8)), 104_401_280),
    Experiment(11, "8 + MLP of 768", (qkv(8), NO_DENSE, narrow(768)), 141_775_040),
    Experiment(12, "8 from layer 1", (qkv(8, 1), NO_DENSE), 308_545_720),
    Experiment(13, "8 from layer 6", TO_6, 324_110_480),
    Experiment(14, "8 from layer 3", TO_3, 314_771_624),
    Experiment(15, "8 from layer 2", (qkv(8, 2), NO_DENSE), 311_658_672),
    Experiment(16, "14 + MLP of 8 from layer 6", (*TO_3, narrow(8, 6)), 163_998_008),
    Experiment(17, "14 + MLP of 8 from layer 12", (*TO_3, narrow(8, 12)), 214_255_880),
    Experiment(18, "14 + MLP of 256 from layer 12", (*TO_3, narrow(256, 12)), 214_255_880),  # repeats 17's number
    Experiment(19, "original", (), 2_775_208_960, "pythia-2.8b"),
    Experiment(20, "8 from layer 3", TO_3, 1_997_624_552, "pythia-2.8b"),
    Experiment(21, "8 from layer 6", TO_6, 2_056_361_168, "pythia-2.8b"),
    Experiment(22, "13 + MLP rank 16 from layer 20", (*TO_6, factored_mlp(16, 20)), 291_211_536),  # its name says 8
    Experiment(23, "13 + MLP rank 16 in 12-18", (*TO_6, factored_mlp(16, 12, 19)), 266_537_328),
    Experiment(24, "21 + MLP rank 16 in 16-22", (*TO_6, factored_mlp(16, 16, 23)), 1_692_226_992, "pythia-2.8b"),
    Experiment(25, "embed_in frozen", (Change("embed_in", "frozen"),), 353_822_720),  # embed_out is trained
    Experiment(26, "embed_in rank 512", (Change("embed_in", "factored", 512),), 405_334_016),  # the original's number
)


def count(config, changes=()):
    """How many parameters training changes in the model of `config` with these `Change`s; nothing is allocated."""
    return parameters(apply(skeleton(config), changes), trainable=True)


def by_part(config, changes=()):
    """{part: parameters that training changes}: qkv, dense, mlp, embed_in, embed_out, and norms, all that is left."""
    model = skeleton(config)
    layout = in_memory(model)
    places = {layout.tensor_name(k, n).removesuffix("weight"): part for part in SHOWN for k, n in layout.index
              if k in PARTS[part]}  # fmt: skip
    found = dict.fromkeys((*SHOWN, "norms"), 0)
    for name, p in apply(model, changes).named_parameters():
        part = next((part for place, part in places.items() if name.startswith(place)), "norms")
        found[part] += p.numel() * p.requires_grad
    return found


def scaled(experiment, config):
    """The experiment in the sizes of `config`: ranks in proportion to its width, layers to its depth."""
    old = GEOMETRY[experiment.model]

    def in_proportion(number, size):
        return number and max(1, round(number * getattr(config, size) / old[size]))

    changes = []
    for change in experiment.changes:
        rank = in_proportion(change.rank, "hidden_size")
        start, stop = (in_proportion(n, "num_hidden_layers") for n in (change.start, change.stop))
        changes.append(replace(change, rank=rank, start=start, stop=stop and max(stop, start + 1)))
    return replace(experiment, changes=tuple(changes), published=None)


def table(config=None):
    """The 26 experiments, a row each: `parameters` counted, by part too, and `published`; or in the sizes of `config`.

    A count that cannot be had is NA, and `why_not` says why.
    """
    rows = []
    for experiment in EXPERIMENTS:
        geometry, row = GEOMETRY[experiment.model], {"published": experiment.published, "model": experiment.model}
        if config is not None:
            experiment, geometry, row = scaled(experiment, config), config, {}
        try:
            parts = by_part(geometry, experiment.changes)
            found = {"parameters": sum(parts.values()), "why_not": ""} | parts
        except ValueError as error:
            found = {"parameters": pd.NA, "why_not": str(error)}
        rows.append({"number": experiment.number, "name": experiment.name} | found | row)
    return pd.DataFrame(rows).astype({"parameters": "Int64"})
