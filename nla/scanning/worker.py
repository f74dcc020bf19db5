"""What measures: it opens one checkpoint after another; the next one comes to this disk meanwhile."""

import sys
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from typing import NamedTuple

from nla.matrices import kept
from nla.matrices.weights import Weights
from nla.models import cache, sources
from nla.models.errors import CheckpointError, Unavailable
from nla.models.ladder import choose, neighbours
from nla.numerics import threads
from nla.numerics.quantities import size
from nla.scanning import rows
from nla.scanning.fingerprint import pure


class Found(NamedTuple):
    """What measures found in one checkpoint."""

    tables: list  # a DataFrame for each of them
    notes: dict  # `told`, the hash of all entries, and what could not be compared
    described: dict  # `Weights.described`
    kept: dict  # {(kind, layer): what is to be kept of that matrix}, where that is more than was kept
    compared_with: set  # which other checkpoints they looked at: initial, previous, previous.previous, final ...


def told(checkpoint):
    """What says which weights these are, and how they are read; of a folder's, the files are read for that, once."""
    known, source = kept.read(checkpoint, curves=False), checkpoint.source
    content = known.notes["content"] if known else source.content()
    return {"identity": source.identity(), "content": content, "described": source.described()}


class Worker:
    """Measures a `rows.Selection` of one checkpoint of a ladder after another, `matrices` (or one a core) at once."""

    def __init__(self, ladder, selection, device="auto", matrices=None, cores=None):
        self.ladder, self.selection, self.device = ladder, selection, threads.device(device)
        self.cores = cores or threads.cores()
        self.matrices = matrices or self.cores
        self.opened = {}  # {checkpoint: its Weights, or why there are none} of those that others are compared with
        self.compared_with = None  # which these are; not known before something was measured
        self.stream = Stream(ladder)

    def measured(self, checkpoint, measures, alive, notes=None, after=()):
        """`Found`; `alive()` is called after each matrix, and of `after` the first may be fetched meanwhile."""
        notes, norms = notes or told(checkpoint), checkpoint in choose(self.ladder, "log")
        with self._open(checkpoint, after) as weights:
            found = rows.rows(weights, measures, self.selection, self.matrices, self.cores, alive, norms)
            described, looked = weights.described(), weights.looked_at()
            known = weights.kept.matrices if weights.kept else {}
            self.compared_with = (self.compared_with or set()) | looked.keys()
            said = {"notes": sorted(weights.notes), "missed": [why for why in looked.values() if why]}
        if not self.selection.suffix():
            said["entries"] = sources.short("".join(row.kept["entries"] for row in found))
        new = {row.place: row.kept for row in found if row.kept.keys() - known.get(row.place, {}).keys()}
        tables = [rows.table(found, m) for m in measures]
        return Found(tables, notes | said | {"unmeasured": described["unmeasured"]}, described, new, set(looked))

    @contextmanager
    def _open(self, checkpoint, after):
        """Its `Weights`, which stay open for those compared with it: the ends for good, others for a while."""
        weights = self.opened.pop(checkpoint, None)
        if not isinstance(weights, Weights):
            room = partial(self._room, checkpoint, after)
            weights = Weights(checkpoint, self.ladder, self.device, self.opened, room)
        yield weights
        stay = {self.ladder[0], self.ladder[-1]}
        if "previous.previous" in self.compared_with:
            stay.add(next(neighbours(self.ladder, checkpoint, "previous"), None))
        for c in [c for c, w in self.opened.items() if c not in stay and isinstance(w, Weights)]:
            del self.opened[c]
        if checkpoint in stay or "previous" in self.compared_with:
            self.opened[checkpoint] = weights
            weights.compared_with, weights.notes = {}, set()  # as it looks to others

    @contextmanager
    def _room(self, checkpoint, after):
        """Room on this disk while a checkpoint is opened, and then the next one may come."""
        try:
            near = [which for which in self.compared_with or () if "." not in which]
            keep = [next(neighbours(self.ladder, checkpoint, which), checkpoint) for which in near]
            self.stream.make_room(checkpoint, [self.ladder[0], self.ladder[-1], *keep])
            yield
        except Unavailable as error:
            self.opened[checkpoint] = error  # a later one that is compared with it need not ask again
            raise
        self.stream.fetch_ahead(after)


class Stream:
    """The files of a ladder on this disk: what will be opened next comes, what is not needed any more goes."""

    def __init__(self, ladder):
        self.ladder, self.coming = ladder, {}
        self.turn = Lock()  # of those who look at `coming` and then change it

    def fetch_ahead(self, after):
        """Let the first of `after` come while another one is measured, if there is room for both."""
        with self.turn:
            if any(not future.done() for future in self.coming.values()):
                return
            for c in after:
                if c.source.remote:
                    allowance, more = cache.allowance(), sum(f.size for f in c.source.to_fetch())
                    if more and (allowance is None or cache.used(self.ladder) + more <= allowance):
                        self.coming[c] = cache.ahead(c)
                    return

    def make_room(self, checkpoint, keep):
        """Evict what is not needed any more, then wait for this checkpoint if it is on its way."""
        with self.turn:
            coming = list(self.coming)
            future = self.coming.pop(checkpoint, None)
        cache.evict(self.ladder, keep=[checkpoint, *keep, *coming])
        error = future and future.exception()
        if error and (isinstance(error, CheckpointError) or not isinstance(error, OSError)):
            raise error  # or else there was no room for two; there is some now, so Weights will try again


def announce(plan, left):
    """Say in one line what is to come, if anything has to be fetched."""
    remote = [c for c in left if c.source.remote and kept.read(c, curves=False) is None]
    fetched, others = {f.digest: f.size for c in remote for f in c.source.to_fetch()}, {}
    if not fetched:
        return
    alone = all(pure(m) for c in left for m in plan.measures[c])
    for which in ["initial"] if alone else ["initial", "previous", "final"]:
        with suppress(CheckpointError):  # it will be said where it matters
            near = {next(neighbours(plan.ladder, c, which), c) for c in remote}
            others |= {f.digest: f.size for c in near for f in c.source.to_fetch() if f.digest not in fetched}
    # The first, this and the next checkpoint; the previous and the last where a measure compares with them.
    # Or of each of them but the next one file, where checkpoints are larger than the disk allowed.
    sizes, places = [[f.size for f in c.source.files()] for c in remote], 3 if alone else 5
    pieces = any(c.source.too_large() for c in remote)
    room = max(map(max, sizes)) * (places - 1) if pieces else max(map(sum, sizes)) * places
    total, more = sum(fetched.values()), sum(others.values())
    room = size(total if cache.keeping() else min(room, total + more))
    more = f", up to {size(more)} to compare with" if others else ""
    line = f"{plan.model}: {len(left)} checkpoints to measure, {size(total)} to fetch{more}, up to {room} of disk"
    print(f"{line}; after the first one the bar tells the time", file=sys.stderr)
