"""Train variants of the embedded model with parts made smaller, from one start with one order of data.

`python -m nla.demo.low_rank_runs` makes low_rank_runs.json, which notebook 11 reads: the experiments of seed 003 in
the embedded model's sizes, and controls that the seed lacked. It goes on where it was stopped. On 2 cores it takes
about an hour.
"""

import argparse
import hashlib
import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import tokenizers
import torch
import transformers

from nla.demo import stages, train
from nla.low_rank_changes import Change, apply, label
from nla.low_rank_experiments import EXPERIMENTS, qkv, scaled
from nla.low_rank_models import parameters
from nla.models import DEMO
from nla.recipes import Recipe

STEPS, BATCH, SEEDS, HELD_OUT = 400, 4, (0, 1, 2), 64
PEAK = train.RECIPE.peak
TRAINED = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 23, 25, 26)  # of the 26, those that differ at 6 layers
RESULTS = Path(__file__).with_suffix(".json")


def variants(config):
    """{label: (number of the seed's experiment or 0, changes)} in the sizes of `config`: the seed's, then controls.

    The controls: a non-linear rank as large as the seed's largest linear one; whole attention without dense, which in
    the seed is always missing where attention is called whole; all MLPs factored; and a third of the layers dropped,
    which leaves as many parameters as no attention at all does.
    """
    seed = {n: scaled(EXPERIMENTS[n - 1], config).changes for n in TRAINED}
    layers, large = config.num_hidden_layers, seed[5][0].rank
    controls = [
        (qkv(large, activation="gelu"),),
        (Change("dense", "skipped"),),
        (Change("mlp", "factored", large),),
        *([(Change("layer", "dropped", start=layers - layers // 3),)] if layers >= 3 else []),
    ]
    return {label(c): (n, c) for n, c in [*seed.items(), *((0, c) for c in controls)]}


def evaluated(steps):
    """The steps at which the held-out loss is taken, of a training of `steps`."""
    return sorted({0, steps, *(round(steps * part) for part in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4))})


def fit(config, changes, seed, windows, unseen, steps=STEPS, batch=BATCH, peak=PEAK, device="cpu"):
    """Train one variant; the start and the order of the data depend on `seed` alone.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
    changes : iterable of nla.low_rank_changes.Change
    windows, unseen : torch.Tensor
        (n, context + 1) token ids to train on and to evaluate on.

    Returns
    -------
    dict
        ``parameters`` that training changes, ``order`` of the data as a digest, and ``curve``, [[step, held-out loss]].
    """
    model = apply(train.new_model(seed, config), changes).to(device)
    chosen = stages.batches([0] * len(windows), batch, steps, seed)
    recipe, curve, unseen = Recipe(peak, steps, max(1, steps // 20)), [], unseen.to(device)

    def evaluate(step):
        model.eval()
        curve.append([step, round(train.evaluate(model, unseen, HELD_OUT), 5)])
        model.train()

    def loss(step):
        if step in evaluated(steps):
            evaluate(step)
        return train.token_loss(model, windows[chosen[step]].to(device))

    model.train()
    stages.fit(model, recipe, loss, label(changes))
    evaluate(steps)
    order = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:16]
    return {"parameters": parameters(model, trainable=True), "order": order, "curve": curve}


def rows(runs):
    """One row per run and evaluated step: experiment, number, seed, peak, step, tokens, parameters, held_out_loss."""
    found = []
    for run in runs:
        same = {k: run[k] for k in ("experiment", "number", "seed", "peak", "parameters", "order")}
        for step, loss in run["curve"]:
            found.append(same | {"step": step, "tokens": step * run["tokens_per_step"], "held_out_loss": loss})
    return pd.DataFrame(found)


def results(path=RESULTS):
    """(how it was made, table of `rows`) of the committed runs."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    return record["how"], rows(record["runs"])


def compare(config, windows, unseen, chosen, seeds=SEEDS, **options):
    """`rows` of the variants named in `chosen`, each trained here from the start of every one of `seeds`."""
    known, batch = variants(config), options.get("batch", BATCH)
    runs = []
    for seed in seeds:
        for name in chosen:
            number, changes = known[name]
            run = {"experiment": name, "number": number, "seed": seed, "peak": options.get("peak", PEAK)}
            fitted = fit(config, changes, seed, windows, unseen, **options)
            runs.append(run | {"tokens_per_step": batch * (windows.shape[1] - 1)} | fitted)
    return rows(runs)


@cache
def source():
    """(training windows, held-out windows, digest of the text) of the embedded model's own corpus and tokenizer."""
    texts, held_out = train.corpus(1234)
    bpe = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    return train.token_windows(bpe, texts), train.token_windows(bpe, held_out), train.digest({**texts, **held_out})


def _run(name, seed, peak, steps):
    torch.set_num_threads(1)
    windows, unseen, _ = source()
    return fit(train.shape(), variants(train.shape())[name][1], seed, windows, unseen, steps, peak=peak)


def main(out, steps, seeds, workers):
    """Train what is not yet in the file `out`, which is whole after every run."""
    known = variants(train.shape())
    wanted = [(name, seed, PEAK) for seed in seeds for name in known]
    wanted += [(name, seeds[0], peak) for peak in (PEAK / 2, 2 * PEAK) for name in list(known)[:2]]  # is PEAK unfair?
    windows, _, digest = source()
    how = {
        "command": "python -m nla.demo.low_rank_runs",
        "steps": steps,
        "tokens_per_step": BATCH * train.CONTEXT,
        "warmup": max(1, steps // 20),
        "peak": PEAK,
        "weight_decay": train.RECIPE.weight_decay,
        "seeds": list(seeds),
        "held_out_tokens": HELD_OUT * train.CONTEXT,
        "corpus": {"python": platform.python_version(), "sha256": digest, "train_tokens": windows[:, 1:].numel()},
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)},
    }
    done = json.loads(out.read_text())["runs"] if out.is_file() else []
    kept = {(run["experiment"], run["seed"], run["peak"]) for run in done}
    place = {key: i for i, key in enumerate(wanted)}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        waiting = {pool.submit(_run, *key, steps): key for key in wanted if key not in kept}
        for future in as_completed(waiting):
            name, seed, peak = key = waiting[future]
            run = {"experiment": name, "number": known[name][0], "seed": seed, "peak": peak}
            run |= {"tokens_per_step": how["tokens_per_step"]} | future.result()
            done.append(run)
            done.sort(key=lambda run: place[run["experiment"], run["seed"], run["peak"]])
            lines = ",\n".join(json.dumps(run) for run in done)
            partial = out.with_suffix(".partial")
            partial.write_text(f'{{"how": {json.dumps(how, indent=1)},\n"runs": [\n{lines}\n]}}\n')
            os.replace(partial, out)
            print(len(done), "of", len(wanted), *key, run["curve"][-1], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=RESULTS, type=Path, help="file of the results")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    args = parser.parse_args()
    main(args.out, args.steps, args.seeds, args.workers)
