"""The work of one scan: for each checkpoint what is on disk, what can be copied from a twin, what must be computed."""

from threading import Lock

import pandas as pd

from nla.matrices.weights import Weights
from nla.models import cache, ladder, paths, sources
from nla.models.errors import CheckpointError, Unavailable
from nla.numerics import threads
from nla.scanning import fingerprint, rows as scanning_rows, store
from nla.scanning.fingerprint import _pure


class Job:
    """What stays the same from checkpoint to checkpoint of one scan; its arguments are explained there."""

    def __init__(self, model, measures, kinds, layers, device, workers, refresh, ladder, cores=None):
        names = [fingerprint.name_of(m) for m in measures]
        twice = {n for n in names if n != "lambda" and names.count(n) > 1}
        if not measures or twice:
            raise ValueError(f"two measures are called {twice.pop()}" if twice else "no measure given")
        self.measures, self.kinds, self.layers = measures, _tuple(kinds), _tuple(layers)
        self.device, self.refresh, self.ladder = threads.device(device), refresh, ladder
        self.model, self.slug, self.subset = model, paths.slug(model), _subset(self.kinds, self.layers)
        self.counts, self.wanted = {"done": 0, "reused": 0}, {}
        self.first = {}  # content -> the first checkpoint known to have it, and tables
        self.copies = set()
        self.shared, self.asked, self.coming, self.contents = {}, set(), {}, {}
        self.turn = Lock()  # of those who look at `coming` and then change it
        self.cores = cores or threads.cores()  # those that are ours
        self.workers = workers or self.cores

    def plan(self, chosen):
        """Decide which measures each checkpoint of `chosen` gets; returns those that get any."""
        for measure in self.measures:
            for checkpoint in ladder.choose(chosen, getattr(measure, "steps", "all")):
                self.wanted.setdefault(checkpoint, []).append(measure)
        return [c for c in chosen if c in self.wanted]

    def known(self, chosen):
        """({checkpoint: (rows, notes)} of what is on disk, {revision: reason} of what cannot be had at all)."""
        errors = sources.list_all(chosen)
        cache.adopt(self.ladder)
        tables, failed = {}, {c.revision: str(error) for c, error in errors.items()}
        for checkpoint in (c for c in chosen if c not in errors):
            try:
                checkpoint.source.identity()
                found = {} if self.refresh else self._stored(checkpoint, self.wanted[checkpoint])
                if len(found) == len(self.wanted[checkpoint]):
                    tables[checkpoint] = self._joined(checkpoint, found)
            except CheckpointError as error:
                failed[checkpoint.revision] = str(error)
        self.counts["reused"] = len(tables)
        return tables, failed

    def find_copies(self, left):
        """Those of `left` that need not even be opened: known copies, and nothing wanted that depends on the step."""
        seen = set(self.first)
        for c in left:
            content = c.source.remote and c.source.content()
            if content in seen and all(_pure(m) for m in self.wanted[c]):
                self.copies.add(c)
            seen.add(content or c)
        return self.copies

    def table(self, checkpoint, after):
        """(rows, notes) of one checkpoint, which is locked; computed unless another process was faster."""
        stored, copied, left = self.begin(checkpoint)
        got = self.measured(checkpoint, left, after, lambda: self.alive(checkpoint)) if left else None
        return self.finish(checkpoint, stored, copied, left, got)

    def lock(self, checkpoint):
        """Where the lock is that whoever makes the tables of `checkpoint` holds."""
        path = paths.build(self.slug) / "locks" / f"{paths.slug(checkpoint.revision)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def alive(self, checkpoint):
        """A sign of life for those who wait for `lock`."""
        self.lock(checkpoint).with_suffix(".alive").touch()

    def seen(self, checkpoint):
        """When there was one."""
        path = self.lock(checkpoint).with_suffix(".alive")
        return path.stat().st_mtime if path.exists() else 0.0

    def begin(self, checkpoint, twins=True):
        """({measure: (rows, notes)} on disk, the same copied from a twin, measures that are left to compute)."""
        measures = self.wanted[checkpoint]
        stored = {} if self.refresh else self._stored(checkpoint, measures)
        missing = [m for m in measures if m not in stored]
        copied = self._copied(checkpoint, self._notes(checkpoint), missing) if missing and twins else {}
        return stored, copied, [m for m in missing if m not in copied]

    def measured(self, checkpoint, measures, after, alive):
        """(frames of `measures`, notes, neighbours that were asked for), computed here; `alive()` after each matrix."""
        notes = self._notes(checkpoint)
        ends = {self.ladder[0], self.ladder[-1]}  # stay open through the scan; the previous one until the next
        self.shared = {c: w for c, w in self.shared.items() if c in ends or not isinstance(w, Weights)}
        with self._opened(checkpoint) as weights:
            self.fetch_ahead(after)
            rows, entries = scanning_rows.rows(
                weights, measures, self.kinds, self.layers, self.workers, self.cores, alive
            )
        self.asked |= weights.asked
        notes |= {} if self.kinds or self.layers else {"entries": entries}
        return [pd.DataFrame([row | got[m] for row, got in rows if m in got]) for m in measures], notes, weights.asked

    def finish(self, checkpoint, stored, copied, left, got):
        """(rows, notes) of one checkpoint from what `begin` found and what `measured` got; written to disk."""
        computed = {}
        if left:
            frames, notes, asked = got
            notes = notes | {"beside": self._beside(checkpoint, asked)}
            computed = {m: (frame, notes) for m, frame in zip(left, frames, strict=True)}
        for measure, (frame, notes) in (copied | computed).items():
            path = store.table_path(self.slug, measure, paths.slug(checkpoint.revision) + self.subset)
            store.write(path, frame, notes)
        self.counts["done" if copied or computed else "reused"] += 1
        return self._joined(checkpoint, stored | copied | computed)

    def _notes(self, checkpoint):
        """What says which weights these are; of a folder's, the files are read once for that."""
        identity = checkpoint.source.identity()
        known = checkpoint, identity  # files unpacked from an archive are of one size and one time everywhere
        if known not in self.contents:
            self.contents[known] = checkpoint.source.content()
        return {"identity": identity, "content": self.contents[known]}

    def _joined(self, checkpoint, found):
        measures = self.wanted[checkpoint]
        notes = found[measures[0]][1]
        self.first.setdefault(notes["content"], checkpoint)
        return scanning_rows.join([found[m][0] for m in measures], measures), notes

    def _stored(self, checkpoint, measures):
        """{measure: (rows, notes)} of the tables on disk that still hold."""
        found, revision = {}, paths.slug(checkpoint.revision)
        for measure in measures:
            for key in dict.fromkeys([revision, revision + self.subset]):
                path = store.table_path(self.slug, measure, key)
                table = path.is_file() and store.read(path, checkpoint.source.identity())
                if table and table[1].get("beside", {}) == self._beside(checkpoint, table[1].get("beside", {})):
                    found[measure] = (self._restrict(table[0]), table[1])
                    self.asked |= table[1].get("beside", {}).keys()
                    break
        return found

    def _beside(self, checkpoint, which):
        """{which: identity} of the initial, previous or final checkpoint, which a table was made with."""
        nearest = {w: next(ladder.neighbours(self.ladder, checkpoint, w), None) for w in which}
        return {w: c and c.source.identity() for w, c in nearest.items()}

    def _restrict(self, rows):
        keep = pd.Series(True, rows.index)
        if self.kinds:
            keep &= rows.kind.isin(self.kinds)
        if self.layers:
            keep &= rows.layer.isin(self.layers)
        return rows[keep].reset_index(drop=True)

    def _copied(self, checkpoint, notes, measures):
        """{measure: (rows, notes)} from another checkpoint with the same bytes, for pure measures."""
        twin = self.first.get(notes["content"])
        pure = [m for m in measures if _pure(m)]
        own = {"revision": checkpoint.revision, "step": checkpoint.step, "stage": checkpoint.stage}
        copies = {}
        for measure, (frame, theirs) in (self._stored(twin, pure) if twin else {}).items():
            beside = self._beside(checkpoint, {"initial"} & theirs.get("beside", {}).keys())
            entries = {"entries": theirs["entries"]} if "entries" in theirs else {}
            copies[measure] = (frame.assign(**own), notes | entries | {"beside": beside})
        return copies

    def _opened(self, checkpoint):
        try:
            self._make_room(checkpoint)
            return Weights(checkpoint, self.ladder, self.device, self.shared)
        except Unavailable as error:
            self.shared[checkpoint] = error  # a later one that is compared with it need not ask again
            raise

    def _make_room(self, checkpoint):
        """Evict what is not needed any more, then wait for this checkpoint if it is on its way."""
        beside = [next(ladder.neighbours(self.ladder, checkpoint, which), None) for which in self.asked]
        if not self.counts["done"]:  # not known yet whether they are asked
            beside += [self.ladder[0], self.ladder[-1]]
        with self.turn:
            coming = list(self.coming)
            future = self.coming.pop(checkpoint, None)
        cache.evict(self.ladder, keep=[checkpoint, *(c for c in beside if c), *coming])
        try:
            if future:
                future.result()
        except CheckpointError:
            raise
        except OSError:  # no room for two; there is some now, so Weights will try again
            pass

    def fetch_ahead(self, after):
        """Let the next checkpoint that will be opened come while this one is measured."""
        with self.turn:
            if any(not future.done() for future in self.coming.values()):
                return
            for c in after:
                if c.source.remote and c not in self.copies:
                    allowance, more = cache.allowance(), sum(f.size for f in c.source.to_fetch())
                    if more and (allowance is None or cache.used(self.ladder) + more <= allowance):
                        self.coming[c] = cache.ahead(c)
                    return


def _subset(kinds, layers):
    parts = [",".join(map(str, p)) for p in (kinds or (), layers or ())]
    return f"--{parts[0]}--{parts[1]}" if any(parts) else ""


def _tuple(choice):
    return None if choice is None else (choice,) if isinstance(choice, (str, int)) else tuple(choice)
