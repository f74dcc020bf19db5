"""A measure is known by what it computes; a table is there whole or not at all."""

import functools
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nla
from nla.scanning import fingerprint, store

FACTOR = 2


def helper(x):
    return FACTOR * x


def measure(matrix):
    return {"a": helper(matrix)}


def variants():
    """Pairs (same, other) of functions: the first two compute the same, the third does not."""
    base, again, other = (
        compile_measure(body) for body in ("return {'a': 1}", "return {'a': 1}  # said again", "return {'a': 2}")
    )
    yield base, again, other
    yield (lambda m: {"a": m.mean()}), (lambda m: {"a": m.mean()}), (lambda m: {"a": m.max()})

    def closing(k):
        return lambda m: {"a": k}

    yield closing(1), closing(1), closing(2)
    yield functools.partial(helper, 1), functools.partial(helper, 1), functools.partial(helper, 2)

    def defaulting(k):
        def inner(m, k=k):
            return {"a": k}

        return inner

    yield defaulting(1), defaulting(1), defaulting(2)


def compile_measure(body):
    scope = {}
    exec(f"def own(matrix):\n    {body}", scope)
    return scope["own"]


@pytest.mark.parametrize("same, again, other", list(variants()))
def test_fingerprint_follows_what_is_computed(same, again, other):
    assert fingerprint.fingerprint(same) == fingerprint.fingerprint(again) != fingerprint.fingerprint(other)


def test_fingerprint_follows_helpers_and_constants(monkeypatch):
    before = fingerprint.fingerprint(measure)
    assert fingerprint.fingerprint(measure) == before
    monkeypatch.setattr("tests.scanning.test_store.FACTOR", 3)
    constant = fingerprint.fingerprint(measure)
    monkeypatch.setattr("tests.scanning.test_store.helper", lambda x: x)
    assert len({before, constant, fingerprint.fingerprint(measure)}) == 3


def test_measures_of_the_package_follow_their_source(monkeypatch, tmp_path):
    before = fingerprint.fingerprint(nla.norms)
    changed = tmp_path / "norms.py"
    module = sys.modules["nla.measures.norms"]
    changed.write_text(Path(module.__file__).read_text() + "\n# changed\n")
    monkeypatch.setattr(module, "__file__", str(changed))
    assert fingerprint.fingerprint(nla.norms) != before


def test_round_trip_with_curves(tmp_path):
    rows = pd.DataFrame({"kind": ["a", "b"], "x": [1.5, np.nan], "s": [np.arange(3.0), np.arange(5.0)]})
    store.write(tmp_path / "deep" / "t.parquet", rows, {"identity": "i", "content": "c"})
    back, notes = store.read(tmp_path / "deep" / "t.parquet", "i")
    assert notes["content"] == "c"
    assert back.x.tolist()[0] == 1.5 and np.isnan(back.x[1])
    assert [s.tolist() for s in back.s] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert os.listdir(tmp_path / "deep") == ["t.parquet"]


def test_unusable_tables_read_as_absent(tmp_path):
    path = tmp_path / "t.parquet"
    assert store.read(path, "i") is None
    store.write(path, pd.DataFrame({"x": [1.0]}), {"identity": "i"})
    assert store.read(path, "another checkpoint") is None
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        assert store.read(path, "i") is None
    pd.DataFrame({"x": [1.0]}).to_parquet(path)  # not one of ours
    assert store.read(path, "i") is None


def test_a_failed_write_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    store.write(path, pd.DataFrame({"x": [1.0]}), {"identity": "i"})
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write(path, pd.DataFrame({"x": [2.0]}), {"identity": "i"})
    assert store.read(path, "i")[0].x.tolist() == [1.0]
    assert os.listdir(tmp_path) == ["t.parquet"]
