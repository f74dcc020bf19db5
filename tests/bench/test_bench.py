"""The items of tests/bench run, in seconds, on a model of no size; one that fails harms no other."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from nla.commands import forks
from nla.models import paths
from tests import bench
from tests.bench import __main__ as runner, synthetic, timing

OFFLINE = ("growth", "import", "limit", "low_rank", "seed")  # the others make an environment, or start many processes


def test_items_run_without_network(tmp_path):
    environment = os.environ | {"BENCH": "tiny", "NLA_BUILD": str(tmp_path), "OMP_NUM_THREADS": "2"}
    command = [forks.python(), "-m", "tests.bench", *OFFLINE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=paths.root())
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "bench.json").read_text())
    assert set(results) == set(OFFLINE)
    for item in results.values():
        for row in item["rows"]:
            assert row["name"] in done.stdout and row["ratio"] > 0


def test_an_item_that_fails_is_named_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def fails(size):
        raise SystemExit("no network")

    row = {"name": "a row", "ours": 1.0, "theirs": 20.0, "ratio": 20.0, "target": ">= 10"}
    items = {"bench_seed": fails, "bench_limit": lambda size: [row, row | {"name": "short", "ratio": 2.0}]}
    for name, rows in items.items():
        monkeypatch.setitem(sys.modules, f"tests.bench.{name}", SimpleNamespace(rows=rows))
        monkeypatch.setattr(bench, name, sys.modules[f"tests.bench.{name}"], raising=False)
    monkeypatch.setattr(synthetic, "BUILD", tmp_path)
    assert runner.main(["seed", "limit"], "tiny") == 1
    said = capsys.readouterr().out
    assert (
        "could not be run: seed (no network)" in said
        and "a row" in said
        and "1 short of the target\n  limit: short" in said
    )
    assert list(json.loads((tmp_path / "bench.json").read_text())) == ["limit"]
    assert runner.main(["limit"], "tiny") == 0
    assert runner.main(["limits"], "tiny") == runner.main([], "big") == 2


@pytest.mark.parametrize(
    ("ratio", "target", "verdict"),
    [(10, ">= 10", True), (9.9, ">= 10", False), (1.5, "<= 1.5", True), (1.6, "<= 1.5", False), (1, None, None)],
)
def test_targets(ratio, target, verdict):
    assert runner.passed({"ratio": ratio, "target": target}) is verdict


def test_the_fastest_of_each_way_is_compared_and_noise_is_said():
    assert timing.in_turn(2, lambda: 1.0, lambda: 3.0) == [[1.0, 1.0], [3.0, 3.0]]
    quiet = timing.row("x", [1.0, 1.1, 1.1], [20.0, 21.0], ">= 10", "note")
    assert quiet["ratio"] == 20 and quiet["note"] == "note"
    noisy = timing.row("x", [1.0, 2.0, 2.0], [20.0, 21.0], ">= 10", "note", grows=False)
    assert noisy["ratio"] == 0.05 and noisy["note"] == "note; noisy, ours took 1 to 2 s"


def test_the_synthetic_checkpoint_is_what_transformers_takes_for_a_pythia(tmp_path):
    from transformers import AutoModelForCausalLM

    folder = synthetic.checkpoint(tmp_path / "step0", "tiny")
    _, told = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
