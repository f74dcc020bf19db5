"""A scan by many machines: each checkpoint is a task of a Dask cluster, and its tables come back into the same store.

The workers fetch and measure (`scanning.cluster_worker`). Whoever called `nla.scan` keeps the store, decides what is
missing, and holds the lock of each checkpoint in hand, as a scan without a cluster does; so a run can be stopped at any
moment and go on elsewhere.
"""

import sys
import time
from collections import Counter
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from uuid import uuid4

from filelock import FileLock, Timeout

from nla.models import paths, retries
from nla.models.errors import CheckpointError, Unavailable
from nla.models.retries import Wait, Waited
from nla.scanning import cluster_worker, fingerprint, workers


def work(job, left, scheduler, device, threads, progress):
    """Yield (checkpoint, its rows and notes or the exception that says why not) for all of `left`, in any order.

    Parameters
    ----------
    job : nla.scanning.plan.Job
    left : list of nla.Checkpoint
    scheduler : str, int, distributed.Client or a cluster of Dask
        What to connect to; an int starts as many processes on this machine.
    device, threads, progress
        See `nla.scan`, whose `workers` are the threads of each process; by default as many as it has.
    """
    with workers.connected(scheduler) as (client, share):
        if progress and client.dashboard_link:
            print(f"{job.model}: dashboard of the cluster at {client.dashboard_link}", file=sys.stderr)
        run = (uuid4().hex, job.model, job.kinds, job.layers, device, threads or share, job.ladder, paths.DEMO)
        suspects = []
        client.subscribe_topic(run[0], lambda event: job.alive(job.ladder[event[1]]))  # after each matrix
        try:
            for some in ([c for c in left if c not in job.copies], [c for c in left if c in job.copies]):
                for checkpoint, result in _Round(job, client, run, some).results():
                    if isinstance(result, WorkerLost):
                        suspects.append(checkpoint)
                    else:
                        yield checkpoint, result
            for suspect in suspects:  # alone, because all that was on a worker that died is blamed for its death
                for checkpoint, result in _Round(job, client, run, [suspect]).results():
                    if isinstance(result, WorkerLost):
                        line = f"{checkpoint.model} {checkpoint.revision} ends every process that measures it"
                        result = CheckpointError(f"{line} (not enough memory?)")
                    yield checkpoint, result
        finally:
            with suppress(OSError, RuntimeError, CancelledError):  # the cluster may be gone, or a worker deaf
                client.unsubscribe_topic(run[0])
                client.run(cluster_worker.leave, run[0], on_error="ignore", callback_timeout=4 * retries.SAID)


class WorkerLost(Exception):
    """The process that measured a checkpoint, or held its tables, has left the cluster."""


@dataclass
class InHand:
    """A checkpoint that a worker measures, while its lock is held here."""

    worker: str
    lock: FileLock
    begun: tuple | CheckpointError  # what there was already, see `Job.begin`
    future: Future | None  # of the rest, if there is any
    since: float = field(default_factory=time.time)


class _Round:
    """Checkpoints that may be measured at once; the cluster holds no more than it can begin.

    A checkpoint whose worker leaves is given to another here, not by the scheduler: a task that prefers a worker waits
    forever for it if no other was there when it left. After that has happened as often as Dask would allow
    (`distributed.scheduler.allowed-failures`), the result is WorkerLost. A worker without a sign of life for too long
    is given nothing any more, and what it began first is blamed.
    """

    def __init__(self, job, client, run, left):
        self.job, self.client, self.run, self.left = job, client, run, list(left)
        self.order = {c: i for i, c in enumerate(left)}
        self.hand, self.last, self.losses = {}, {}, Counter()
        self.wait, self.bell = Wait(), None
        self.deaf = {}  # worker -> what it had in hand first

    def results(self):
        """Yield (checkpoint, its rows and notes or the exception that says why not)."""
        import dask

        allowed = dask.config.get("distributed.scheduler.allowed-failures")
        try:
            while self.left or self.hand:
                self._begin(self._there())
                self._wait()
                there = self._there()
                for checkpoint, task in list(self.hand.items()):
                    if task.future is None or task.future.done() or task.worker not in there:
                        result = self._result(checkpoint, task)
                        self.hand.pop(checkpoint).lock.release()
                        lost = isinstance(result, WorkerLost)
                        self.losses[checkpoint] += lost
                        if lost and self.losses[checkpoint] <= allowed:
                            self.left.append(checkpoint)
                        else:
                            yield checkpoint, result
        except Waited as error:
            yield from ((checkpoint, error) for checkpoint in self.left)
        finally:
            self.client.cancel([task.future for task in self.hand.values() if task.future])
            for task in self.hand.values():
                task.lock.release()

    def _there(self):
        for checkpoint, task in self.hand.items():
            if time.time() - max(task.since, self.job.seen(checkpoint)) > self.wait.most:
                first = next(c for c, other in self.hand.items() if other.worker == task.worker)
                self.deaf.setdefault(task.worker, first)
        return {worker: threads for worker, threads in workers.there(self.client).items() if worker not in self.deaf}

    def _begin(self, there):
        """Give the workers what they can take; None as the future of what needs none of them, or could not be told."""
        job, client = self.job, self.client
        self.bell = (
            None if there else self.bell or client.submit(int, pure=False)
        )  # a cluster that adapts must see work
        for worker in _free(there, [task.worker for task in self.hand.values()]):
            for checkpoint in _preferred(self.order, self.left, self.last.get(worker)):
                lock = FileLock(job.lock(checkpoint), timeout=0)
                with suppress(Timeout):  # another run has it in hand
                    lock.acquire()
                    self.hand[checkpoint] = InHand(worker, lock, *_begin(job, client, self.run, checkpoint, worker))
                    self.left.remove(checkpoint)
                    self.last[worker] = checkpoint
                    break

    def _wait(self):
        """Until something of what is in hand is done, or for a second; for a moment if nothing is."""
        import distributed

        futures = [task.future for task in self.hand.values()]
        if not futures:
            self._nothing()
            time.sleep(0.2)
            return
        self.wait.over()
        if None not in futures:
            with suppress(TimeoutError):  # then others may have joined the cluster, or left it
                distributed.wait(futures, timeout=1, return_when="FIRST_COMPLETED")

    def _nothing(self):
        """Say so, or end it, if nothing could be begun for long."""
        if self.bell is None:
            which = ", ".join(c.revision for c in self.left[:3])
            self.wait.goes_on(f"another run that measures {which}", max(map(self.job.seen, self.left)))
        else:
            try:
                self.wait.goes_on("workers of the Dask cluster: it has none")
            except Waited as error:
                raise ConnectionError(f"{error}; finished checkpoints are kept, run again") from None

    def _result(self, checkpoint, task):
        """(rows, notes), written to the store, or the exception that says why there are none."""
        if isinstance(task.begun, CheckpointError):
            return task.begun
        name, got = f"{checkpoint.model} {checkpoint.revision}", None
        if self.deaf.get(task.worker) == checkpoint and not task.future.done():
            self.client.cancel(task.future)
            return Unavailable(f"{name}: no sign of life of {task.worker} for {self.wait.most:g} s (NLA_WAIT)")
        try:
            got = task.future and _gathered(self.client, task)
        except CancelledError:
            raise ConnectionError(workers.GONE) from None
        except Exception as error:  # of this checkpoint, or of its measures; the others are not to suffer
            return WorkerLost() if type(error).__name__ == "KilledWorker" else error
        try:
            if got:
                identity = checkpoint.source.identity()
                if got[1]["identity"] != identity and got[1]["content"] != checkpoint.source.content():
                    raise CheckpointError(f"{name}: the workers have other files of it")
                got[1]["identity"] = identity
            return self.job.finish(checkpoint, *task.begun, got)
        except CheckpointError as error:
            return error


def _free(threads, busy):
    """The worker of each free place: of two, if it can fetch one checkpoint while it measures another."""
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
        begun = job.begin(checkpoint, twins=checkpoint.source.remote)
    except CheckpointError as error:
        return error, None
    if not begun[2]:
        return begun, None
    known = [fingerprint.fingerprint(m) if fingerprint.ours(m) else None for m in begun[2]]
    arguments = (run, job.ladder.index(checkpoint), begun[2], known)
    key = f"{paths.slug(checkpoint.revision)}-{uuid4().hex}"
    return begun, client.submit(cluster_worker.measured, *arguments, key=key, pure=False, workers=[worker])


def _gathered(client, task):
    """What the task returned or raised, or WorkerLost: a worker can leave before its result is fetched."""
    wait = Wait()
    for attempt in count():
        if not task.future.done() or (attempt and task.worker not in workers.there(client)):
            client.cancel(task.future)
            raise WorkerLost
        try:
            return task.future.result(timeout=2 * 2**attempt)
        except TimeoutError:
            if task.future.status == "error":  # the task's own
                raise
            wait.goes_on(f"the tables from {task.worker}")
