"""Parts of a transformers model made smaller before it is trained: factored, narrowed, left out, frozen; any family."""

from dataclasses import dataclass

import torch
from torch import nn

from nla.low_rank.layers import LowRank, replace as put_low_rank
from nla.matrices.families import QKV, Part
from nla.matrices.in_memory import in_memory
from nla.models.errors import unknown

PARTS = {
    "attention": (*QKV, "dense"),
    "qkv": QKV,
    "dense": ("dense",),
    "mlp": ("gate", "dense_h_to_4h", "dense_4h_to_h"),
    "embed_in": ("embed_in",),
    "embed_out": ("embed_out",),
    "layer": (),
}
ACTIVATIONS = ("act", "act_fn", "activation_fn", "gelu_impl", "intermediate_act_fn")  # what families call the module


@dataclass(frozen=True)
class Change:
    """What is done to one part of a model in a range of layers.

    Parameters
    ----------
    part : {"qkv", "dense", "attention", "mlp", "embed_in", "embed_out", "layer"}
        ``qkv`` is what attention reads with, one matrix where the family fuses the three; ``dense`` its output.
    how : {"factored", "narrow", "linear", "skipped", "silent", "frozen", "dropped"}
        Each matrix as two factors of `rank`; an MLP of `rank` neurons; without its non-linearity; left out, so that
        what goes in comes out; zero; not trained; the layer left out.
    rank : int, optional
    start, stop : int, optional
        Layers start, ..., stop - 1; without them from the first, to the last.
    activation : str, optional
        Between the two factors.
    """

    part: str
    how: str
    rank: int | None = None
    start: int = 0
    stop: int | None = None
    activation: str | None = None


def apply(model, changes):
    """Make the `Change`s to a transformers model of any family, in place, and return it; the device may be meta.

    Factors begin as U sqrt(s) and sqrt(s) V' of the truncated SVD of the matrix that they replace, the spectral
    initialisation of Khodak et al. 2021 (arXiv:2105.01029), and a narrow MLP as the first neurons of the whole one, so
    that all variants of one model start alike. Biases within the factors begin at 0.
    """
    for change in changes:
        if change.part not in PARTS:
            raise ValueError(unknown("part", change.part, PARTS))
        if change.how not in ACTIONS:
            raise ValueError(unknown("change", change.how, ACTIONS))
        layout = in_memory(model)
        stop = layout.layers if change.stop is None else change.stop
        if not 0 <= change.start < stop <= layout.layers:
            raise ValueError(f"layers {change.start} to {stop - 1} are not all in 0 to {layout.layers - 1}")
        kinds = [k for k in PARTS[change.part] if k in layout.family.parts]
        layers = [-1] if change.part.startswith("embed") else list(range(change.start, stop))
        ACTIONS[change.how](model, layout, kinds, layers, change)
    return model


def label(changes):
    """The changes in a few words, such as "qkv rank 8 from layer 6, no dense"."""
    words = []
    for c in changes:
        last = c.stop and c.stop - 1
        where = f" from layer {c.start}" if c.start and not c.stop else f" in layers {c.start}-{last}" if c.stop else ""
        what = {
            "factored": f"{c.part} rank {c.rank}" + (f" with {c.activation.upper()}" if c.activation else ""),
            "narrow": f"{c.part} of {c.rank}",
            "linear": f"linear {c.part}",
            "frozen": f"{c.part} frozen",
        }
        if c.how == "dropped" and c.start and not c.stop:
            words.append(f"first {c.start} layers")
            continue
        words.append(what.get(c.how, f"no {c.part}") + where)
    return ", ".join(words) or "whole"


def halves(W, rank, place=None):
    """B (out, rank) and A (rank, in) of equal singular values, BA the matrix of that rank nearest to W."""
    if W.is_meta:
        return W[:, :rank], W[:rank]
    U, s, Vt = torch.linalg.svd(W, full_matrices=False)
    root = s[:rank].sqrt()
    return U[:, :rank] * root, root[:, None] * Vt[:rank]


def _factored(model, layout, kinds, layers, change):
    parts = {k: layout.family.parts[k] for k in kinds}
    fused = {k: p.module.rpartition(".")[2] for k, p in parts.items() if isinstance(p, Part) and p.shared}
    ranks = {(name, n): change.rank for n in layers for name in dict.fromkeys(fused.get(k, k) for k in kinds)}
    biased = layout.bias(kinds[0], layers[0]) is not None
    put_low_rank(model, ranks, halves, inner_bias=biased, activation=change.activation)
    for module in model.modules():
        if isinstance(module, LowRank) and getattr(module.down, "bias", None) is not None:
            nn.init.zeros_(module.down.bias)


def _narrow(model, layout, kinds, layers, change):
    width = change.rank
    for layer in layers:
        modules = {}
        for kind in kinds:
            modules.setdefault(_path(layout, kind, layer), []).append(kind)
        for path, together in modules.items():
            side = 1 if "dense_4h_to_h" in together else 0  # which side of the matrix are the neurons
            Ws = [layout.weight(k, layer) for k in together]
            bs = [layout.bias(k, layer) for k in together]
            if type(width) is not int or not 1 <= width <= Ws[0].shape[side]:
                raise ValueError(f"MLP of {width!r} neurons: layer {layer} has 1 to {Ws[0].shape[side]}")
            W = torch.cat([W.narrow(side, 0, width) for W in Ws])
            b = None if bs[0] is None else torch.cat([b if side else b[:width] for b in bs])
            new = nn.Linear(W.shape[1], W.shape[0], b is not None, device=W.device, dtype=W.dtype)
            new.weight.data.copy_(W)
            if b is not None:
                new.bias.data.copy_(b)
            _put(model, path, new)


def _linear(model, layout, kinds, layers, change):
    for layer in layers:
        block = model.get_submodule(_block(layout, layer))
        for path in [name for name, _ in block.named_modules()]:
            if path.rpartition(".")[2] in ACTIVATIONS and not isinstance(_parent(block, path), LowRank):
                _put(block, path, nn.Identity())


def _skipped(model, layout, kinds, layers, change):
    for kind in kinds:
        for layer in layers:
            m, n = layout.weight(kind, layer).shape
            if m != n:
                raise ValueError(f"{kind} in layer {layer} cannot be left out: it makes {m} of {n} numbers")
            _put(model, _path(layout, kind, layer), nn.Identity())


class Silent(nn.Module):
    """Zeros in the place of a linear layer's outputs."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x):
        return x.new_zeros(*x.shape[:-1], self.outputs)


def _silent(model, layout, kinds, layers, change):
    for layer in layers:
        outputs = {}
        for kind in kinds:
            path = _path(layout, kind, layer)
            outputs[path] = outputs.get(path, 0) + layout.weight(kind, layer).shape[0]
        for path, total in outputs.items():
            _put(model, path, Silent(total))


def _frozen(model, layout, kinds, layers, change):
    for kind in kinds:
        for layer in layers:
            model.get_submodule(_path(layout, kind, layer)).requires_grad_(False)


def _dropped(model, layout, kinds, layers, change):
    path = _block(layout, 0).removesuffix(".0")
    kept = [block for i, block in enumerate(model.get_submodule(path)) if i not in layers]
    if not kept:
        raise ValueError("all layers dropped: one at least must stay")
    _put(model, path, nn.ModuleList(kept))
    model.config.num_hidden_layers = len(kept)


ACTIONS = {
    "factored": _factored,
    "narrow": _narrow,
    "linear": _linear,
    "skipped": _skipped,
    "silent": _silent,
    "frozen": _frozen,
    "dropped": _dropped,
}


def _path(layout, kind, layer):
    return layout.tensor_name(kind, layer).removesuffix(".weight")


def _block(layout, layer):
    """The path of a layer: what the paths of its attention and of its MLP have in common."""
    stem = layout.family.layer.format(layer)
    path = _path(layout, "dense", layer)
    return path[: path.index(stem) + len(stem) - 1]


def _parent(model, path):
    return model.get_submodule(path.rpartition(".")[0])


def _put(model, path, module):
    setattr(_parent(model, path), path.rpartition(".")[2], module)
