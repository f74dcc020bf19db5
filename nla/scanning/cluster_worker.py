"""What a worker of a Dask cluster does: it fetches checkpoints, measures them one at a time, and stores nothing."""

from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from nla.matrices import kept
from nla.models import cache, hub_listing, paths
from nla.models.retries import SAID
from nla.scanning import fingerprint
from nla.scanning.rows import Selection
from nla.scanning.worker import Worker

_workers, _opening, _turn = {}, Lock(), Lock()  # of the run in hand, and who measures


@dataclass(frozen=True)
class Run:
    """What each worker is told of a scan; for all but `demo`, where the package's models lie, see `worker.Worker`."""

    name: str
    ladder: list
    selection: Selection
    device: str
    threads: int | None
    demo: Path


def measured(run, place, measures, keys):
    """In a worker: what its `Worker` found in the checkpoint at this place of the ladder."""
    if any(key and fingerprint.fingerprint(m) != key for m, key in zip(measures, keys, strict=True)):
        raise RuntimeError("a worker of the cluster has another version of nla")
    from distributed import get_worker

    process, worker = get_worker(), _worker(run)
    checkpoint = worker.ladder[place]
    if kept.read(checkpoint, curves=False) is None:
        worker.stream.fetch_ahead([checkpoint])

    def alive():
        process.log_event(run.name, place)

    coming = worker.stream.coming.get(checkpoint)
    while coming and not wait([coming], timeout=SAID).done:  # whether it came will be seen in a moment
        alive()
    while not _turn.acquire(timeout=SAID):  # if who has it is dead, its own signs of life are missed
        alive()
    try:
        return worker.measured(checkpoint, measures, alive)
    finally:
        _turn.release()


def _worker(run):
    """The `Worker` of a run in this process: what stays open from one checkpoint to the next."""
    from distributed import get_worker

    with _opening:
        if run.name not in _workers:
            _workers.clear()
            ladder, cores = [_here(c, run.demo) for c in run.ladder], run.threads or get_worker().state.nthreads
            _workers[run.name] = Worker(ladder, run.selection, run.device, cores, cores)
            cache.adopt(ladder)
        return _workers[run.name]


def _here(checkpoint, demo):
    """The checkpoint as this machine has it: what is from the Hub or comes with the package has a place of its own."""
    if checkpoint.source.remote:
        return replace(checkpoint, folder=hub_listing.HUB.folder(checkpoint.repo, checkpoint.commit))
    inside = checkpoint.folder.is_relative_to(demo)
    return replace(checkpoint, folder=paths.DEMO / checkpoint.folder.relative_to(demo)) if inside else checkpoint


def leave(name):
    if worker := _workers.pop(name, None):
        cache.evict(worker.ladder, keep=(worker.ladder[0], worker.ladder[-1]))
