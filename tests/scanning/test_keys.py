"""Stored tables are of the very weights and of how config.json says they are read."""

import json
import shutil

import pytest

import nla
from tests.helpers.ladders import branches


def heads(matrix):
    return {"heads": matrix.heads or 0}


heads.pure = True


def edit(folder, **more):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


@pytest.mark.parametrize("where", ["beside", "above", "hub"])
@pytest.mark.parametrize("wrong", [{"num_attention_heads": 2}, {"num_hidden_layers": 1}, {"hidden_size": 45}])
def test_a_corrected_config_gives_new_numbers(hub, ladder, where, wrong):
    if where == "above":
        shutil.move(ladder / "step100" / "config.json", ladder / "config.json")
    folder = ladder if where == "above" else ladder / "step100"
    right, model = (folder / "config.json").read_bytes(), str(ladder) if where != "hub" else "acme/tiny"

    def scanned(**how):
        hub.add("acme/tiny", branches(ladder))
        return nla.scan(model, [heads, nla.norms], **how)

    edit(folder, **wrong)
    if "hidden_size" in wrong:
        with pytest.warns(UserWarning, match="step100 left out"):
            scanned()
    else:
        scanned()
    (folder / "config.json").write_bytes(right)
    again, fresh = scanned(), scanned(refresh=True)
    assert again[["layer", "kind", "heads"]].equals(fresh[["layer", "kind", "heads"]])
    assert again.frobenius.tolist() == pytest.approx(fresh.frobenius.tolist())
    assert len(again) == 4 * 14 and again.attrs["summary"]["reused"] >= 3 - ("hidden_size" in wrong)


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_copy_with_another_config_is_a_duplicate_with_its_own_numbers(hub, ladder, where):
    edit(ladder / "step1", num_attention_heads=2)
    hub.add("acme/tiny", branches(ladder))
    table = nla.scan(str(ladder) if where == "folder" else "acme/tiny", heads)
    found = table[(table.kind == "dense") & (table.layer == 0)].set_index("step")
    assert found.heads.to_dict() == {0: 3, 1: 2, 20: 3, 100: 3}
    assert found.duplicate_of[1] == "step0"
