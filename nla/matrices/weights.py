"""Named tensors -> the matrices of one checkpoint."""

import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch

from nla.matrices import kept
from nla.matrices.families import KINDS
from nla.matrices.layout import Layout, Norm
from nla.matrices.matrix import Matrix, Remembered, once
from nla.matrices.tensors import ShardByShard, Tensors
from nla.models import cache, errors
from nla.models.errors import CheckpointError, Missed, NotThere, Unavailable
from nla.models.folder import read_config
from nla.models.ladder import at_step, checkpoints, neighbours
from nla.numerics.stacks import Stacks

GONE = (Unavailable, NotThere)
_opening = threading.Lock()  # so that threads with one wish open a neighbour once


class Weights:
    """The matrices of one checkpoint; a context manager.

    Where spectra of it are kept, its files are opened, or fetched, when something else is asked for; see `kept`. It is
    compared with the first, the previous or the last checkpoint of its `ladder`, a list in order, whose `Weights`, or
    why there are none, the caller may keep for longer in `shared`. While files are opened the context of `opening()` is
    entered.
    """

    def __init__(self, checkpoint, ladder=None, device="cpu", shared=None, opening=nullcontext):
        self.checkpoint, self.ladder, self.device = checkpoint, ladder or [checkpoint], device
        self.memo, self.stacks = {}, None  # what Matrix.remember keeps; spectra of many matrices at once
        self.shared, self.notes = {} if shared is None else shared, set()  # notes: (what, why it is not compared)
        self.compared_with = {}  # {which: Weights, or [revision, why] of what could not be had, or None}
        self.kept, self._files, self._opening = kept.read(checkpoint), None, (threading.Lock(), opening)
        self.gone = None  # why its files cannot be had, where they were asked for later
        if self.kept is None:
            self.layout  # noqa: B018

    @property
    def layout(self):
        """The `Layout` of the files, which are opened now if they were not."""
        lock, opening = self._opening
        with lock:
            if self._files is None:
                try:
                    with opening():
                        self._files = self._opened()
                except GONE as error:
                    self.gone = str(error)
                    raise Missed(self.gone) if self.kept and opening is nullcontext else error from None
        return self._files

    def _opened(self):
        source = self.checkpoint.source
        large = source.too_large()
        with source.held(".json" if large else "") as folder:  # once open, the files may go
            tensors = ShardByShard(folder, source) if large else Tensors(folder, source.name)
            return Layout(read_config(folder), tensors)

    def neighbour(self, which):
        """The nearest readable `Weights` of the initial, previous or final checkpoint; None before the first."""
        self.compared_with.setdefault(which)
        for wanted in neighbours(self.ladder, self.checkpoint, which):
            if wanted == self.checkpoint:
                return self
            with _opening:
                if wanted not in self.shared:
                    self.shared[wanted] = self._open(wanted)
                found = self.shared[wanted]
            if isinstance(found, CheckpointError):  # it may be readable, but could not be fetched this time
                self._miss(which, wanted, found)
            if found:
                self.compared_with[which] = found
                return found
        return None

    def _open(self, checkpoint):
        """`Weights`, or the error where it could not be fetched this time, or None where it cannot be read."""
        try:
            return Weights(checkpoint, self.ladder, self.device, self.shared)
        except CheckpointError as error:
            return error if checkpoint.source.remote and isinstance(error, GONE) else None

    def _miss(self, which, checkpoint, error):
        self.compared_with[which] = [checkpoint.revision, str(error)]
        raise Missed(str(error))

    def looked_at(self, further=True):
        """{"initial", "previous", "previous.previous" ...: None, or [revision, why] of what could not be had}."""
        found = {}
        for which, other in self.compared_with.items():
            gone = other if isinstance(other, list) or not other else [other.checkpoint.revision, other.gone]
            missed = found[which] = gone if gone and gone[1] else None
            if other and further and not missed:
                found |= {f"{which}.{more}": why for more, why in other.looked_at(False).items()}
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._files:
            self._files.tensors.__exit__()

    @property
    def opened(self):
        """Whether its files are open."""
        return self._files is not None

    @property
    def tensors(self):
        """What the files hold, by name."""
        return self.layout.tensors

    @once
    def config(self):
        """The checkpoint's config.json as an object."""
        return SimpleNamespace(**self.kept.notes["config"]) if self.kept else self.layout.config

    @once
    def layers(self):
        """Number of layers, from the config."""
        return self.kept.notes["layers"] if self.kept else self.layout.layers

    def described(self):
        """What `kept` notes of the checkpoint beside its matrices."""
        if self.kept:
            return self.kept.notes
        facts = {name: getattr(self.layout, name) for name in ("layers", "heads", "index", "unmeasured")}
        return facts | {"config": vars(self.layout.config)}

    def index(self, kinds=None, layers=None):
        """[(kind, layer)] of the matrices of this checkpoint, embeddings last; both arguments restrict it."""
        for kind in kinds or ():
            if kind not in KINDS:
                raise ValueError(errors.unknown("kind", kind, KINDS))
        for layer in layers or ():
            if layer not in range(-1, self.layers):
                raise ValueError(f"layer {layer} is not in 0..{self.layers - 1} (-1: embeddings)")
        pairs = self.kept.notes["index"] if self.kept else self.layout.index
        return [(k, n) for k, n in pairs if (kinds is None or k in kinds) and (layers is None or n in layers)]

    def matrix(self, kind, layer=-1):
        """The matrix of this `kind` in this `layer` (embeddings: -1)."""
        self._require(kind, layer)
        known = self.kept and self.kept.matrices.get((kind, layer))
        if known:
            return Remembered(kind, layer, self.checkpoint.step, known, self.kept.notes["heads"].get(kind), self)
        return Matrix(kind, layer, self.checkpoint.step, self.entries(kind, layer), self.layout.heads.get(kind), self)

    def entries(self, kind, layer):
        """Those of one matrix, (out, in), in the format of the file."""
        return self.layout.weight(kind, layer).to(self.device)

    def matrix_at(self, which, kind, layer):
        """The same of the initial, previous or final checkpoint of the ladder, or None; see `neighbour`."""
        weights = self.neighbour(which)
        if weights is None:
            return None
        if (kind, layer) not in weights.index():
            return self.note(kind, layer, f"has no matrix to compare with at {weights.checkpoint.revision}")
        try:
            return weights.matrix(kind, layer)
        except GONE as error:  # the one shard
            return self._miss(which, weights.checkpoint, error)

    def note(self, kind, layer, why):
        """Let the summary of a scan say of a matrix why it is not compared."""
        self.notes.add((f"{kind} in layer {layer}" if layer >= 0 else kind, why))

    def batch(self, tasks, room=None):
        """From here on compute the spectra of the matrices `tasks`, [(kind, layer)], many at once; see `Stacks`."""
        self.stacks = Stacks(lambda task: self.entries(*task), tasks, self.device, room)

    def bias(self, kind, layer=-1):
        """What is added to the product with the matrix of this `kind`, float32 (out,), or None where nothing is."""
        self._require(kind, layer)
        bias = self.layout.bias(kind, layer)
        return None if bias is None else bias.float().to(self.device)

    def norm(self, kind, layer=-1):
        """The LayerNorm or RMSNorm whose output the matrix of this `kind` reads, or None; gain as the model uses it."""
        if (kind, layer) != ("embed_out", -1):  # whose work embed_in may do
            self._require(kind, layer)
        norm = self.layout.norm(kind, layer)
        return norm and Norm(*(v.to(self.device) if torch.is_tensor(v) else v for v in norm))

    def _require(self, kind, layer):
        if (kind, layer) not in self.index():
            self.index([kind], [layer])  # says what is wrong with the name
            raise ValueError(f"{self.checkpoint.model} has no {kind} in layer {layer}")

    def place(self, kind, layer):
        """A name for the file that holds a matrix, where files are opened one at a time."""
        return self.tensors.place(self.layout.tensor_name(kind, layer)) if self.opened else ""

    def matrices(self, kinds=None, layers=None):
        """Iterate over the matrices, read one at a time, embeddings last; both arguments restrict it."""
        return (self.matrix(kind, layer) for kind, layer in self.index(kinds, layers))


@contextmanager
def load(model, step=None):
    """Open one checkpoint of `model` (its last if `step` is None) as `Weights`."""
    ladder = checkpoints(model)
    checkpoint = at_step(ladder, step)
    cache.evict(ladder, keep=(ladder[0], ladder[-1], checkpoint))
    with Weights(checkpoint, ladder) as weights:
        yield weights
