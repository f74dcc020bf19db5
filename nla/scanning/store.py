"""Tables on disk: one parquet file per checkpoint and measure, written under another name and then renamed."""

import glob
import json
import os
from functools import lru_cache
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nla.models import bundles
from nla.models.errors import CheckpointError, _first_line
from nla.models.paths import build


class Table(NamedTuple):
    """The rows of one checkpoint, and what else is known of them: which weights, and which these were compared with."""

    rows: pd.DataFrame
    notes: dict


def read(path, identity):
    """The `Table` at `path`, or None if it is not there, not whole, or of another `identity` of the checkpoint."""
    try:
        table = pq.read_table(path)
        notes = json.loads(table.schema.metadata[b"nla"])
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None
    return Table(table.to_pandas(), notes) if notes.get("identity") == identity else None


def notes(slug, key, identity):
    """The notes of the tables of all measures for one checkpoint of this `identity`, a list of dicts."""
    found = []
    for path in sorted((build(slug) / "tables").glob(f"*/{glob.escape(key)}.parquet")):
        try:
            found.append(json.loads(pq.read_schema(path).metadata[b"nla"]))
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
            continue
    return [n for n in found if n.get("identity") == identity]


def write(path, rows, notes):
    """Write a table whole or not at all; `notes` is a dict kept with it. One process at a time writes to a `path`."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"nla": json.dumps(notes).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.partial"):  # by a process that was killed
        left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial")
    text = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    try:
        pq.write_table(table, partial, compression="zstd", use_dictionary=text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def bundled(checkpoint, name):
    """The `Table` of a measure of this name that the bundle of `checkpoint` holds, or None."""
    tables, path = bundles.manifest(checkpoint.folder)["tables"], checkpoint.folder / "tables" / f"{name}.parquet"
    if checkpoint.revision not in tables.get(name, {"revisions": ()})["revisions"]:
        return None
    try:
        rows = _by_revision(path, path.stat().st_mtime_ns).get(checkpoint.revision, pd.DataFrame())
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise CheckpointError(f"{path} is not a table of a bundle: {_first_line(error)}") from None
    entry = checkpoint.source.entry
    notes = {name: entry[name] for name in ("identity", "content", "unmeasured")}
    notes |= {"described": entry["identity"], "notes": [], "missed": []}
    rows = rows.assign(model=checkpoint.model) if len(rows) else rows
    return Table(rows.reset_index(drop=True), notes)


@lru_cache(64)
def _by_revision(path, _):
    table = pd.read_parquet(path)
    return dict(list(table.groupby("revision", sort=False))) if len(table) else {}
