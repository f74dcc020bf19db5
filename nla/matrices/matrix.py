"""One weight matrix, with what its measures share computed once."""

import hashlib
from dataclasses import dataclass, field

import torch

from nla.models.errors import CheckpointError
from nla.numerics import codes, pairs, spectra
from nla.numerics.threads import once


@dataclass(frozen=True, eq=False)
class Matrix:
    """One weight matrix of one checkpoint, with what is shared by its measures computed once, when first asked for."""

    kind: str  # one of `KINDS`
    layer: int  # 0-based depth, -1 for embeddings
    step: int  # of training
    weight: torch.Tensor  # (out, in) as ``torch.nn.Linear`` stores it, in the dtype of the file
    heads: int | None = None  # attention heads whose rows, or of dense columns, it stacks; of key and value maybe fewer
    _weights: "object | None" = field(default=None, repr=False)

    @once
    def shape(self):
        """(out, in)."""
        return tuple(self.weight.shape)

    @once
    def values(self):
        """The entries in float32, (out, in)."""
        return self.weight.float()

    @once
    def histogram(self):
        """(values, counts): the distinct entries, ascending, and how often each occurs; see `numerics.codes`."""
        return codes.histogram(self.weight)

    @once
    def finite(self):
        """Whether every entry is a number."""
        return bool(torch.isfinite(self.weight).all())

    @once
    def entries(self):
        """One hash of the entries: equal for matrices of the same numbers in the same format."""
        return hashlib.sha256(self.weight.contiguous().view(torch.uint8).cpu().numpy()).hexdigest()

    @once
    def rms(self):
        """Root of the mean square of the entries."""
        return float(torch.linalg.vector_norm(self.weight, dtype=torch.float64)) / self.weight.numel() ** 0.5

    @once
    def row_norms(self):
        """Euclidean norms of the rows, float64 NumPy array (out,)."""
        return pairs.lengths(self.weight).cpu().numpy()

    @once
    def column_norms(self):
        """Euclidean norms of the columns, float64 NumPy array (in,)."""
        return pairs.lengths(self.weight.T).cpu().numpy()

    @once
    def gram(self):
        """Short-side Gram matrix in float64, (r, r)."""
        return spectra.gram(self.weight if self.weight.dtype != torch.float64 else self.values)  # the same entries

    @once
    def singular_values(self):
        """Singular values, descending, float64 NumPy array (r,)."""
        stacks = self._weights and self._weights.stacks  # on an accelerator, of many matrices at once
        found = stacks and stacks.singular_values((self.kind, self.layer))
        return spectra.singular_values(self.gram) if found is None else found

    @once
    def short_side(self):
        """(s, vectors): singular values and, as columns, singular vectors of the shorter side, float64; see spectra."""
        return spectra.short_side(self.gram)

    @once
    def singular_vectors(self):
        """(U, s, Vt), float64 tensors (m, r), (r,), (r, n); see spectra."""
        return spectra.singular_vectors(self.values, *self.short_side)

    @once
    def pairs(self):
        """{"rows": Pairs, "columns": Pairs}: cosines and angles of all pairs of rows, and of columns; see pairs."""
        return {"rows": pairs.all_pairs(self.values), "columns": pairs.all_pairs(self.values.T)}

    @once
    def initial(self):
        """The same matrix at the model's first checkpoint; None outside a ladder, and where that has none."""
        return self._weights and self._weights.matrix_at("initial", self.kind, self.layer)

    @once
    def previous(self):
        """The same matrix at the checkpoint before this one; None at the first, and where that has none."""
        return self._weights and self._weights.matrix_at("previous", self.kind, self.layer)

    @once
    def final(self):
        """The same matrix at the model's last checkpoint; None outside a ladder, and where that has none."""
        return self._weights and self._weights.matrix_at("final", self.kind, self.layer)

    def at(self, which, same_shape=False):
        """The same matrix at the ``initial``, ``previous`` or ``final`` checkpoint; None if missing, damaged or NaN."""
        try:
            other = getattr(self, which)
        except CheckpointError:  # that checkpoint says so itself, or the scan does; this one must not be lost with it
            return None
        fits = other is None or not same_shape or other.shape == self.shape  # a vocabulary may have been resized
        if not fits and self._weights:
            self._weights.note(self.kind, self.layer, f"has another shape at the {which} checkpoint")
        return other if fits and other is not None and other.finite else None

    def remember(self, compute):
        """compute(self), a small thing, kept while this checkpoint is open: in a scan the first and last always are."""
        memo, key = self._weights.memo if self._weights else {}, (compute, self.kind, self.layer)
        if key not in memo:
            memo[key] = compute(self)
        return memo[key]

    @once
    def per_head(self):
        """The entries as (heads, d_head, d_model), float32; for dense, whose columns belong to heads, transposed."""
        values = self.values.T if self.kind == "dense" else self.values
        return values.reshape(self.heads, -1, values.shape[1])

    @once
    def bias(self):
        """What is added to the product with this matrix, float32 (out,), or None where nothing is."""
        return self._weights and self._weights.bias(self.kind, self.layer)

    @once
    def norm(self):
        """The LayerNorm or RMSNorm whose output this matrix reads, as `Norm`; None where it reads something else."""
        return self._weights and self._weights.norm(self.kind, self.layer)

    @property
    def config(self):
        """The checkpoint's config.json as an object, or None outside a checkpoint."""
        return self._weights and self._weights.config

    def sibling(self, kind, needed=True):
        """The matrix of another `kind` in the same layer and checkpoint; None if there is none and none is `needed`."""
        if self._weights is None:
            raise ValueError(f"a {self.kind} made from a bare tensor has no sibling {kind}")
        if not needed and (kind, self.layer) not in self._weights.index():
            return None
        return self._weights.matrix(kind, self.layer)


class Remembered(Matrix):
    """A `Matrix` of which the spectrum is kept: its file is opened when anything else is asked for."""

    def __init__(self, kind, layer, step, kept, heads, weights):
        vars(self).update(kept, kind=kind, layer=layer, step=step, heads=heads, _weights=weights)

    @once
    def weight(self):
        """The entries, (out, in)."""
        return self._weights.entries(self.kind, self.layer)
