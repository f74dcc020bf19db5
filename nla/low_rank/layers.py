"""Linear layers of a transformers model replaced by low-rank factors, by kind, layer and rank, in any family."""

import warnings

import torch
from torch import nn

from nla.matrices.families import EMBEDDINGS, KINDS, Part
from nla.matrices.in_memory import in_memory
from nla.models.errors import unknown


class LowRank(nn.Module):
    """x -> up(activation(down(x))), what stands for a linear layer or, with `embedding`, for a table of tokens.

    Without biases it has rank (inputs + outputs) parameters where the layer had inputs outputs: fewer below
    `break_even`. Rank 0 leaves nothing but the bias.

    Parameters
    ----------
    inputs, outputs, rank : int
    bias, inner_bias : bool
        Of `up` and of `down`.
    activation : str, optional
        A name that transformers knows, such as "gelu".
    embedding : bool
        The inputs are token ids.
    """

    def __init__(self, inputs, outputs, rank, bias=True, inner_bias=False, activation=None, embedding=False, **where):
        super().__init__()
        self.shape, self.rank, self.activation = (outputs, inputs), rank, activation
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.down = (
                nn.Embedding(inputs, rank, **where) if embedding else nn.Linear(inputs, rank, inner_bias, **where)
            )
            self.up = nn.Linear(rank, outputs, bias, **where)
        if activation:
            from transformers.activations import ACT2FN

            self.act = ACT2FN[activation]

    def forward(self, x):
        x = self.down(x)  # (..., rank)
        return self.up(self.act(x) if self.activation else x)

    @torch.no_grad()
    def affine(self):
        """(W, b) of the map without its activation: W (outputs, inputs), b (outputs,) or None."""
        if isinstance(self.down, nn.Embedding):
            return self.up.weight @ self.down.weight.T, self.up.bias
        inner = None if self.down.bias is None else self.up.weight @ self.down.bias
        parts = [b for b in (inner, self.up.bias) if b is not None]
        return self.up.weight @ self.down.weight, sum(parts) if parts else None


class Stacked(nn.Module):
    """Several maps of one input, their outputs in the order of the fused module that they come from.

    Parameters
    ----------
    parts : dict
        kind -> module, in the order of the fused module.
    heads : int or None
        The outputs are stacked within each head in turn, as in GPT-NeoX; None: one kind after the other.
    """

    def __init__(self, parts, heads=None):
        super().__init__()
        self.parts, self.heads = nn.ModuleDict(parts), heads

    def forward(self, x):
        return self._stack([part(x) for part in self.parts.values()])

    def _stack(self, outputs):
        if self.heads is None:
            return torch.cat(outputs, dim=-1)
        return torch.stack([y.unflatten(-1, (self.heads, -1)) for y in outputs], dim=-2).flatten(-3)

    @torch.no_grad()
    def affine(self):
        """(W, b) of the fused module that this stands for; see `LowRank.affine`."""
        found = [p.affine() if isinstance(p, LowRank) else (p.weight, p.bias) for p in self.parts.values()]
        W = self._stack([W.T for W, _ in found]).T
        if all(b is None for _, b in found):
            return W, None
        return W, self._stack([W.new_zeros(len(W)) if b is None else b for W, b in found])


def linears(model, kinds=None, layers=None):
    """[(kind, layer)] of the matrices of `model`, as `nla.Weights.index`; embeddings only where `kinds` names them."""
    for kind in kinds or ():
        if kind not in KINDS:
            raise ValueError(unknown("kind", kind, KINDS))
    kinds = [k for k in KINDS if k not in EMBEDDINGS] if kinds is None else kinds
    pairs = in_memory(model).index
    return [(k, n) for k, n in pairs if k in kinds and (layers is None or n < 0 or n in layers)]


def replace(model, ranks, factors=None, bias=None, inner_bias=False, activation=None):
    """`model` with `LowRank` in the place of some of its linear layers, changed in place; the device may be meta.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of any family of `nla.matrices.families`, as it is or with some layers replaced before.
    ranks : dict
        (kind, layer) -> rank. A fused module is taken apart where one of its kinds is named: the others stay full.
        Named as a module, ("query_key_value", 3), it is replaced as one matrix.
    factors : function, optional
        (W (out, in) float32, rank, (kind, layer)) -> B (out, rank), A (rank, in), and a new bias (out,) if it is to
        change; see `nla.low_rank.factorisation`. Without it the factors are as `torch.nn.Linear` begins.
    bias : bool, optional
        Whether the second factor has a bias; None: where the layer had one.
    inner_bias, activation
        See `LowRank`.
    """
    layout = in_memory(model)
    for (kind, layer), rank in ranks.items():
        path, part = place(layout, kind, layer)
        parent, _, name = path.rpartition(".")
        if part.shared and kind in KINDS:
            if not isinstance(model.get_submodule(path), Stacked):
                setattr(model.get_submodule(parent), name, _apart(model, layout, part, layer))
            parent, name = f"{path}.parts", kind
        old = model.get_submodule(f"{parent}.{name}" if parent else name)
        embedding = kind == "embed_in"
        _check(old, kind, layer, rank, embedding)
        W, b = old.weight, getattr(old, "bias", None)
        W = W.T if isinstance(old, nn.Embedding) or (part.transposed and not isinstance(old, nn.Linear)) else W
        where = {"device": W.device, "dtype": W.dtype}
        new = LowRank(W.shape[1], W.shape[0], rank, b is not None if bias is None else bias, inner_bias, activation,
                      embedding, **where)  # fmt: skip
        with torch.no_grad():
            if b is not None and new.up.bias is not None:
                new.up.bias.copy_(b)
            if factors:
                up, down, *rest = factors(W.detach().float(), rank, (kind, layer))
                new.up.weight.copy_(up)
                new.down.weight.copy_(down.T if embedding else down)
                if rest and new.up.bias is not None:
                    new.up.bias.copy_(rest[0])
        new.made_by = {"kind": kind, "layer": layer, "rank": rank, "bias": new.up.bias is not None,
                       "inner_bias": inner_bias, "activation": activation}  # fmt: skip
        setattr(model.get_submodule(parent), name, new.train(model.training))
    return model


def place(layout, kind, layer):
    """(path of the module, `Part`) of a kind, or of a fused module named as such."""
    parts = {k: p if isinstance(p, Part) else Part(p) for k, p in layout.family.parts.items()}
    fused = {p.module.rpartition(".")[2]: (k, p) for k, p in parts.items() if p.shared}
    if kind not in KINDS and kind not in fused:
        raise ValueError(unknown("kind", kind, [*KINDS, *fused]))
    first, part = fused.get(kind) or (kind, parts.get(kind))
    if layer not in range(-1, layout.layers):
        raise ValueError(f"layer {layer} is not in 0..{layout.layers - 1} (-1: embeddings)")
    if (first, layer) not in layout.index:
        tied = kind == "embed_out" and layer == -1
        raise ValueError(f"this {layout.config.model_type} has no {kind} in layer {layer}" + tied * " of its own")
    if kind == "embed_in" and ("embed_out", -1) not in layout.index and "embed_out" in parts:
        raise ValueError(f"embed_in of this {layout.config.model_type} serves as embed_out too and cannot be replaced")
    return layout.tensor_name(first, layer).removesuffix(".weight"), part


def _check(old, kind, layer, rank, embedding):
    if isinstance(old, (LowRank, Stacked)):
        raise ValueError(f"{kind} in layer {layer} was replaced before")
    if embedding and type(old) is not nn.Embedding:
        raise ValueError(f"embed_in is a {type(old).__name__} here, which does more than look up; it is not replaced")
    m, n = old.weight.shape
    if type(rank) is not int or not 0 <= rank <= min(m, n):
        raise ValueError(f"rank {rank!r} of {kind} in layer {layer} is not a whole number in 0..{min(m, n)}, {m} x {n}")


def _apart(model, layout, part, layer):
    """The fused module of a layer as one Linear per kind."""
    linears = {}
    for kind in part.shared:
        W, b = layout.weight(kind, layer), layout.bias(kind, layer)
        linears[kind] = nn.Linear(W.shape[1], W.shape[0], b is not None, device=W.device, dtype=W.dtype)
        with torch.no_grad():
            linears[kind].weight.copy_(W)
            if b is not None:
                linears[kind].bias.copy_(b)
    return Stacked(linears, layout.heads["query"] if part.per_head else None)
