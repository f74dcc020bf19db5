"""Bundles: a MODEL without its weights gives the same numbers, and says what is not there."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import nla
from nla import models, studies
from nla.commands import bundle
from nla.figures import over_kinds, over_steps
from nla.models import bundles
from tests.helpers.make import make

MEASURES = [nla.norms, nla.spectrum, nla.drift]


def mine(matrix):
    return {"gap": matrix.singular_values[0] / matrix.initial.singular_values[1], "longest": matrix.row_norms.max()}


def entries(matrix):
    return {"largest": matrix.weight.abs().max()}


@pytest.fixture
def bundled(ladder, tmp_path, monkeypatch):
    """(folder of the bundle, tables of the ladder it is of), whose weights are gone."""
    monkeypatch.setattr(bundle, "every", lambda: MEASURES)
    monkeypatch.setattr(studies, "declared", lambda name: [])
    folder = bundle.write(str(ladder))
    tables = nla.scan(str(ladder), MEASURES), nla.scan(str(ladder), mine)
    shutil.move(folder, tmp_path / "elsewhere")
    shutil.rmtree(ladder)
    monkeypatch.setenv("NLA_BUILD", str(tmp_path / "other"))
    return tmp_path / "elsewhere", *tables


def same(found, expected):
    """Equal but for the name of the model; numbers within what float32 keeps of spectra."""
    pd.testing.assert_frame_equal(
        found.drop(columns="model"), expected.drop(columns="model"), rtol=1e-5, check_dtype=False, check_like=True
    )


def test_the_same_numbers_without_the_weights(bundled):
    folder, tables, own = bundled
    found = nla.scan(str(folder), MEASURES)
    same(found, tables)
    assert found.attrs["summary"] == {"done": 0, "reused": 4, "duplicates": 1, "failed": {}, "notes": []}
    np.testing.assert_allclose(nla.scan(str(folder), mine)[["gap", "longest"]], own[["gap", "longest"]], rtol=2e-4)
    assert set(found.model) == {str(folder)}
    some = nla.scan(str(folder), nla.norms, steps=[20, 100], kinds=["query"])
    assert len(some) == 4 and set(some.step) == {20, 100}


def test_what_needs_the_weights_says_so(bundled):
    folder, *_ = bundled
    with pytest.raises(
        nla.CheckpointError, match="is a bundle: tables and spectra are there, weights are not"
    ) as error:
        nla.scan(str(folder), entries)
    assert "\n" not in str(error.value)
    with nla.load(str(folder), 20) as weights:
        matrix = weights.matrix("query", 1)
        assert weights.config.hidden_size == 42 and matrix.shape == (42, 42) and matrix.heads == 3
        with pytest.raises(nla.CheckpointError, match="weights are not"):
            assert matrix.values is None


def test_a_bundle_says_what_it_lacks_and_what_is_of_another_version(bundled, monkeypatch):
    folder, *_ = bundled
    assert bundle.lacks(str(folder)) == ([], [])
    path = folder / bundles.MANIFEST
    said = json.loads(path.read_text())
    said["tables"]["norms"]["fingerprint"] = "norms-of-another-version"
    del said["tables"]["drift"]
    path.write_text(json.dumps(said))
    assert bundle.lacks(str(folder)) == (["drift"], ["norms"])
    assert len(nla.scan(str(folder), nla.norms)) == 56


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda said: said.pop("checkpoints"), "'checkpoints'"),
        (lambda said: said.update(format=7), "its format is 7, and this version of nla reads 1"),
        (lambda said: said["checkpoints"][0].update(step="0"), "step of a checkpoint is '0'"),
        (lambda said: said["tables"].update({"../../x": {}}), "../../x"),
        (lambda said: said["checkpoints"].clear(), "no checkpoints"),
        (lambda said: said["checkpoints"][0].update(config=5), "list index out of range"),
    ],
)
def test_a_spoilt_manifest_is_refused_in_one_line(bundled, damage, message):
    folder, *_ = bundled
    path = folder / bundles.MANIFEST
    said = json.loads(path.read_text())
    damage(said)
    path.write_text(json.dumps(said))
    with pytest.raises(nla.CheckpointError, match="is not the manifest of a bundle") as error:
        nla.checkpoints(str(folder))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tables/norms.parquet", "spectra.parquet", "manifest.json"])
def test_a_spoilt_file_is_refused_in_one_line(bundled, name):
    folder, *_ = bundled
    (folder / name).write_bytes(b"\x80\x04cposix\nsystem\n")
    with pytest.raises(nla.CheckpointError) as error:
        nla.scan(str(folder), nla.norms if "norms" in name else mine)
    assert "bundle" in str(error.value) and "\n" not in str(error.value)


def test_a_foreign_folder_is_no_bundle(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "a web application", "icons": []}')
    with pytest.raises(nla.CheckpointError, match="is not the manifest of a bundle"):
        nla.checkpoints(str(tmp_path / "web"))


def test_long_curves_stay_at_the_ends(ladder, monkeypatch):
    monkeypatch.setattr(bundle, "every", lambda: [nla.norms, nla.spectrum])
    monkeypatch.setattr(studies, "declared", lambda name: [])
    monkeypatch.setattr(bundle, "LONG", 30)
    table = pd.read_parquet(bundle.write(str(ladder)) / "tables" / "spectrum.parquet")
    there = table.singular_values.notna().groupby(table.revision).all()
    assert there[["step0", "step100"]].all() and not there[["step1", "step20"]].any()


def test_a_dataset_on_the_hub_is_a_model(hub, bundled):
    folder, tables, own = bundled
    hub.add("datasets/acme/tables", {"main": folder})
    found = nla.scan("datasets/acme/tables", [*MEASURES, mine])
    np.testing.assert_allclose(found.gap, own.gap, rtol=1e-5)
    asked = hub.count("/lfs/")
    same(nla.scan("datasets/acme/tables", MEASURES), tables)
    assert hub.count("/lfs/") == asked == len(list(folder.rglob("*.parquet")))
    with pytest.raises((ValueError, nla.CheckpointError), match="datasets/acme/none"):
        nla.checkpoints("datasets/acme/none")


def test_models_side_by_side(bundled, original_ladder):
    folder, *_ = bundled
    table = nla.compare([str(original_ladder), str(folder)], nla.spectrum)
    assert table.model.unique().tolist() == [str(original_ladder), str(folder)] and len(table) == 2 * 56
    lines = over_steps(table, "stable_rank").axes[0].lines
    assert {line.get_linestyle() for line in lines if len(line.get_xdata()) == 4} == {"-", "--"}
    assert len(over_kinds(table, ["stable_rank"]).axes[0].lines) == 2 * table.kind.nunique()


def test_make_bundle(tmp_path, ladder):
    done = make("bundle", f"MODEL={ladder}", "STEPS=0,100")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "build" / models.slug(str(ladder)) / "bundle"
    assert str(folder) in done.stdout and done.stdout.rstrip().endswith("MB")
    checked = make("all", "-n", f"MODEL={folder}")
    assert "it lacks nothing" in checked.stdout, checked.stdout + checked.stderr


@pytest.mark.parametrize(("bits", "error"), [(12, 2.0**-13), (16, 2.0**-17)])
def test_rounding_is_to_the_nearest_of_so_many_bits(bits, error):
    values = np.random.default_rng(0).lognormal(size=1000).astype(np.float32)
    found = bundle._cut(values, bits)
    assert (
        np.abs(found / values - 1).max() <= error
        and len(np.unique(found.view(np.uint32) & ((1 << (23 - bits)) - 1))) == 1
    )
