"""The work of one scan: for each checkpoint what is on disk, what can be copied from a twin, what must be measured."""

from contextlib import suppress
from dataclasses import dataclass, field

from nla.matrices import kept
from nla.models import ladder, paths, sources
from nla.models.errors import CheckpointError
from nla.scanning import fingerprint, rows, store
from nla.scanning.fingerprint import pure
from nla.scanning.store import Table
from nla.scanning.worker import told


@dataclass(frozen=True)
class Begun:
    """What there is of one checkpoint before it is measured."""

    stored: dict  # {measure: Table} on disk
    copied: dict  # the same from a twin
    left: list  # measures that must look at it
    notes: dict | None  # `told`, where that was needed


@dataclass
class Plan:
    """What one scan wants, and what of it there is; its counts grow as checkpoints are finished."""

    model: str
    ladder: list
    measures: dict  # {checkpoint: those it gets}, in order
    selection: rows.Selection
    refresh: bool
    keys: dict  # {measure: the name of its folder}
    known: dict = field(default_factory=dict)  # {content, description: the first with it}, {missed: if it is there now}
    counts: dict = field(default_factory=lambda: {"done": 0, "reused": 0})

    @classmethod
    def of(cls, model, measures, steps="all", kinds=None, layers=None, refresh=False, sketch=None):
        """The plan of a scan, whose arguments are explained there."""
        measures = [measures] if callable(measures) else list(measures)
        if sketch is not None:
            if not any(hasattr(m, "sketched") for m in measures):
                raise ValueError("none of the measures can be sketched, as nla.spectrum can")
            measures = [m.sketched(sketch) if hasattr(m, "sketched") else m for m in measures]
        names = [fingerprint.name_of(m) for m in measures]
        twice = {n for n in names if n != "lambda" and names.count(n) > 1}
        if not measures or twice:
            raise ValueError(f"two measures are called {twice.pop()}" if twice else "no measure given")
        checkpoints = ladder.checkpoints(model)
        chosen = ladder.choose(checkpoints, steps)
        where = {m: set(ladder.choose(chosen, getattr(m, "steps", "all"))) for m in measures}
        gets = {c: [m for m in measures if c in where[m]] for c in chosen if any(c in some for some in where.values())}
        keys = {m: fingerprint.fingerprint(m) for m in measures}
        several = (c if c is None else (c,) if isinstance(c, (str, int)) else tuple(c) for c in (kinds, layers))
        return cls(model, checkpoints, gets, rows.Selection(*several), refresh, keys)

    def stored(self):
        """({checkpoint: Table} of what is whole on disk, {revision: reason} of what cannot be had at all)."""
        errors = sources.list_all(self.measures)
        tables, failed = {}, {c.revision: str(error) for c, error in errors.items()}
        for checkpoint in (c for c in self.measures if c not in errors):
            try:
                checkpoint.source.identity()
                found = {} if self.refresh else self._stored(checkpoint, self.measures[checkpoint])
                if len(found) == len(self.measures[checkpoint]):
                    tables[checkpoint] = self._joined(checkpoint, found)
            except CheckpointError as error:
                failed[checkpoint.revision] = str(error)
        self.counts["reused"] = len(tables)
        return tables, failed

    def copies(self, left):
        """Those of `left` that need not even be opened: known twins, of which nothing depends on the step."""
        seen, copies = set(self.known), set()
        for c in left:
            content = c.source.remote and (c.source.content(), c.source.described())
            if content in seen and all(pure(m) for m in self.measures[c]):
                copies.add(c)
            seen.add(content or c)
        return copies

    def folder(self):
        """Where all that is built of MODEL is."""
        return paths.build(paths.slug(paths.absolute(self.model)))

    def lock(self, checkpoint):
        """Where the lock is that whoever makes the tables of `checkpoint` holds."""
        path = self.folder() / "locks" / f"{paths.slug(checkpoint.revision)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def alive(self, checkpoint):
        """Leave a sign of life for those who wait for `lock`."""
        self.lock(checkpoint).with_suffix(".alive").touch()

    def seen(self, checkpoint):
        """When there was one."""
        path = self.lock(checkpoint).with_suffix(".alive")
        return path.stat().st_mtime if path.exists() else 0.0

    def begin(self, checkpoint, twins=True):
        """`Begun`; whoever calls this holds the lock until `finish`."""
        measures = self.measures[checkpoint]
        stored = {} if self.refresh else self._stored(checkpoint, measures)
        missing = [m for m in measures if m not in stored]
        notes = told(checkpoint) if missing and twins else None
        copied = self._copied(checkpoint, notes, missing) if notes else {}
        return Begun(stored, copied, [m for m in missing if m not in copied], notes)

    def finish(self, checkpoint, begun, found):
        """The `Table` of one checkpoint from what `begin` said and what a worker `Found`; written to disk."""
        made = dict(begun.copied)
        if begun.left:
            notes = found.notes | {"compared_with": self._others(checkpoint, found.compared_with)}
            made |= {m: Table(some, notes) for m, some in zip(begun.left, found.tables, strict=True)}
            if found.kept:
                kept.write(checkpoint, found.described, notes, found.kept)
        elif begun.copied and (there := kept.read(self.known[begun.notes["content"], begun.notes["described"]])):
            kept.write(checkpoint, there.notes, begun.notes, there.matrices)
        for measure, table in made.items():
            store.write(self._path(checkpoint, measure, self.selection.suffix()), *table)
        self.counts["done" if made else "reused"] += 1
        return self._joined(checkpoint, begun.stored | made)

    def _path(self, checkpoint, measure, suffix):
        return self.folder() / "tables" / self.keys[measure] / f"{paths.slug(checkpoint.revision)}{suffix}.parquet"

    def _joined(self, checkpoint, tables):
        measures = self.measures[checkpoint]
        notes = tables[measures[0]].notes
        self.known.setdefault((notes["content"], notes["described"]), checkpoint)
        said = {w: dict.fromkeys(tuple(n) for m in measures for n in tables[m].notes[w]) for w in ("notes", "missed")}
        return Table(rows.join([tables[m].rows for m in measures], measures), notes | said)

    def _stored(self, checkpoint, measures):
        """{measure: Table} of those on disk that still hold."""
        found = {}
        for measure in measures:
            if checkpoint.bundled and (table := store.bundled(checkpoint, fingerprint.name_of(measure))):
                found[measure] = Table(self.selection.of_table(table.rows), table.notes)
                continue
            for suffix in dict.fromkeys(["", self.selection.suffix()]):
                path = self._path(checkpoint, measure, suffix)
                table = store.read(path, checkpoint.source.identity()) if path.is_file() else None
                others = table and table.notes.get("compared_with", {})
                if table and others == self._others(checkpoint, others) and not self._again(table.notes):
                    found[measure] = Table(self.selection.of_table(table.rows), table.notes)
                    break
        return found

    def _again(self, notes):
        """Whether one of those that could not be compared with can be had now; each is asked for once."""
        missed = [revision for revision, _ in notes["missed"]]
        for c in self.ladder:
            if c.revision in missed and c.revision not in self.known:
                self.known[c.revision] = c.source.can_be_had()
        return any(self.known.get(revision) for revision in missed)

    def _others(self, checkpoint, which):
        """{which: identity} of the initial, previous ... checkpoint, seen from this one; None where it is not known."""
        found = dict.fromkeys(which)
        for path in which:
            nearest = checkpoint
            for step in path.split("."):
                nearest = nearest and next(ladder.neighbours(self.ladder, nearest, step), None)
            with suppress(CheckpointError):
                found[path] = nearest and nearest.source.identity()
        return found

    def _copied(self, checkpoint, notes, measures):
        """{measure: Table} from another checkpoint with the same bytes, for pure measures."""
        twin = self.known.get((notes["content"], notes["described"]))
        own, copies = {name: getattr(checkpoint, name) for name in ("revision", "step", "stage")}, {}
        for measure, table in (self._stored(twin, filter(pure, measures)) if twin else {}).items():
            others = self._others(checkpoint, {"initial"} & table.notes.get("compared_with", {}).keys())
            copies[measure] = Table(table.rows.assign(**own), table.notes | notes | {"compared_with": others})
        return copies
