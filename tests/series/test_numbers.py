"""nbval over the notebooks: what passes as the same output, and what does not."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

CONFTEST = Path(__file__).parents[2] / "notebooks" / "conftest.py"
differs = runpy.run_path(str(CONFTEST))["differs"]


@pytest.mark.parametrize(
    "stored, found",
    [
        ("loss 7.12 -> 2.10 nats", "loss 7.13 -> 2.09 nats"),  # one unit of the last digit
        ("kind   rms\nquery    1\nkey  0.9", "kind     rms\nquery  0.999\nkey    0.9"),  # another width
        ("1.42e-05 99.9 1e-8", "1.43e-05  100 2e-8"),
        ("0.0 ±1.7, -0.001 x, +0.0", "-0.0 ±1.6, 0.000 x, -0.1"),
        ("-0.48 nan inf", "−0.49 nan inf"),
        ("12.0 %, 0.5; 8-16 of 1,234 in step3, 3.11.7", "12.1 %, 0.4; 8-16 of 1,234 in step3, 3.11.7"),
        ("1 of 10", "1.00 of 10"),
    ],
)
def test_the_same(stored, found):
    assert not differs(stored, found) and not differs(found, stored)


@pytest.mark.parametrize(
    "stored, found",
    [
        ("loss 7.12 falls", "loss 7.12 rises"),  # a word
        ("rises by 0.50", "rises by -0.50"),  # a sign
        ("-0.001", "+0.001"),
        ("7.12", "7.14"),  # a digit
        ("1.42e-05", "1.45e-05"),
        ("1.42e-05", "1.42e-06"),
        ("1.42e-05", "1.42"),
        ("38 matrices", "39 matrices"),  # a count
        ("1,234 of 5", "1,244 of 5"),
        ("40%", "41%"),
        ("a 1.0\nb 1.0", "a 1.0"),  # a line
        ("a 1.0", "a 1.0\nb 1.0"),
        ("a 1.0", "a 1.0 1.0"),  # a number
        ("a 1.0", "a nan"),
        ("0.2 ±0.1", "0.2 0.1"),
        ("steps 8-16", "steps 8-32"),
        ("step8", "step9"),
        ("torch 2.13.0", "torch 2.14.0"),
    ],
)
def test_not_the_same(stored, found):
    assert differs(stored, found) and differs(found, stored)


def test_a_cell_states_its_tolerance():
    tolerance = [{"lines": "^condition", "relative": 0.1, "why": ""}, {"units": 3, "counts": 2, "why": ""}]
    assert not differs("condition 1.50e+03 40\nrest 0.10 40", "condition 1.64e+03 43\nrest 0.13 42", tolerance)
    assert "1.67e+03" in differs("condition 1.50e+03", "condition 1.67e+03", tolerance)
    assert "0.14" in differs("rest 0.10", "rest 0.14", tolerance) and "43" in differs("rest 40", "rest 43", tolerance)
    assert differs("condition 1.5", "rest 1.5", tolerance)


def test_nbval_compares_so(tmp_path):
    """One notebook, run: each of its cells passes or fails as its last word says."""
    said = [
        ("print('loss 7.12, then 2.10') # ok", "loss 7.11, then 2.11\n", {}),
        ("print('loss 7.12, then 2.10') # no", "loss 7.12, then 2.18\n", {}),
        ("print('loss 7.12, then 2.10') # ok", "loss 7.12, then 2.18\n", {"tolerance": [{"relative": 0.05}]}),
        ("print('loss 7.12, then 2.10') # no", "rise 7.12, then 2.10\n", {"tolerance": [{"relative": 0.05}]}),
        ("print('0.5') # no", "0.5\n0.5\n", {}),
        ("print('-0.5') # no", "0.5\n", {}),
    ]
    notebook = nbformat.v4.new_notebook()
    for number, (source, text, metadata) in enumerate(said, 1):
        output = nbformat.v4.new_output("stream", name="stdout", text=text)
        metadata = {"tags": ["nbval-check-output"], **metadata}
        cell = nbformat.v4.new_code_cell(source, outputs=[output], execution_count=number, metadata=metadata)
        notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "small.ipynb")
    shutil.copy(CONFTEST, tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "nbval.plugin", "--nbval-lax", "--nbval-current-env", "-v"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1"}
    done = subprocess.run([*command, tmp_path], cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = dict(re.findall(r"::Cell (\d) (PASSED|FAILED)", done.stdout))
    expected = {str(n): "PASSED" if source.endswith("ok") else "FAILED" for n, (source, *_) in enumerate(said)}
    assert found == expected, done.stdout
    assert "2.10 in place of 2.18, beyond the last digit, in 'loss 7.12, then 2.10'" in done.stdout
