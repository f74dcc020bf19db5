"""The whole series over each kind of model that README lists, with one oddity at a time, and over chains of them."""

import re
import subprocess

import nbformat
import pytest

from nla.commands import forks
from nla.models import slug
from nla.models.paths import build
from tests.helpers import kinds
from tests.helpers.make import ROOT

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def nla(*arguments):
    """python -m nla, as make calls it; its exit status and what it said."""
    done = subprocess.run([forks.python(), "-m", "nla", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("what", kinds.CASES, ids=lambda what: re.sub(r"\W+", "-", what))
def test_every_notebook_runs_on(what, tmp_path):
    model = kinds.CASES[what](tmp_path / "models")
    for command in ("scan", model), ("series", "--jobs", "1", model):
        status, said = nla(*command)
        assert status == 0, said
    executed = {path.stem: nbformat.read(path, 4) for path in build(slug(model)).glob("*.ipynb")}
    assert sorted(executed) == NOTEBOOKS
    for name, notebook in executed.items():
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        warned = [output.text for output in outputs if output.get("name") == "stderr"]
        assert not warned, f"{name}: {warned[0]}"
