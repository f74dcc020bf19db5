"""The Makefile on a folder of somebody's own, end to end, and on a name that is none."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from nla import models
from tests.helpers import forks

ROOT = Path(__file__).parent.parent


def make(*arguments):
    """Run make with this interpreter in place of .venv."""
    bin = Path(sys.executable).parent
    command = ["make", "-C", ROOT, "--no-print-directory", *arguments, "SETUP=Makefile", f"PY={forks.python()}"]
    return subprocess.run([*command, f"BIN={bin}/"], capture_output=True, text=True, env=dict(os.environ))


def test_help_is_the_default():
    done = make()
    assert done.returncode == 0
    for target in ("setup", "all", "notebooks", "test", "check", "lint", "demo", "report", "clean"):
        assert f"\n  {target} " in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [(["MODEL=nonsense"], "unknown model 'nonsense'"), (["STEPS=sometimes"], "unknown choice of steps")],
)
def test_nonsense_ends_with_one_clear_line(arguments, message, tmp_path):
    done = make("all", *arguments)
    assert done.returncode != 0
    assert done.stdout == "" and done.stderr.count("\n") == 1 and message in done.stderr
    assert not (tmp_path / "build").exists()


def test_all_on_a_ladder_of_ones_own(ladder, tmp_path):
    done = make("all", f"MODEL={ladder}")
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "build" / models.slug(ladder)
    names = {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert {p.stem for p in out.glob("*.ipynb")} == names
    for path in out.glob("*.ipynb"):
        cells = [
            c for c in nbformat.read(path, as_version=4).cells if "injected-parameters" in c.metadata.get("tags", [])
        ]
        assert f'MODEL = "{ladder}"' in cells[0].source
    index = (out / "report" / "index.html").read_text()
    assert all(f'href="{name}.html"' in index and (out / "report" / f"{name}.html").is_file() for name in names)
    assert list((tmp_path / "figures" / models.slug(ladder)).glob("01_*.png"))
    again = make("all", f"MODEL={ladder}")
    assert again.returncode == 0 and "papermill" not in again.stdout and "on /" not in again.stdout
    assert "papermill" not in make("all", "-n", f"MODEL={ladder}").stdout
    for other in ("STEPS=0,20", "PDF=1"):
        assert make("all", "-n", f"MODEL={ladder}", other).stdout.count("papermill") == len(names)
    (out / ".pdf").touch()
    for path in (*sorted(out.glob("*.ipynb")), out / "report" / "index.html"):
        path.touch()
    assert "papermill" not in make("all", "-n", f"MODEL={ladder}", "PDF=1").stdout
