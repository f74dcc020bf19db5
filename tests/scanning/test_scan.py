"""One tidy table: computed once, resumed after a kill, shared by two runs, unharmed by one bad checkpoint."""

import json
import os
import subprocess
import textwrap
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import nla
from nla.commands import forks
from nla.scanning import KEYS
from tests.helpers.files import spoil


class Log:
    """Calls of a measure; an object that its fingerprint does not look into."""

    def __init__(self):
        self.calls = []


LOG = Log()


def counting(matrix):
    LOG.calls.append((matrix.step, matrix.kind, matrix.layer))
    return {"top": matrix.singular_values[0], "curve": matrix.singular_values}


@pytest.fixture(autouse=True)
def no_calls():
    LOG.calls.clear()


def test_one_row_per_matrix_and_checkpoint(ladder):
    table = nla.scan(str(ladder), [nla.norms, counting])
    assert list(table.columns[: len(KEYS)]) == KEYS
    assert len(table) == 4 * 14
    assert table.groupby("step", sort=False).size().to_dict() == {0: 14, 1: 14, 20: 14, 100: 14}
    assert table.finite.all()
    row = table[(table.step == 20) & (table.kind == "dense_4h_to_h") & (table.layer == 1)].iloc[0]
    with nla.load(str(ladder), step=20) as weights:
        W = weights.matrix("dense_4h_to_h", 1).values.double().numpy()
    assert (row.rows, row.cols) == W.shape == (42, 100)
    assert row.l1 == pytest.approx(np.abs(W).sum())
    assert (row.top, row.curve[0]) == pytest.approx([np.linalg.norm(W, 2)] * 2)
    assert set(table[table.layer == -1].kind) == {"embed_in", "embed_out"}


def test_copies_are_marked(ladder):
    table = nla.scan(str(ladder), counting)
    marks = table.groupby("step").duplicate_of.first()
    assert marks[1] == "step0" and marks.drop(1).isna().all()
    assert table.attrs["summary"] == {"done": 4, "reused": 0, "duplicates": 1, "failed": {}, "notes": []}


def test_copies_are_computed_once_if_the_measure_allows(ladder):
    def pure(matrix):
        LOG.calls.append(matrix.step)
        return {"top": matrix.singular_values[0]}

    pure.pure = True
    table = nla.scan(str(ladder), pure)
    assert set(LOG.calls) == {0, 20, 100} and len(LOG.calls) == 42
    assert table[table.step == 1].top.tolist() == table[table.step == 0].top.tolist()
    assert set(table[table.step == 1].revision) == {"step1"}


def test_a_measure_may_choose_its_steps(ladder):
    def ends(matrix):
        return {"x": matrix.step}

    ends.steps = [0, 100]
    assert set(nla.scan(str(ladder), ends).step) == {0, 100}
    both = nla.scan(str(ladder), [counting, ends])
    assert both.groupby("step").x.count().to_dict() == {0: 14, 1: 0, 20: 0, 100: 14}


def test_second_call_reads(ladder):
    first = nla.scan(str(ladder), counting)
    count = len(LOG.calls)
    second = nla.scan(str(ladder), counting)
    assert count == 56 == len(LOG.calls)
    assert second.attrs["summary"]["reused"] == 4
    first.attrs = second.attrs = {}
    assert [r.tolist() for r in first.curve] == [r.tolist() for r in second.curve]
    assert first.drop(columns="curve").equals(second.drop(columns="curve"))
    assert nla.scan(str(ladder), counting, kinds=["key"], layers=[1]).shape[0] == 4
    assert len(LOG.calls) == count
    nla.scan(str(ladder), counting, steps=[20], refresh=True)
    assert len(LOG.calls) == count + 14


def test_a_new_measure_opens_only_what_is_missing(ladder):
    nla.scan(str(ladder), nla.norms, steps=[0, 20])
    table = nla.scan(str(ladder), [nla.norms, counting])
    assert {"l1", "top"} <= set(table.columns)
    assert len(table) == len(LOG.calls) == 56


def test_changed_files_are_measured_again(ladder):
    before = nla.scan(str(ladder), counting)
    path = ladder / "step20" / "model.safetensors"
    save_file({k: 2 * v for k, v in load_file(path).items()}, path)
    after = nla.scan(str(ladder), counting)
    ratio = (after.top / before.top).groupby(after.step).median()
    assert ratio.to_dict() == pytest.approx({0: 1, 1: 1, 20: 2, 100: 1})
    assert after.attrs["summary"]["done"] == 1


def test_a_users_own_measure_in_three_lines(ladder):
    table = nla.scan(str(ladder), lambda m: {"largest": m.weight.abs().max(), "tall": m.shape[0] > m.shape[1]})
    with nla.load(str(ladder)) as weights:
        assert table.largest.iloc[-1] == float(weights.matrix("embed_out").weight.abs().max())
    again = nla.scan(str(ladder), lambda m: {"largest": m.weight.min()})
    assert (again.largest < 0).all()  # another lambda is another measure


def test_kinds_of_a_measure(ladder):
    def only_mlp(matrix):
        return {"x": matrix.layer}

    only_mlp.kinds = ("dense_h_to_4h",)
    assert set(nla.scan(str(ladder), only_mlp).kind) == {"dense_h_to_4h"}
    both = nla.scan(str(ladder), [counting, only_mlp])
    assert len(both) == 56 and both.x.notna().sum() == 8


def test_subsets_are_kept_apart(ladder):
    part = nla.scan(str(ladder), counting, steps=[20], kinds=["query"], layers=[0])
    assert LOG.calls == [(20, "query", 0)] and len(part) == 1
    nla.scan(str(ladder), counting, steps=[20], kinds=["query"], layers=[0])
    assert len(LOG.calls) == 1
    assert len(nla.scan(str(ladder), counting, steps=[20])) == 14


def test_a_part_that_a_measure_does_not_look_at(ladder):
    def only_mlp(matrix):
        return {"x": matrix.layer}

    only_mlp.kinds = ("dense_h_to_4h",)
    for done in (1, 0):  # computed, then read
        table = nla.scan(str(ladder), [only_mlp, counting], steps=[20], kinds="query")
        assert len(table) == 2 and "x" not in table and table.attrs["summary"]["done"] == done
        assert len(nla.scan(str(ladder), only_mlp, steps=[20], kinds="query")) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_inf_are_marked(ladder, value):
    spoil(ladder, 20, "gpt_neox.layers.0.attention.dense.weight", value)
    table = nla.scan(str(ladder), nla.norms)
    bad = table[~table.finite]
    assert bad[["step", "kind", "layer"]].values.tolist() == [[20, "dense", 0]]
    assert bad[["l1", "spectral"]].isna().all(axis=None)
    assert table[table.finite][["l1", "spectral"]].notna().all(axis=None)


def test_damaged_checkpoint_is_reported_and_the_rest_goes_on(ladder):
    os.truncate(ladder / "step20" / "model.safetensors", 4000)
    with pytest.warns(UserWarning, match="step20 left out"):
        table = nla.scan(str(ladder), counting)
    assert set(table.step) == {0, 1, 100}
    assert "not a whole safetensors" in table.attrs["summary"]["failed"]["step20"]
    done = subprocess.run([forks.python(), "-m", "nla", "scan", str(ladder)], capture_output=True, text=True)
    assert done.returncode == 3 and "1 failed" in done.stdout


def test_nothing_readable_is_an_error(ladder):
    for step in (0, 1, 20, 100):
        os.truncate(ladder / f"step{step}" / "model.safetensors", 4000)
    with pytest.raises(nla.CheckpointError, match="no checkpoint of"), pytest.warns(UserWarning):
        nla.scan(str(ladder), counting)


@pytest.mark.parametrize(
    "measure, error, message",
    [
        (lambda m: 3.0, TypeError, "returned a float"),
        (lambda m: {"x": m.weight}, TypeError, "neither a number nor a 1-D array"),
        (lambda m: {"x": "text"}, TypeError, "neither a number"),
        (lambda m: {"kind": 1}, ValueError, "may not use the column name 'kind'"),
        ([counting, counting], ValueError, "two measures are called counting"),
        ([], ValueError, "no measure"),
        ([nla.norms, lambda m: {"l1": 0.0}], ValueError, "lambda and norms both return 'l1'"),
    ],
)
def test_unusable_measures(ladder, measure, error, message):
    with pytest.raises(error, match=message):
        nla.scan(str(ladder), measure)


def test_an_exception_in_a_measure_says_where(ladder):
    def broken(matrix):
        return {"x": 1 / 0}

    with pytest.raises(ZeroDivisionError) as caught:
        nla.scan(str(ladder), broken)
    assert "in broken of" in caught.value.__notes__[0]


def test_unknown_names(ladder):
    with pytest.raises(ValueError, match="did you mean query"):
        nla.scan(str(ladder), counting, kinds=["querry"])
    with pytest.raises(ValueError, match="layer 7 is not in"):
        nla.scan(str(ladder), counting, layers=[7])


def test_thread_settings_are_left_as_they_were(ladder):
    before = torch.get_num_threads()
    nla.scan(str(ladder), counting)
    assert torch.get_num_threads() == before


SLOW = """
import sys, time, nla
def slow(matrix):
    time.sleep(0.02)
    with open(sys.argv[2], "a") as log:
        log.write(f"{matrix.step} {matrix.kind} {matrix.layer}\\n")
    return {"x": float(matrix.step)}
table = nla.scan(sys.argv[1], slow, workers=1, progress=False)
print(len(table), table.x.sum())
"""


def start(ladder, log, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent(SLOW))
    return subprocess.Popen([forks.python(), script, ladder, log], stdout=subprocess.PIPE, text=True)


def test_killed_scan_loses_at_most_the_checkpoint_in_hand(ladder, tmp_path):
    log = tmp_path / "log"
    process = start(ladder, log, tmp_path)
    deadline = time.time() + 60
    while time.time() < deadline and (not log.exists() or log.read_text().count("\n") < 20):
        time.sleep(0.01)
    forks.kill(process)
    measured = log.read_text().splitlines()
    assert 20 <= len(measured) < 56
    log.unlink()
    second = start(ladder, log, tmp_path)
    assert second.communicate()[0].split() == ["56", str(14 * 121.0)]
    again = {line.split()[0] for line in log.read_text().splitlines()}
    assert "0" not in again  # the first checkpoint was whole
    assert not list((tmp_path / "build").rglob("*.partial"))


def test_two_scans_at_once_share_the_work(ladder, tmp_path):
    log = tmp_path / "log"
    both = [start(ladder, log, tmp_path) for _ in range(2)]
    results = [p.communicate()[0].split() for p in both]
    assert results == [["56", str(14 * 121.0)]] * 2
    assert len(log.read_text().splitlines()) == 56  # nothing was measured twice


def test_summary_is_plain_data(ladder):
    json.dumps(nla.scan(str(ladder), counting).attrs["summary"])


def test_checkpoints_of_one_size_and_time_are_not_taken_for_copies(ladder):
    for path in ladder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    table = nla.scan(str(ladder), nla.norms)
    assert set(table[table.duplicate_of.notna()].revision) == {"step1"}
    assert table.groupby("step").l1.sum().nunique() == 3
