"""Variants of one model with parts made smaller, trained from one start with one order of data, and compared."""

import hashlib
import json
import os

import numpy as np
import pandas as pd
from scipy.stats import t

from nla.demo import train
from nla.demo.answers import spread
from nla.low_rank.changes import Change, apply, label
from nla.low_rank.counts import parameters
from nla.models.paths import root
from nla.nulls.recipes import Recipe
from nla.running import language, texts as running_texts, training
from nla.running.evaluation import CannotRun, room, tokenizer_for
from nla.studies.low_rank_training.experiments import EXPERIMENTS, count, qkv, scaled

BATCH, HELD_OUT = 4, 64  # windows
PEAK = train.RECIPE.peak
TRAINED = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 23, 25, 26)  # of the 26, those that differ at 6 layers


def variants(config):
    """{label: (number of llm_lora's experiment or 0, changes)} in the sizes of `config`: llm_lora's, then controls.

    The controls: a non-linear rank as large as its largest linear one; whole attention without dense, which in
    llm_lora is always missing where attention is called whole; all MLPs factored; and a third of the layers dropped,
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


def described(config, name, changes):
    """(name, trained parameters) of a variant, or (name, why it cannot be made)."""
    try:
        return name, f"{count(config, changes):,}"
    except ValueError as error:
        return name, str(error)


def few(config):
    """Labels of a few telling `variants` that this model can be made into: whole, low rank, none, fewer layers."""
    found = []
    for name, (number, changes) in variants(config).items():
        if number in (1, 4, 6, 23) or name.startswith("first"):
            try:
                count(config, changes)
            except ValueError:
                continue
            found.append(name)
    return found


def material(checkpoint, config, text="", device="cpu", most=None, small=2e7):
    """(training windows, held-out windows) to train the model of `config` on; or `CannotRun`.

    The text is a file, or what the environment variable TEXT names, its last tenth held out, absolute or seen from the
    project's folder; else the source of Python's standard library, parted as for the embedded model: of its files
    evenly spread ones, of about `most` windows to train on, if that is given. A CPU is asked to train, and that source
    to be enough for, up to `small` parameters.
    """
    text, size = text or os.environ.get("TEXT", ""), count(config)
    if config.model_type in language.MASKED:
        raise CannotRun("it predicts masked tokens, not the next one")
    bpe = tokenizer_for(checkpoint, config.vocab_size)
    if size > small and device == "cpu":
        raise CannotRun(f"{size:,} parameters need a GPU")
    if size > small and not text:
        raise CannotRun("a model of this size needs a text of its own: set TEXT to a file")
    if text and not (root() / text).is_file():
        raise CannotRun(f"TEXT={text} is not a file")
    if text:
        whole = (root() / text).read_text(encoding="utf-8", errors="replace")
        texts, held_out = [whole[: len(whole) * 9 // 10]], [whole[len(whole) * 9 // 10 :]]
    else:
        texts, held_out = (list(part.values()) for part in train.corpus(1234))
        if most:
            texts, held_out = _some(texts, most * train.CONTEXT), _some(held_out, HELD_OUT * train.CONTEXT)
    length = room(config, train.CONTEXT)
    windows, unseen = (running_texts.windows(bpe, part, length) for part in (texts, held_out))
    if min(len(windows), len(unseen)) < BATCH:
        raise CannotRun(f"the text is too short: {len(windows)} windows of {length} tokens")
    return windows, unseen


def _some(texts, tokens, longest=8):
    """Members evenly spread over a list of texts with about `tokens` tokens, of `longest` characters at most."""
    return spread(texts, -(-len(texts) * tokens * longest // sum(map(len, texts))))


def evaluated(steps):
    """The steps at which the held-out loss is taken, of a training of `steps`."""
    return sorted({0, steps, *(round(steps * part) for part in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4))})


def fit(config, changes, seed, windows, unseen, steps, batch=BATCH, peak=PEAK, held_out=HELD_OUT, device="cpu"):
    """Train one variant; the start and the order of the data depend on `seed` alone.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
    changes : iterable of nla.low_rank.changes.Change
    windows, unseen : torch.Tensor
        (n, context + 1) token ids to train on and to evaluate on, of the latter at most `held_out`.

    Returns
    -------
    dict
        ``parameters`` that training changes, ``order`` of the data as a digest, and ``curve``, [[step, held-out loss]].
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: training takes at least 1")
    model = apply(train.new_model(seed, config).to(device), changes)
    chosen = training.batches([0] * len(windows), batch, steps, seed)
    recipe, curve, unseen = Recipe(peak, steps, max(1, steps // 20)), [], unseen.to(device)

    def look(step):
        if step in evaluated(steps):
            model.eval()
            curve.append([step, round(training.evaluate(model, unseen, held_out), 5)])
            model.train()

    def loss(step):
        return training.token_loss(model, windows[chosen[step]].to(device))

    model.train()
    training.fit(model, recipe, loss, label(changes), look=look)
    order = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:16]
    return {"parameters": parameters(model, trainable=True), "order": order, "curve": curve}


def compare(config, windows, unseen, chosen, seeds=(0,), batch=BATCH, **options):
    """`rows` of the variants named in `chosen`, each trained here from the start of every one of `seeds`; see `fit`."""
    known, runs = variants(config), []
    for name in chosen:
        if name not in known:
            raise ValueError(f"no variant {name!r}: there are {'; '.join(known)}")
    for seed in seeds:
        for name in chosen:
            number, changes = known[name]
            run = {"experiment": name, "number": number, "seed": seed, "peak": options.get("peak", PEAK)}
            run["tokens_per_step"] = batch * (windows.shape[1] - 1)
            runs.append(run | fit(config, changes, seed, windows, unseen, batch=batch, **options))
    return rows(runs)


def rows(runs):
    """A row per run and evaluated step: experiment, number, seed, peak, parameters, step, tokens, held_out_loss."""
    found = []
    for run in runs:
        same = {k: run[k] for k in ("experiment", "number", "seed", "peak", "parameters", "order")}
        for step, loss in run["curve"]:
            found.append(same | {"step": step, "tokens": step * run["tokens_per_step"], "held_out_loss": loss})
    return pd.DataFrame(found)


def last_losses(table):
    """Held-out loss at the end of training at the usual rate, experiment by seed."""
    last = table[(table.step == table.step.max()) & (table.peak == PEAK)]
    return last.pivot(index="experiment", columns="seed", values="held_out_loss").reindex(last.experiment.unique())


def half_width(values):
    """Half the width of the 95 % interval of the mean of each row, by Student's t; NaN of a single value."""
    n = values.notna().sum(axis=1)
    return t.ppf(0.975, np.maximum(n - 1, 1)) * values.std(axis=1) / np.sqrt(n)


def difference(table, one, other):
    """How much higher the last loss of variant `one` is than that of `other`, seed by seed, and its 95 % interval."""
    losses = last_losses(table)
    both = (losses.loc[[one]] - losses.loc[other]).dropna(axis=1)
    interval = f" +- {half_width(both).iloc[0]:.3f}" if both.shape[1] > 1 else ""
    return f"{both.mean(axis=1).iloc[0]:+.3f}{interval} ({both.shape[1]} seed{'s' * (both.shape[1] > 1)})"


def summary(table, against="whole"):
    """The last held-out loss of every experiment, and by how much it is above that of `against`, over the seeds.

    Returns
    -------
    pandas.DataFrame
        By experiment: number, parameters, seeds, loss (mean), spread (standard deviation), above (mean of the
        differences seed by seed), half (half the width of its 95 % interval by Student's t).
    """
    loss = last_losses(table)
    above = loss - loss.loc[against]
    first = table.drop_duplicates("experiment").set_index("experiment")[["number", "parameters"]].loc[loss.index]
    means = {"loss": loss.mean(axis=1), "spread": loss.std(axis=1), "above": above.mean(axis=1)}
    return first.assign(seeds=loss.notna().sum(axis=1), **means, half=half_width(above))
