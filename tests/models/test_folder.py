"""What lies where weights were looked for is named: an adapter, some of the shards; shards need no index."""

import json
import shutil

import pytest

import nla
from nla import models
from tests.helpers.files import rewrite

ADAPTERS = {
    "named": {"base_model_name_or_path": "org/base", "peft_type": "LORA"},
    "nameless": {"peft_type": "LORA"},
    "no object": [],
}


def adapter(folder, content, weights="adapter_model.safetensors"):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(content))
    (folder / weights).write_bytes(b"some")
    return folder


@pytest.mark.parametrize("content", ADAPTERS)
@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_without_its_base(tmp_path, hub, content, weights):
    folder = adapter(tmp_path / "adapter", ADAPTERS[content], weights)
    hub.add("acme/adapter", {"main": folder})
    base = "org/base" if content == "named" else "a model it does not name"
    for model in (str(folder), "acme/adapter"):
        with (
            pytest.warns(UserWarning),
            pytest.raises(nla.CheckpointError, match=f"is an adapter of {base}, .*merge") as caught,
        ):
            nla.scan(model, nla.norms, progress=False)
        assert "\n" not in str(caught.value)


def test_adapters_as_steps_of_a_ladder(ladder):
    adapter(ladder / "step200", ADAPTERS["named"])
    with pytest.warns(UserWarning, match="step200 left out: .*is an adapter of org/base"):
        table = nla.scan(str(ladder), nla.norms, progress=False)
    assert set(table.step) == {0, 1, 20, 100} and list(table.attrs["summary"]["failed"]) == ["step200"]


def test_weights_beside_an_adapter_are_read(ladder):
    adapter(ladder / "step100", ADAPTERS["named"])
    assert nla.scan(str(ladder / "step100"), nla.norms, progress=False).frobenius.gt(0).all()


@pytest.mark.parametrize("layout", ["sharded safetensors", "sharded bin"])
def test_shards_without_an_index_on_the_hub(ladder, hub, layout, monkeypatch):
    folder = shutil.copytree(ladder / "step100", ladder.parent / "shards")
    rewrite(folder, layout)
    next(folder.glob("*.index.json")).unlink()
    hub.add("acme/shards", {"main": folder})
    same = nla.scan(str(ladder / "step100"), nla.norms, progress=False)
    monkeypatch.setenv("NLA_DISK", "1000")  # too little for one: without an index it is not read file by file
    there = nla.scan("acme/shards", nla.norms, progress=False)
    assert there.frobenius.tolist() == pytest.approx(same.frobenius.tolist())
    next(folder.glob("*-00001-of-*")).unlink()
    hub.add("acme/some", {"main": folder})
    (checkpoint,) = models.checkpoints("acme/some")
    with pytest.raises(nla.CheckpointError, match=r"1 of 2 shards are there, without .*-00001-of-00002"):
        checkpoint.source.size()


def test_a_folder_of_neither(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"neither step.* folders nor the weights of one checkpoint"):
        models.checkpoints(str(tmp_path))
