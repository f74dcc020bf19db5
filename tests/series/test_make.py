"""The Makefile on a folder of somebody's own, end to end, and on a name that is none."""

import os
import shutil
import subprocess
import sys
import time

import nbformat
import pytest

from nla import models
from nla.commands import targets
from tests.helpers.make import ROOT, make
from tests.helpers.shape import ADDRESS

NO_MODELS = ["a'b", "-rf", "a b;touch {0}", "$(shell touch {0})", "`touch {0}`", "x -j;touch {0}", '"', "..", ""]


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


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model_is_one_line_and_runs_and_removes_nothing(name, tmp_path):
    (tmp_path / "build").mkdir()
    made, name = tmp_path / "made", name.format(tmp_path / "made")
    done = make("all", f"MODEL={name}")
    assert done.returncode != 0 and done.stdout == "" and done.stderr.count("\n") == 1 and "nla: " in done.stderr
    assert repr(name) in done.stderr or "holds neither step*/ folders nor" in done.stderr
    cleaned = make("clean", f"MODEL={name}")
    assert cleaned.returncode == 0 and cleaned.stdout == f"nla: nothing is built of {name!r}\n" and not cleaned.stderr
    assert not made.exists() and list((tmp_path / "build").iterdir()) == []


@pytest.mark.parametrize("steps", ["0;touch {0}", "-rf", "a'b", "$(shell touch {0})", "two words"])
def test_what_is_no_choice_of_steps_is_one_line(steps, tmp_path):
    steps = steps.format(tmp_path / "made")
    done = make("all", f"STEPS={steps}")
    assert done.returncode != 0 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"unknown choice of steps {steps!r}" in done.stderr and not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["my runs/it's = 1.5", 'a "b" $HOME;#%*', "lr=1e-3", "-rf ü:"])
def test_a_folder_may_have_any_name(name, ladder, tmp_path):
    """Scanned once, again when a file is newer, in a chain too, and removed: that folder's build alone."""
    folder = tmp_path / "odd" / name
    shutil.copytree(ladder, folder)
    model, steps, out = f"MODEL={folder}/.", "STEPS=0,20", tmp_path / "build" / models.slug(folder)
    said = make("scan", "-n", model, steps)
    assert said.stdout.startswith(f"{folder}: 2 checkpoints, steps 0 to 20\n"), said.stderr
    assert "nla scan" in said.stdout and said.stderr == "" and not out.exists()
    targets.scanned(folder, "0,20", whole=True)
    assert "nla scan" not in make("scan", "-n", model, steps).stdout
    assert "nla scan" in make("scan", "-n", model).stdout  # other steps
    later = time.time() + 5
    os.utime(folder / "step0" / "config.json", (later, later))
    assert "nla scan" in make("scan", "-n", model, steps).stdout
    chain = make("scan", "-n", f"MODEL={ladder} > sft={os.path.relpath(folder / 'step100', ROOT)}")
    assert "2 checkpoints, steps 0 to 1" in chain.stdout, chain.stderr
    assert make("clean", model).returncode == 0 and not out.exists() and (folder / "step0").is_dir()


def test_a_notebook_of_a_folder_with_an_odd_name(ladder, tmp_path):
    folder = tmp_path / 'it\'s = 1.5 "runs"'
    shutil.copytree(ladder, folder)
    out = tmp_path / "build" / models.slug(folder)
    done = make(f"{out}/00_checkpoints.ipynb", f"MODEL={folder}/.", "STEPS=0,100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / ".steps-0,100").is_file() and (out / "00_checkpoints.ipynb").is_file()
    assert "nla" not in make(f"{out}/00_checkpoints.ipynb", "-n", f"MODEL={folder}", "STEPS=0,100").stdout


def test_address_is_written_everywhere(tmp_path):
    written = ["README.md", "CITATION.cff", "pyproject.toml", "notebooks/00_checkpoints.ipynb"]
    for name in [*written, "nla/commands/targets.py", "nla/models/paths.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for given, status in (("", 1), ("you", 1), ("'; #/x", 1), ("you/my-nla", 0)):
        said = subprocess.run([sys.executable, tmp_path / "nla/commands/targets.py", "address", given])
        assert said.returncode == status
    texts, old = [(tmp_path / name).read_text(encoding="utf-8") for name in written], "/".join(ADDRESS.split("/")[-2:])
    assert all("you/my-nla" in text and old not in text for text in texts)
    assert make("address", "-n", "REPOSITORY=$(x)'").stdout == 'python3 nla/commands/targets.py address "$REPOSITORY"\n'


@pytest.mark.parametrize(
    "given, file",
    [
        ("{}/step20", "config.json"),  # in the folder above the checkpoint
        ("{}/step20", "tokenizer.json"),
        ("{}/step0 > tuned={}/step20", "step20/model.safetensors"),
        ("{}", "step1/config.json"),
    ],
)
def test_what_a_folder_above_says_makes_it_scan_again(ladder, tmp_path, given, file):
    """Also where a file of long ago was moved there."""
    model, stamp = given.format(ladder, ladder), tmp_path / "stamp"
    path = shutil.copy(ladder / "step0" / "config.json", tmp_path / "old")
    os.utime(path, (1, 1))
    stamp.touch()
    assert not targets.changed(model, stamp)
    time.sleep(0.02)
    os.replace(path, ladder / file)
    assert targets.changed(model, stamp)


def test_jobs_are_those_of_make_not_of_a_name(ladder):
    targets.scanned(ladder, "all", whole=True)
    assert "--jobs 3" in make("all", "-n", "-j3", f"MODEL={ladder}").stdout
    assert "--jobs" not in make("all", "-n", f"MODEL={ladder}", "OTHER=x -j9").stdout


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
