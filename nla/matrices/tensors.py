"""The tensors of a checkpoint's files, read by name: safetensors, or pickles that execute nothing."""

import re
import threading
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from nla.models.errors import CheckpointError, _first_line
from nla.models.folder import FORMATS, require_fetched, shard_of, weight_files
from nla.numerics import encodings

STATES = ("state_dict", "model_state_dict", "model", "module")  # under which of these a .bin may hold its tensors


class Tensors:
    """A read-only mapping from tensor name to tensor, over all files in a folder; only headers are read on opening."""

    def __init__(self, folder, name=None):
        self.folder = name or Path(folder)  # as messages call it
        self._read = {}  # name -> function that returns the tensor
        for path in weight_files(folder):
            self._read.update(_open(path))

    def place(self, name):
        """The file that holds a tensor, where they are opened one at a time; else nothing."""
        return ""

    def __contains__(self, name):
        return name in self._read

    def __iter__(self):
        return iter(self._read)

    def __getitem__(self, name):
        if name not in self._read:
            near = next((n for n in self if n.split(".")[-2:] == name.split(".")[-2:]), next(iter(self), "none at all"))
            raise CheckpointError(f"{self.folder}: the tensor {name} is missing (there is {near})")
        try:
            tensor = self._read[name]()
            if tensor.layout != torch.strided or tensor.is_meta:
                raise ValueError("it is not stored entry by entry")
            return tensor
        except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.folder}: {name} cannot be read: {_first_line(error)}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._read = {}


class ShardByShard(Tensors):
    """The same of a checkpoint `too_large` to be on this disk at once: one of its shards is, that last asked for."""

    def __init__(self, folder, source):
        self.folder, self._shard = source.name, source.shard
        index = next(Path(folder) / index for _, index in FORMATS if (Path(folder) / index).is_file())  # all it needs
        self._places, self._present, self._turn = encodings.unwrapped(shard_of(index)), (None, {}), threading.Lock()
        self._read = {name: lambda name=name: self._from_shard(name) for name in self._places}

    def place(self, name):
        return self._places.get(name, "")

    def _from_shard(self, name):
        place = self._places[name]
        with self._turn:
            if self._present[0] != place:
                self._present = (None, {})  # closed before the next one comes
                with self._shard(place) as path:
                    self._present = (place, _open(path))
            if name not in self._present[1]:
                raise CheckpointError(f"{self.folder}: the tensor {name} is missing")
            return self._present[1][name]().clone()  # its file may go

    def __exit__(self, *_):
        self._read, self._present = {}, (None, {})


def _open(path):
    return encodings.unwrapped(_open_safetensors(path) if path.suffix == ".safetensors" else _open_bin(path))


def _open_safetensors(path):
    try:
        require_fetched(path)
        handle = safe_open(path, framework="pt")
        return {name: lambda name=name: handle.get_tensor(name) for name in handle.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {_first_line(error)}") from None


def _open_bin(path):
    options = {"map_location": "cpu", "weights_only": True}  # nothing in them is executed
    try:
        require_fetched(path)
        try:
            state = torch.load(path, mmap=True, **options)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            state = torch.load(path, **options)  # written before torch 1.6: cannot be mapped
    except Exception as error:  # a damaged pickle stops its reader in any way there is
        asks, why = re.search(r"GLOBAL (\S+)", str(error)), _first_line(error)
        why = "its pickle is damaged, or holds more than tensors" if "weights_only" in f"{error}" else why
        why = f"it calls for {asks[1]}, which might run code; nothing was run" if asks else why
        raise CheckpointError(f"{path} is not a whole or safe .bin file: {why}") from None
    for _ in STATES if isinstance(state, dict) else ():
        state = next((state[k] for k in STATES if isinstance(state.get(k), dict)), state)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not named tensors")
    named = {name: value for name, value in state.items() if isinstance(name, str) and torch.is_tensor(value)}
    return {name: lambda tensor=tensor: tensor.detach() for name, tensor in named.items()}
