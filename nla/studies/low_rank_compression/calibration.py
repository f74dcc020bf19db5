"""A language model ready to be compressed: its text, and what its layers are given."""

import numpy as np
import pandas as pd
import torch

from nla import low_rank, nulls
from nla.low_rank.counts import break_even, parameters, skeleton
from nla.low_rank.factorisation import compare, without_alignment
from nla.matrices.in_memory import in_memory
from nla.running import activations, evaluation, language, texts
from nla.running.evaluation import CannotRun, tokenizer_for


def sound(ladder, most=2e8):
    """(checkpoint, model): the last of `ladder` that can be run, its transformers model on the GPU if there is one.

    See `each_sound`; `CannotRun` where there is none.
    """
    for found in each_sound(ladder[::-1], most):
        return found
    raise CannotRun("no checkpoint is whole and without NaN")


def each_sound(ladder, most=2e8):
    """(checkpoint, model) of those whose files are whole and without NaN, in turn; the others are named in print.

    `CannotRun` where one has more than `most` parameters, of which hundreds of evaluations are no matter for a
    processor.
    """
    for checkpoint in ladder:
        if checkpoint.bundled:
            raise CannotRun("a bundle has no weights")
        count = parameters(skeleton(language.configuration(checkpoint)))
        if count > most and not torch.cuda.is_available():
            raise CannotRun(f"{count:,} parameters are too many for hundreds of evaluations without a GPU")
        try:
            yield checkpoint, evaluation.sound(checkpoint).to("cuda" if torch.cuda.is_available() else "cpu")
        except evaluation.CannotRun as why:
            print(f"{checkpoint.revision} is passed over where text is run: {why}")


def text(checkpoint, model, length=256):
    """(calibration, held_out): token windows (n, length + 1) of two halves of the files of `texts.held_out`.

    Nothing that serves to fit serves to judge. `CannotRun` where there can be none.
    """
    config = model.config
    bpe = tokenizer_for(checkpoint, config.vocab_size)
    if config.model_type in language.MASKED:
        raise CannotRun("it predicts masked tokens, not the next one")
    source = texts.held_out()["source"]
    length = evaluation.room(config, length)
    halves = (source[: len(source) // 2], source[len(source) // 2 :])
    return tuple(texts.windows(bpe, half, length).to(model.device) for half in halves)


def interval(values, level=0.95, samples=2000, seed=0):
    """(mean, low, high): the mean of `values` (n,) and the percentile bootstrap interval of it; Efron 1979."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (samples, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


@torch.no_grad()
def input_moments(model, windows, keys=None, at_once=8, run=None):
    """What each matrix is given on `windows`: {(kind, layer): Inputs}, of `keys` or of all but the embeddings.

    Summed in float64, products in float32, while the model runs, or while `run` makes it; matrices that read the same
    share one.
    """
    layout = in_memory(model)
    modules = {key: low_rank.place(layout, *key)[0] for key in keys or low_rank.linears(model)}
    with activations.summing(map(model.get_submodule, modules.values()), torch.float32) as found:
        run() if run else [model(part[:, :-1], use_cache=False) for part in windows.split(at_once)]
    return dict(zip(modules, found(), strict=True))


@torch.no_grad()
def inputs(model, tokens, keys):
    """{(kind, layer): (N, n)}: what matrices are given for `tokens` (batch, length), all positions."""
    layout, found, hooks = in_memory(model), {}, []
    for key in keys:
        module = model.get_submodule(low_rank.place(layout, *key)[0])
        keep = lambda module, args, key=key: found.update({key: args[0].detach().flatten(0, -2)})  # noqa: E731
        hooks.append(module.register_forward_pre_hook(keep))
    try:
        model(tokens, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def matrices(model, keys=None):
    """{(kind, layer): (out, in)}: the matrices of a model in memory, of `keys` or of all but the embeddings."""
    layout = in_memory(model)
    return {key: layout.weight(*key) for key in keys or low_rank.linears(model)}


def compare_methods(model, fit, held_out, keys, shares=(0.1, 0.25, 0.5, 0.75, 1.0, 1.2)):
    """`factorisation.compare` for some matrices, fitted to the moments `fit` and judged on `held_out`, both by key.

    Returns
    -------
    pandas.DataFrame
        matrix ("kind, layer"), method, rank, relative (rank / break-even), weights, outputs (errors), random (error
        in the weights of a truncated random matrix of that shape, by the Marchenko-Pastur law), turned, gaussian
        (errors in the outputs, by `factorisation.without_alignment`).
    """
    tables = []
    for key, W in matrices(model, keys).items():
        even = break_even(W.shape)
        ranks = sorted({min(max(1, int(share * even)), *W.shape) for share in shares})
        energy = nulls.mp_spectrum(*W.shape) ** 2
        random = {r: float((energy[r:].sum() / energy.sum()) ** 0.5) for r in ranks}
        table = pd.DataFrame(compare(W, ranks, fit[key], held_out[key])).assign(matrix=f"{key[0]}, layer {key[1]}")
        for name, values in without_alignment(W, ranks, fit[key], held_out[key]).items():
            table[name] = table["rank"].map(dict(zip(ranks, values, strict=True)))
        tables.append(table.assign(relative=table["rank"] / even, random=table["rank"].map(random)))
    return pd.concat(tables, ignore_index=True)
