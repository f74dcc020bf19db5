"""The processes of a Dask cluster: connecting to it, which are there, and starting again those that were lost."""

from contextlib import contextmanager, nullcontext

from nla.models import retries
from nla.models.retries import Wait, Waited, limit
from nla.numerics import threads

GONE = "the Dask scheduler is gone; finished checkpoints are kept, run again"
STARTS = 300  # seconds that a process of a cluster of our own may take to start


@contextmanager
def connected(scheduler):
    """(client, threads for each process or None if they know themselves)."""
    try:
        import dask
        import distributed
    except ImportError:
        raise ModuleNotFoundError("a scheduler needs Dask: pip install distributed bokeh") from None
    if isinstance(scheduler, int):
        share = max(1, threads.cores() // scheduler)
        processes = {"n_workers": scheduler, "threads_per_worker": max(2, share), "memory_limit": 0}
        with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
            with distributed.LocalCluster(**processes, death_timeout=STARTS) as cluster:
                with connected(cluster) as (client, _):
                    yield client, share
        return
    given = isinstance(scheduler, distributed.Client)
    with nullcontext(scheduler) if given else distributed.Client(scheduler, timeout=10) as client:
        # A cluster gives up, for good, what was lost and is not back in 15 s: too little on a busy machine.
        patient = {"distributed.deploy.lost-worker-timeout": f"{limit()}s"} if _local(client) else {}
        with dask.config.set(patient):
            yield client, None


def there(client):
    """{worker: its threads} of those that are there; what a cluster on this machine has lost is started again."""
    wait, found = Wait(), None
    while found is None:
        try:
            found = client.nthreads(callback_timeout=min(retries.SAID, wait.most))
        except TimeoutError:
            waited(wait, "an answer of the Dask scheduler")
        except OSError:
            raise ConnectionError(GONE) from None
    cluster = _local(client)
    if cluster and len(found) < len(cluster.worker_spec):
        for name, process in list(cluster.workers.items()):
            if process.status.name in ("closed", "failed"):  # the others are being started again
                cluster.workers.pop(name, None)
        cluster.scale(len(cluster.worker_spec))
    return found


def waited(wait, what):
    """As `Wait.goes_on`, for what ends the whole scan if it does not come."""
    try:
        wait.goes_on(what)
    except Waited as error:
        raise ConnectionError(f"{error}; finished checkpoints are kept, run again") from None


def _local(client):
    """The cluster of `client` if its processes are on this machine, started by this one."""
    from distributed import LocalCluster

    return client.cluster if isinstance(client.cluster, LocalCluster) else None
