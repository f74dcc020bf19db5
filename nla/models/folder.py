"""The files of a checkpoint in a folder: which hold its weights, its index of shards, its config.json, their hashes."""

import hashlib
import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace

from nla.models.errors import CheckpointError, NotThere, _first_line

FORMATS = (  # (single file, index of shards), in order of preference
    ("model.safetensors", "model.safetensors.index.json"),
    *((name, f"{name}.index.json") for name in ("pytorch_model.bin", "pytorch_model.pt", "model.pt")),
)
ADAPTER = "adapter_config.json"


def weight_files(folder, formats=FORMATS):
    """The files that hold the weights of the checkpoint in `folder`; safetensors are preferred to .bin."""
    folder = Path(folder)
    there = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else ()
    for single, index in formats:
        if single in there:
            return [folder / single]
        if index in there:
            shards = sorted(set(shard_of(folder / index).values()))
            if gone := [shard for shard in shards if shard not in there]:
                raise CheckpointError(f"{folder}: shard {gone[0]} is named by the index but is not there")
        else:
            shards = all_shards(folder, there, single)
        if shards:
            return [folder / shard for shard in shards]
    if ADAPTER in there:
        raise is_adapter(folder, folder / ADAPTER)
    raise CheckpointError(f"{folder} holds no weights (looked for {', '.join(f for pair in formats for f in pair)})")


def all_shards(place, names, single):
    """The shards among `names`, sorted, that together are the file `single`; an error names those that are missing."""
    stem, suffix = single.split(".")
    found = {name: m for name in sorted(names) if (m := re.fullmatch(rf"{stem}-(\d+)-of-(\d+)\.{suffix}", name))}
    total, there = max((int(m[2]) for m in found.values()), default=0), {int(m[1]) for m in found.values()}
    if len(found) != total:
        names = (f"{stem}-{n:05}-of-{total:05}.{suffix}" for n in itertools.count(1) if n not in there)
        absent = f", without {', '.join(itertools.islice(names, 3))}" if len(found) < total else ""
        raise NotThere(f"{place}: {len(found)} of {total} shards are there{absent}")
    return list(found)


def is_adapter(place, path):
    """The error that says so, of the adapter whose adapter_config.json is at `path`."""
    config = read_json(path)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    todo = "merge it into that (merge_and_unload of peft), save, and measure the result"
    return CheckpointError(f"{place} is an adapter of {base or 'a model it does not name'}, not a whole model: {todo}")


def require_fetched(path):
    """An error where Git LFS left a note in place of the file."""
    with open(path, "rb") as file:
        if file.read(23) == b"version https://git-lfs":
            raise ValueError("it is a Git LFS pointer to a file that is not here: run git lfs pull")


def is_checkpoint(folder):
    """Whether weights are there, or what stands for some: an index, a shard, an adapter."""
    known = rf"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin|pt)(\.index\.json)?|{ADAPTER}"
    return any(re.fullmatch(known, path.name) for path in Path(folder).iterdir())


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
        require_fetched(path)
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {_first_line(error)}") from None


def read_config(folder):
    """config.json of the checkpoint, or of the ladder it stands in, as an object."""
    config = read_json(path := beside(folder, "config.json"))
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
        return hashlib.sha1(b"blob %d\0" % len(data := file.read()) + data).hexdigest()
