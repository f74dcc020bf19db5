"""Named tensors -> Matrix objects, with what their measures share computed once."""

from collections import namedtuple
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from nla import models, pairs, spectra
from nla.families import EMBEDDINGS, FAMILIES, HEADED, KINDS, split_heads
from nla.weights import CheckpointError, Tensors, read_config

Norm = namedtuple("Norm", "gain bias centred")  # float32 (d_model,) each; centred: the mean is removed


@dataclass(frozen=True, eq=False)
class Matrix:
    """One weight matrix of one checkpoint, with what is shared by its measures computed once, when first asked for.

    Parameters
    ----------
    kind, layer, step
        One of `KINDS`; 0-based depth, -1 for embeddings; training step.
    weight : torch.Tensor
        (out, in) as ``torch.nn.Linear`` stores it, in the dtype of the file.
    heads : int or None
        Attention heads whose rows (query, key, value) or columns (dense) this matrix stacks; else None.
    """

    kind: str
    layer: int
    step: int
    weight: torch.Tensor
    heads: int | None = None
    _weights: "Weights | None" = field(default=None, repr=False)

    @property
    def shape(self):
        """(out, in)."""
        return tuple(self.weight.shape)

    @cached_property
    def values(self):
        """The entries in float32, (out, in)."""
        return self.weight.float()

    @cached_property
    def histogram(self):
        """(values, counts): the distinct entries, ascending, float64, and how often each occurs; exact.

        Every entrywise statistic is a sum over these. A 16-bit matrix has at most 65,536 of them, so counting its
        codes once replaces a pass, or a sort, of the matrix for each statistic.
        """
        if self.weight.dtype not in (torch.float16, torch.bfloat16):
            values, counts = np.unique(self.weight.cpu().numpy(), return_counts=True)
            return values.astype(np.float64), counts
        codes = self.weight.contiguous().view(torch.int16).flatten().to(torch.int32) + 32768
        counts = torch.bincount(codes, minlength=65536).cpu().numpy()
        values = torch.arange(-32768, 32768, dtype=torch.int16).view(self.weight.dtype).double().numpy()
        occurring = np.flatnonzero(counts)
        order = occurring[np.argsort(values[occurring], kind="stable")]
        return values[order], counts[order]

    @cached_property
    def finite(self):
        """Whether every entry is a number."""
        return bool(torch.isfinite(self.weight).all())

    @cached_property
    def gram(self):
        """Short-side Gram matrix in float64, (r, r)."""
        return spectra.gram(self.values)

    @cached_property
    def singular_values(self):
        """Singular values, descending, float64 NumPy array (r,)."""
        return spectra.singular_values(self.gram)

    @cached_property
    def short_side(self):
        """(s, vectors): singular values and, as columns, singular vectors of the shorter side, float64; see spectra."""
        return spectra.short_side(self.gram)

    @cached_property
    def singular_vectors(self):
        """(U, s, Vt), float64 tensors (m, r), (r,), (r, n); see spectra."""
        return spectra.singular_vectors(self.values, *self.short_side)

    @cached_property
    def pairs(self):
        """{"rows": Pairs, "columns": Pairs}: cosines and angles of all pairs of rows, and of columns; see nla.pairs."""
        return {"rows": pairs.all_pairs(self.values), "columns": pairs.all_pairs(self.values.T)}

    @cached_property
    def initial(self):
        """The same matrix at the model's first checkpoint, or None outside a ladder."""
        return self._elsewhere("initial")

    @cached_property
    def previous(self):
        """The same matrix at the checkpoint before this one; None at the first."""
        return self._elsewhere("previous")

    @cached_property
    def final(self):
        """The same matrix at the model's last checkpoint, or None outside a ladder."""
        return self._elsewhere("final")

    def _elsewhere(self, which):
        weights = self._weights and self._weights.neighbour(which)
        return weights and weights.matrix(self.kind, self.layer)

    def comparable(self, which):
        """The same matrix at the ``initial``, ``previous`` or ``final`` checkpoint; None if missing, damaged or NaN."""
        try:
            other = getattr(self, which)
        except CheckpointError:  # the row of that checkpoint says so; this one must not be lost with it
            return None
        return other if other is not None and other.finite else None

    def remember(self, compute):
        """compute(self), a small thing, kept while this checkpoint is open: in a scan the first and last always are."""
        if self._weights is None:
            return compute(self)
        key = (compute, self.kind, self.layer)
        if key not in self._weights.memo:
            self._weights.memo[key] = compute(self)
        return self._weights.memo[key]

    @cached_property
    def per_head(self):
        """The entries as (heads, d_head, d_model), float32; for dense, whose columns belong to heads, transposed."""
        values = self.values.T if self.kind == "dense" else self.values
        return values.reshape(self.heads, -1, values.shape[1])

    @cached_property
    def bias(self):
        """What is added to the product with this matrix, float32 (out,), or None where nothing is."""
        return self._weights and self._weights.bias(self.kind, self.layer)

    @cached_property
    def norm(self):
        """The LayerNorm whose output this matrix reads, as `Norm`, or None where it reads something else."""
        return self._weights and self._weights.norm(self.kind, self.layer)

    def sibling(self, kind):
        """The matrix of another `kind` in the same layer and checkpoint."""
        if self._weights is None:
            raise ValueError(f"a {self.kind} made from a bare tensor has no sibling {kind}")
        return self._weights.matrix(kind, self.layer)


class Weights:
    """The matrices of one checkpoint; a context manager.

    Parameters
    ----------
    checkpoint : nla.Checkpoint
    ladder : list of nla.Checkpoint, optional
        The model's checkpoints in order, for what compares this one with the first, the previous or the last.
    device : str
    shared : dict, optional
        Open `Weights` by checkpoint, kept by the caller for longer than this one lives.
    """

    def __init__(self, checkpoint, ladder=None, device="cpu", shared=None):
        self.checkpoint, self.ladder, self.device = checkpoint, ladder or [checkpoint], device
        self.shared = {} if shared is None else shared
        self.memo = {}  # what Matrix.remember keeps
        self.tensors = Tensors(checkpoint.path)
        self.config = read_config(checkpoint.path)
        self.family = FAMILIES.get(getattr(self.config, "model_type", None))
        if self.family is None:
            known = ", ".join(FAMILIES)
            raise CheckpointError(f"{checkpoint.path}: model_type is not one of {known}; add a row to nla.families")

    def neighbour(self, which):
        """The `Weights` of the initial, previous or final checkpoint of the ladder, or None before the first."""
        place = self.ladder.index(self.checkpoint)
        place = {"initial": 0, "previous": place - 1, "final": len(self.ladder) - 1}[which]
        if place < 0:
            return None
        wanted = self.ladder[place]
        if wanted == self.checkpoint:
            return self
        if wanted not in self.shared:
            # setdefault: two threads may come here at once, and what they remember must end in one place.
            self.shared.setdefault(wanted, Weights(wanted, self.ladder, self.device, self.shared))
        return self.shared[wanted]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tensors.__exit__()

    @property
    def layers(self):
        """Number of layers, from the config."""
        return self.config.num_hidden_layers

    def index(self, kinds=None, layers=None):
        """[(kind, layer)] of the matrices of this checkpoint, embeddings last; both arguments restrict it."""
        for kind in kinds or ():
            if kind not in KINDS:
                raise ValueError(models.unknown("kind", kind, KINDS))
        for layer in layers or ():
            if layer not in range(-1, self.layers):
                raise ValueError(f"layer {layer} is not in 0..{self.layers - 1} (-1: embeddings)")
        inner = [k for k in KINDS if k in self.family and k not in EMBEDDINGS]
        outer = [k for k in EMBEDDINGS if k in self.family and not (k == "embed_out" and self._tied)]
        pairs = [(k, layer) for layer in range(self.layers) for k in inner] + [(k, -1) for k in outer]
        return [(k, n) for k, n in pairs if (kinds is None or k in kinds) and (layers is None or n in layers)]

    @property
    def _tied(self):
        return getattr(self.config, "tie_word_embeddings", False)

    def matrix(self, kind, layer=-1):
        """The matrix of this `kind` in this `layer` (embeddings: -1)."""
        if (kind, layer) not in self.index():
            self.index([kind], [layer])  # says what is wrong with the name
            raise ValueError(f"{self.checkpoint.model} has no {kind} in layer {layer}")
        part = self.family[kind]
        weight = self.tensors[self._name(part.name, layer)]
        heads = self.config.num_attention_heads if kind in HEADED else None
        if part.index is not None:
            weight = split_heads(weight, heads, part.index)
        return Matrix(kind, layer, self.checkpoint.step, weight.to(self.device), heads, self)

    def bias(self, kind, layer=-1):
        """What is added to the product with the matrix of this `kind`, float32 (out,), or None where nothing is."""
        part = self.family[kind]
        name = self._name(part.name, layer).removesuffix("weight") + "bias"
        if name not in self.tensors:
            return None
        bias = self.tensors[name].float().to(self.device)
        return bias if part.index is None else split_heads(bias, self.config.num_attention_heads, part.index)

    def norm(self, kind, layer=-1):
        """The LayerNorm whose output the matrix of this `kind` reads, as `Norm`, or None."""
        if kind not in self.family["norms"]:
            return None
        name = self._name(self.family["norms"][kind], layer)
        gain = self.tensors[f"{name}.weight"].float().to(self.device)
        bias = self.tensors[f"{name}.bias"].float().to(self.device) if f"{name}.bias" in self.tensors else None
        return Norm(gain, bias, self.family["centred"])

    def _name(self, name, layer):
        return ("" if layer < 0 else self.family["layer"].format(layer=layer)) + name

    def matrices(self, kinds=None, layers=None):
        """Iterate over the matrices, read one at a time, embeddings last; both arguments restrict it."""
        return (self.matrix(kind, layer) for kind, layer in self.index(kinds, layers))


@contextmanager
def load(model, step=None):
    """Open one checkpoint of `model` (its last if `step` is None) as `Weights`."""
    ladder = models.checkpoints(model)
    with Weights(models.at_step(ladder, step), ladder) as weights:
        yield weights
