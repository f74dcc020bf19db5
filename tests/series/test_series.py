"""Notebooks side by side: each is told of, one that stops is named in three lines, an interrupt leaves nothing."""

import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import pandas as pd
import psutil
import pytest

from nla.commands import forks, series
from nla.models import paths

PARAMETERS = nbformat.v4.new_code_cell('MODEL = "demo"\nSTEPS = "all"', metadata={"tags": ["parameters"]})


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A function that writes notebooks of one cell each as the series of a checkout of its own."""
    folder = tmp_path / "checkout" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.setattr(series, "root", lambda: folder.parent)

    def write(**cells):
        for name, source in cells.items():
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            notebook = nbformat.v4.new_notebook(cells=[PARAMETERS, nbformat.v4.new_code_cell(source)], metadata=kernel)
            nbformat.write(notebook, folder / f"{name.removeprefix('_')}.ipynb")
        return folder

    return write


@pytest.fixture
def forked(monkeypatch):
    """Notebooks start as forks."""
    monkeypatch.setattr(sys, "executable", forks.python())


@pytest.mark.usefixtures("forked")
def test_those_that_stop_are_told_in_three_lines_and_the_others_go_on(notebooks, tmp_path, capfd):
    fails = "total = 1\nassert total == 2, 'no such total'\n"
    notebooks(_00_fine="print(MODEL)", _01_fails=fails, _02_dies="import os; os._exit(1)", _03_fine="1 + 1")
    assert sorted(series.series("a/model", jobs=2)) == ["01_fails", "02_dies"]
    said, errors = capfd.readouterr()
    out = paths.build("a--model")
    lines = [line for line in errors.splitlines() if re.match(r"nla: | {5}\S", line)]  # not what kernels log
    place = next(i for i, line in enumerate(lines) if "01_fails" in line)
    assert lines[place] == f"nla: 01_fails stopped in cell [3]; see {out / '01_fails.partial.ipynb'}"
    assert lines[place + 1 : place + 3] == [
        "     assert total == 2, 'no such total'",
        "     AssertionError: no such total",
    ]
    place = next(i for i, line in enumerate(lines) if "02_dies" in line)
    assert "Kernel died" in lines[place + 1] and "-j1" in lines[place + 2] and len(lines) == 6
    assert {p.name for p in out.glob("*.ipynb") if "partial" not in p.name} == {"00_fine.ipynb", "03_fine.ipynb"}
    assert "00_fine" in said and "03_fine" in said and "2 notebooks on a/model" in said
    times = pd.read_csv(out / "times.csv")
    assert set(times.notebook) == {"00_fine", "03_fine"} and set(times.cell) == {"all", "1", "2", "3"}


@pytest.mark.usefixtures("forked")
def test_only_what_is_missing_or_old_is_run_again(notebooks, capfd):
    folder = notebooks(_00_one="1", _01_two="2")
    assert series.series("m", jobs=2) == [] and "2 notebooks" in capfd.readouterr().out
    assert series.series("m", jobs=2) == [] and capfd.readouterr().out == ""
    later = time.time() + 5
    os.utime(folder / "01_two.ipynb", (later, later))
    assert series.series("m", jobs=2) == []
    said = capfd.readouterr().out
    assert "01_two" in said and "00_one" not in said and "1 of 1" in said


@pytest.mark.parametrize("count", [1, 2])  # one by itself is a process of its own, several are forks of one
def test_an_interrupt_leaves_no_process_and_no_half_notebook(notebooks, tmp_path, monkeypatch, count):
    for name in ("NLA_FORKS", "JUPYTER_PATH"):
        monkeypatch.delenv(name, raising=False)
    cell = f"import os, pathlib, time; pathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch(); time.sleep(600)"
    folder = notebooks(**{f"_0{i}_long": cell for i in range(count)})
    code = "import pathlib, sys; from nla.commands import series; series.root = lambda: pathlib.Path(sys.argv[1]); "
    process = subprocess.Popen([sys.executable, "-c", code + "series.series('m', jobs=2)", folder.parent])
    try:
        end = time.monotonic() + 200
        while len(kernels := list(tmp_path.glob("*.pid"))) < count and time.monotonic() < end:
            time.sleep(0.2)
        below = [psutil.Process(int(path.stem)) for path in kernels]
        below += psutil.Process(process.pid).children(recursive=True)
        assert len(kernels) == count
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
        _, alive = psutil.wait_procs(below, timeout=60)
        assert alive == [] and not list(paths.build("m").glob("*long.ipynb"))
    finally:
        process.kill()


def test_the_time_left_is_that_of_the_longest_or_of_all():
    assert series._left({"a": 100.0}, ["a"], [], 2) == ", about 50 s left"
    assert series._left({"a": 600.0, "b": 200.0}, ["a", "b", "new"], [], 2) == ", about 10 min left"
    assert series._left({"a": 100.0}, [], [], 2) == ""
