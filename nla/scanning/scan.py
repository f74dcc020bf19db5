"""Measures x matrices x checkpoints -> one tidy table; what is on disk is read, only the rest is computed."""

import os
import sys
import warnings

import pandas as pd
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from nla.models import cache
from nla.models.errors import CheckpointError, NoWeights
from nla.models.retries import Waited, locked
from nla.scanning import cluster
from nla.scanning.plan import Plan
from nla.scanning.rows import KEYS
from nla.scanning.worker import Worker, announce


def scan(
    model, measures, steps="all", kinds=None, layers=None, device="auto", workers=None, scheduler=None, refresh=False,
    progress=True, sketch=None, visit=None,
):  # fmt: skip
    """One row per matrix and checkpoint, a DataFrame with `KEYS` and the columns of every measure.

    ``duplicate_of`` is the earlier revision with the same weights; where ``finite`` is False a matrix holds NaN or Inf,
    and its measures are NaN. ``attrs["summary"]`` counts checkpoints done, reused, duplicates and failed (why); its
    ``notes`` are lines on what of the files no matrix is read from, and on what could not be compared and is NaN.

    Parameters
    ----------
    model, steps
        See `nla.checkpoints` and `nla.models.choose`; what is on the Hub is streamed, see `nla.models.cache`.
    measures : function or list of functions
        Each takes a `Matrix` and returns a flat dict of numbers, or of 1-D arrays. Attributes of it: ``kinds`` and
        ``steps`` limit it; ``pure = True``: by the weights and the first checkpoint alone, copies are not computed.
    kinds, layers : iterable, optional
        Restrict the matrices; layer -1 stands for the embeddings.
    device, workers : str and int, optional
        Where to compute, and how many matrices at once; by default on a CUDA device if there is one, one per core.
    scheduler : str, int, distributed.Client or cluster of Dask, optional
        Who computes, see `nla.scanning.cluster`: at an address such as tcp://host:8786, or so many processes here.
    refresh, progress : bool
        Compute again what is on disk; show a bar over checkpoints.
    sketch : "auto" or int, optional
        `nla.spectrum` from sketches where the shorter side is 4,096, or this, or more: see `sketched_spectrum`.
    visit : function, optional
        Called with each checkpoint after it was measured, while its files are on this disk.
    """
    plan = Plan.of(model, measures, steps, kinds, layers, refresh, sketch)
    tables, failed = plan.stored()
    errors = _measure(plan, tables, failed, device, workers, scheduler, progress, visit)
    sound = [c for c, table in tables.items() if len(table.rows) and table.rows.finite.all()]  # where models are run
    cache.evict(plan.ladder, keep=(plan.ladder[0], plan.ladder[-1], max(sound, key=plan.ladder.index, default=None)))
    failed |= {r: why for table in tables.values() for r, why in table.notes["missed"] if r not in failed}
    for revision, reason in failed.items() if not plan.ladder[0].bundled else ():
        warnings.warn(f"{model} {revision} left out: {reason}", stacklevel=2)
    if not tables:
        none = f"no checkpoint of {model} could be measured: {next(iter(failed.values()), 'no step was chosen')}"
        raise next(errors, CheckpointError(none))
    return _whole(plan, tables, failed, progress and plan.counts["done"])


def _measure(plan, tables, failed, device, workers, scheduler, progress, visit):
    """Add what is in neither to `tables` or `failed`; yields mistakes in measures, most likely."""
    left = [c for c in plan.measures if c not in tables and c.revision not in failed]
    cache.adopt(plan.ladder)
    if progress and left:
        announce(plan, left)
    copies, total, errors = plan.copies(left), len(plan.measures), []
    if scheduler is None:
        results = _here(plan, Worker(plan.ladder, plan.selection, device, workers), left, copies)
    else:
        results = cluster.work(plan, left, copies, scheduler, device, workers, progress)
    done = total - len(left) + len(copies)
    off = not progress or os.environ.get("TQDM_DISABLE", "0") != "0"  # tqdm's notebook bar does not ask
    # The bar counts copies as done from the start, so that its time left is that of what must be measured.
    with tqdm(total=total, initial=done, desc=plan.model, unit="checkpoint", smoothing=0, disable=off) as bar:
        for checkpoint, result in results if left else ():
            if isinstance(result, Exception):
                why = [f"{type(result).__name__}: {result}".splitlines()[0], *getattr(result, "__notes__", ())]
                failed[checkpoint.revision] = str(result) if isinstance(result, CheckpointError) else "; ".join(why)
                errors.append(result)
            else:
                tables[checkpoint] = result
                if visit:
                    visit(checkpoint)
            bar.set_postfix(plan.counts, failed=len(failed))
            bar.update(checkpoint not in copies)
    return (e for e in errors if not isinstance(e, CheckpointError) or isinstance(e, NoWeights))


def _here(plan, worker, left, copies):
    """(checkpoint, its `Table` or why there is none) of all of `left`, measured in this process."""
    busy = []
    for place, checkpoint in enumerate(left):  # first whatever is free, then what another process has in hand
        try:
            with FileLock(plan.lock(checkpoint), timeout=0):
                after = [c for c in left[place + 1 :] if c not in copies]
                result = _table(plan, worker, checkpoint, after)
            yield checkpoint, result
        except Timeout:
            busy.append(checkpoint)
    for checkpoint in busy:
        try:
            what = f"another run that measures {checkpoint.model} {checkpoint.revision}"
            with locked(plan.lock(checkpoint), what, lambda c=checkpoint: plan.seen(c)):
                result = _table(plan, worker, checkpoint, ())
        except Waited as error:
            result = error
        yield checkpoint, result


def _table(plan, worker, checkpoint, after):
    """Of one checkpoint, which is locked; computed unless another process was faster."""
    try:
        begun, found = plan.begin(checkpoint), None
        if begun.left:
            found = worker.measured(checkpoint, begun.left, lambda: plan.alive(checkpoint), begun.notes, after)
        return plan.finish(checkpoint, begun, found)
    except CheckpointError as error:
        return error


def _duplicates(notes):
    """{checkpoint: revision of an earlier one with the same weights}: in the same files or in others."""
    seen, earlier = {}, {}
    for checkpoint, note in notes.items():
        names = [(what, note[what]) for what in ("content", "entries") if note.get(what)]
        earlier[checkpoint] = next((seen[n] for n in names if n in seen), None)
        for name in names:
            seen.setdefault(name, checkpoint.revision)
    return {c: revision for c, revision in earlier.items() if revision}


def _whole(plan, tables, failed, said):
    """The table of all checkpoints, with its summary, the notes of which are shown if they are to be `said`."""
    done = {c: tables[c] for c in plan.measures if c in tables}
    duplicates = _duplicates({c: table.notes for c, table in done.items()})
    parts = [table.rows.assign(duplicate_of=duplicates.get(c)) for c, table in done.items()]
    columns = dict.fromkeys([*KEYS, *(column for part in parts for column in part)])
    table = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    table = table.reindex(columns=list(columns))  # also what is NaN everywhere
    if any(c.shift for c in done):
        shifts = table.revision.map({c.revision: c.shift for c in done})  # of stages that count their steps anew
        table.insert(table.columns.get_loc("step") + 1, "shifted_by", shifts)
    unmeasured = dict.fromkeys(line for some in done.values() for line in some.notes.get("unmeasured", ()))
    found = {"duplicates": len(duplicates), "failed": failed, "notes": [*unmeasured, *_said(done)]}
    table.attrs["summary"] = {**plan.counts, **found}
    print(*(f"{plan.model}: {line}\n" for line in found["notes"] if said), sep="", end="", file=sys.stderr)
    return table


def _said(tables):
    """One line for each reason why something is not compared: in which checkpoints, and what of them."""
    found = {}
    for checkpoint, table in tables.items():
        missed = [(f"what compares with {which}", "is NaN until that can be had") for which, _ in table.notes["missed"]]
        notes = [*table.notes["notes"], *missed]
        for reason in dict.fromkeys(why for _, why in notes):
            found.setdefault((reason, *(what for what, why in notes if why == reason)), []).append(checkpoint.revision)
    for (why, *whats), revisions in found.items():
        yield f"{_some(revisions)}: {_some(whats)} {why.replace('has ', 'have ', 1) if whats[1:] else why}"


def _some(names):
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
