"""A scan by many machines: each checkpoint is a task of a Dask cluster, and its tables come back into the same store.

The workers fetch and measure (`nla.worker_side`). Whoever called `nla.scan` keeps the store, decides what is missing,
and holds the lock of each checkpoint in hand, as a scan without a cluster does; so a run can be stopped at any moment
and go on elsewhere.
"""

import sys
import time
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import count, pairwise
from uuid import uuid4

from filelock import Timeout

from nla import listing, measuring, models, store, worker_side
from nla.weights import CheckpointError


def work(job, left, scheduler, device, workers, progress):
    """Yield (checkpoint, its rows and notes or the exception that says why not) for all of `left`, in any order.

    Parameters
    ----------
    job : nla.job.Job
    left : list of nla.Checkpoint
    scheduler : str, int, distributed.Client or a cluster of Dask
        What to connect to; an int starts as many processes on this machine.
    device, workers, progress
        See `nla.scan`; `workers` is meant for each process, by default as many as it has threads.
    """
    with _connected(scheduler) as (client, share):
        if progress and client.dashboard_link:
            print(f"{job.model}: dashboard of the cluster at {client.dashboard_link}", file=sys.stderr)
        run = (uuid4().hex, job.model, job.kinds, job.layers, device, workers or share, job.ladder, models.DEMO)
        suspects = []
        try:
            for some in ([c for c in left if c not in job.copies], [c for c in left if c in job.copies]):
                for checkpoint, result in _round(job, client, run, some):
                    if isinstance(result, WorkerLost):
                        suspects.append(checkpoint)
                    else:
                        yield checkpoint, result
            for suspect in suspects:  # alone, because all that was on a worker that died is blamed for its death
                for checkpoint, result in _round(job, client, run, [suspect]):
                    if isinstance(result, WorkerLost):
                        line = f"{checkpoint.model} {checkpoint.revision} ends every process that measures it"
                        result = CheckpointError(f"{line} (not enough memory?)")
                    yield checkpoint, result
        finally:
            with suppress(OSError, RuntimeError, CancelledError):  # the cluster may be gone
                client.run(worker_side.leave, run[0], on_error="ignore")


class WorkerLost(Exception):
    """The process that measured a checkpoint, or held its tables, has left the cluster."""


@contextmanager
def _connected(scheduler):
    """(client, threads for each process or None if they know themselves)."""
    try:
        import dask
        import distributed
    except ImportError:
        raise ModuleNotFoundError("a scheduler needs Dask: pip install distributed bokeh") from None
    if isinstance(scheduler, distributed.Client):
        yield scheduler, None
    elif isinstance(scheduler, int):
        share = max(1, measuring.cores() // scheduler)
        processes = {"n_workers": scheduler, "threads_per_worker": max(2, share), "memory_limit": 0}
        with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
            with distributed.LocalCluster(**processes) as cluster, distributed.Client(cluster) as client:
                yield client, share
    else:
        with distributed.Client(scheduler, timeout=10) as client:
            yield client, None


def _round(job, client, run, left):
    """The same for checkpoints that may be measured at once; the cluster holds no more than it can begin.

    A checkpoint whose worker leaves is given to another here, not by the scheduler: a task that prefers a worker waits
    forever for it if no other was there when it left. After that has happened as often as Dask would allow
    (`distributed.scheduler.allowed-failures`), the result is WorkerLost.
    """
    import dask
    import distributed

    order, left, hand, last, losses = {c: i for i, c in enumerate(left)}, list(left), {}, {}, Counter()
    bell = None
    try:
        while left or hand:
            there = client.nthreads()
            bell = None if there else bell or client.submit(int, pure=False)  # a cluster that adapts must see work
            for worker in _free(there, hand):
                for checkpoint in _preferred(order, left, last.get(worker)):
                    lock = job.lock(checkpoint, patience=0)
                    with suppress(Timeout):  # another run has it in hand
                        lock.acquire()
                        hand[checkpoint] = (worker, lock, *_begin(job, client, run, checkpoint, worker))
                        left.remove(checkpoint)
                        last[worker] = checkpoint
                        break
            futures = [future for *_, future in hand.values()]
            if not futures:
                time.sleep(0.2)
            elif None not in futures:
                with suppress(TimeoutError):  # then others may have joined the cluster, or left it
                    distributed.wait(futures, timeout=1, return_when="FIRST_COMPLETED")
            there = client.nthreads()
            for checkpoint, (worker, lock, begun, future) in list(hand.items()):
                if future is None or future.done() or worker not in there:
                    result = _result(job, client, checkpoint, begun, worker, future)
                    del hand[checkpoint]
                    lock.release()
                    lost = isinstance(result, WorkerLost)
                    losses[checkpoint] += lost
                    if lost and losses[checkpoint] <= dask.config.get("distributed.scheduler.allowed-failures"):
                        left.append(checkpoint)
                    else:
                        yield checkpoint, result
    finally:
        client.cancel([future for *_, future in hand.values() if future])
        for _, lock, *_ in hand.values():
            lock.release()


def _free(threads, hand):
    """The worker of each free place: of two, if it can fetch one checkpoint while it measures another."""
    busy = [worker for worker, *_ in hand.values()]
    places = sorted((place, worker) for worker, count in threads.items() for place in range(min(count, 2)))
    return [worker for place, worker in places if place >= busy.count(worker)]


def _preferred(order, left, last):
    """`left`, the best for a worker first: what follows its `last`, whose files it has, if both are to be compared.

    Or else the middle of the longest stretch, because another worker is on its way into that.
    """
    if len(left) == len(order):
        return list(left)
    there = {order[c]: c for c in left}
    gone = [-1, *(i for i in range(len(order)) if i not in there), len(order)]
    start, end = max(pairwise(gone), key=lambda ends: ends[1] - ends[0])
    best = [there.get(order[last] + 1) if last else None, there.get((start + end) // 2)]
    return [c for c in dict.fromkeys([*best, *left]) if c]


def _begin(job, client, run, checkpoint, worker):
    """(what there is already, the Future of the rest or None if that is all or could not be told)."""
    try:
        begun = job.begin(checkpoint, twins=bool(checkpoint.repo))
    except CheckpointError as error:
        return error, None
    if not begun[2]:
        return begun, None
    known = [store.fingerprint(m) if _ours(m) else None for m in begun[2]]
    arguments = (run, job.ladder.index(checkpoint), begun[2], known)
    key = f"{models.slug(checkpoint.revision)}-{uuid4().hex}"
    return begun, client.submit(worker_side.measured, *arguments, key=key, pure=False, workers=[worker])


def _result(job, client, checkpoint, begun, worker, future):
    """(rows, notes), written to the store, or the exception that says why there are none."""
    if isinstance(begun, CheckpointError):
        return begun
    got = None
    if future:
        try:
            got = _gathered(client, worker, future)
        except CancelledError:
            raise ConnectionError("the Dask scheduler is gone; finished checkpoints are kept, run again") from None
        except Exception as error:  # of this checkpoint, or of its measures; the others are not to suffer
            return WorkerLost() if type(error).__name__ == "KilledWorker" else error
    try:
        if got:
            identity = listing.identity(checkpoint)
            if got[1]["identity"] != identity and got[1]["content"] != listing.content(checkpoint):
                raise CheckpointError(f"{checkpoint.model} {checkpoint.revision}: the workers have other files of it")
            got[1]["identity"] = identity
        return job.finish(checkpoint, *begun, got)
    except CheckpointError as error:
        return error


def _gathered(client, worker, future):
    """What the task of `future` returned or raised, or WorkerLost: a worker can leave before its result is fetched."""
    for attempt in count():
        if not future.done() or (attempt and worker not in client.nthreads()):
            client.cancel(future)
            raise WorkerLost
        try:
            return future.result(timeout=2 * 2**attempt)
        except TimeoutError:
            if future.status == "error":  # the task's own
                raise


def _ours(measure):
    return (getattr(measure, "__module__", None) or "").startswith("nla.")
