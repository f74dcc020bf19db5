"""One checkpoint's files on this disk: fetched from the Hub, held against the hashes it announces, evicted again.

They lie in HF_HOME/nla/, a folder for each, beside the cache of the Hub's own client: what is in that its owner asked
for; it is linked, and not ours to evict. A file gets its name only when its hash was found right. KEEP=all in the
environment evicts nothing, now or later. NLA_DISK (bytes, or as 20GB) bounds what fetching ahead uses.
"""

import errno
import os
import shutil
import threading
import time
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from nla.models import hub_listing
from nla.models.errors import Mismatch
from nla.models.folder import digest, read_json
from nla.models.retries import Wait, Waited, explained, locked, newest, stats
from nla.numerics.quantities import size, size_of

IDLE = 600  # seconds after which a checkpoint on this disk counts as left behind by whoever fetched it
SILENCE = 30  # times HF_HUB_DOWNLOAD_TIMEOUT in which no byte comes: a download that stands still
COMMIT = "[0-9a-f]" * 40


@contextmanager
def held(source, wanted):
    """A block in which nobody evicts the folder of `source`, an `OnHub`; first come the `File`s of `wanted()`."""
    place = source.folder
    place.parent.mkdir(parents=True, exist_ok=True)
    what = f"another process that fetches or reads {source.name}"
    with locked(place.with_suffix(".lock"), what, lambda: newest(place, place.with_suffix(".partial"))):
        _fetch(source, wanted())  # which is asked now that nobody else fetches any
        yield


def ahead(checkpoint):
    """Start to fetch `checkpoint` in the background; the Future tells when it is there, or why not."""
    return _begun(checkpoint.fetch)


def _begun(call):
    """Future of `call()` in a thread that nobody has to wait for: an interrupted scan does not, for gigabytes."""
    future = Future()

    def run():
        try:
            future.set_result(call())
        except BaseException as error:  # also the panic of a library in Rust, or the future would never be done
            future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    threading.Thread(target=run, daemon=True).start()
    return future


def _fetch(source, wanted):
    place, partial, name = source.folder, source.folder.with_suffix(".partial"), source.name
    hub, contact = source.hub, source.hub.contact
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed, or it would hold the lock
    own = partial / uuid4().hex[:8]  # a download that was given up may still write
    if wanted:
        place.mkdir(parents=True, exist_ok=True)
        try:
            for file in wanted:
                if not _link(source, file):
                    free = shutil.disk_usage(place).free
                    if free < file.size:
                        need = f"{file.name} needs {size(file.size)} and {size(free)} are free"
                        raise explained(name, OSError(errno.ENOSPC, need), place)
                    if contact.lost:  # one small question first: the client alone would spend half a minute finding out
                        contact.patiently(name, lambda: hub.ask(f"models/{source.repo}/refs"))
                    contact.patiently(f"{name}: {file.name}", lambda file=file: _download(source, file, own))
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            with suppress(OSError):  # only an empty folder goes
                place.rmdir()
    if keeping():
        (place / ".keep").touch()
    os.utime(place)
    hub.ours.add(place)


def _download(source, file, partial):
    """Fetch one file beside its place, and move it there when its hash is right."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        moved = time.time()

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs | {"disable": True})

        def update(self, n=1):
            Silent.moved = time.time()

    partial = partial / ("plain" if constants.HF_HUB_DISABLE_XET else "xet")
    where = {"local_dir": partial, "cache_dir": partial, "endpoint": source.hub.endpoint(), "tqdm_class": Silent}
    coming = _begun(lambda: hf_hub_download(source.repo, file.name, revision=source.commit, **where))
    waiting = Wait(SILENCE * constants.HF_HUB_DOWNLOAD_TIMEOUT, "HF_HUB_DOWNLOAD_TIMEOUT")
    while not wait([coming], timeout=waiting.most / 30).done:
        try:
            waiting.goes_on(f"the next bytes of {file.name}", Silent.moved)
        except Waited as error:  # the client ends no Xet transfer that stands still: the next try is without
            constants.HF_HUB_DISABLE_XET = True
            raise TimeoutError(str(error)) from None
    path = coming.result()
    if digest(path, file.digest) != file.digest:
        os.unlink(path)
        raise Mismatch("its bytes are not those that the Hub announces")
    os.replace(path, source.folder / file.name)


def _link(source, file):
    """Use the same bytes where this disk has them: at another revision, or in the cache of the Hub's client."""
    from huggingface_hub import try_to_load_from_cache

    target = source.folder / file.name
    target.unlink(missing_ok=True)
    for other in source.folder.parent.glob(f"{COMMIT}/{file.name}"):
        with suppress(OSError):  # another process may evict it just now
            listed = read_json(other.parent.parent / "trees" / f"{other.parent.name}.json")
            if list(file) in listed and file.whole(other.parent):
                os.link(other, target)
                return True
    cached = try_to_load_from_cache(source.repo, file.name, revision=source.commit)
    with suppress(OSError):
        if isinstance(cached, str) and digest(cached, file.digest) == file.digest:
            target.symlink_to(Path(cached).absolute())
            return True
    return False


def evict(ladder, keep):
    """Remove from this disk what this process used of the repositories of `ladder`, but the checkpoints to `keep`."""
    parents, keep, ours = _repositories(ladder), {c.folder for c in keep if c}, hub_listing.HUB.ours
    for place in [p for p in list(ours) if p.parent in parents and p not in keep]:
        ours.discard(place)
        if not keeping() and not (place / ".keep").exists():
            with suppress(Timeout, OSError), FileLock(place.with_suffix(".lock"), timeout=0):
                for path in (place, place.with_suffix(".partial")):
                    shutil.rmtree(path, ignore_errors=True)


def adopt(ladder):
    """Take over, to be evicted, what processes that ended left of the repositories of `ladder`."""
    for parent in _repositories(ladder):
        for path in parent.glob(f"{COMMIT}*"):
            if path.is_dir() and time.time() - path.stat().st_mtime > IDLE:
                hub_listing.HUB.ours.add(path.with_suffix(""))


def _repositories(ladder):
    return {c.folder.parent for c in ladder if c.source.remote}


def keeping():
    """Whether everything that was fetched is to stay."""
    return os.environ.get("KEEP") == "all"


def allowance():
    """Bytes of disk that checkpoints may take (NLA_DISK), or None where nothing was said."""
    said = os.environ.get("NLA_DISK", "")
    if said and size_of(said) is None:
        raise ValueError(f"NLA_DISK is {said!r}, not a number of bytes such as 20000000000 or 20GB")
    return size_of(said)


def used(ladder):
    """Bytes that the repositories of `ladder` take on this disk."""
    return sum({stat.st_ino: stat.st_size for stat in stats(*_repositories(ladder))}.values())  # links count once
