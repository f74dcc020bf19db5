"""Every layout of files gives the same tensors; damaged and hostile ones are named and refused."""

import argparse
import os
import pickle
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import nla
from nla import models
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


WRAPPERS = {
    "torch.compile": lambda name: "_orig_mod." + name,
    "DDP": lambda name: "module." + name,
    "both": lambda name: "module._orig_mod." + name,
    "the model inside": lambda name: name.replace("gpt_neox.", "gpt_neox._orig_mod."),
    "each layer": lambda name: re.sub(r"(layers\.\d+\.)", r"\1_orig_mod.", name),
    "FSDP": lambda name: "_fsdp_wrapped_module." + name.replace("attention.", "_checkpoint_wrapped_module.attention."),
}


@pytest.mark.parametrize("layout", ["safetensors", "bin", "sharded bin", "sharded safetensors"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_names_with_what_wrappers_add(folder, wrapper, layout):
    state = load_file(folder / "model.safetensors")
    save_file({WRAPPERS[wrapper](name): tensor for name, tensor in state.items()}, folder / "model.safetensors")
    rewrite(folder, layout)
    with Tensors(folder) as tensors:
        assert set(tensors) == set(state) and all(torch.equal(tensors[name], state[name]) for name in state)
    table = nla.scan(str(folder), nla.norms, progress=False)
    query = table[(table.kind == "dense") & (table.layer == 1)].frobenius.item()
    assert query == pytest.approx(state["gpt_neox.layers.1.attention.dense.weight"].double().norm().item())


def test_two_tensors_of_one_name(folder):
    state = load_file(folder / "model.safetensors")
    save_file(state | {"module.embed_out.weight": torch.ones(2, 2)}, folder / "model.safetensors")
    with nla.load(str(folder)) as weights:
        assert torch.equal(weights.matrix("embed_out").weight, state["embed_out.weight"])
        assert weights.layout.unmeasured == ["1 tensor is not measured: module.embed_out.weight"]
    twice = {wrapper + name: tensor.clone() for name, tensor in state.items() for wrapper in ("module.", "_orig_mod.")}
    save_file(twice, folder / "model.safetensors")
    with (
        pytest.raises(CheckpointError, match=r"is missing \(there is (module|_orig_mod)\."),
        nla.load(str(folder)) as weights,
    ):
        weights.matrix("query", 0)


@pytest.mark.parametrize(
    "keys", [("model",), ("state_dict",), ("model_state_dict",), ("state_dict", "model"), ("module",)]
)
@pytest.mark.parametrize("wrapper", ["DDP", "torch.compile"])
def test_a_state_dict_among_other_things(folder, keys, wrapper):
    state = rewrite(folder, "bin")
    held = {WRAPPERS[wrapper](name): tensor for name, tensor in state.items()}
    for key in keys:
        held = {key: held, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}, "random": torch.ones(3)}
    torch.save(held, folder / "pytorch_model.bin")
    with Tensors(folder) as tensors:
        assert set(tensors) == set(state) and all(torch.equal(tensors[name], state[name]) for name in state)
    (folder / "pytorch_model.bin").rename(folder / f"{'pytorch_' * (wrapper == 'DDP')}model.pt")
    assert nla.scan(str(folder), nla.norms, progress=False).frobenius.gt(0).all()


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_without_their_index(folder, kind):
    state = rewrite(folder, f"sharded {kind}")
    index = next(folder.glob("*.index.json"))
    index.unlink()
    with Tensors(folder) as tensors:
        assert set(tensors) == set(state) and all(torch.equal(tensors[name], state[name]) for name in state)
    (checkpoint,) = models.checkpoints(str(folder))
    assert checkpoint.source.size() == sum(f.size for f in checkpoint.source.weight_files())
    (missing,) = folder.glob("*-00001-of-00002.*")
    missing.unlink()
    with (
        pytest.warns(UserWarning),
        pytest.raises(CheckpointError, match=f"1 of 2 shards are there, without {missing.name}"),
    ):
        nla.scan(str(folder), nla.norms, progress=False)


def test_shards_of_two_sets(folder):
    rewrite(folder, "sharded safetensors")
    (folder / "model.safetensors.index.json").unlink()
    for number in (1, 2, 3):
        (folder / f"model-0000{number}-of-00003.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="5 of 3 shards are there"):
        Tensors(folder)


@pytest.mark.parametrize("layout", ["safetensors", "bin", "sharded safetensors", "sharded bin"])
def test_what_git_lfs_did_not_fetch(folder, layout):
    rewrite(folder, layout)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    for path in [p for p in folder.iterdir() if p.suffix in (".bin", ".safetensors")][-1:]:
        path.write_bytes(pointer)
        with pytest.raises(CheckpointError, match=rf"{path.name}.* Git LFS pointer .*: run git lfs pull$"):
            Tensors(folder)
    for path in folder.glob("*.json"):  # an index, config.json
        path.write_bytes(pointer)
    with pytest.raises(CheckpointError, match=r"config\.json.*run git lfs pull$"):
        read_config(folder)


class Own:
    pass


@pytest.mark.parametrize("held", [Bomb(), Own(), argparse.Namespace(steps=3), torch.nn.Linear(2, 2)])
def test_a_refused_pickle_is_named_in_plain_words(folder, held):
    rewrite(folder, "bin")
    torch.save({"w": torch.ones(2), "args": held}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"it calls for \S+, which might run code; nothing was run$") as caught:
        Tensors(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04\x95nonsense")
    with pytest.raises(CheckpointError, match=r"its pickle is damaged, or holds more than tensors$") as damaged:
        Tensors(folder)
    for error in (caught, damaged):
        assert not re.search(r"\n|weights_only|trust|torch\.load|add_safe", str(error.value))


def test_a_missing_tensor_is_named_with_one_that_is_there(folder):
    state = load_file(folder / "model.safetensors")
    save_file({"student." + name: tensor for name, tensor in state.items()}, folder / "model.safetensors")
    with (
        pytest.raises(CheckpointError, match=r"is missing \(there is student\.gpt_neox\.layers\.0\."),
        nla.load(str(folder)) as w,
    ):
        w.matrix("query", 0)
