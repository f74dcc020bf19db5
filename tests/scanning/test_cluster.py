"""A scan by a real cluster of processes on this machine: the same numbers, whatever happens to a process."""

import multiprocessing
import os
import signal
import sys
import threading
import time

import pandas as pd
import pytest
from filelock import FileLock

import nla
from nla.commands.main import main
from nla.models import retries
from nla.scanning import cluster, cluster_worker, processes as cluster_processes
from nla.scanning.plan import Plan
from nla.scanning.rows import Selection
from tests.helpers.ladders import branches, moving, on_disk
from tests.helpers.make import make

distributed = pytest.importorskip("distributed", reason="Dask is an optional extra: pip install distributed")


pytestmark = pytest.mark.xdist_group("cluster")  # whose processes are forked from one, once


def processes(count):
    """A cluster whose processes have this one's environment as it is now."""
    options = {"threads_per_worker": 2, "memory_limit": 0, "dashboard_address": None, "silence_logs": "CRITICAL"}
    return distributed.LocalCluster(n_workers=count, env=dict(os.environ), **options)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Processes are forked from one that has imported all they need.

    A checkpoint is given up when the second one has died with it, in company and then alone.
    """
    import dask

    method = {"distributed.worker.multiprocessing-method": "forkserver"}
    with dask.config.set({"distributed.scheduler.allowed-failures": 1, **method}):
        distributed.utils.get_mp_context()  # which sets what is imported there
        multiprocessing.set_forkserver_preload(
            ["distributed", "nla.scanning.cluster_worker", "nla.measures", "tests.test_cluster"]
        )
        yield


@pytest.fixture
def hasty(monkeypatch):
    """Waits that are said at once, and end after two seconds."""
    monkeypatch.setenv("NLA_WAIT", "2s")
    monkeypatch.setattr(retries, "SAID", 0.2)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The file that `logged` writes to, in whatever process."""
    path = tmp_path_factory.mktemp("cluster") / "log"
    path.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLA_TEST_LOG", str(path))
        yield path


@pytest.fixture(scope="module")
def scheduler(log):
    with processes(2) as local:
        yield local.scheduler_address


def logged(matrix):
    """The largest singular value; writes down which process looks at which step, and takes its time."""
    with open(os.environ["NLA_TEST_LOG"], "a") as log:
        log.write(f"{os.getpid()} {matrix.step}\n")
    time.sleep(0.05)
    return {"top": matrix.singular_values[0]}


def deadly(matrix):
    if matrix.step == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return {"again": matrix.step}


def broken(matrix):
    return {"x": 1 / (matrix.step - 20) if matrix.step < 100 else 1 / 0}


def test_the_same_numbers_as_without_a_cluster(ladder, scheduler, tmp_path, monkeypatch):
    measures = [nla.norms, nla.drift]
    there = nla.scan(str(ladder), measures, scheduler=scheduler)
    monkeypatch.setenv("NLA_BUILD", str(tmp_path / "other"))
    here = nla.scan(str(ladder), measures, workers=1)
    summary = {"done": 4, "reused": 0, "duplicates": 1, "failed": {}, "notes": []}
    assert there.attrs.pop("summary") == here.attrs.pop("summary") == summary
    pd.testing.assert_frame_equal(there, here, rtol=1e-10, atol=1e-12)


def test_a_run_moves_from_laptop_to_cluster_and_back(ladder, scheduler, same):
    assert nla.scan(str(ladder), moving, steps=[0, 20]).attrs["summary"]["done"] == 2
    there = nla.scan(str(ladder), moving, steps=[0, 20, 100], scheduler=scheduler)
    assert there.attrs["summary"] == {"done": 1, "reused": 2, "duplicates": 0, "failed": {}, "notes": []}
    back = nla.scan(str(ladder), moving)
    assert back.attrs["summary"] == {"done": 1, "reused": 3, "duplicates": 1, "failed": {}, "notes": []}
    same(back)


def test_a_killed_worker_loses_nothing(ladder, scheduler, log):
    def kill():
        deadline = time.time() + 60
        while time.time() < deadline and len(log.read_text().splitlines()) < 8:
            time.sleep(0.01)
        killed.append(int(log.read_text().split()[0]))
        os.kill(killed[0], signal.SIGKILL)

    killed = []
    killer = threading.Thread(target=kill)
    killer.start()
    table = nla.scan(str(ladder), logged, scheduler=scheduler)
    killer.join()
    seen = [line.split() for line in log.read_text().splitlines()]
    assert str(killed[0]) in {process for process, _ in seen} and len({process for process, _ in seen}) > 1
    assert 56 < len(seen) < 2 * 56  # what was in hand was measured again, and not everything
    assert table.attrs["summary"] == {"done": 4, "reused": 0, "duplicates": 1, "failed": {}, "notes": []}
    with nla.load(str(ladder), step=20) as weights:
        expected = [m.singular_values[0] for m in weights.matrices()]
    assert table[table.step == 20].top.tolist() == pytest.approx(expected, rel=1e-12)


def test_a_checkpoint_that_kills_its_workers_is_reported_while_the_others_finish(ladder, scheduler):
    with pytest.warns(UserWarning, match="step20 left out"):
        table = nla.scan(str(ladder), deadly, scheduler=scheduler)
    assert table.attrs["summary"]["done"] == 3 and set(table.step) == {0, 1, 100}
    assert "ends every process" in table.attrs["summary"]["failed"]["step20"]


def test_when_the_only_worker_dies_the_next_one_goes_on(ladder):
    """The tables of other checkpoints may die with it, before they were fetched."""
    with processes(1) as local, pytest.warns(UserWarning, match="step20 left out"):
        table = nla.scan(str(ladder), deadly, scheduler=local)
    assert set(table.step) == {0, 1, 100} and "ends every process" in table.attrs["summary"]["failed"]["step20"]


def test_a_worker_that_takes_long_to_start_again_is_not_given_up(ladder):
    """As on a busy machine, where that takes longer than a cluster of Dask has patience."""
    import dask

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"}):
        test_when_the_only_worker_dies_the_next_one_goes_on(ladder)


def test_a_worker_that_was_given_up_is_replaced(ladder, same):
    with processes(1) as local:
        local.sync(local.workers[0].close)
        same(nla.scan(str(ladder), moving, scheduler=local))


def one_line(error):
    return "\n" not in str(error.value) and "NLA_WAIT" in str(error.value)


def test_a_cluster_without_workers_is_said_and_not_waited_for_in_vain(ladder, hasty, capsys):
    with processes(0) as local:
        with pytest.raises(ConnectionError, match="waited 2 s for workers of the Dask cluster") as error:
            nla.scan(str(ladder), moving, scheduler=local.scheduler_address)
    said = [line for line in capsys.readouterr().err.splitlines() if "waiting for workers of the Dask cluster" in line]
    assert one_line(error) and 2 <= len(said) <= 5  # now and then, ever less often


def test_a_scheduler_that_does_not_answer(monkeypatch, hasty):
    class Deaf:
        def nthreads(self, callback_timeout):
            time.sleep(callback_timeout)
            raise TimeoutError

    with pytest.raises(ConnectionError, match="an answer of the Dask scheduler") as error:
        cluster_processes.there(Deaf())
    assert one_line(error)


def freezing(matrix):
    if matrix.step == 20:
        os.kill(os.getpid(), signal.SIGSTOP)
    return {"again": matrix.step}


def test_a_worker_that_shows_no_sign_of_life_is_left_alone(ladder, hasty, monkeypatch):
    monkeypatch.setenv("NLA_WAIT", "4s")  # which the other one, on a busy machine, needs to show some
    with processes(2) as local:
        before = {process.pid for process in local.workers.values()}
        with pytest.warns(UserWarning, match="step20 left out: .* no sign of life of tcp://"):
            table = nla.scan(str(ladder), freezing, scheduler=local.scheduler_address)
        for process in before:
            os.kill(process, signal.SIGKILL)
    assert set(table.step) == {0, 1, 100}


def test_signs_of_life_count_and_silence_too(ladder, scheduler, hasty, monkeypatch):
    """A worker says so after each matrix; one that was silent for too long is given nothing any more."""
    plan = Plan.of(str(ladder), moving)
    before = time.time()
    nla.scan(str(ladder), moving, steps=[0], scheduler=scheduler)
    assert before - 1 < plan.seen(plan.ladder[0]) < time.time() + 1
    round = cluster._Round(cluster.Crew(plan, None, None), plan.ladder)
    for checkpoint, worker in zip(plan.ladder, "aabb", strict=True):
        round.hand[checkpoint] = cluster.InHand(worker, None, (), None, since=before - 10)
        if worker == "a":
            plan.alive(checkpoint)
    monkeypatch.setattr(cluster_processes, "there", lambda client: {"a": 2, "b": 2})
    assert round._there() == {"a": 2} and round.deaf == {"b": plan.ladder[2]}


def test_a_damaged_checkpoint_is_reported_while_the_others_finish(ladder, scheduler):
    os.truncate(ladder / "step20" / "model.safetensors", 4000)
    with pytest.warns(UserWarning, match="step20 left out"):
        table = nla.scan(str(ladder), moving, scheduler=scheduler)
    assert set(table.step) == {0, 1, 100}
    assert "not a whole safetensors" in table.attrs["summary"]["failed"]["step20"]


def test_a_measure_that_fails_on_one_checkpoint_or_on_all(ladder, scheduler):
    with pytest.warns(UserWarning, match="left out"):
        table = nla.scan(str(ladder), broken, steps=[0, 1, 20], scheduler=scheduler)
    assert set(table.step) == {0, 1}
    reason = table.attrs["summary"]["failed"]["step20"]
    assert "ZeroDivisionError" in reason and "in broken of" in reason and "\n" not in reason
    with pytest.raises(ZeroDivisionError) as caught, pytest.warns(UserWarning):
        nla.scan(str(ladder), broken, steps=[20, 100], scheduler=scheduler)
    assert "in broken of" in caught.value.__notes__[0]


@pytest.fixture
def other(ladder):
    """(Plan, checkpoint step20) that another run has in hand: locked until the end of the test."""
    plan = Plan.of(str(ladder), moving)
    with FileLock(plan.lock(plan.ladder[2])):
        yield plan, plan.ladder[2]


def test_what_another_run_has_in_hand_is_waited_for(ladder, scheduler, same):
    """step20 is locked for a second, as by another process, which then leaves it unfinished."""
    plan = Plan.of(str(ladder), moving)
    lock = FileLock(plan.lock(plan.ladder[2]), thread_local=False)
    lock.acquire()
    timer = threading.Timer(1.5, lock.release)
    timer.start()
    table = nla.scan(str(ladder), moving, scheduler=scheduler)
    assert not lock.is_locked
    same(table)


@pytest.mark.parametrize("cluster", [True, False])
def test_another_run_that_does_not_end_is_not_waited_for_for_ever(ladder, scheduler, cluster, other, hasty, capsys):
    with pytest.warns(UserWarning, match="step20 left out: waited 2 s for another run that measures .*step20"):
        table = nla.scan(str(ladder), moving, scheduler=scheduler if cluster else None)
    assert set(table.step) == {0, 1, 100} and "waiting for another run" in capsys.readouterr().err


def test_workers_fetch_from_the_hub_and_leave_nothing_behind(acme, original_ladder, same, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with processes(1) as local:
        table = nla.scan("acme/tiny", moving, scheduler=local)
    same(table)
    kept, other = on_disk(tmp_path)
    commits = {name: acme.repositories["acme/tiny"].commit(name) for name in branches(original_ladder)}
    assert set(kept) <= {commits["step0"], commits["step100"]} and other == []
    assert 3 <= acme.count("GET /lfs/") <= 5  # step1 is step0; two of the others may be fetched to compare with


def test_a_scheduler_may_be_a_client_or_a_number(ladder, scheduler, monkeypatch, capsys):
    with distributed.Client(scheduler) as client:
        assert len(nla.scan(str(ladder), moving, steps=[0], scheduler=client)) == 14
    monkeypatch.setattr(sys, "argv", ["nla", "scan", str(ladder), "--steps", "0,20", "--workers", "1"])
    assert main() == 0 and capsys.readouterr().out == "2 done, 0 reused, 0 duplicates, 0 failed\n"


def test_no_scheduler_and_no_dask_are_one_line(ladder, monkeypatch):
    with pytest.raises(ValueError, match="nonsense"):
        nla.scan(str(ladder), moving, scheduler="nonsense")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install distributed"):
        nla.scan(str(ladder), moving, scheduler=2)


def test_a_worker_with_other_code_is_refused(ladder):
    run = cluster_worker.Run("run", nla.checkpoints(str(ladder)), Selection(None, None), "cpu", 1, ladder)
    with pytest.raises(RuntimeError, match="another version of nla"):
        cluster_worker.measured(run, 0, [nla.norms], ["norms-0123456789ab"])


def test_workers_walk_on_and_else_enter_the_longest_stretch():
    order = {c: i for i, c in enumerate("abcdefghij")}
    assert cluster._preferred(order, "abcdefghij", None)[0] == "a"
    assert cluster._preferred(order, "bcdefghij", "a")[0] == "b"
    assert cluster._preferred(order, "bcdefghij", None)[0] == "f"
    assert cluster._preferred(order, "bcghij", "f")[0] == "g"
    assert cluster._preferred(order, "bcdhij", "e")[0] == "c"
    assert sorted(cluster._preferred(order, "bdj", "a")) == ["b", "d", "j"]


def test_make_hands_the_cluster_on(ladder):
    said = make("scan", "-n", f"MODEL={ladder}", "SCHEDULER=tcp://there:8786", "WORKERS=3").stdout
    assert '--scheduler="$SCHEDULER" --workers="$WORKERS"' in said
