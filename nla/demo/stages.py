"""Train the embedded model's two later stages: supervised fine-tuning, then direct preference optimisation.

`make demo` runs this file after train.py; it writes sft/ and dpo/ beside the last step*/, held_out.json with text for
notebooks to evaluate on, and "stages" in history.json. The task is in docstrings.py. On 2 cores it takes ten minutes.

Both stages are a page of code. trl has them too and runs on this model, but would bring five more packages, and what
is longer here, drawing and judging answers, it leaves to its user.
"""

import argparse
import json
import random
from dataclasses import asdict
from pathlib import Path

import tokenizers
import torch
import transformers

from nla import models
from nla.demo import docstrings, train
from nla.demo.answers import draw, evaluate, judged, logprobs, put_out, spread
from nla.nulls.recipes import Recipe
from nla.running import training
from nla.running.language import language_model
from nla.running.training import batches, fit

SFT = Recipe(peak=2e-4, steps=400, warmup=10)
DPO = Recipe(peak=5e-5, steps=150, warmup=10, weight_decay=0.0)
SFT_PAIRS, SFT_WINDOWS, DPO_PAIRS = 32, 2, 32  # a batch: (signature, docstring) and windows of source; preferences
SOURCE = 0.5  # weight of the loss on source beside that on answers
BETA = 0.1
PROMPTS, SAMPLES = 1200, 8  # signatures that preferences are made for, and answers drawn to each
NOTICE = "Excerpts of the standard library of Python {}, (c) Python Software Foundation, under the PSF licence"


def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=BETA):
    """Mean of -ln sigma(beta ((chosen - reference_chosen) - (rejected - reference_rejected))); log-probabilities (n,).

    ln 2 where the model is its reference. Rafailov et al. 2023 (arXiv:2305.18290), equation 7.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -torch.nn.functional.logsigmoid(beta * margin).mean()


def fine_tune(model, sequences, windows, seed, recipe=SFT):
    """Supervised fine-tuning: cross-entropy of the answers alone, and of a little plain source lest it be forgotten."""
    pairs = batches([len(p) + len(a) for p, a in sequences], SFT_PAIRS, recipe.steps, seed)
    texts = batches([0] * len(windows), SFT_WINDOWS, recipe.steps, seed)

    def loss(step):
        total, counts = logprobs(model, [sequences[i] for i in pairs[step]])
        return -total.sum() / counts.sum() + SOURCE * training.token_loss(model, windows[texts[step]])

    return fit(model, recipe, loss, "fine-tuning")


def preferences(model, bpe, pairs, seed):
    """[(prompt, chosen answer, rejected answer)] of answers that the model draws: the best and one that is worse."""
    prompts = [docstrings.encode(bpe, pair)[0] for pair in pairs]
    found, answers, choice = [], draw(model, prompts, SAMPLES, seed), random.Random(seed)
    for prompt, drawn, checked in zip(prompts, answers, judged(bpe, pairs, answers), strict=True):
        best = max(range(len(drawn)), key=lambda i: checked[i]["reward"])
        worse = [i for i in range(len(drawn)) if checked[i]["reward"] < checked[best]["reward"]]
        if worse:
            found.append((prompt, put_out(drawn[best]), put_out(drawn[choice.choice(worse)])))
    if not found:
        raise ValueError("the reward does not tell any two answers apart: nothing can be preferred")
    return found


def prefer(model, reference, preferred, seed, recipe=DPO):
    """Direct preference optimisation on [(prompt, chosen, rejected)]; the loss of every update."""
    sides = [[(prompt, answers[i]) for prompt, *answers in preferred] for i in (0, 1)]
    with torch.no_grad():
        parts = [[logprobs(reference, side[i : i + 64])[0] for i in range(0, len(side), 64)] for side in sides]
    fixed = [torch.cat(part) for part in parts]
    drawn = batches([len(p) + max(len(a), len(b)) for p, a, b in preferred], DPO_PAIRS, recipe.steps, seed)

    def loss(step):
        now = logprobs(model, [side[i] for side in sides for i in drawn[step]])[0].chunk(2)
        return dpo_loss(*now, *(reference[drawn[step]] for reference in fixed))

    return fit(model, recipe, loss, "preferring")


def held_out(texts, pairs):
    """Text for notebooks to evaluate on, the same on every machine: parts of held-out files, and pairs from them."""
    source = [text[len(text) // 3 :][:1600] for text in texts.values() if len(text) > 4000]
    chosen = spread([pair for pair in pairs if pair.parameters], 160)
    return {"source": spread(source, 32), "pairs": [[p.signature, list(p.parameters), p.docstring] for p in chosen]}


def run(out, sft=SFT, dpo=DPO, seed=1234, root=None):
    """Train both stages from the last step*/ in the folder `out`; `root` holds other source text."""
    out, record = Path(out), {}
    bpe = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
    texts, unseen = train.corpus(seed, root)
    pairs = docstrings.fitting(bpe, docstrings.pairs(texts))
    known = {pair.docstring for pair in pairs}
    tests = [pair for pair in docstrings.fitting(bpe, docstrings.pairs(unseen)) if pair.docstring not in known]
    windows, plain = train.token_windows(bpe, texts), train.token_windows(bpe, unseen)
    history = json.loads((out / "history.json").read_text())
    notice = {"notice": NOTICE.format(history["corpus"]["python"])}
    (out / "held_out.json").write_text(json.dumps(notice | held_out(unseen, tests), indent=1) + "\n")

    def finish(stage, reference, recipe, **details):
        train.save(model, out / stage)
        after = evaluate(last(out / stage), reference, bpe, tests, plain)
        record[stage] = {"recipe": asdict(recipe), **details, "evaluation": after}

    base, model = last(out), last(out)
    record["base"] = {"evaluation": evaluate(base, base, bpe, tests, plain)}
    losses = fine_tune(model, [docstrings.encode(bpe, pair) for pair in pairs], windows, seed, sft)
    finish("sft", base, sft, pairs=len(pairs), batch=SFT_PAIRS, windows=SFT_WINDOWS, source=SOURCE, batch_loss=losses)
    reference, model = last(out / "sft"), last(out / "sft")
    asked = [pair for pair in pairs if pair.parameters]
    preferred = preferences(model, bpe, random.Random(seed).sample(asked, min(PROMPTS, len(asked))), seed)
    losses = prefer(model, reference, preferred, seed, dpo)
    finish("dpo", reference, dpo, pairs=len(preferred), batch=DPO_PAIRS, beta=BETA, samples=SAMPLES, batch_loss=losses)
    true = [docstrings.checks(pair, pair.docstring, True) for pair in tests if pair.parameters]
    history["stages"] = record | {
        "held_out_pairs": len(tests),
        "docstrings": {name: sum(c[name] for c in true) / len(true) for name in true[0]},
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)},
    }
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")


def last(folder):
    """The model in a folder, or at the last of its step*/."""
    return language_model(models.checkpoints(str(folder))[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=Path(__file__).parent, type=Path, help="folder of the checkpoints")
    run(parser.parse_args().out)
