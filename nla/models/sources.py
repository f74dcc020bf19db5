"""Where a checkpoint's files are: classes with the same verbs, so that it is asked once, by `nla.Checkpoint.source`."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from nla.models import bundles, cache, folder, hub_listing
from nla.models.errors import CheckpointError, NotThere, NoWeights
from nla.models.folder import FORMATS, digest
from nla.models.hub_listing import File


class _Source:
    """The verbs of all, which tell from names, sizes and hashes of files what is there.

    `name` is what messages and chains call it; `remote`, whether it is on the Hub; `size()`, the bytes of its weights;
    `weight_files(formats)`, the `File`s that hold them, no index; `described()`, a short hash of what says how they are
    read, config.json and an index; `identity()`, a string cheap to ask for that changes whenever one of these does;
    `files()`, what is read of it, and `to_fetch()`, what of that is not on this disk; `held()`, a block with its
    folder; `file(name)`, the path of one file that is no weights. What is said here is so of what is on this disk.
    """

    remote = False

    def __init__(self, checkpoint):
        self.checkpoint, self.folder = checkpoint, checkpoint.folder
        self.repo, self.commit, self.hub = checkpoint.repo, checkpoint.commit, hub_listing.HUB

    def has_weights(self):
        """Whether there are weights at all: not a branch, or a folder, without them."""
        with suppress(CheckpointError):
            return bool(self._weights())
        return False

    def can_be_had(self):
        """Whether its files are on this disk, fetched from the Hub if need be; only what is read first if too large."""
        with suppress(CheckpointError), self.held(".json" if self.too_large() else ""):
            return True
        return False

    def mark(self):
        """How good they are beside other weights of the same step: 0 for none, 1 for a .pt, of whatever that is."""
        return self.has_weights() and 1 + all(not f.name.endswith(".pt") for f in self._weights())

    def content(self):
        """One short hash of the files of the weights: equal for checkpoints that are copies of one another."""
        return short("".join(f.digest for f in self.weight_files()))

    def to_fetch(self):
        return []

    def too_large(self):
        return False

    @contextmanager
    def held(self, ending=""):
        yield self.folder

    def file(self, name):
        """Beside the weights, or in the folder above."""
        return folder.beside(self.folder, name)


class InFolder(_Source):
    """A checkpoint in a folder of one's own: nothing is to be fetched, and its files are read for their hashes."""

    name = property(lambda self: str(self.folder))

    def _weights(self, formats=FORMATS):
        return folder.weight_files(self.folder, formats)

    def weight_files(self, formats=FORMATS):
        return [File(path.name, path.stat().st_size, digest(path)) for path in self._weights(formats)]

    def size(self):
        return sum(path.stat().st_size for path in self._weights())

    def identity(self):
        stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in self._weights()]
        return short(repr(stats) + self.described())

    def described(self):
        """Also where config.json lies in the folder above."""
        read = [self.folder / index for _, index in FORMATS]
        with suppress(NotThere):
            read.append(self.file("config.json"))
        return short(repr([(path.name, digest(path)) for path in read if path.is_file()]))


class InBundle(_Source):
    """A checkpoint of a bundle: its tables and spectra are at hand, its weights are not."""

    name = property(lambda self: f"{self.checkpoint.model} {self.checkpoint.revision}")

    @property
    def entry(self):
        """What the manifest says of it."""
        return bundles.manifest(self.folder)["by_revision"][self.checkpoint.revision]

    def _weights(self, formats=FORMATS):
        raise NoWeights(f"{self.checkpoint.model} is a bundle: tables and spectra are there, weights are not")

    def has_weights(self):
        return True  # as far as what is kept of it goes

    def identity(self):
        return self.entry["identity"]

    described = identity

    def weight_files(self, formats=FORMATS):
        """One that stands for those of which it was made; there is no other format of them."""
        return [File("the weights", 0, self.content())] if formats == FORMATS else self._weights()

    def content(self):
        return self.entry["content"]

    @contextmanager
    def held(self, ending=""):
        yield self._weights()


class OnHub(_Source):
    """A checkpoint on the Hub, which announces the hashes of its files before any is fetched; see `models.cache`."""

    remote = True
    name = property(lambda self: f"{self.repo}@{self.checkpoint.revision}")

    def identity(self):
        return short(self.content() + self.described())

    def described(self):
        return short("".join(f.digest for f in self.files() if f.name.endswith(".json")))

    def has_weights(self):
        """Also where that cannot be told, so that it is asked for and missed, not passed over."""
        with suppress(CheckpointError):
            self.hub.tree(self)
            return super().has_weights()
        return True

    def _weights(self, formats=FORMATS):
        """The `File`s that hold the weights, the index of shards first; one format only."""
        files = self.hub.tree(self)
        named = {f.name: f for f in files}
        for single, index in formats:
            if single in named:
                return [named[single]]
            if shards := folder.all_shards(self.name, named, single):
                return [named[name] for name in (index, *shards) if name in named]
            if index in named:
                raise NotThere(f"{self.name}: none of the shards of {index} are there")
        if folder.ADAPTER in named:
            raise folder.is_adapter(self.name, self.file(folder.ADAPTER))
        raise NotThere(f"{self.name} holds no weights (its files: {', '.join(sorted(named)[:8]) or 'none'})")

    def weight_files(self, formats=FORMATS):
        return [f for f in self._weights(formats) if not f.name.endswith(".json")]

    def size(self):
        return sum(f.size for f in self._weights())

    def files(self):
        return [f for f in self.hub.tree(self) if f.name == "config.json"] + self._weights()

    def to_fetch(self):
        return [f for f in self.files() if not f.whole(self.folder)]

    def too_large(self):
        """Whether it is larger than the disk allowed, and in shards: an index and two. Then `shard` has each alone."""
        room, weights = cache.allowance(), self._weights()
        return bool(room) and self.size() > room and len(weights) > 2 and weights[0].name.endswith(".json")

    @contextmanager
    def held(self, ending=""):
        """The folder with the files whose names end so, fetched if need be; nobody evicts them in the block."""
        with cache.held(self, lambda: [f for f in self.to_fetch() if f.name.endswith(ending)]):
            try:
                yield self.folder
            except CheckpointError as error:  # it names the revision, not the folder
                raise CheckpointError(str(error).replace(str(self.folder), self.name)) from None

    @contextmanager
    def shard(self, name):
        """Path of one shard, which then loses its name: if it was opened, closing it frees the disk."""
        with self.held(name):
            yield self.folder / name
            (self.folder / name).unlink()

    def file(self, name):
        """It alone is fetched, into the cache of the Hub's client."""
        from huggingface_hub import hf_hub_download

        where = {"revision": self.commit, "endpoint": self.hub.endpoint()}
        return self.hub.contact.patiently(f"{name} of {self.repo}", lambda: hf_hub_download(self.repo, name, **where))


def list_all(checkpoints):
    """Ask for the files of many checkpoints at once, so that each then knows its own; returns {checkpoint: error}."""

    def one(checkpoint):
        try:
            hub_listing.HUB.tree(checkpoint.source)
        except CheckpointError as error:
            return error

    hub_listing.HUB.refused.clear()
    remote = [c for c in checkpoints if c.source.remote]
    with ThreadPoolExecutor(8) as pool:
        return {c: error for c, error in zip(remote, pool.map(one, remote), strict=True) if error}


def short(text):
    """The beginning of the SHA-256 of a text, 16 characters."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
