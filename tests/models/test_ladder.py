"""MODEL -> checkpoints, and what a person is told when there are none."""

import re
import shutil
import subprocess

import pytest

import nla
from nla import models
from nla.commands import forks


def test_demo_is_an_ordered_ladder():
    steps = [c.step for c in nla.checkpoints("demo")]
    assert steps == [0, *(2**i for i in range(10)), 1000, 2000, 4000]


def test_ladder_is_in_order_of_training_not_of_names(ladder):
    assert [c.step for c in nla.checkpoints(str(ladder))] == [0, 1, 20, 100]
    assert {c.stage for c in nla.checkpoints(str(ladder))} == {"pretraining"}


def test_one_checkpoint_is_a_model(ladder):
    (only,) = nla.checkpoints(str(ladder / "step20"))
    assert (only.step, only.revision) == (0, "step20")


def test_unusable_models(tmp_path, ladder):
    with pytest.raises(ValueError, match="unknown model 'nonsense'"):
        nla.checkpoints("nonsense")
    with pytest.raises(ValueError, match="holds neither"):
        nla.checkpoints(str(tmp_path))
    shutil.copytree(ladder / "step20", ladder / "step0020")
    with pytest.raises(ValueError, match="the same step"):
        nla.checkpoints(str(ladder))


def test_at_step_names_the_nearest(ladder):
    ladder = nla.checkpoints(str(ladder))
    assert models.at_step(ladder, None).step == 100
    with pytest.raises(ValueError, match="has no step 21; the nearest are 0, 1, 20"):
        models.at_step(ladder, 21)


def fake(steps):
    return [models.Checkpoint("m", f"step{s}", s, "pretraining", None) for s in steps]


def test_choice_of_steps():
    pythia = fake([0, *(2**i for i in range(10)), *range(1000, 143001, 1000)])
    assert len(pythia) == 154
    log = [c.step for c in models.choose(pythia, "log")]
    assert 15 <= len(log) <= 20 and log[0] == 0 and log[-1] == 143000 and log == sorted(log)
    assert [c.step for c in models.choose(pythia, 50)] == [0, 40000, 90000, 140000]
    assert models.choose(pythia, "50") == models.choose(pythia, 50)
    assert [c.step for c in models.choose(pythia, "512,8,143000")] == [8, 512, 143000]
    assert [c.step for c in models.choose(pythia, [512, 8])] == [8, 512]
    assert models.choose(pythia) == pythia
    for bad, message in (([7], "no step 7"), ("some", "unknown choice"), (0, "at least 1")):
        with pytest.raises(ValueError, match=message):
            models.choose(pythia, bad)


def test_history_and_recipe():
    record, recipe = nla.history("demo"), nla.recipe("demo")
    assert recipe.steps == record["saved"][-1]["step"] == 4000
    assert recipe.warmup == 40 and recipe.weight_decay == 0.1
    assert nla.recipe("demo").learning_rate(40) == pytest.approx(recipe.peak)


def test_no_history_no_recipe(ladder):
    assert nla.history(str(ladder)) is None and nla.recipe(str(ladder)) is None


def test_slug():
    assert models.slug("org/name@rev") == "org--name@rev"
    assert models.slug("/a/b") == "a--b"
    odd = [models.slug(name) for name in ("", ".", "..", "-rf", "a b", "a'b", "a=b", "a;b", "ü", "a" * 300)]
    assert len(set(odd)) == len(odd) and all(re.fullmatch(r"[\w+@,][\w.,+@-]{3,159}", name, re.A) for name in odd)


@pytest.mark.parametrize("arguments", [["nonsense"], ["demo", "--steps", "sometimes"], ["demo", "--steps", "3,4"]])
def test_command_line_says_one_line(arguments):
    done = subprocess.run([forks.python(), "-m", "nla", "check", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("nla: ") and done.stderr.count("\n") == 1
