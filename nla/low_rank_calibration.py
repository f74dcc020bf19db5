"""A language model ready to be compressed: its text, its losses window by window, what its layers are given."""

import numpy as np
import torch

from nla import language, low_rank
from nla.factorisation import Inputs
from nla.layout import Layout

LARGEST = 2e8  # parameters, beyond which hundreds of evaluations are no matter for a processor


def ready(checkpoint, length=256):
    """(model, calibration, held_out), or (None, None, None) and why not, printed: for what needs text.

    The model in float32, and token windows of excerpts of two halves of the files of `language.held_out`, (n, length +
    1): nothing that serves to fit serves to judge. On the GPU if there is one.
    """
    bpe = language.tokenizer(checkpoint)
    if bpe is None:
        return _not("there is no tokenizer.json beside the weights")
    model = language.language_model(checkpoint)
    config, device = model.config, "cuda" if torch.cuda.is_available() else "cpu"
    if bpe.get_vocab_size() > config.vocab_size:
        return _not(f"tokenizer.json has {bpe.get_vocab_size():,} tokens, the model {config.vocab_size:,}")
    if config.model_type == "bert":
        return _not("it does not predict the next token")
    if device == "cpu" and model.num_parameters() > LARGEST:
        return _not(f"{model.num_parameters():,} parameters are too many for hundreds of evaluations without a GPU")
    if model._supports_sdpa and not getattr(config, "attn_logit_softcapping", None):
        model.set_attn_implementation("sdpa")  # the same numbers, in a third of the time
    source = language.held_out()["source"]
    length = min(length, getattr(config, "max_position_embeddings", length))
    halves = (source[: len(source) // 2], source[len(source) // 2 :])
    return model.to(device), *(language.windows(bpe, half, length).to(device) for half in halves)


def _not(reason):
    print("What needs text is not done:", reason)
    return None, None, None


@torch.no_grad()
def losses(model, windows, at_once=8):
    """Mean cross-entropy of `model` on each of `windows` of token ids (n, length + 1): (n,) float64 NumPy, in nats."""
    found = []
    for part in windows.split(at_once):
        logits = model(part[:, :-1], use_cache=False).logits.float()
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none")
        found.append(each.double().mean(1).cpu())
    return torch.cat(found).numpy()


def interval(values, level=0.95, samples=2000, seed=0):
    """(mean, low, high): the mean of `values` (n,) and the percentile bootstrap interval of it; Efron 1979."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (samples, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


@torch.no_grad()
def input_moments(model, windows, keys=None, at_once=8):
    """What each matrix is given on `windows`: {(kind, layer): Inputs}, of `keys` or of all but the embeddings.

    Summed in float64 while the model runs; matrices that read the same share one.
    """
    layout = Layout(model.config, low_rank.Held(model))
    paths = {key: low_rank.place(layout, *key)[0] for key in keys or low_rank.linears(model)}
    sums, source, last = {}, {}, {"x": None}

    def before(path):
        def hook(module, args):
            if args[0] is not last["x"]:
                last.update(x=args[0], path=path)
                x = args[0].detach().flatten(0, -2).double()
                parts = (x.T @ x, x.sum(0), x.abs().sum(0), len(x))
                sums[path] = tuple(a + b for a, b in zip(sums[path], parts, strict=True)) if path in sums else parts
            source[path] = last["path"]

        return hook

    hooks = [model.get_submodule(path).register_forward_pre_hook(before(path)) for path in set(paths.values())]
    try:
        for part in windows.split(at_once):
            model(part[:, :-1], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    moments = {path: Inputs(a / n, b / n, c / n, n) for path, (a, b, c, n) in sums.items()}
    return {key: moments[source[path]] for key, path in paths.items()}


@torch.no_grad()
def inputs(model, tokens, keys):
    """{(kind, layer): (N, n)}: what matrices are given for `tokens` (batch, length), all positions."""
    layout, found = Layout(model.config, low_rank.Held(model)), {}
    hooks = []
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
    held = low_rank.Held(model)
    layout = Layout(model.config, held)
    return {key: layout.weight(*key).detach() for key in keys or low_rank.linears(model)}
