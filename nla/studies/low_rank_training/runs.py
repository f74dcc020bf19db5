"""Train all variants of the embedded model that notebook 11 compares: up to three seeds, 400 steps each.

`python -m nla.studies.low_rank_training.runs` makes runs.json. It goes on where it was stopped: the file is whole after
every run, and the least telling come last. On 2 cores all of it takes about two hours.
"""

import argparse
import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers

from nla.demo import train
from nla.studies.low_rank_training.variants import BATCH, HELD_OUT, PEAK, fit, rows, variants

STEPS, SEEDS = 400, (0, 1, 2)
LATER = (3, 4, 7, 8, 9, 10, "qkv rank 48 with GELU", "mlp rank 48")  # the least telling: their other seeds come last
RESULTS = Path(__file__).with_suffix(".json")


def results(path=RESULTS):
    """(how it was made, table of `nla.studies.low_rank_training.variants.rows`) of the committed runs."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    return record["how"], rows(record["runs"])


def counted(windows, unseen, vocabulary):
    """Held-out loss, nats per token, of what counting gives: {"unigram": ..., "bigram": ...}.

    A model without attention sees nothing but the token before the one it predicts, so it is a bigram model, and a
    bigram table is what it can learn at most. p(b | a) = (count of ab + k p(b)) / (count of a + k), with the k that
    predicts the last tenth of `windows` best from the rest.
    """
    unseen = unseen[np.unique(np.linspace(0, len(unseen) - 1, HELD_OUT).astype(int))]  # as train.evaluate

    def losses(seen, asked, strength):
        a, b = seen[:, :-1].flatten(), seen[:, 1:].flatten()
        pairs = torch.bincount(a * vocabulary + b, minlength=vocabulary**2).view(vocabulary, vocabulary).double()
        single = pairs.sum(0) + 1
        single /= single.sum()
        table = (pairs + strength * single) / (pairs.sum(1, keepdim=True) + strength)
        a, b = asked[:, :-1].flatten(), asked[:, 1:].flatten()
        return -single[b].log().mean().item(), -table[a, b].log().mean().item()

    cut = len(windows) * 9 // 10
    strength = min((2.0**i for i in range(11)), key=lambda k: losses(windows[:cut], windows[cut:], k)[1])
    return dict(zip(("unigram", "bigram"), (round(x, 5) for x in losses(windows, unseen, strength)), strict=True))


def _run(name, seed, peak, steps):
    torch.set_num_threads(1)
    windows, unseen, _ = train.source()
    return fit(train.shape(), variants(train.shape())[name][1], seed, windows, unseen, steps, peak=peak)


def main(out, steps, seeds, workers):
    """Train what is not yet in the file `out`."""
    known = variants(train.shape())
    wanted = [(name, seeds[0], PEAK) for name in known]
    later = [name for name, (number, _) in known.items() if number in LATER or name in LATER]
    wanted += [(name, seed, PEAK) for seed in seeds[1:] for name in known if name not in later]
    wanted += [(name, seeds[0], peak) for peak in (PEAK / 2, 2 * PEAK) for name in list(known)[:2]]  # is PEAK unfair?
    wanted += [(name, seed, PEAK) for seed in seeds[1:] for name in later]
    place = {key: i for i, key in enumerate(wanted)}
    windows, unseen, digest = train.source()
    how = {
        "command": "python -m nla.studies.low_rank_training.runs",
        "steps": steps,
        "tokens_per_step": BATCH * train.CONTEXT,
        "warmup": max(1, steps // 20),
        "peak": PEAK,
        "weight_decay": train.RECIPE.weight_decay,
        "seeds": list(seeds),
        "held_out_tokens": HELD_OUT * train.CONTEXT,
        "corpus": {"python": platform.python_version(), "sha256": digest, "train_tokens": windows[:, 1:].numel()},
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)},
        "counted_on_all": counted(windows, unseen, train.SHAPE["vocab_size"]),
        "counted_on_as_much": counted(windows[:: len(windows) // (steps * BATCH)], unseen, train.SHAPE["vocab_size"]),
    }
    done = json.loads(out.read_text())["runs"] if out.is_file() else []

    def write():
        done.sort(key=lambda run: place[run["experiment"], run["seed"], run["peak"]])
        lines = ",\n".join(json.dumps(run) for run in done)
        partial = out.with_suffix(".partial")
        partial.write_text(f'{{"how": {json.dumps(how, indent=1)},\n"runs": [\n{lines}\n]}}\n')
        os.replace(partial, out)

    write()
    kept = {(run["experiment"], run["seed"], run["peak"]) for run in done}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        waiting = {pool.submit(_run, *key, steps): key for key in wanted if key not in kept}
        for future in as_completed(waiting):
            name, seed, peak = waiting[future]
            run = {"experiment": name, "number": known[name][0], "seed": seed, "peak": peak}
            done.append(run | {"tokens_per_step": how["tokens_per_step"]} | future.result())
            print(len(done), "of", len(wanted), name, seed, peak, done[-1]["curve"][-1], flush=True)
            write()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=RESULTS, type=Path, help="file of the results")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    args = parser.parse_args()
    main(args.out, args.steps, args.seeds, args.workers)
