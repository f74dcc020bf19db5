"""What several test modules share of scan, weights."""

import json

import torch
from safetensors.torch import load_file, save_file


def spoil(ladder, step, name, value):
    path = ladder / f"step{step}" / "model.safetensors"
    state = load_file(path)
    state[name][0, 0] = value
    save_file(state, path)


def rewrite(folder, layout):
    """Store the checkpoint in `folder` in another layout; returns its tensors."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(state)
    kind, save = (".bin", torch.save) if "bin" in layout else (".safetensors", save_file)
    stem = "pytorch_model" if "bin" in layout else "model"
    if "sharded" in layout:
        shards = {f"{stem}-0000{i}-of-00002{kind}": names[i - 1 :: 2] for i in (1, 2)}
        for shard, keys in shards.items():
            save({k: state[k].clone() for k in keys}, folder / shard)
        index = {"weight_map": {k: shard for shard, keys in shards.items() for k in keys}}
        (folder / f"{stem}{kind}.index.json").write_text(json.dumps(index))
    elif layout == "legacy bin":
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    else:
        save(state, folder / f"{stem}{kind}")
    return state
