"""Tables of models that run, one a checkpoint: kept beside those of the scan, for all that they depend on."""

import hashlib
import warnings

import pandas as pd

from nla.figures.spectra import spaced
from nla.models import CheckpointError, paths
from nla.models.errors import NotThere
from nla.models.folder import digest
from nla.models.retries import locked
from nla.running.evaluation import CannotRun
from nla.running.texts import texts
from nla.scanning import fingerprint, store


def at(run, checkpoint):
    """What ``run(checkpoint)`` returns, a DataFrame, or raises, a `CannotRun`; from this disk if it was made before."""
    key, identity = fingerprint.fingerprint(run), _identity(checkpoint)
    folder = paths.build(paths.slug(checkpoint.model)) / "runs" / key
    path = folder / f"{paths.slug(checkpoint.revision)}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock"), f"another process that runs {checkpoint.model} {checkpoint.revision}"):
        table = store.read(path, identity)
        if table is None:
            try:
                table = store.Table(run(checkpoint), {"identity": identity})
            except CannotRun as why:
                table = store.Table(pd.DataFrame(), {"identity": identity, "cannot": str(why)})
            store.write(path, *table)
    if "cannot" in table.notes:
        raise CannotRun(table.notes["cannot"])
    return table.rows


def visit(checkpoint, ladder, declared):
    """Make the tables that are `declared`, [(run, choose)], of a checkpoint that is among ``choose(ladder)``."""
    for run, choose in declared:
        if checkpoint in choose(ladder):
            try:
                at(run, checkpoint)
            except CannotRun:  # as its notebook will say
                pass
            except CheckpointError as error:
                warnings.warn(f"{checkpoint.revision} was not run: {error}", stacklevel=2)


def few(count):
    """A choice for `nla.models.choose`, or a measure's ``steps``: at most `count`, evenly spaced in log(step + 1)."""

    def choose(ladder):
        steps = set(spaced([c.step for c in ladder], count))
        return [c for c in ladder if c.step in steps]

    return choose


def _identity(checkpoint):
    """Of the weights, the text, and the tokenizer that reads it."""
    try:
        tokenizer = digest(checkpoint.source.file("tokenizer.json"))
    except NotThere:
        tokenizer = ""
    return hashlib.sha256(repr((checkpoint.source.identity(), tokenizer, texts())).encode()).hexdigest()[:16]
