"""Tables of models that run, one a checkpoint: kept beside those of the scan, for all that they depend on."""

import hashlib
import warnings

import pandas as pd

from nla.models import CheckpointError, checkpoints, choose, paths
from nla.models.errors import NotThere
from nla.models.folder import digest
from nla.models.retries import locked
from nla.running import evaluation
from nla.running.evaluation import CannotRun
from nla.running.texts import texts
from nla.scanning import fingerprint, store


def at(run, checkpoint):
    """What ``run(checkpoint)`` returns, a DataFrame, or raises, a `CannotRun`; from this disk if it was made before."""
    path = _path(run, checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock"), f"another process that runs {checkpoint.model} {checkpoint.revision}"):
        table, identity = _there(run, checkpoint), _identity(checkpoint)
        if table is None:
            try:
                table = store.Table(run(checkpoint), {"identity": identity})
            except CannotRun as why:
                table = store.Table(pd.DataFrame(), {"identity": identity, "cannot": str(why)})
            store.write(path, *table)
    if "cannot" in table.notes:
        raise CannotRun(table.notes["cannot"])
    return table.rows


def made(run, checkpoint):
    """What `at` returns, or None where the model cannot run, or where the table is stored for `demo`."""
    stored = getattr(run, "stored", False) and checkpoint.folder.is_relative_to(paths.DEMO)
    if stored and _there(run, checkpoint) is None:
        return None
    try:
        return at(run, checkpoint)
    except CannotRun:  # as its notebook will say
        return None


def running(checkpoint):
    """`evaluation.running`, or None and a printed line that says why not."""
    try:
        return evaluation.running(checkpoint)
    except CannotRun as why:
        print(f"{checkpoint.revision} is not run on text: {why}")


def name_of(run):
    """What its table is called in a bundle."""
    return f"run-{fingerprint.name_of(getattr(run, 'func', run))}"


def visitor(model, steps, declared):
    """A `visit` for `nla.scan`: it makes the tables `declared`, [(run, steps)], while the files are there."""
    ladder = choose(checkpoints(model), steps)
    runs = [(run, choose(ladder, some)) for run, some in declared]

    def visit(checkpoint):
        for run, chosen in runs:
            if checkpoint in chosen:
                try:
                    made(run, checkpoint)
                except CheckpointError as error:
                    warnings.warn(f"{checkpoint.revision} was not run: {error}", stacklevel=2)

    return visit


def _path(run, checkpoint):
    folder = paths.build(paths.slug(paths.absolute(checkpoint.model))) / "runs" / fingerprint.fingerprint(run)
    return folder / f"{paths.slug(checkpoint.revision)}.parquet"


def _there(run, checkpoint):
    """The `store.Table` of a run that there is, or None."""
    if checkpoint.bundled:
        return store.bundled(checkpoint, name_of(run))
    return store.read(_path(run, checkpoint), _identity(checkpoint))


def _identity(checkpoint):
    """Of the weights, the text, and the tokenizer that reads it."""
    try:
        tokenizer = digest(checkpoint.source.file("tokenizer.json"))
    except NotThere:
        tokenizer = ""
    return hashlib.sha256(repr((checkpoint.source.identity(), tokenizer, texts())).encode()).hexdigest()[:16]
