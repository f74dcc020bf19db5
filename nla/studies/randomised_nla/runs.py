"""Train the embedded model's architecture with projected gradients, against AdamW and against low-rank weights.

    python -m nla.studies.randomised_nla.runs

writes galore_runs.json beside it, run by run, and goes on where it was stopped; an hour on 2 cores. All runs of
a seed have the same first weights and the same batches in the same order; what is stored of each is in `record`.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn.utils import parametrize

from nla import numerics
from nla.demo import train
from nla.low_rank.changes import halves
from nla.matrices import load
from nla.measures.power_law import power_law
from nla.measures.spectrum import spectrum
from nla.nulls.recipes import Recipe
from nla.numerics import spectra
from nla.running import training
from nla.studies.randomised_nla import galore

RECIPE = Recipe(peak=2e-3, steps=400, warmup=20)  # steps, batch, order and held-out text are those of notebook 11
BATCH, SEEDS, WINDOWS = 4, (0, 1, 2), 64  # windows an update; windows of held-out text
EVALUATED = (0, 25, 50, 100, 200, 300, 400)
EVERY = 50  # steps between looks at the gradient
SCALE = 1.0  # of the projected update; over 200 steps of seed 0 better than 2 and 4 at both ranks
CONFIGURATIONS = [
    dict(name="AdamW"),
    dict(name="GaLore", projector="exact", rank=48, refresh=50),
    dict(name="GaLore", projector="sketched", rank=48, refresh=50),
    dict(name="GaLore", projector="random", rank=48, refresh=50),
    dict(name="GaLore", projector="exact", rank=48, refresh=200),
    dict(name="GaLore", projector="exact", rank=16, refresh=200),
    dict(name="low-rank weights", factors=48),
]
KEPT = ("stable_rank", "stable_rank_relative", "effective_rank_relative", "mp_rank", "alpha", "mp_departure", "valid")


class Product(torch.nn.Module):
    """A weight as the product of two factors, (out, rank) and (rank, in), for `torch.nn.utils.parametrize`."""

    def __init__(self, rank):
        super().__init__()
        self.rank = rank

    def forward(self, left, right):
        return left @ right

    def right_inverse(self, weight):
        """The factors of the best approximation of this rank, each with the root of the singular values."""
        return halves(weight, self.rank)


def inner(model):
    """{name: linear layer} of attention and MLP, as they are projected: query, key and value in one."""
    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)
            and ".layers." in name}  # fmt: skip


def optimizer_of(model, rank=None, projector=None, refresh=None, scale=SCALE, **_):
    """AdamW of the series' recipe, or GaLore over it."""
    options = dict(projector=galore.PROJECTORS[projector], refresh=refresh, scale=scale) if rank else {}
    return galore.GaLore(galore.groups_of(model, RECIPE, rank, **options))


def gradient_ranks(model):
    """Of each gradient of `inner`: stable rank, and share of its energy in its 16 and 48 leading directions."""
    rows = []
    for name, module in inner(model).items():
        s = spectra.singular_values(spectra.gram(module.weight.grad))
        share = np.cumsum(s**2) / (s @ s)
        rows.append([name.split("layers.")[1], share[0] ** -1, share[15], share[47]])
    return [[name, *(float(f"{x:.4g}") for x in numbers)] for name, *numbers in rows]


def captured(optimizer):
    """Share of the gradients' energy that the projectors of now keep, summed over matrices; None without projectors."""
    kept = whole = 0.0
    for p, state in optimizer.state.items():
        if "P" in state:
            kept += float(galore.project(state["P"], p.grad).square().sum())
            whole += float(p.grad.square().sum())
    return float(f"{kept / whole:.4g}") if whole else None


def final_spectra(folder, step):
    """{column: list} over the matrices of the last checkpoint: the measures of the series, and ranks of W - W_0."""
    rows = []
    with load(str(folder), step=step) as weights:
        for matrix in weights.matrices():
            measured = spectrum(matrix) | power_law(matrix)
            change = spectra.singular_values(spectra.gram(matrix.values - matrix.initial.values))
            ranks = numerics.ranks(change)
            row = {k: float(f"{measured[k]:.4g}") for k in KEPT}
            row |= {f"change_{k}": float(f"{ranks[k]:.4g}") for k in ("stable_rank", "energy_rank_90")}
            rows.append(dict(kind=matrix.kind, layer=matrix.layer, **row))
    return {column: [row[column] for row in rows] for column in rows[0]}


def watched(optimizer, model, gradients):
    """Looks at some of the updates that `optimizer` makes: {"gradients": [], "captured": []}, filled while it trains.

    `gradient_ranks`, if asked for; and the shares `captured` just before and just after the update, of projectors.
    """
    seen, looked, steps = {"gradients": [], "captured": []}, [], count()

    def before(optimizer, *_):
        step, stale = next(steps), None
        if looking := step % EVERY == 0 or step in (1, 3, 10, 25):
            seen["gradients"] += [[step, *row] for row in gradient_ranks(model)] if gradients else []
            stale = captured(optimizer)
        looked[:] = [step, stale] if looking else []

    def after(optimizer, *_):
        if looked and (now := captured(optimizer)) is not None:
            seen["captured"].append([*looked, now])

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    return seen


def record(configuration, seed):
    """Train once; what is kept of it: losses, bytes and seconds, gradients (AdamW only), spectra at the end."""
    torch.set_num_threads(1)
    windows, unseen, _ = train.source()
    model, batches = train.new_model(seed), training.batches([0] * len(windows), BATCH, RECIPE.steps, seed)
    torch.manual_seed(seed)  # of sketches and random projectors
    with tempfile.TemporaryDirectory() as folder:
        train.save(model, Path(folder) / "step0")
        if rank := configuration.get("factors"):
            for module in inner(model).values():
                parametrize.register_parametrization(module, "weight", Product(rank))
        optimizer, losses = optimizer_of(model, **configuration), []
        seen = watched(optimizer, model, configuration["name"] == "AdamW")

        def look(step):
            if step in EVALUATED:
                losses.append([step, round(training.evaluate(model, unseen, WINDOWS), 4)])

        def loss(step):
            return training.token_loss(model, windows[batches[step]])

        training.fit(model, RECIPE, loss, configuration["name"], optimizer, look)
        trained = sum(p.numel() for p in model.parameters())
        for module in inner(model).values() if rank else ():
            parametrize.remove_parametrizations(module, "weight")
        train.save(model, Path(folder) / f"step{RECIPE.steps}")
        found = {"held_out": losses, "parameters": trained, "state_bytes": galore.state_bytes(optimizer)} | seen
        return dict(configuration=configuration, seed=seed, **found, spectra=final_spectra(folder, RECIPE.steps))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=Path(__file__).with_name("galore_runs.json"), type=Path)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    options = parser.parse_args()
    out = options.out
    notes = {
        "command": "python -m nla.studies.randomised_nla.runs",
        "recipe": vars(RECIPE) | {"tokens_per_step": BATCH * train.CONTEXT, "scale": SCALE},
        "corpus_sha256": train.source()[2],
        "versions": {"python": platform.python_version()} | {m.__name__: m.__version__ for m in (torch, transformers)},
    }
    done = json.loads(out.read_text(encoding="utf-8"))["runs"] if out.is_file() else []
    wanted = [(c, seed) for part in (CONFIGURATIONS[:4], CONFIGURATIONS[4:]) for seed in SEEDS for c in part]
    kept = [(run["configuration"], run["seed"]) for run in done]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(record, *each) for each in wanted if each not in kept]):
            done.append(future.result())
            done.sort(key=lambda run: wanted.index((run["configuration"], run["seed"])))
            partial = out.with_suffix(".partial")
            partial.write_text(json.dumps({"how": notes, "runs": done}, separators=(",", ":")) + "\n", encoding="utf-8")
            os.replace(partial, out)
            print(len(done), "of", len(wanted), flush=True)


if __name__ == "__main__":
    sys.exit(main())
