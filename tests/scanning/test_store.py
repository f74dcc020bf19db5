"""A measure is known by what it computes; a table is there whole or not at all."""

import functools
import gc
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

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
    spectra = nla.numerics.spectra
    yield functools.partial(spectra.gram), functools.partial(spectra.gram), functools.partial(spectra.ranks)
    yield Scaled(1).measure, Scaled(1).measure, Scaled(2).measure
    for many in (torch.arange, lambda n: pd.DataFrame({"x": range(n)})):
        yield closing(many(3000)), closing(many(3000)), closing(many(3000) + (many(3000) == 1500))

    def defaulting(k):
        def inner(m, k=k):
            return {"a": k}

        return inner

    yield defaulting(1), defaulting(1), defaulting(2)


class Scaled:
    """Something with a state, one of whose methods is a measure."""

    def __init__(self, scale):
        self.scale = scale

    def measure(self, matrix):
        return {"a": self.scale}


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


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's sources, which fingerprints are told from."""
    copy = shutil.copytree(fingerprint.HERE, tmp_path / "nla", ignore=shutil.ignore_patterns("*.safetensors", "*.npz"))
    monkeypatch.setattr(fingerprint, "HERE", copy)
    return copy


@pytest.mark.parametrize(
    "measure, file, follows",
    [
        (nla.norms, "measures/norms.py", True),
        (nla.norms, "matrices/tensors.py", True),  # under every measure
        (nla.norms, "numerics/pairs.py", True),  # which nla.matrices imports
        (nla.norms, "measures/drift.py", False),
        (nla.neuron_regression, "matrices/families.py", True),
        (nla.norms, "nulls/marchenko_pastur.py", True),  # by nla.nulls.gaussian
        (measure, "matrices/matrix.py", True),
        (measure, "nulls/edges.py", False),
        (lambda m: {"x": nla.measures.random_alpha(*m.shape)}, "nulls/edges.py", True),
    ],
)
def test_fingerprint_follows_sources(package, measure, file, follows):
    before = fingerprint.fingerprint(measure)
    (package / file).write_text((package / file).read_text() + "\n# changed\n")
    assert (fingerprint.fingerprint(measure) != before) == follows


def test_fingerprints_by_many_threads(package):
    """As in a worker of a cluster, whose tasks begin at once, and where Dask looks at each collection of garbage."""
    for path in package.rglob("*.py"):
        path.write_text(path.read_text() + "\n# unseen\n")
    measures = 4 * [nla.norms, nla.drift]
    gc.callbacks.append(lambda *_: time.sleep(0))  # another thread's turn
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(fingerprint.fingerprint, measures))
    finally:
        gc.callbacks.pop()
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    "line",
    ["from nla.nulls.limits import EDGE", "from nla.nulls import limits", "import nla.nulls.limits", "from . import x"],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_constant_of_another_module_counts(package, line, inside):
    """Also where a function imports it, or a module between the two."""
    (package / "nulls" / "limits.py").write_text("EDGE = 2\n")
    between, source = package / "nulls" / "gaussian.py", package / "measures" / "norms.py"
    between.write_text(f"{line}\n{between.read_text()}")
    source.write_text(
        f"{source.read_text()}\n\ndef _edge():\n    {line}\n" if inside else f"{line}\n{source.read_text()}"
    )
    before = fingerprint.fingerprint(nla.norms), fingerprint.fingerprint(nla.head_isotropy)
    (package / "nulls" / "limits.py").write_text("EDGE = 3\n")
    after = fingerprint.fingerprint(nla.norms), fingerprint.fingerprint(nla.head_isotropy)
    assert before[0] != after[0] and before[1] != after[1]


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
