"""Go on with pretraining for as many updates as each stage has, at its rates: what a stage's own is held against.

`python -m nla.studies.fine_tuning_stages.controls` makes controls.json; on one core it takes six minutes. Each control
begins where pretraining ended, with the optimiser empty as in a stage, on source drawn at random; nothing but the text
and the loss is another. An update sees `BATCH` windows, about as many predicted tokens as in a batch of the stages.
"""

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import tokenizers
import torch
import transformers

import nla
from nla.demo import stages, train
from nla.models import DEMO
from nla.models.chains import links
from nla.running import training
from nla.running.language import language_model

RECIPES = {"sft": stages.SFT, "dpo": stages.DPO}
BATCH, SEEDS = 4, (0, 1)
RESULTS = Path(__file__).with_suffix(".json")


def go_on(folder, windows, recipe, seed, out, batch=BATCH):
    """Train the last checkpoint in `folder` further on `windows` by `recipe`, into `out`; the loss of every update."""
    model = language_model(nla.checkpoints(str(folder))[-1])
    chosen = training.shuffled(len(windows), batch, recipe.steps, seed)
    losses = training.fit(model, recipe, lambda step: training.token_loss(model, windows[chosen[step]]), "going on")
    train.save(model, Path(out))
    return losses


def updates(before, after):
    """[{kind, layer, delta_…}] of all matrices: the numbers of `nla.update` between two folders, 5 digits of each."""
    with nla.load(f"{before}>{after}", step=1) as weights:
        found = [({"kind": m.kind, "layer": m.layer}, nla.update(m)) for m in weights.matrices()]
    return [key | {n: float(f"{v:.5g}") for n, v in row.items() if np.ndim(v) == 0 and v == v} for key, row in found]


def main(out=RESULTS, folder=DEMO, seeds=SEEDS, recipes=None, root=None, batch=BATCH):
    """Train all controls from the end of the ladder in `folder`, and write their numbers to the file `out`."""
    recipes, rows = recipes or RECIPES, []
    windows, _, digest = train.source(folder, root)
    base = nla.checkpoints(str(folder))[-1].fetch()
    for seed in seeds:
        for stage, recipe in recipes.items():
            with tempfile.TemporaryDirectory() as name:
                losses = go_on(folder, windows, recipe, seed, name, batch)
                rows += [{"stage": stage, "seed": seed} | row for row in updates(base, name)]
            print(stage, seed, f"loss {np.mean(losses[:20]):.3f} to {np.mean(losses[-20:]):.3f}", flush=True)
    how = {
        "command": "python -m nla.studies.fine_tuning_stages.controls",
        "recipes": {stage: asdict(recipe) for stage, recipe in recipes.items()},
        "tokens_per_step": batch * train.CONTEXT,
        "corpus": {"python": platform.python_version(), "sha256": digest},
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)},
    }
    partial = Path(out).with_suffix(".partial")
    lines = ",\n".join(json.dumps(row) for row in rows)
    partial.write_text(f'{{"how": {json.dumps(how, indent=1)},\n"updates": [\n{lines}\n]}}\n')
    os.replace(partial, out)


def of_chain(chain):
    """What as many updates of pretraining do as each stage has, at its rates, from the end of pretraining; or None.

    Returns
    -------
    pandas.DataFrame or None
        stage, seed, kind, layer, and the numbers of `nla.update`; None where no such runs are stored beside the last
        stage. See nla/studies/fine_tuning_stages/controls.py.
    """
    folder = Path(list(links(chain).values())[-1]).expanduser().parent
    path = RESULTS if folder == DEMO else folder / "stage_controls.json"
    return pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["updates"]) if path.is_file() else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=RESULTS, type=Path, help="file of the results")
    parser.add_argument("--batch", type=int, default=BATCH, help="windows of source in an update")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    main(args.out, seeds=args.seeds, batch=args.batch)
