"""Tables kept beside a study are used for the very weights they are of, and for no others."""

import json

import pandas as pd
import pytest

import nla
from nla.models import paths
from nla.studies import stored


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """An empty folder of studies, and the environment without NLA_FULL."""
    monkeypatch.setattr(stored, "STUDIES", tmp_path / "studies")
    monkeypatch.delenv("NLA_FULL", raising=False)
    stored.STUDIES.mkdir()
    return stored.STUDIES


def table(rows, made):
    """A table, and a note in `made` that it was computed."""
    made.append(rows)
    return pd.DataFrame({"kind": ["query"] * rows, "rise": [1 / 3 + i for i in range(rows)], "layer": range(rows)})


@pytest.fixture
def written(studies, original_ladder, monkeypatch):
    """(checkpoints, computations) after a table of theirs was kept as if they were the embedded model's."""
    checkpoints, made = nla.checkpoints(str(original_ladder)), []
    monkeypatch.setattr(paths, "DEMO", original_ladder)
    monkeypatch.setenv("NLA_FULL", "1")
    stored.stored("study/rises", checkpoints, lambda rows: table(rows, made), rows=3)
    monkeypatch.delenv("NLA_FULL")
    return checkpoints, made


def test_read_for_the_same_weights_and_said(written, capsys):
    checkpoints, made = written
    capsys.readouterr()
    found = stored.stored("study/rises", checkpoints, lambda rows: table(rows, made), rows=3)
    assert made == [3] and capsys.readouterr().out.count("\n") == 1
    pd.testing.assert_frame_equal(found, table(3, []), rtol=1e-6)
    assert stored.kept("study/rises")["command"] == "make notebooks FULL=1"


def test_computed_for_other_weights_checkpoints_and_arguments(written, original_ladder, ladder, capsys):
    checkpoints, made = written

    def ask(chosen, rows=3):
        return stored.stored("study/rises", chosen, lambda rows: table(rows, made), rows=rows)

    capsys.readouterr()
    before = (stored.STUDIES / "study/rises.json").read_bytes()
    assert len(ask(checkpoints, rows=2)) == 2
    ask(checkpoints[:-1])
    path = ladder / checkpoints[-1].revision / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    ask(nla.checkpoints(str(ladder)))
    assert made == [3, 2, 3, 3] and capsys.readouterr().out == ""
    assert (stored.STUDIES / "study/rises.json").read_bytes() == before


def test_full_computes_and_writes_for_the_embedded_model_alone(written, ladder, monkeypatch, capsys):
    checkpoints, made = written
    capsys.readouterr()
    path = stored.STUDIES / "study/rises.json"
    path.write_text(json.dumps(stored.kept("study/rises") | {"tables": {"columns": ["kind"], "rows": []}}))
    monkeypatch.setenv("NLA_FULL", "1")
    other = stored.stored("study/other", nla.checkpoints(str(ladder)), lambda rows: table(rows, made), rows=1)
    assert len(other) == 1 and stored.kept("study/other") is None
    assert len(stored.stored("study/rises", checkpoints, lambda rows: table(rows, made), rows=3)) == 3
    assert made == [3, 1, 3] and len(stored.kept("study/rises")["tables"]["rows"]) == 3
    assert capsys.readouterr().out.count("stored, made by") == 1  # what is printed is what will be printed next time


def test_several_tables_and_what_is_not_finite(studies, original_ladder, monkeypatch):
    monkeypatch.setattr(paths, "DEMO", original_ladder)
    monkeypatch.setenv("NLA_FULL", "1")
    checkpoints = nla.checkpoints(str(original_ladder))
    tables = {"a": pd.DataFrame({"x": [1.0, float("nan")]}), "b": pd.DataFrame({"y": ["z"]})}
    first = stored.stored("study/two", checkpoints, lambda: tables)
    monkeypatch.delenv("NLA_FULL")
    second = stored.stored("study/two", checkpoints, lambda: pytest.fail("computed"))
    for found in (first, second):
        for name, expected in tables.items():
            pd.testing.assert_frame_equal(found[name], expected)


@pytest.mark.parametrize("changed", ["config.json", "tokenizer.json above", "TEXT"])
def test_computed_where_weights_or_text_are_read_otherwise(written, ladder, tmp_path, monkeypatch, changed):
    _, made = written
    same = nla.checkpoints(str(ladder))
    stored.stored("study/rises", same, lambda rows: table(rows, made), rows=3)
    assert made == [3]
    if changed == "TEXT":
        (tmp_path / "own.txt").write_text("def other(): pass")
        monkeypatch.setenv("TEXT", str(tmp_path / "own.txt"))
    elif changed == "config.json":
        path = ladder / "step20" / changed
        path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 1e-3}))
    else:
        (ladder / "tokenizer.json").write_text("{}")
    stored.stored("study/rises", same, lambda rows: table(rows, made), rows=3)
    assert made == [3, 3]
