"""What stays of a checkpoint's matrices when its files are gone: spectra, and norms of rows and columns."""

import json
import os
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nla.models import bundles, paths
from nla.models.errors import CheckpointError, _first_line

CURVES = ("singular_values", "row_norms", "column_norms")  # float64; the norms at some steps only
FACTS = ("shape", "finite", "rms", "entries")
SPECTRA = "spectra.parquet"  # of a bundle


class Kept(NamedTuple):
    """Of one checkpoint: ``notes`` (identity, config, heads, index, ...), and by (kind, layer) what is known of it."""

    notes: dict
    matrices: dict


def read(checkpoint, curves=True):
    """`Kept` of a checkpoint, or None where there is none of these very weights; without `curves` the facts alone."""
    if checkpoint.bundled:
        return _bundled(checkpoint)
    try:
        with safe_open(_path(checkpoint), framework="numpy") as file:
            notes = json.loads(file.metadata()["nla"])
            if notes["identity"] != checkpoint.source.identity():
                return None
            matrices = {}
            for name, facts in notes.pop("matrices").items():
                kind, layer = name.split(".")
                held, facts["shape"] = facts.pop("curves"), tuple(facts["shape"])
                matrices[kind, int(layer)] = facts | {c: file.get_tensor(f"{name}.{c}") for c in held if curves}
            notes["index"] = [tuple(pair) for pair in notes["index"]]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return Kept(notes, matrices)


def of(matrix):
    """What to keep of one `Matrix`: what is known of it already, and what costs nothing beside reading it."""
    return {name: getattr(matrix, name) for name in FACTS} | {c: vars(matrix)[c] for c in CURVES if c in vars(matrix)}


def write(checkpoint, described, told, matrices):
    """Add to what is kept of a checkpoint; one process at a time does that, and the file is whole or not there."""
    notes = described | {name: told[name] for name in ("identity", "content")}
    known = there.matrices if (there := read(checkpoint)) else {}
    known |= {key: known.get(key, {}) | new for key, new in matrices.items()}
    tensors, facts = {}, {}
    for (kind, layer), found in known.items():
        curves = [c for c in CURVES if c in found]
        facts[f"{kind}.{layer}"] = {name: found[name] for name in FACTS} | {"curves": curves}
        tensors |= {f"{kind}.{layer}.{c}": np.ascontiguousarray(found[c], np.float64) for c in curves}
    path = _path(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.stem}.*.partial"):  # by a process that was killed
        left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, {"nla": json.dumps(notes | {"matrices": facts})})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _path(checkpoint):
    model, revision = paths.slug(paths.absolute(checkpoint.model)), paths.slug(checkpoint.revision)
    return paths.build(model) / "spectra" / f"{revision}.safetensors"


def _bundled(checkpoint):
    entry, said, matrices = checkpoint.source.entry, bundles.manifest(checkpoint.folder), {}
    rows = rows_of(checkpoint, SPECTRA, _spectra, "the spectra")
    if rows is None:
        return None
    for row in rows.to_dict("records"):
        facts = {name: row[name] for name in ("finite", "rms", "entries")} | {"shape": (row["rows"], row["cols"])}
        curves = {c: np.asarray(row[c], np.float64) for c in CURVES if row[c] is not None}
        matrices[row["kind"], row["layer"]] = facts | curves
    told = {name: entry[name] for name in ("identity", "content", "heads", "layers", "unmeasured")}
    return Kept(told | {"config": said["configs"][entry["config"]], "index": list(matrices)}, matrices)


def rows_of(checkpoint, name, reader, what):
    """The rows of a checkpoint in a parquet file of its bundle, or None; `reader` is `by_revision`, cached."""
    path = checkpoint.folder / name
    try:
        return reader(path, path.stat().st_mtime_ns).get(checkpoint.revision)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise CheckpointError(f"{path} is not {what} of a bundle: {_first_line(error)}") from None


def by_revision(path, _):
    """{revision: its rows} of such a file."""
    table = pd.read_parquet(path)
    return dict(list(table.groupby("revision", sort=False))) if len(table) else {}


_spectra = lru_cache(2)(by_revision)
