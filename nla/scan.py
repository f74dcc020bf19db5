"""Measures x matrices x checkpoints -> one tidy table; what is on disk is read, only the rest is computed."""

import hashlib
import os
import warnings

import pandas as pd
import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from nla import measuring, models, store
from nla.matrices import Weights
from nla.measuring import KEYS
from nla.weights import CheckpointError, weight_files


def scan(
    model,
    measures,
    steps="all",
    kinds=None,
    layers=None,
    device="auto",
    workers=None,
    refresh=False,
    progress=True,
):
    """One row per matrix and checkpoint, with the columns of every measure.

    Parameters
    ----------
    model : str
        See `nla.checkpoints`.
    measures : function or list of functions
        Each takes a `Matrix` and returns a flat dict of numbers, or of 1-D arrays for curves. Attributes on the
        function may limit it: ``kinds`` to these kinds, ``steps`` to this choice among the steps asked for.
        ``pure = True`` says that it depends on the weights and the first checkpoint alone, not on the step, and need
        not be computed again for a checkpoint that is a copy.
    steps : "all", "log", int or iterable of int
        All checkpoints; about 20, log-spaced; every k-th; these steps.
    kinds, layers : iterable, optional
        Restrict the matrices; layer -1 stands for the embeddings.
    device : str
        Where to compute; ``auto`` takes a CUDA device if there is one.
    workers : int, optional
        Matrices in hand at once, one BLAS thread each; by default as many as there are cores.
    refresh : bool
        Compute again what is on disk.
    progress : bool
        Show a bar over checkpoints.

    Returns
    -------
    pandas.DataFrame
        Columns model, revision, step, stage, layer (-1: embeddings), kind, rows, cols, duplicate_of (the earlier
        revision with the same weights), finite (False: the matrix holds NaN or Inf and its measures are NaN), then
        the measures' own. ``attrs["summary"]`` counts checkpoints done, reused, duplicates and failed (with reasons).
    """
    measures = [measures] if callable(measures) else list(measures)
    ladder = models.checkpoints(model)
    job = _Job(model, measures, kinds, layers, _device(device), workers or measuring.cores(), refresh, ladder)
    chosen = job.plan(models.choose(ladder, steps))
    tables, busy, failed = {}, [], {}
    quiet = not progress or os.environ.get("TQDM_DISABLE", "0") != "0"  # tqdm's notebook bar does not ask
    with tqdm(total=len(chosen), desc=model, unit="checkpoint", disable=quiet) as bar:
        for patience in (0, -1):  # first whatever is free, then wait for those another process has in hand
            for checkpoint in busy if patience else chosen:
                try:
                    tables[checkpoint] = job.table(checkpoint, patience)
                except Timeout:
                    busy.append(checkpoint)
                    continue
                except CheckpointError as error:
                    failed[checkpoint.revision] = str(error)
                bar.set_postfix(job.counts, failed=len(failed))
                bar.update()
    for revision, reason in failed.items():
        warnings.warn(f"{model} {revision} left out: {reason}", stacklevel=2)
    if not tables:
        raise CheckpointError(f"no checkpoint of {model} could be measured: {next(iter(failed.values()))}")
    table = _assemble([tables[c] for c in chosen if c in tables])
    table.attrs["summary"] = {**job.counts, "duplicates": job.duplicates, "failed": failed}
    return table


class _Job:
    """What stays the same from checkpoint to checkpoint of one scan."""

    def __init__(self, model, measures, kinds, layers, device, workers, refresh, ladder):
        names = [store.name_of(m) for m in measures]
        twice = {n for n in names if n != "lambda" and names.count(n) > 1}
        if not measures or twice:
            raise ValueError(f"two measures are called {twice.pop()}" if twice else "no measure given")
        self.measures, self.kinds, self.layers = measures, _tuple(kinds), _tuple(layers)
        self.device, self.workers, self.refresh, self.ladder = device, workers, refresh, ladder
        self.slug, self.subset = models.slug(model), _subset(self.kinds, self.layers)
        self.counts, self.duplicates, self.contents = {"done": 0, "reused": 0}, 0, {}
        self.shared, self.wanted = {}, {}

    def plan(self, chosen):
        """Decide which measures each checkpoint of `chosen` gets; returns those that get any."""
        for measure in self.measures:
            for checkpoint in models.choose(chosen, getattr(measure, "steps", "all")):
                self.wanted.setdefault(checkpoint, []).append(measure)
        return [c for c in chosen if c in self.wanted]

    def table(self, checkpoint, patience):
        """The rows of one checkpoint, all measures joined, from disk or computed under the checkpoint's lock."""
        identity, measures = _identity(checkpoint), self.wanted[checkpoint]
        found = {} if self.refresh else self._stored(checkpoint, identity, measures)
        self.counts["reused"] += len(found) == len(measures)
        if len(found) < len(measures):
            lock = store.build(self.slug) / "locks" / f"{checkpoint.revision}.lock"
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=patience):
                found = {} if self.refresh else self._stored(checkpoint, identity, measures)
                missing = [m for m in measures if m not in found]
                if missing:
                    found.update(self._compute(checkpoint, identity, missing))
                self.counts["done" if missing else "reused"] += 1
        content = next(iter(found.values()))[1]["content"]
        twin = self.contents.setdefault(content, checkpoint.revision)
        self.duplicates += twin != checkpoint.revision
        frame = measuring.join([found[m][0] for m in measures], measures)
        return frame.assign(duplicate_of=None if twin == checkpoint.revision else twin)

    def _stored(self, checkpoint, identity, measures):
        found = {}
        for measure in measures:
            for key in dict.fromkeys([checkpoint.revision, checkpoint.revision + self.subset]):
                table = store.read(store.table_path(self.slug, measure, key), identity)
                if table:
                    found[measure] = (self._restrict(table[0]), table[1])
                    break
        return found

    def _restrict(self, rows):
        keep = pd.Series(True, rows.index)
        if self.kinds:
            keep &= rows.kind.isin(self.kinds)
        if self.layers:
            keep &= rows.layer.isin(self.layers)
        return rows[keep].reset_index(drop=True)

    def _compute(self, checkpoint, identity, measures):
        notes = {"identity": identity, "content": _content(checkpoint)}
        ends = {self.ladder[0], self.ladder[-1]}  # stay open through the scan; the previous one only until the next
        self.shared = {c: w for c, w in self.shared.items() if c in ends}
        frames = self._copied(checkpoint, notes["content"], measures)
        left = [m for m in measures if m not in frames]
        if left:
            with Weights(checkpoint, self.ladder, self.device, self.shared) as weights:
                rows = measuring.rows(weights, left, self.kinds, self.layers, self.workers)
            frames |= {m: pd.DataFrame([row | found[m] for row, found in rows if m in found]) for m in left}
        for measure, frame in frames.items():
            store.write(store.table_path(self.slug, measure, checkpoint.revision + self.subset), frame, notes)
        return {measure: (frame, notes) for measure, frame in frames.items()}

    def _copied(self, checkpoint, content, measures):
        """Rows of an earlier checkpoint with the same bytes, for pure measures."""
        twin = next((c for c in self.ladder if c.revision == self.contents.get(content)), None)
        found = self._stored(twin, _identity(twin), [m for m in measures if getattr(m, "pure", False)]) if twin else {}
        own = {"revision": checkpoint.revision, "step": checkpoint.step, "stage": checkpoint.stage}
        return {measure: frame.assign(**own) for measure, (frame, _) in found.items()}


def _assemble(tables):
    table = pd.concat([t.dropna(axis=1, how="all") for t in tables], ignore_index=True)
    for key in KEYS:
        if key not in table:
            table[key] = None
    return table[KEYS + [c for c in table if c not in KEYS]]


def _identity(checkpoint):
    """Names, sizes and times of the files: cheap to ask, and changed whenever the files are."""
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in weight_files(checkpoint.path)]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


def _content(checkpoint):
    """Hash of the bytes of the weights: equal for checkpoints that are copies of one another."""
    sha = hashlib.sha256()
    for path in weight_files(checkpoint.path):
        with open(path, "rb") as file:
            sha.update(hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()[:16]


def _subset(kinds, layers):
    parts = [",".join(map(str, p)) for p in (kinds or (), layers or ())]
    return f"--{parts[0]}--{parts[1]}" if any(parts) else ""


def _tuple(choice):
    return None if choice is None else (choice,) if isinstance(choice, (str, int)) else tuple(choice)


def _device(name):
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
