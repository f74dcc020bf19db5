"""Which weights a checkpoint holds, told from its files: names, sizes and hashes, here or on the Hub."""

import hashlib
import re

from nla.models import folder
from nla.models.errors import CheckpointError, NotThere, Unavailable
from nla.models.folder import FORMATS
from nla.models.hub_listing import File, tree


def weight_files(checkpoint, formats=FORMATS):
    """The `File`s that hold the weights of a checkpoint on the Hub, the index of shards first; one format only."""
    name = f"{checkpoint.repo}@{checkpoint.revision}"
    files = tree(checkpoint)
    named = {f.name: f for f in files}
    for single, index in formats:
        if single in named:
            return [named[single]]
        if index in named:
            stem, suffix = single.split(".")
            shards = {f: m for f in files if (m := re.fullmatch(rf"{stem}-\d+-of-(\d+)\.{suffix}", f.name))}
            if not shards or len(shards) < max(int(m[1]) for m in shards.values()):
                raise NotThere(f"{name}: not all the shards of {index} are there")
            return [named[index], *shards]
    raise NotThere(f"{name} holds no weights (its files: {', '.join(sorted(named)[:8]) or 'none'})")


def has_weights(checkpoint):
    """Whether there are weights at all: not a branch, or a folder, without them."""
    try:
        weight_files(checkpoint) if checkpoint.repo else folder.weight_files(checkpoint.folder)
    except Unavailable:
        raise
    except CheckpointError:
        return False
    return True


def weights_of(checkpoint, formats=FORMATS):
    """The `File`s with the weights of a checkpoint, no index: as the Hub announces them, or computed from a folder."""
    if checkpoint.repo is None:
        paths = folder.weight_files(checkpoint.folder, formats)
        return [File(path.name, path.stat().st_size, digest(path)) for path in paths]
    return [f for f in weight_files(checkpoint, formats) if not f.name.endswith(".json")]


def content(checkpoint):
    """One short hash of the files of the weights: equal for checkpoints that are copies of one another."""
    return _short("".join(f.digest for f in weights_of(checkpoint)))


def identity(checkpoint):
    """A string cheap to ask for that changes whenever the weights do."""
    if checkpoint.repo:
        return content(checkpoint)
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in folder.weight_files(checkpoint.folder)]
    return _short(repr(stats))


def _short(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(path, like="0" * 64):
    """SHA-256 of a file, or its git blob id where `like` is one."""
    with open(path, "rb") as file:
        if len(like) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        data = file.read()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
