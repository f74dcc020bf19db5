"""Tables that take long, kept beside their study for the weights and the text they are of, else computed."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from nla.models import CheckpointError, paths
from nla.models.errors import NotThere
from nla.models.folder import digest
from nla.running import texts

STUDIES = Path(__file__).parent
COMMAND = "make notebooks FULL=1"


def stored(name, checkpoints, compute, **how):
    """What ``compute(**how)`` returns: read from its file where that is of the same weights and text, else computed.

    Where there is such a file a printed line says so. With NLA_FULL=1 in the environment everything is computed, and
    of the embedded model the file written anew.

    Parameters
    ----------
    name : str
        "study/table", the file ``nla/studies/study/table.json``; the study is the notebook's name without its number.
    checkpoints : list of nla.Checkpoint
        Those, in order, whose weights the tables depend on.
    compute : function
        Returns a DataFrame, or a dict of them, of numbers and strings.
    how
        Numbers and strings that `compute` is given; a file made with others is not used.

    Returns
    -------
    pandas.DataFrame or dict
        Floats to 7 significant digits, read or computed.
    """
    full = os.environ.get("NLA_FULL") == "1"
    record = None if full else kept(name)
    if record is None or record["how"] != how or not _is_of(record, checkpoints):
        found = _written(compute(**how))
        if not full or not all(c.folder.is_relative_to(paths.DEMO) for c in checkpoints):
            return _tables(found)
        weights = {c.revision: c.source.content() for c in checkpoints}
        record = {"command": COMMAND, "how": how, "weights": weights, "text": _text(checkpoints), "tables": found}
        _write(name, record)
    print(f"stored, made by `{record['command']}` from these weights; computed for any other model")
    return _tables(record["tables"])


def kept(name):
    """What is kept under a name, or None: a dict of command, how, weights {revision: hash}, text (hash) and tables."""
    path = _path(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _path(name):
    return STUDIES / f"{name}.json"


def _write(name, record):
    path, partial = _path(name), _path(name).with_suffix(".partial")
    path.parent.mkdir(exist_ok=True)
    partial.write_text(json.dumps(record, allow_nan=False).replace("], [", "],\n["), encoding="utf-8")
    partial.replace(path)


def _is_of(record, checkpoints):
    """Whether these are the checkpoints that the hashes are of; the first that differs ends the reading."""
    hashes = list(record["weights"].values())
    if len(hashes) != len(checkpoints):
        return False
    with suppress(CheckpointError):
        same = all(c.source.content() == hash for c, hash in zip(checkpoints, hashes, strict=True))
        return same and _text(checkpoints) == record["text"]
    return False


def _text(checkpoints):
    """Hash of what else losses depend on: config.json, by which weights are read, tokenizer, and the text."""
    found = [texts.texts(), texts.held_out(), [c.source.described() for c in checkpoints]]
    for checkpoint in checkpoints:
        with suppress(NotThere):
            found.append(digest(checkpoint.source.file("tokenizer.json")))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def _written(found):
    """The tables as JSON has them."""
    if isinstance(found, dict):
        return {name: _written(table) for name, table in found.items()}
    rows = [[_entry(value) for value in row] for row in found.itertuples(index=False)]
    return {"columns": list(found.columns), "rows": rows}


def _entry(value):
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.7g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _tables(found):
    """The DataFrames of `_written`."""
    if set(found) == {"columns", "rows"}:
        return pd.DataFrame(found["rows"], columns=found["columns"])
    return {name: _tables(table) for name, table in found.items()}
