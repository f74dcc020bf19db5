"""The Makefile on a folder of somebody's own, end to end, and on a name that is none."""

import nbformat
import pytest

from nla import models
from tests.helpers.make import ROOT, make


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


def test_notebooks_of_a_ladder_of_ones_own(ladder, tmp_path):
    """Two of them are run; of all, make says what it would do."""
    out = tmp_path / "build" / models.slug(ladder)
    names = ["00_checkpoints", "01_norms"]
    done = make(*(f"{out / name}.ipynb" for name in names), f"MODEL={ladder}")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        cells = nbformat.read(out / f"{name}.ipynb", as_version=4).cells
        (given,) = [c for c in cells if "injected-parameters" in c.metadata.get("tags", [])]
        assert f'MODEL = "{ladder}"' in given.source
    assert list((tmp_path / "figures" / models.slug(ladder)).glob("01_*.png"))
    assert "nla execute" not in make(f"{out / names[1]}.ipynb", "-n", f"MODEL={ladder}").stdout
    rest = make("all", "-n", f"MODEL={ladder}").stdout
    assert "nla scan" not in rest and rest.count("nla series") == 1 and rest.count("nla report") >= 1
    for other in ("STEPS=0,20", "PDF=1"):
        assert "nla execute" in make(f"{out / names[1]}.ipynb", "-n", f"MODEL={ladder}", other).stdout


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_all_on_a_ladder_of_ones_own(ladder, tmp_path):
    done = make("all", f"MODEL={ladder}")
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "build" / models.slug(ladder)
    names = {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert {p.stem for p in out.glob("*.ipynb")} == names
    assert "nla series" not in make("all", "-n", f"MODEL={ladder}").stdout
    (out / ".pdf").touch()
    for path in (*sorted(out.glob("*.ipynb")), out / ".executed", out / "report" / "index.html"):
        path.touch()
    assert "nla series" not in make("all", "-n", f"MODEL={ladder}", "PDF=1").stdout
