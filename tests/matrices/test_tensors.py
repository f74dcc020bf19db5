"""Every layout of files gives the same tensors; damaged and hostile ones are named and refused."""

import os
import pickle
import shutil

import pytest
import torch

from nla.matrices.tensors import Tensors
from nla.models import CheckpointError
from nla.models.folder import read_config
from tests.helpers.files import rewrite


@pytest.fixture
def folder(ladder):
    return ladder / "step100"


@pytest.mark.parametrize("layout", ["safetensors", "bin", "legacy bin", "sharded safetensors", "sharded bin"])
def test_layouts(folder, layout):
    state = rewrite(folder, layout)
    with Tensors(folder) as tensors:
        assert set(tensors) == set(state)
        for name, tensor in state.items():
            assert tensors[name].dtype == torch.float16 and torch.equal(tensors[name], tensor)


def test_safetensors_are_preferred(folder):
    torch.save({"other": torch.zeros(1)}, folder / "pytorch_model.bin")
    with Tensors(folder) as tensors:
        assert "other" not in tensors


def test_missing_tensor_is_named(folder):
    with Tensors(folder) as tensors, pytest.raises(CheckpointError, match=r"step100: the tensor no\.such is missing"):
        tensors["no.such"]


class Bomb:
    def __reduce__(self):
        return os.system, ("echo > exploded",)


def test_hostile_pickle_is_refused_unexecuted(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"w": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a whole or safe"):
        Tensors(folder)
    with open(folder / "pytorch_model.bin", "wb") as file:
        pickle.dump(Bomb(), file)
    with pytest.raises(CheckpointError, match="not a whole or safe"):
        Tensors(folder)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
@pytest.mark.parametrize("size", [0, 5, 3000, -1])
def test_truncated_file_is_named(folder, layout, size):
    rewrite(folder, layout)
    path = next(p for p in folder.iterdir() if p.suffix in (".bin", ".safetensors"))
    os.truncate(path, size if size >= 0 else path.stat().st_size - 100)
    with pytest.raises(CheckpointError, match=path.name) as caught:
        Tensors(folder)
    assert "\n" not in str(caught.value)


def test_index_problems(folder):
    rewrite(folder, "sharded safetensors")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"shard model-00002-of-00002\.safetensors"):
        Tensors(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "../step0/model.safetensors"}}')
    with pytest.raises(CheckpointError, match="outside"):
        Tensors(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ')
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tensors(folder)


def test_empty_folder(tmp_path):
    with pytest.raises(CheckpointError, match="holds no weights"):
        Tensors(tmp_path)


def test_config_may_stand_beside_the_ladder(ladder):
    shutil.move(ladder / "step0" / "config.json", ladder / "config.json")
    assert read_config(ladder / "step0").num_attention_heads == 3
    (ladder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        read_config(ladder / "step0")
