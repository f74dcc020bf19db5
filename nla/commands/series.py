"""MODEL -> all its executed notebooks, side by side, with a line for each that is done and how long the others take."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack

import pandas as pd

from nla.commands import forks
from nla.models import slug
from nla.models.paths import build, root

ANYWAY = 1.5e9  # bytes that a notebook takes beside its model: Python, torch, tables and figures
COPIES = 6  # of a checkpoint's files: the running model in float32 and a changed one, of weights in 16 bits
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def together(model):
    """How many notebooks run side by side: as many as there are cores and as find room in the memory, at least one."""
    from nla import models
    from nla.numerics import threads

    last = models.checkpoints(model)[-1]
    try:
        size = last.source.size()
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # the scan says what is wrong with a checkpoint; no such number on this system
        return 1
    return max(1, min(threads.cores(), int(free / (ANYWAY + COPIES * size))))


def series(model, steps="all", jobs=None):
    """Run all notebooks whose result is not there or is older than the scan; returns the names of those that stopped.

    Parameters
    ----------
    jobs : int, optional
        How many run at once, one BLAS thread each; by default `together`.
    """
    out, begun, stopped = build(slug(model)), time.monotonic(), []
    waiting, jobs = _stale(out), jobs or together(model)
    seconds, count = _seconds(out), len(waiting)
    waiting.sort(key=lambda path: -seconds.get(path.stem, 0))  # the longest first, so that none is alone at the end
    served, running, threads = ExitStack(), {}, ONE_THREAD if jobs > 1 else {}
    try:
        if count > 1 and sys.platform == "linux" and "NLA_FORKS" not in os.environ:  # seconds saved for each notebook
            served.enter_context(forks.served(os.environ | threads))
        while waiting or running:
            while waiting and len(running) < jobs:
                path = waiting.pop(0)
                command = [forks.python(), "-m", "nla", "execute", "--steps", steps, "--", model, str(path)]
                process = subprocess.Popen(command, env=os.environ | threads, start_new_session=True)
                running[process] = path, time.monotonic()
            time.sleep(0.1)
            for process in [p for p in running if p.poll() is not None]:
                path, start = running.pop(process)
                if process.returncode:
                    stopped.append(path.stem)
                    continue
                took, done = time.monotonic() - start, count - len(waiting) - len(running)
                left = _left(_seconds(out), [p.stem for p in waiting], running.values(), jobs)
                print(f"{path.stem:<27}{took:5.0f} s   {done} of {count}{left}", flush=True)
    finally:
        for process in running:  # an interrupt leaves nothing behind: a kernel ends with what started it
            process.kill()
            process.wait()
        served.close()
    if count:
        print(f"{count - len(stopped)} notebooks on {model} in {(time.monotonic() - begun) / 60:.1f} min", flush=True)
    return stopped


def _stale(out):
    """The notebooks of the series whose result for this model is missing, or older than they are or than the scan."""
    stamps = [stamp.stat().st_mtime for name in (".scanned", ".pdf") if (stamp := out / name).is_file()]
    paths = sorted((root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    made = {p: (out / p.name).stat().st_mtime for p in paths if (out / p.name).is_file()}
    return [p for p in paths if made.get(p, -1) < max([p.stat().st_mtime, *stamps])]


def _seconds(out):
    """{notebook: seconds it took} as far as it ran on this model before, this run included."""
    path = out / "times.csv"
    return dict(pd.read_csv(path).query("cell == 'all'")[["notebook", "seconds"]].values) if path.is_file() else {}


def _left(seconds, waiting, running, jobs):
    """About how long the rest takes: each notebook as long as before, or as the mean of those that ran."""
    mean = sum(seconds.values()) / len(seconds)
    work = sum(seconds.get(name, mean) for name in waiting)
    parts = [max(seconds.get(path.stem, mean) - (time.monotonic() - start), 1) for path, start in running]
    left = max([(work + sum(parts)) / jobs, *parts], default=0)
    return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left" if left else ""
