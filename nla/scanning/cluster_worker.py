"""What a worker of a Dask cluster does for `cluster`: it fetches checkpoints and measures them, and stores nothing.

It measures one checkpoint at a time, with all its threads; if it has two or more, its next one is fetched meanwhile.
"""

from concurrent.futures import wait
from dataclasses import replace
from threading import Lock

from nla.models import cache, hub_listing, paths
from nla.models.retries import SAID
from nla.scanning import fingerprint as scanning_fingerprint
from nla.scanning.plan import Job

_jobs, _opening, _turn = {}, Lock(), Lock()  # the run in hand, and who measures


def measured(run, place, measures, known):
    """In a worker: what `Job.measured` returns for the checkpoint at this place of the ladder."""
    if any(
        fingerprint and scanning_fingerprint.fingerprint(m) != fingerprint
        for m, fingerprint in zip(measures, known, strict=True)
    ):
        raise RuntimeError("a worker of the cluster has another version of nla")
    from distributed import get_worker

    job = _side(run, measures)
    checkpoint = job.ladder[place]
    job.fetch_ahead([checkpoint])
    worker = get_worker()

    def alive():
        worker.log_event(run[0], place)

    coming = job.coming.get(checkpoint)
    while coming and not wait([coming], timeout=SAID).done:  # whether it came will be seen in a moment
        alive()
    while not _turn.acquire(timeout=SAID):  # if who has it is dead, its own signs of life are missed
        alive()
    try:
        return job.measured(checkpoint, measures, (), alive)
    finally:
        _turn.release()


def _side(run, measures):
    """This worker's `Job` of a run: what stays open from one checkpoint to the next."""
    from distributed import get_worker

    name, model, kinds, layers, device, workers, ladder, demo = run
    with _opening:
        if name not in _jobs:
            _jobs.clear()
            ladder, cores = [_here(c, demo) for c in ladder], workers or get_worker().state.nthreads
            _jobs[name] = Job(model, measures, kinds, layers, device, cores, False, ladder, cores)
            cache.adopt(ladder)
        return _jobs[name]


def _here(checkpoint, demo):
    """The checkpoint as this machine has it: what is from the Hub or comes with the package has a place of its own."""
    if checkpoint.source.remote:
        return replace(checkpoint, folder=hub_listing.HUB.folder(checkpoint.repo, checkpoint.commit))
    inside = checkpoint.folder.is_relative_to(demo)
    return replace(checkpoint, folder=paths.DEMO / checkpoint.folder.relative_to(demo)) if inside else checkpoint


def leave(name):
    job = _jobs.pop(name, None)
    if job:
        cache.evict(job.ladder, keep=(job.ladder[0], job.ladder[-1]))
