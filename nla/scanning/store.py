"""Tables on disk: one parquet file per checkpoint and measure, written under another name and then renamed."""

import glob
import json
import os
from functools import lru_cache
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nla.matrices import kept
from nla.models import bundles


class Table(NamedTuple):
    """The rows of one checkpoint, and what else is known of them: which weights, and which these were compared with."""

    rows: pd.DataFrame
    notes: dict


def read(path, identity, columns=None):
    """The `Table` at `path`, or None if it is not there, not whole, or of another `identity` of the checkpoint."""
    try:
        table = pq.read_table(path, columns=columns)
        notes = json.loads(table.schema.metadata[b"nla"])
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None
    return Table(table.to_pandas(), notes) if notes.get("identity") == identity else None


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
    tables, entry = bundles.manifest(checkpoint.folder)["tables"], checkpoint.source.entry
    if checkpoint.revision not in tables.get(name, {"revisions": ()})["revisions"]:
        return None
    rows = kept.rows_of(checkpoint, f"tables/{name}.parquet", _tables, "a table")
    rows = pd.DataFrame() if rows is None else rows.assign(model=checkpoint.model).reset_index(drop=True)
    notes = {name: entry[name] for name in ("identity", "content", "unmeasured")}
    return Table(rows, notes | {"described": entry["identity"], "notes": [], "missed": []})


_tables = lru_cache(64)(kept.by_revision)
