"""Files of one checkpoint -> named tensors, read lazily: safetensors or .bin, one file or sharded through an index."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors import SafetensorError, safe_open

FORMATS = (  # (single file, index of shards), in order of preference
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


class CheckpointError(OSError):
    """This checkpoint cannot be used; the message is one line that says which and why."""


def weight_files(folder):
    """The files that hold the weights of the checkpoint in `folder`; safetensors are preferred to .bin."""
    folder = Path(folder)
    for single, index in FORMATS:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            shards = sorted(set(read_json(folder / index)["weight_map"].values()))
            for shard in shards:
                if Path(shard).name != shard:
                    raise CheckpointError(f"{folder / index} points outside its folder: {shard}")
                if not (folder / shard).is_file():
                    raise CheckpointError(f"{folder}: shard {shard} is named by the index but is not there")
            return [folder / shard for shard in shards]
    raise CheckpointError(f"{folder} holds no weights (looked for {', '.join(f for pair in FORMATS for f in pair)})")


def read_json(path):
    """The JSON object in the file `path`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {_first_line(error)}") from None


def read_config(folder):
    """config.json of the checkpoint, or of the ladder it stands in, as an object."""
    folder = Path(folder)
    for place in (folder, folder.parent):
        if (place / "config.json").is_file():
            return SimpleNamespace(**read_json(place / "config.json"))
    raise CheckpointError(f"{folder} has no config.json, nor has the folder above it")


class Tensors:
    """A read-only mapping from tensor name to tensor, over all files of one checkpoint; a context manager.

    Only headers are read on opening. Pickled files are read with ``weights_only=True`` and mapped into memory;
    nothing in them is executed.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self._read = {}  # name -> function that returns the tensor
        self._handles = []
        for path in weight_files(folder):
            self._read.update(self._open_safetensors(path) if path.suffix == ".safetensors" else _open_bin(path))

    def _open_safetensors(self, path):
        try:
            handle = safe_open(path, framework="pt")
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file: {_first_line(error)}") from None
        self._handles.append(handle)
        return {name: lambda name=name: handle.get_tensor(name) for name in handle.keys()}

    def __contains__(self, name):
        return name in self._read

    def __iter__(self):
        return iter(self._read)

    def __getitem__(self, name):
        if name not in self._read:
            raise CheckpointError(f"{self.folder}: the tensor {name} is missing")
        return self._read[name]()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._read = {}
        self._handles = []


def _open_bin(path):
    options = {"map_location": "cpu", "weights_only": True}
    try:
        try:
            state = torch.load(path, mmap=True, **options)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            state = torch.load(path, **options)  # written before torch 1.6: cannot be mapped
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise CheckpointError(f"{path} is not a whole or safe .bin file: {_first_line(error)}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not named tensors")
    return {name: lambda tensor=tensor: tensor for name, tensor in state.items() if torch.is_tensor(tensor)}


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]
