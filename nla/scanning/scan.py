"""Measures x matrices x checkpoints -> one tidy table; what is on disk is read, only the rest is computed."""

import os
import warnings

import pandas as pd
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from nla.models import cache
from nla.models.errors import CheckpointError
from nla.models.ladder import checkpoints, choose
from nla.models.retries import Waited, locked
from nla.scanning import cluster
from nla.scanning.announce import announce
from nla.scanning.plan import Job
from nla.scanning.rows import KEYS


def scan(
    model,
    measures,
    steps="all",
    kinds=None,
    layers=None,
    device="auto",
    workers=None,
    scheduler=None,
    refresh=False,
    progress=True,
    sketch=None,
):
    """One row per matrix and checkpoint, with the columns of every measure.

    Checkpoints on the Hub are streamed: the next one is fetched while this one is measured, and those before it are
    evicted; see `nla.models.cache`.

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
    scheduler : str, int, distributed.Client or cluster of Dask, optional
        Let a Dask cluster measure, one checkpoint a task: an address such as tcp://host:8786, or as many processes on
        this machine; see `nla.scanning.cluster`.
    refresh : bool
        Compute again what is on disk.
    progress : bool
        Show a bar over checkpoints.
    sketch : "auto" or int, optional
        Take what `nla.spectrum` returns from sketches (`measures.sketched_spectrum`) where the shorter side of a matrix
        is this or more, and say so in the columns ``sketched`` and ``NAME_error``; "auto" is 4,096, the matrices of
        pythia-6.9b and larger. Tables with and without sketches are kept apart.

    Returns
    -------
    pandas.DataFrame
        Columns model, revision, step, stage, layer (-1: embeddings), kind, rows, cols, duplicate_of (the earlier
        revision with the same weights), finite (False: the matrix holds NaN or Inf and its measures are NaN), then
        the measures' own. ``attrs["summary"]`` counts checkpoints done, reused, duplicates and failed (with reasons).
    """
    measures = [measures] if callable(measures) else list(measures)
    if sketch is not None:
        if not any(hasattr(m, "sketched") for m in measures):
            raise ValueError("none of the measures can be sketched, as nla.spectrum can")
        measures = [m.sketched(sketch) if hasattr(m, "sketched") else m for m in measures]
    ladder = checkpoints(model)
    job = Job(model, measures, kinds, layers, device, workers, refresh, ladder)
    chosen = job.plan(choose(ladder, steps))
    tables, failed = job.known(chosen)
    left = [c for c in chosen if c not in tables and c.revision not in failed]
    if progress and left:
        announce(job, left)
    copies = job.find_copies(left)
    work = _here(job, left) if scheduler is None else cluster.work(job, left, scheduler, device, workers, progress)
    done, errors = len(chosen) - len(left) + len(copies), []
    off = not progress or os.environ.get("TQDM_DISABLE", "0") != "0"  # tqdm's notebook bar does not ask
    # The bar counts copies as done from the start, so that its time left is that of what must be measured.
    with tqdm(total=len(chosen), initial=done, desc=model, unit="checkpoint", smoothing=0, disable=off) as bar:
        for checkpoint, result in work if left else ():
            if isinstance(result, Exception):
                failed[checkpoint.revision] = _why(result)
                errors.append(result)
            else:
                tables[checkpoint] = result
            bar.set_postfix(job.counts, failed=len(failed))
            bar.update(checkpoint not in copies)
    cache.evict(ladder, keep=(ladder[0], ladder[-1]))
    for revision, reason in failed.items():
        warnings.warn(f"{model} {revision} left out: {reason}", stacklevel=2)
    if not tables:
        for error in errors:
            if not isinstance(error, CheckpointError):  # a mistake in a measure, most likely
                raise error
        raise CheckpointError(f"no checkpoint of {model} could be measured: {next(iter(failed.values()))}")
    copies = _copies({c: tables[c][1] for c in chosen if c in tables})
    table = _assemble([tables[c][0].assign(duplicate_of=copies.get(c)) for c in chosen if c in tables])
    table.attrs["summary"] = {**job.counts, "duplicates": len(copies), "failed": failed}
    return table


def _here(job, left):
    """(checkpoint, its rows and notes, or why there are none) of all of `left`, measured in this process."""
    busy = []
    for place, checkpoint in enumerate(left):  # first whatever is free, then what another process has in hand
        try:
            with FileLock(job.lock(checkpoint), timeout=0):
                result = _table(job, checkpoint, left[place + 1 :])
            yield checkpoint, result
        except Timeout:
            busy.append(checkpoint)
    for checkpoint in busy:
        try:
            what = f"another run that measures {checkpoint.model} {checkpoint.revision}"
            with locked(job.lock(checkpoint), what, lambda c=checkpoint: job.seen(c)):
                result = _table(job, checkpoint, [])
        except Waited as error:
            result = error
        yield checkpoint, result


def _table(job, checkpoint, after):
    try:
        return job.table(checkpoint, after)
    except CheckpointError as error:
        return error


def _why(error):
    """One line."""
    if isinstance(error, CheckpointError):
        return str(error)
    return "; ".join([f"{type(error).__name__}: {error}".splitlines()[0], *getattr(error, "__notes__", ())])


def _copies(notes):
    """{checkpoint: revision of an earlier one with the same weights}: in the same files or in others."""
    seen, copies = {}, {}
    for checkpoint, note in notes.items():
        names = [("files", note["content"])] + ([("entries", note["entries"])] if note.get("entries") else [])
        copies[checkpoint] = next((seen[n] for n in names if n in seen), None)
        for name in names:
            seen.setdefault(name, checkpoint.revision)
    return {c: twin for c, twin in copies.items() if twin}


def _assemble(tables):
    columns = dict.fromkeys([*KEYS, *(c for t in tables for c in t)])
    table = pd.concat([t.dropna(axis=1, how="all") for t in tables], ignore_index=True)
    return table.reindex(columns=list(columns))  # also what is NaN everywhere
