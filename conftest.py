"""How tests and committed notebooks are run: side by side, one BLAS thread each, what they start forked."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from nla.commands import forks

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before anybody imports NumPy or torch
    os.environ.setdefault(name, "1")


def pytest_configure(config):
    """What tests and notebooks start is forked from one process; a worker of xdist uses that of the whole run."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a run in the background would hand that on
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput") and hasattr(os, "fork") and "NLA_FORKS" not in os.environ:
        server = contextlib.ExitStack()
        server.enter_context(forks.served())
        config.add_cleanup(server.close)
    if "NLA_FORKS" in os.environ and config.getoption("nbval_current_env", False):
        config.option.nbval_current_env = False  # the kernel python3 is that server's


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """As many as there are cores for this process, by its affinity and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = Path("/sys/fs/cgroup/cpu.max")
    quota, period = limit.read_text().split() if limit.is_file() else ("max", "1")
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


def pytest_collection_modifyitems(items):
    """The whole series and the notebooks come first, so that none of these long files is alone at the end.

    A cell that scans may have to wait until the same checkpoints are measured for another notebook.
    """
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.timeout(1200))
    items.sort(key=lambda item: (item.path.stem != "test_whole_series", item.path.suffix != ".ipynb"))
