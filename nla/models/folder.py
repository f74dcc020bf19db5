"""The files of a checkpoint in a folder: which hold its weights, its index of shards, its config.json, their hashes."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

from nla.models.errors import CheckpointError, NotThere, _first_line

FORMATS = (  # (single file, index of shards), in order of preference
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def weight_files(folder, formats=FORMATS):
    """The files that hold the weights of the checkpoint in `folder`; safetensors are preferred to .bin."""
    folder = Path(folder)
    for single, index in formats:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            shards = sorted(set(shard_of(folder / index).values()))
            for shard in shards:
                if not (folder / shard).is_file():
                    raise CheckpointError(f"{folder}: shard {shard} is named by the index but is not there")
            return [folder / shard for shard in shards]
    raise CheckpointError(f"{folder} holds no weights (looked for {', '.join(f for pair in formats for f in pair)})")


def shard_of(index):
    """{tensor: name of the file that holds it}, as an index of shards has it."""
    content = read_json(index)
    named = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(named, dict) or not named or not all(isinstance(shard, str) for shard in named.values()):
        raise CheckpointError(f"{index} cannot be read: no weight_map from tensors to files")
    for shard in named.values():
        if Path(shard).name != shard or shard == "..":
            raise CheckpointError(f"{index} points outside its folder: {shard!r}")
    return named


def read_json(path):
    """What the JSON file `path` holds."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {_first_line(error)}") from None


def read_config(folder):
    """config.json of the checkpoint, or of the ladder it stands in, as an object."""
    path = beside(folder, "config.json")
    config = read_json(path)
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} cannot be read: no object")
    return SimpleNamespace(**config)


def beside(folder, name):
    """Path of a file in `folder` or the one above it."""
    for place in (Path(folder), Path(folder).parent):
        if (place / name).is_file():
            return place / name
    raise NotThere(f"{folder} has no {name}, nor has the folder above it")


def digest(path, like="0" * 64):
    """SHA-256 of a file, or its git blob id where `like` is one."""
    with open(path, "rb") as file:
        if len(like) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        data = file.read()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
