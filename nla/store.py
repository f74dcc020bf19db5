"""Tables on disk: one parquet file per checkpoint and measure, written under another name and then renamed."""

import glob
import hashlib
import inspect
import json
import os
import re
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pyarrow as pa
import pyarrow.parquet as pq

from nla.slug import build, root as root

HERE = Path(__file__).parent
CORE = ("families", "layout", "matrix", "matrices", "spectra", "pairs", "weights")  # under every measure


def name_of(measure):
    """A measure's name as it stands in file names and messages."""
    return getattr(measure, "__name__", type(measure).__name__).replace("<lambda>", "lambda")


def fingerprint(measure):
    """Hash of what a measure computes: its code, defaults and closure, and of the code and constants it refers to.

    A measure of this package is known by the source of its module, of those it imports from and of those under every
    measure, so that a comment also counts as a change; a user's own function by its compiled code, so that it does not.
    """
    sha = hashlib.sha256()
    module = sys.modules.get(getattr(measure, "__module__", None))
    if getattr(module, "__name__", "").startswith("nla."):
        for source in _sources(module):
            sha.update(source.read_bytes())
        sha.update(name_of(measure).encode())
    else:
        _digest(measure, sha, set())
    return sha.hexdigest()[:12]


def _sources(module):
    """The files of `module`, of the modules of this package that it imports from, directly or not, and of `CORE`."""
    found, left = {HERE / f"{name}.py" for name in CORE}, [module]
    while left:
        module = left.pop()
        if module and (module.__name__.startswith("nla.")) and (path := Path(module.__file__)) not in found:
            found.add(path)
            owners = (v if isinstance(v, ModuleType) else _owner(v) for v in vars(module).values())
            left += [owner for owner in owners if owner]
    return sorted(found)


def _owner(thing):
    return sys.modules.get(getattr(thing, "__module__", None) or "")


def _digest(thing, sha, seen):
    if id(thing) in seen:
        return
    if isinstance(thing, (FunctionType, CodeType)):
        seen.add(id(thing))
    if isinstance(thing, CodeType):
        sha.update(thing.co_code + repr(thing.co_names).encode())
        for constant in thing.co_consts:
            _digest(constant, sha, seen)
    elif isinstance(thing, FunctionType):
        if (thing.__module__ or "").startswith("nla."):
            sha.update(Path(inspect.getfile(thing)).read_bytes())
            return
        _digest(thing.__code__, sha, seen)
        captured = [c.cell_contents for c in thing.__closure__ or ()]
        names = _names(thing.__code__)
        used = [thing.__globals__[n] for n in sorted(names) if n in thing.__globals__]
        for other in [*captured, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values(), *used]:
            _digest(other, sha, seen)
    elif isinstance(thing, ModuleType):
        sha.update(f"{thing.__name__} {getattr(thing, '__version__', '')}".encode())
    elif isinstance(thing, (frozenset, set)):
        sha.update(repr(sorted(map(repr, thing))).encode())
    elif hasattr(thing, "func") and hasattr(thing, "keywords"):  # functools.partial
        for part in (thing.func, thing.args, sorted(thing.keywords.items())):
            _digest(part, sha, seen)
    elif isinstance(thing, dict):
        _digest(sorted(thing.items(), key=repr), sha, seen)
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            _digest(part, sha, seen)
    elif hasattr(thing, "tobytes"):
        sha.update(thing.tobytes())
    elif type(thing).__repr__ is not object.__repr__:
        sha.update(re.sub(r" at 0x[0-9a-f]+", "", repr(thing)).encode())
    elif callable(thing):
        _digest(type(thing).__call__, sha, seen)
        _digest(sorted(vars(thing).items()), sha, seen)


def _names(code):
    inner = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*inner)


def table_path(slug, measure, key):
    """Where the table of `measure` for the checkpoint known as `key` is kept."""
    return build(slug) / "tables" / f"{name_of(measure)}-{fingerprint(measure)}" / f"{key}.parquet"


def read(path, identity):
    """(rows, notes) of a table, or None if it is not there, not whole, or of another `identity` of the checkpoint."""
    try:
        table = pq.read_table(path)
        notes = json.loads(table.schema.metadata[b"nla"])
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None
    return (table.to_pandas(), notes) if notes.get("identity") == identity else None


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
