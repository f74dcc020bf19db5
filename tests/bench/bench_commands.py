"""The two commands of the README on `demo`, from an empty build folder, beside what they may take on 2 idle cores."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from tests.bench import synthetic

ROOT = Path(__file__).parents[2]
MAY_TAKE = {"all": 360, "test": 600}  # seconds


def rows(size):
    """`make all` and `make test`; at size tiny what they would do is printed by make and nothing is run."""
    return [_row(target, size) for target in MAY_TAKE]


def _row(target, size):
    folder = synthetic.place("commands", target)
    shutil.rmtree(folder, ignore_errors=True)
    bin = Path(sys.executable).parent
    command = ["make", "--no-print-directory", target, "SETUP=Makefile", f"PY={sys.executable}", f"BIN={bin}/"]
    start = time.perf_counter()
    environment = os.environ | {"NLA_BUILD": str(folder), "NLA_FIGURES": str(folder / "figures")}
    subprocess.run([*command, *(["-n"] if size == "tiny" else [])], cwd=ROOT, env=environment, check=True)
    seconds, note = time.perf_counter() - start, "after installation, on all cores of this machine"
    times = folder / "demo" / "times.csv"
    if target == "all" and times.is_file():
        slowest = pd.read_csv(times).query("cell == 'all'").nlargest(3, "seconds")
        note += "; " + ", ".join(f"{row.notebook} {row.seconds:.0f} s" for row in slowest.itertuples())
    may = MAY_TAKE[target]
    return dict(name=f"make {target} | goal", ours=seconds, theirs=may, ratio=may / seconds, target=">= 1", note=note)
