"""What runs a model at a checkpoint is made once, while the files are there, and keyed by all that it depends on."""

import json

import pandas as pd
import pytest

import nla
from nla.running.evaluation import CannotRun
from nla.studies import runs
from tests.helpers.ladders import branches


class Log:
    """Calls of a run; an object that its fingerprint does not look into."""

    def __init__(self):
        self.calls = []


LOG = Log()


def run(checkpoint):
    LOG.calls.append(checkpoint.revision)
    return pd.DataFrame({"step": [checkpoint.step], "curve": [[1.0, 2.0]]})


def cannot(checkpoint):
    LOG.calls.append(checkpoint.revision)
    raise CannotRun("it has no voice")


@pytest.fixture(autouse=True)
def no_calls():
    LOG.calls.clear()


def test_a_run_is_made_once_for_each_checkpoint(ladder):
    last = nla.checkpoints(str(ladder))[-1]
    first, again = runs.at(run, last), runs.at(run, last)
    assert LOG.calls == ["step100"] and again.step.tolist() == first.step.tolist() == [100]
    assert list(again.curve[0]) == [1.0, 2.0]


def test_what_cannot_be_run_is_not_tried_again(ladder):
    last = nla.checkpoints(str(ladder))[-1]
    for _ in range(2):
        with pytest.raises(CannotRun, match="it has no voice"):
            runs.at(cannot, last)
    assert LOG.calls == ["step100"] and runs.made(cannot, last) is None


@pytest.mark.parametrize("what", ["weights", "tokenizer", "text", "config"])
def test_it_is_made_anew_when_what_it_depends_on_changes(ladder, tmp_path, monkeypatch, what):
    def last():
        return nla.checkpoints(str(ladder))[-1]

    (ladder / "tokenizer.json").write_text("{}")
    runs.at(run, last())
    if what == "weights":
        (ladder / "step100" / "model.safetensors").write_bytes((ladder / "step20" / "model.safetensors").read_bytes())
    elif what == "tokenizer":
        (ladder / "tokenizer.json").write_text('{"version": 2}')
    elif what == "config":
        path = ladder / "step100" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"rotary_pct": 0.5}))
    else:
        (tmp_path / "other.txt").write_text("another text")
        monkeypatch.setenv("TEXT", str(tmp_path / "other.txt"))
    runs.at(run, last())
    assert LOG.calls == ["step100"] * 2


def test_a_scan_of_the_hub_makes_them_while_the_files_are_there(hub, ladder):
    hub.add("acme/tiny", branches(ladder))
    nla.scan("acme/tiny", nla.norms, visit=runs.visitor("acme/tiny", "all", [(run, "log2"), (cannot, [20])]))
    assert sorted(LOG.calls) == ["step0", "step100", "step20"]
    asked = hub.count("GET /lfs/")
    assert runs.at(run, nla.checkpoints("acme/tiny")[0]).step.tolist() == [0]
    assert hub.count("GET /lfs/") == asked and len(LOG.calls) == 3
