"""A short fine-tuning, with a part of the singular values taken out before it or after it."""

import copy

import numpy as np
import pandas as pd
import torch

from nla.demo import answers, docstrings
from nla.matrices import in_memory
from nla.nulls.recipes import Recipe
from nla.running import evaluation, language, losses, surgery, texts, training

SHORT = Recipe(peak=5e-4, steps=12, warmup=2)  # twice over the pairs that are trained on
BATCH, TRAINED = 16, 96  # pairs
MOST = 2e7  # entries of the matrices of a model that is fine-tuned here, for the time it takes


def sequences(bpe, pairs, most=None):
    """[(prompt, answer)] as token ids of [signature, parameters, docstring]: signature in, docstring out.

    In the chat format of the embedded stages where the tokenizer has it, else as source text. Those of more than
    `most` tokens are left out.
    """
    found = _encoded(bpe, pairs)
    return [(prompt, answer) for prompt, answer in found if most is None or len(prompt) + len(answer) <= most]


def examples(now):
    """`sequences` of held-out docstrings for a model of `evaluation.running`; none if it predicts masked tokens."""
    masked = now.model.config.model_type in language.MASKED
    return [] if masked else sequences(now.bpe, texts.held_out()["pairs"], evaluation.room(now.model.config))


def _encoded(bpe, pairs):
    if bpe.token_to_id("<|user|>") == docstrings.USER:
        return [docstrings.encode(bpe, docstrings.Pair(s, tuple(p), d)) for s, p, d in pairs]
    return [(_ids(bpe, f'{s}\n    """'), _ids(bpe, f'{d}"""\n')) for s, _, d in pairs]


def _ids(bpe, text):
    return bpe.encode(text, add_special_tokens=False).ids


def tune(model, examples, recipe=SHORT, seed=0):
    """Train a running model in place on the answers of [(prompt, answer)]; the loss of every update."""
    drawn = training.batches([len(p) + len(a) for p, a in examples], BATCH, recipe.steps, seed)

    def loss(step):
        total, counts = answers.logprobs(model, [examples[i] for i in drawn[step]])
        return -total.sum() / counts.sum()

    model.train()
    losses = training.fit(model, recipe, loss, "fine-tuning")
    model.eval()
    return losses


@torch.no_grad()
def answer_losses(model, examples):
    """Loss on each answer of [(prompt, answer)] over the mean number of tokens, (n,): their mean is nats per token."""
    order = sorted(range(len(examples)), key=lambda i: sum(map(len, examples[i])))  # of like length, for less padding
    parts = [answers.logprobs(model, [examples[j] for j in order[i : i + 32]]) for i in range(0, len(order), 32)]
    total, count = (torch.cat(part).double() for part in zip(*parts, strict=True))
    return (-total / count.mean())[np.argsort(order)].cpu().numpy()


def by_stage(checkpoints, examples, kinds=None):
    """What it costs on answers, at each stage, to take out the smallest tenth of one kind: stage, kind, rise, error."""
    found = []
    for checkpoint in checkpoints:
        try:
            model = evaluation.sound(checkpoint)
        except evaluation.CannotRun as why:
            print(f"{checkpoint.revision} is not run on answers: {why}")
            continue
        rises = surgery.deciles(model, {"rise": lambda each: answer_losses(each, examples)}, kinds, [-1])
        rises.insert(0, "stage", checkpoint.stage)
        found.append(rises.rename(columns={"rise_error": "error"})[["stage", "kind", "rise", "error"]])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def tokenizer(checkpoints, entries, most=3e8):
    """That of a chain of at most so many entries that predicts the next token; or `evaluation.CannotRun`."""
    if entries > most:
        raise evaluation.CannotRun(f"its matrices have more than {most:g} entries")
    configs = [language.configuration(checkpoint) for checkpoint in checkpoints]
    if {config.model_type for config in configs} & set(language.MASKED):
        raise evaluation.CannotRun("it predicts masked tokens, not the next one")
    return evaluation.tokenizer_for(checkpoints[0], min(config.vocab_size for config in configs))


def removal(checkpoints, bpe, answers, kinds=None):
    """`surgery.removal` with the losses on ``source`` and, with `answers`, on ``answers``, both of held-out files."""
    text, room = texts.held_out(), min(evaluation.room(language.configuration(c)) for c in checkpoints)
    windows = texts.windows(bpe, text["source"], room)[::9]
    on = {"source": lambda model: losses.losses(model, windows)}
    if answers:
        examples = sequences(bpe, text["pairs"], room)[::2]
        on["answers"] = lambda model: answer_losses(model, examples)
    return surgery.removal(checkpoints, on, kinds=kinds)


def tables(model, examples, chain, most=MOST):
    """{"later": `by_stage` of a chain on half of the examples, "around", "tuned": `before_and_after`, if small}."""
    short = sum(p.numel() for p in model.parameters() if p.ndim > 1) < most
    around, tuned = before_and_after(model, examples) if short else ({}, pd.DataFrame())
    return {"later": by_stage(chain, examples[::2]), "around": pd.DataFrame([around]), "tuned": tuned}


def before_and_after(model, examples, part=-1, recipe=SHORT, seed=0, kinds=None):
    """What it costs to take out a part of the singular values of one kind before fine-tuning, and what after it.

    Every fine-tuning is the same: same batches, same order. Dropout, where the model has any, is seeded.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model to fine-tune, of a family that predicts the next token; it is left as it is.
    examples : list of (list, list)
        (prompt, answer) ids; trained on the first `TRAINED`, evaluated on the rest.
    part : int
        See `surgery.without`.
    kinds : iterable, optional
        By default all within the layers.

    Returns
    -------
    (dict, pandas.DataFrame)
        Loss on the answers ``before`` and ``after`` fine-tuning with nothing taken out. kind, taken, rise, error (its
        standard error): rise of the loss if the part is taken out, ``untuned``, of the model as it is; ``before`` it is
        fine-tuned, compared with the model that was fine-tuned whole; ``after`` that.
    """
    trained, tests = examples[:TRAINED], examples[TRAINED:]
    if len(tests) < 2:
        raise ValueError(f"{len(examples)} examples: needs two more than the {TRAINED} to train on")

    def measured(each):
        return answer_losses(each, tests)

    def tuned(each):
        torch.manual_seed(seed)
        tune(each, trained, recipe, seed)
        return each

    after, rows = tuned(copy.deepcopy(model)), []
    whole = measured(after)
    states = {"untuned": model, "after": after}
    cuts = {taken: surgery.deciles(each, {"rise": measured}, kinds, [part]) for taken, each in states.items()}
    layout = in_memory.in_memory(model)
    for kind in cuts["after"].kind:
        for taken, table in cuts.items():
            found = table.set_index("kind").loc[kind]
            rows.append({"kind": kind, "taken": taken, "rise": found.rise, "error": found.rise_error})
        new = {(kind, n): surgery.without(layout.matrix(kind, n), part) for n in range(layout.layers)}
        with surgery.replaced(copy.deepcopy(model), new) as cut:
            rise = measured(tuned(cut)) - whole
        error = rise.std(ddof=1) / len(rise) ** 0.5
        rows.append({"kind": kind, "taken": "before", "rise": rise.mean(), "error": error})
    return {"before": float(measured(model).mean()), "after": float(whole.mean())}, pd.DataFrame(rows)
