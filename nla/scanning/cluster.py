"""A scan by many machines: each checkpoint is a task of a Dask cluster, and its tables come back into the same store.

Workers fetch and measure (`scanning.cluster_worker`); who called `nla.scan` keeps the store, decides what is missing,
and holds the lock of each checkpoint in hand, as without a cluster: so a run can be stopped, and go on elsewhere.
"""

import sys
import time
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from uuid import uuid4

from filelock import FileLock, Timeout

from nla.models import paths, retries
from nla.models.errors import CheckpointError, Unavailable
from nla.models.retries import Wait, Waited
from nla.scanning import cluster_worker, fingerprint, processes
from nla.scanning.plan import Begun, Plan
from nla.scanning.worker import told


def work(plan, left, copies, scheduler, device, threads, progress):
    """Yield (checkpoint, its `Table` or the exception that says why there is none) for all of `left`, copies last."""
    with processes.connected(scheduler) as (client, share):
        if progress and client.dashboard_link:
            print(f"{plan.model}: dashboard of the cluster at {client.dashboard_link}", file=sys.stderr)
        run = cluster_worker.Run(uuid4().hex, plan.ladder, plan.selection, device, threads or share, paths.DEMO)
        crew, suspects = Crew(plan, client, run), set()
        client.subscribe_topic(run.name, lambda event: plan.alive(plan.ladder[event[1]]))  # after each matrix
        try:
            rounds = [[c for c in left if c not in copies], [c for c in left if c in copies]]
            for some in rounds:
                for checkpoint, result in _Round(crew, some).results():
                    if isinstance(result, WorkerLost) and checkpoint not in suspects:
                        suspects.add(checkpoint)
                        rounds.append([checkpoint])  # alone: all that was on a worker that died is blamed for its death
                    else:
                        yield checkpoint, result
        finally:
            with suppress(OSError, RuntimeError, CancelledError):  # the cluster may be gone, or a worker deaf
                client.unsubscribe_topic(run.name)
                client.run(cluster_worker.leave, run.name, on_error="ignore", callback_timeout=4 * retries.SAID)


class WorkerLost(CheckpointError):
    """The process that measured a checkpoint, or held its tables, has left the cluster."""


@dataclass
class InHand:
    """A checkpoint that a worker measures, while its lock is held here."""

    worker: str
    lock: FileLock
    begun: Begun | CheckpointError  # what there was already
    future: Future | None  # of the rest, if there is any
    losses: int = 0  # of workers that had it
    since: float = field(default_factory=time.time)


@dataclass
class Crew:
    """Who works on a plan."""

    plan: Plan
    client: object  # of Dask
    run: cluster_worker.Run

    def give(self, checkpoint, worker, lock, losses=0):
        """`InHand`; without a future if nothing is left to measure, or that could not be told."""
        plan, future = self.plan, None
        try:
            begun = plan.begin(checkpoint, twins=checkpoint.source.remote)
        except CheckpointError as error:
            return InHand(worker, lock, error, None, losses)
        if begun.left:
            keys = [plan.keys[m] if fingerprint.ours(m) else None for m in begun.left]
            arguments = (self.run, plan.ladder.index(checkpoint), begun.left, keys)
            name = f"{paths.slug(checkpoint.revision)}-{uuid4().hex}"
            future = self.client.submit(cluster_worker.measured, *arguments, key=name, pure=False, workers=[worker])
        return InHand(worker, lock, begun, future, losses)

    def gathered(self, task):
        """What the task returned or raised, or WorkerLost: a worker can leave before its result is fetched."""
        wait = Wait()
        for attempt in count():
            if not task.future.done() or (attempt and task.worker not in processes.there(self.client)):
                self.client.cancel(task.future)
                raise WorkerLost
            try:
                return task.future.result(timeout=2 * 2**attempt)
            except TimeoutError:
                if task.future.status == "error":  # the task's own
                    raise
                wait.goes_on(f"the tables from {task.worker}")


class _Round:
    """Checkpoints that may be measured at once; the cluster holds no more than it can begin.

    What a worker had that leaves is given to another here: Dask's scheduler, if none was there then, would wait for it
    forever. After as many losses as Dask allows (`distributed.scheduler.allowed-failures`) the result is WorkerLost. A
    worker without a sign of life for too long is given nothing any more, and what it began first is blamed.
    """

    def __init__(self, crew, left):
        self.crew, self.left = crew, dict.fromkeys(left, 0)  # how often each was lost
        self.order = {c: i for i, c in enumerate(left)}
        self.hand, self.last, self.deaf = {}, {}, {}  # {checkpoint: InHand}, {worker: its latest}, {worker: its first}
        self.wait, self.bell = Wait(), None

    def results(self):
        """Yield (checkpoint, its `Table` or the exception that says why there is none)."""
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
                        if isinstance(result, WorkerLost) and task.losses < allowed:
                            self.left[checkpoint] = task.losses + 1
                        else:
                            yield checkpoint, result
        except Waited as error:
            yield from ((checkpoint, error) for checkpoint in self.left)
        finally:
            self.crew.client.cancel([task.future for task in self.hand.values() if task.future])
            for task in self.hand.values():
                task.lock.release()

    def _there(self):
        for checkpoint, task in self.hand.items():
            if time.time() - max(task.since, self.crew.plan.seen(checkpoint)) > self.wait.most:
                first = next(c for c, other in self.hand.items() if other.worker == task.worker)
                self.deaf.setdefault(task.worker, first)
        there = processes.there(self.crew.client)
        return {worker: threads for worker, threads in there.items() if worker not in self.deaf}

    def _begin(self, there):
        """Give the workers what they can take; a cluster that adapts must see work, a bell if there are none."""
        self.bell = None if there else self.bell or self.crew.client.submit(int, pure=False)
        busy = [task.worker for task in self.hand.values()]
        places = sorted((place, worker) for worker, threads in there.items() for place in range(min(threads, 2)))
        for worker in [worker for place, worker in places if place >= busy.count(worker)]:  # the second is to fetch
            for checkpoint in _preferred(self.order, self.left, self.last.get(worker)):
                lock = FileLock(self.crew.plan.lock(checkpoint), timeout=0)
                with suppress(Timeout):  # another run has it in hand
                    lock.acquire()
                    self.hand[checkpoint] = self.crew.give(checkpoint, worker, lock, self.left.pop(checkpoint))
                    self.last[worker] = checkpoint
                    break

    def _wait(self):
        """Until something of what is in hand is done, or for a second; for a moment if nothing is."""
        import distributed

        futures = [task.future for task in self.hand.values()]
        if futures:
            self.wait.over()
            if None not in futures:
                with suppress(TimeoutError):  # then others may have joined the cluster, or left it
                    distributed.wait(futures, timeout=1, return_when="FIRST_COMPLETED")
            return
        if self.bell:
            processes.waited(self.wait, "workers of the Dask cluster: it has none")
        else:
            which = ", ".join(c.revision for c in list(self.left)[:3])
            self.wait.goes_on(f"another run that measures {which}", max(map(self.crew.plan.seen, self.left)))
        time.sleep(0.2)

    def _result(self, checkpoint, task):
        """Its `Table`, written to the store, or the exception that says why there is none."""
        if isinstance(task.begun, CheckpointError):
            return task.begun
        name = f"{checkpoint.model} {checkpoint.revision}"
        if self.deaf.get(task.worker) == checkpoint and not task.future.done():
            self.crew.client.cancel(task.future)
            return Unavailable(f"{name}: no sign of life of {task.worker} for {self.wait.most:g} s (NLA_WAIT)")
        try:
            found = task.future and self.crew.gathered(task)
        except CancelledError:
            raise ConnectionError(processes.GONE) from None
        except Exception as error:  # of this checkpoint, or of its measures; the others are not to suffer
            lost = isinstance(error, WorkerLost) or type(error).__name__ == "KilledWorker"
            return WorkerLost(f"{name} ends every process that measures it (not enough memory?)") if lost else error
        try:
            if found:
                theirs, ours = found.notes, checkpoint.source.identity()
                if theirs["identity"] != ours and told(checkpoint).items() - theirs.items() != {("identity", ours)}:
                    raise CheckpointError(f"{name}: the workers have other files of it")
                theirs["identity"] = ours
            return self.crew.plan.finish(checkpoint, task.begun, found)
        except CheckpointError as error:
            return error


def _preferred(order, left, last):
    """`left`, the best for a worker first: what follows its `last`, whose files it has; the longest gap's middle."""
    if len(left) == len(order):
        return list(left)
    there = {order[c]: c for c in left}
    gone = [-1, *(i for i in range(len(order)) if i not in there), len(order)]
    start, end = max(pairwise(gone), key=lambda ends: ends[1] - ends[0])
    best = [there.get(order[last] + 1) if last else None, there.get((start + end) // 2)]  # others go into that
    return [c for c in dict.fromkeys([*best, *left]) if c]
