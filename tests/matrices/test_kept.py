"""What stays of matrices: measures of the spectrum open no file, and give what the files give."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import nla
from nla.matrices import kept, weights
from tests.helpers.files import spoil
from tests.helpers.ladders import branches


@pytest.fixture
def opened(monkeypatch):
    """Names of the checkpoints whose files were opened."""
    names, tensors = [], weights.Tensors

    def opening(folder, name):
        names.append(folder.name)
        return tensors(folder, name)

    monkeypatch.setattr(weights, "Tensors", opening)
    return names


def mine(matrix):
    before, query = matrix.at("previous"), matrix.sibling("query") if matrix.layer >= 0 else matrix
    return {
        "gap": matrix.singular_values[0] - matrix.singular_values[1],
        "fell": before.singular_values[-1] - matrix.singular_values[-1] if before else np.nan,
        "grew": matrix.singular_values[0] / matrix.initial.singular_values[0],
        "size": matrix.rms * np.prod(matrix.shape) ** 0.5,
        "sibling": query.singular_values[0],
        "longest": matrix.row_norms.max(),
        "widest": matrix.column_norms.max(),
        "heads": matrix.heads or 0,
        "hidden": matrix.config.hidden_size,
    }


def entries(matrix):
    return {"largest": matrix.weight.abs().max(), "top": matrix.singular_values[0]}


def test_measures_of_spectra_open_no_file_and_give_what_the_files_give(ladder, opened, tmp_path, monkeypatch):
    nla.scan(str(ladder), [nla.spectrum, nla.norms])
    assert sorted(opened) == ["step0", "step100", "step20"]  # step1 is a copy
    opened.clear()
    table = nla.scan(str(ladder), mine)
    assert opened == [] and set(table.heads) == {0, 3} and table.duplicate_of.notna().sum() == 14
    monkeypatch.setenv("NLA_BUILD", str(tmp_path / "other"))
    pd.testing.assert_frame_equal(table, nla.scan(str(ladder), mine))
    assert len(opened) == 4
    for row in table[table.step == 20].itertuples():
        with nla.load(str(ladder), 20) as now:
            W = now.matrix(row.kind, row.layer).weight.double().numpy()
        assert row.size == pytest.approx(np.linalg.norm(W)) and row.longest == pytest.approx(
            np.linalg.norm(W, axis=1).max()
        )


def test_what_is_not_kept_opens_the_file_and_no_spectrum_is_computed_again(ladder, opened, monkeypatch):
    before = nla.scan(str(ladder), nla.spectrum)
    opened.clear()
    monkeypatch.setattr("nla.numerics.spectra.singular_values", None)
    table = nla.scan(str(ladder), entries)
    assert len(opened) == 4
    np.testing.assert_allclose(table.top, [curve[0] for curve in before.singular_values], rtol=1e-6)


def test_load_opens_files_when_entries_are_asked_for(ladder, opened):
    nla.scan(str(ladder), nla.norms)
    opened.clear()
    with nla.load(str(ladder), 20) as now:
        assert now.layers == 2 and len(now.index()) == 14 and now.matrix("query", 1).singular_values.shape == (42,)
        assert opened == []
        assert now.matrix("query", 1).weight.shape == (42, 42) and opened == ["step20"]
        assert now.matrix("query", 1).bias.shape == (42,)


def test_other_weights_are_other_spectra(ladder):
    first = nla.scan(str(ladder), mine)
    path = ladder / "step20" / "model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path)
    second = nla.scan(str(ladder), mine)
    ratio = (second.gap / first.gap).groupby(second.step).mean()
    np.testing.assert_allclose(ratio, [1, 1, 2, 1], rtol=1e-6)


def test_a_selection_adds_to_what_is_kept(ladder, opened):
    nla.scan(str(ladder), nla.norms, kinds=["query"])
    opened.clear()
    assert len(nla.scan(str(ladder), mine, kinds=["query"])) == 8 and opened == []
    assert len(nla.scan(str(ladder), mine)) == 56 and len(opened) == 4
    assert len(kept.read(nla.checkpoints(str(ladder))[0]).matrices) == 14


def test_a_matrix_with_nan_is_kept_as_such(ladder, opened):
    spoil(ladder, 20, "gpt_neox.layers.0.attention.dense.weight", float("nan"))
    nla.scan(str(ladder), nla.norms)
    opened.clear()
    table = nla.scan(str(ladder), mine).set_index(["step", "kind", "layer"])
    assert opened == [] and not table.finite[20, "dense", 0] and np.isnan(table.gap[20, "dense", 0])
    assert table.finite.sum() == 55


def test_what_a_killed_process_left_is_removed(ladder):
    folder = ladder.parent / "build"
    nla.scan(str(ladder), nla.norms, kinds=["query"])
    place = next(folder.glob("*/spectra/step20.safetensors")).parent
    (place / ".step20.12345.partial").write_bytes(b"half of it")
    nla.scan(str(ladder), nla.norms, kinds=["key"])
    assert sorted(p.name for p in place.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize("damage", [b"", b"not this", None])
def test_a_damaged_file_is_as_none(ladder, opened, damage):
    nla.scan(str(ladder), nla.norms)
    path = next((ladder.parent / "build").glob("*/spectra/step20.safetensors"))
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    opened.clear()
    assert len(nla.scan(str(ladder), mine)) == 56 and set(opened) == {"step20"}


def test_over_the_hub_no_byte_of_weights_is_sent_again(hub, ladder, tmp_path):
    hub.add("acme/tiny", branches(ladder))
    nla.scan("acme/tiny", nla.norms)
    asked = hub.count("GET /lfs/")
    shutil.rmtree(next((tmp_path / "hf").glob("nla/models--*/")), ignore_errors=True)
    table = nla.scan("acme/tiny", mine)
    assert hub.count("GET /lfs/") == asked and len(table) == 56
    with nla.load("acme/tiny", 20) as now:
        assert now.matrix("value", 0).singular_values[0] > 0
    assert hub.count("GET /lfs/") == asked
    assert os.path.isdir(tmp_path / "build" / "acme--tiny" / "spectra")
