"""Everything that goes wrong on the way from the Hub to the table, by a real server and really killed processes.

After each: what is on this disk is whole, the next run finishes, and the table is that of an undisturbed run.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import textwrap
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

import nla
from nla.commands import forks
from nla.models import hub_listing, retries
from nla.models.errors import Unavailable
from tests.helpers.ladders import branches, moving, on_disk, whole
from tests.helpers.processes import start

SIZE = 83112  # of model.safetensors
FILE = "GET /lfs/.*model.safetensors"


@pytest.mark.parametrize("after", [0, 1, 4096, 50_000, SIZE - 1])
def test_dropped_connection(acme, same, tmp_path, after):
    fault = acme.fault("drop", FILE, after=after, times=2)
    same(nla.scan("acme/tiny", moving))
    assert fault["hits"] == 2
    ranges = [headers.get("range") or headers.get("Range") for _, path, headers in acme.requests if "/lfs/" in path]
    assert after < 4096 or any(ranges)  # the client goes on where it was
    whole(acme, tmp_path)


def test_dropped_so_often_that_the_client_gives_up(acme, same, tmp_path):
    fault = acme.fault("drop", FILE, after=100, times=9)
    same(nla.scan("acme/tiny", moving))
    assert fault["hits"] == 9
    whole(acme, tmp_path)


def test_short_body(acme, same, tmp_path):
    fault = acme.fault("short", FILE, after=50_000, times=3)
    same(nla.scan("acme/tiny", moving))
    assert fault["hits"] == 3
    whole(acme, tmp_path)


@pytest.mark.parametrize("where", [FILE, "GET .*config.json"])
def test_wrong_bytes_of_the_right_length(acme, same, tmp_path, where):
    fault = acme.fault("wrong", where, times=2)
    same(nla.scan("acme/tiny", moving))
    assert fault["hits"] == 2
    whole(acme, tmp_path)


def test_bytes_that_stay_wrong_are_never_analysed_nor_left(acme, same, tmp_path):
    step20 = nla.checkpoints("acme/tiny")[2]
    acme.fault("wrong", f"GET /lfs/.*{step20.commit}", times=100)
    with pytest.warns(UserWarning, match="step20: model.safetensors cannot be had: its bytes are not those"):
        table = nla.scan("acme/tiny", moving)
    assert set(table.step) == {0, 1, 100} and list(table.attrs["summary"]["failed"]) == ["step20"]
    assert table[table.step == 100].moved.isna().all()  # it is compared with step20
    assert step20.commit not in {c for c, files in whole(acme, tmp_path).items() if "model.safetensors" in files}
    acme.heal()
    again = nla.scan("acme/tiny", moving)
    same(again)
    assert again.attrs["summary"]["reused"] == 2


@pytest.mark.parametrize(
    "code, reason", [(404, "not on the Hub"), (401, r"refused \(HTTP 401\)"), (403, r"refused \(HTTP 403\)")]
)
@pytest.mark.parametrize("where", ["HEAD .*/resolve/{}/model", "GET /lfs/.*{}", "GET /api/.*/tree/{}"])
def test_one_revision_is_refused(acme, same, tmp_path, code, reason, where):
    commit = nla.checkpoints("acme/tiny")[3].commit
    acme.fault("status", where.format(commit), code=code, times=100)
    with pytest.warns(UserWarning, match=f"step100 left out: .*acme/tiny@step100.*{reason}") as caught:
        table = nla.scan("acme/tiny", moving)
    assert set(table.step) == {0, 1, 20} and len(caught) == 1
    assert acme.faults[0]["hits"] <= 2  # asking again would not help
    acme.heal()
    same(nla.scan("acme/tiny", moving))
    whole(acme, tmp_path)


EVERYWHERE = ["GET .*/refs", "GET .*/tree/", "HEAD .*safetensors", FILE, "GET .*config.json"]


@pytest.mark.parametrize("where", EVERYWHERE)
@pytest.mark.parametrize("code, retry_after", [(429, 1), (503, None), (500, None), (408, None)])
def test_an_answer_that_passes(acme, same, tmp_path, where, code, retry_after):
    fault = acme.fault("status", where, code=code, retry_after=retry_after, times=3)
    same(nla.scan("acme/tiny", moving))
    assert fault["hits"] == 3
    whole(acme, tmp_path)


def test_the_hub_says_how_long_to_wait(acme, monkeypatch):
    waited = []
    clock = {"sleep": staticmethod(waited.append), "time": staticmethod(time.time)}
    monkeypatch.setattr(retries, "time", type("Clock", (), clock))
    acme.fault("status", "GET .*/refs", code=429, retry_after=7)
    acme.fault("status", "GET .*/refs", code=429, retry_after=9999)
    acme.fault("status", "GET .*/refs", code=503)
    nla.checkpoints("acme/tiny")
    assert waited == [7, 300, 4]


def test_an_answer_that_does_not_pass(acme, same, tmp_path):
    commit = nla.checkpoints("acme/tiny")[2].commit
    acme.fault("status", f"HEAD .*{commit}/model", code=503, times=1000)
    with pytest.warns(
        UserWarning, match="step20: model.safetensors cannot be had: the Hub answers HTTP 503; MODEL=demo"
    ):
        nla.scan("acme/tiny", moving)
    acme.heal()
    same(nla.scan("acme/tiny", moving))
    whole(acme, tmp_path)


@pytest.mark.parametrize("where", EVERYWHERE)
def test_stalled_connection(acme, same, tmp_path, where):
    fault = acme.fault("stall", where, after=5 if "lfs" not in where else 50_000)
    same(nla.scan("acme/tiny", moving))
    assert fault["hits"] == 1
    whole(acme, tmp_path)


def test_the_list_of_files_of_the_last_one_cannot_be_had(acme, same):
    acme.fault("status", f"GET .*/tree/{nla.checkpoints('acme/tiny')[-1].commit}", code=503, times=1000)
    with pytest.warns(
        UserWarning, match="step100 left out: the list of files .* cannot be had: the Hub answers HTTP 503"
    ):
        table = nla.scan("acme/tiny", moving)
    assert set(table.step) == {0, 1, 20} and acme.faults[0]["hits"] == 7
    acme.heal()
    same(nla.scan("acme/tiny", moving))


def test_no_connection(acme, same, monkeypatch, capfd):
    monkeypatch.setattr(hub_listing.HUB, "address", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(
        Unavailable, match=r"no connection to the Hub.*; MODEL=demo or a folder needs no network"
    ) as error:
        nla.checkpoints("acme/tiny")
    assert "\n" not in str(error.value)
    monkeypatch.setattr(hub_listing.HUB, "address", acme.endpoint)
    nla.scan("acme/tiny", moving, steps=[0, 20])
    monkeypatch.setattr(hub_listing.HUB, "address", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match="no connection to the Hub"):  # the revisions are known, not all their files
        table = nla.scan("acme/tiny", moving, steps=[0, 20, 100])
    assert set(table.step) == {0, 20}
    monkeypatch.setattr(hub_listing.HUB, "address", acme.endpoint)
    same(nla.scan("acme/tiny", moving))


def test_a_login_page_instead_of_the_hub(acme):
    acme.fault("wrong", "GET .*/refs", times=100)  # no JSON
    with pytest.raises(Unavailable, match="the answer is not a Hub's"):
        nla.checkpoints("acme/tiny")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 pages, mounted where asked."""
    mounted = []

    def mount(place, size):
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "nla-test", place], capture_output=True)
        if done.returncode:
            pytest.skip(f"no small disk here: {done.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


def test_disk_full_while_fetching(acme, same, tmp_path, small_disk):
    home = small_disk(tmp_path / "hf" / "nla", 160_000)  # room for one checkpoint and a half
    with pytest.raises(OSError, match=r"step20: .*finished checkpoints are kept, so mend this and run again") as caught:
        nla.scan("acme/tiny", moving)
    assert caught.value.errno == errno.ENOSPC and not isinstance(caught.value, nla.CheckpointError)
    assert "\n" not in str(caught.value)
    whole(acme, tmp_path)
    subprocess.run(["mount", "-o", "remount,size=1m", home], check=True)
    table = nla.scan("acme/tiny", moving)
    assert table.attrs["summary"]["reused"] == 2
    same(table)


def test_disk_just_large_enough_is_used_without_fetching_ahead(acme, tmp_path, small_disk):
    small_disk(tmp_path / "hf" / "nla", 250_000)  # the first, the present one, but not the next

    def measure(matrix):
        time.sleep(0.01)
        return {"x": matrix.step}

    measure.pure = True
    assert nla.scan("acme/tiny", measure).step.nunique() == 4


def test_disk_full_while_writing_a_table(acme, same, tmp_path, small_disk):
    build = small_disk(tmp_path / "build", 32_768)
    with pytest.raises(OSError, match="No space left") as caught:
        nla.scan("acme/tiny", lambda m: {"curve": torch.rand(3000)})
    assert "\n" not in str(caught.value)
    assert not list(build.rglob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=8m", build], check=True)
    same(nla.scan("acme/tiny", moving))


def test_killed_in_mid_download(acme, same, tmp_path):
    acme.fault("throttle", FILE, bytes=60_000, times=1)
    process = start(acme, tmp_path)
    deadline = time.time() + 60
    while time.time() < deadline and not any(n.endswith(".incomplete") for n in on_disk(tmp_path)[1]):
        time.sleep(0.02)
    time.sleep(0.3)
    forks.kill(process)
    found, other = on_disk(tmp_path)
    assert any(n.endswith(".incomplete") for n in other)
    assert not any("model.safetensors" in files for files in found.values())
    same(nla.scan("acme/tiny", moving))
    whole(acme, tmp_path)


KILLED = """
import os, signal, sys, nla
from tests.helpers.ladders import moving
real = os.replace
def replace(source, target):
    if str(target).endswith(f"{sys.argv[2]}.parquet") or str(target).endswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = replace
nla.scan(sys.argv[1], moving, progress=False)
"""


@pytest.mark.parametrize("place", ["step20", "model.safetensors", "refs.json"])
def test_killed_in_mid_write(acme, same, tmp_path, place):
    """A table, a checked file and a list, each when it is written but has not got its name."""
    env = os.environ | {"HF_ENDPOINT": acme.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    command = [forks.python(), "-c", textwrap.dedent(KILLED), "acme/tiny", place]
    assert (
        subprocess.run(command, env=env, cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__)))).returncode
        == -signal.SIGKILL
    )
    assert list(tmp_path.rglob("*.partial"))
    table = nla.scan("acme/tiny", moving)
    same(table)
    assert table.attrs["summary"]["reused"] == {"step20": 2}.get(place, 0)
    assert not list(tmp_path.rglob("*.partial"))
    whole(acme, tmp_path)


def test_two_runs_at_once_and_one_is_killed(acme, same, tmp_path):
    acme.fault("throttle", FILE, bytes=100_000, times=10)
    first, second = start(acme, tmp_path), start(acme, tmp_path)
    log = tmp_path / "log"
    deadline = time.time() + 60
    while time.time() < deadline and not (log.exists() and log.read_text().count("\n") > 5):
        time.sleep(0.02)
    forks.kill(first)
    out, err = second.communicate()
    assert out == f"56 {14 * 121.0 + 42} {{}}\n", err
    whole(acme, tmp_path)
    same(nla.scan("acme/tiny", moving))


def spoilt(ladder, how):
    """Spoil the weights of step20; returns what its report must say."""
    folder = ladder / "step20"
    path = folder / "model.safetensors"
    state = load_file(path)
    name = "gpt_neox.layers.1.attention.dense.weight"
    if "bin" in how or how == "code":
        path.unlink()
        path = folder / "pytorch_model.bin"
        torch.save(state, path)
    if how == "code":

        class Bomb:
            def __reduce__(self):
                return os.system, (f"touch {ladder}/exploded",)

        torch.save(state | {"x": Bomb()}, path)
        return r"pytorch_model.bin is not a whole or safe .bin file"
    if how.startswith("truncated"):
        os.truncate(path, path.stat().st_size - 1000)
        return f"{path.name} is not a whole"
    if how.startswith("flipped"):
        data = bytearray(path.read_bytes())
        data[3] ^= 0x40
        path.write_bytes(data)
        return f"{path.name} is not a whole"
    if how == "missing tensor":
        del state[name]
        expected = f"the tensor {name} is missing"
    elif how == "shape":
        state[name] = state[name][:40].contiguous()
        expected = f"{name} is 40 x 42 where config.json makes it 42 x 42"
    elif how == "config":
        config = json.loads((folder / "config.json").read_text()) | {"hidden_size": 45}
        (folder / "config.json").write_text(json.dumps(config))
        expected = "gpt_neox.layers.0.attention.query_key_value.weight is 126 x 42 where"
    save_file(state, path)
    return expected


@pytest.mark.parametrize(
    "how",
    ["code", "truncated", "truncated bin", "flipped", "flipped bin", "missing tensor", "shape", "config"],
)
@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_checkpoint_that_is_no_good(hub, ladder, same, tmp_path, where, how):
    """On the Hub too, and announced as it is: hashes do not help here."""
    good = shutil.copytree(ladder / "step20", tmp_path / "good")
    expected = spoilt(ladder, how)
    hub.add("acme/tiny", branches(ladder))
    model = str(ladder) if where == "folder" else "acme/tiny"
    with pytest.warns(UserWarning) as caught:
        table = nla.scan(model, moving)
    messages = [str(w.message) for w in caught if w.category is UserWarning and "left out" in str(w.message)]
    assert any("step20" in m and expected in m for m in messages), messages
    assert str(tmp_path / "hf") not in "".join(messages) and all("\n" not in m for m in messages)
    assert {0, 1} <= set(table.step) and 20 not in set(table.step)
    assert not (ladder / "exploded").exists()
    shutil.rmtree(ladder / "step20")
    shutil.copytree(good, ladder / "step20")
    hub.add("acme/tiny", branches(ladder))
    again = nla.scan(model, moving)
    same(again)
    assert again.attrs["summary"]["reused"] >= 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number(hub, ladder, same, value):
    path = ladder / "step100" / "model.safetensors"
    good, state = path.read_bytes(), load_file(path)
    state["gpt_neox.layers.0.attention.dense.weight"][0, 0] = value
    save_file(state, path)
    hub.add("acme/tiny", branches(ladder))
    table = nla.scan("acme/tiny", moving)
    bad = table[~table.finite]
    assert bad[["step", "kind", "layer"]].values.tolist() == [[100, "dense", 0]]
    assert bad[["moved", "l1"]].isna().all(axis=None) and table[table.finite].l1.notna().all()
    path.write_bytes(good)
    hub.add("acme/tiny", branches(ladder))
    same(nla.scan("acme/tiny", moving))


@pytest.mark.parametrize(
    "troubles",
    [
        ["status", "status", "drop", "short", "short", "wrong"],
        ["wrong", "short", "status", "wrong", "stall", "short"],
        ["drop", "short", "wrong", "drop", "status", "wrong", "status"],
    ],
)
def test_trouble_of_several_kinds_on_one_file(acme, same, tmp_path, troubles):
    """The client itself tries again after some; each kind has its own count."""
    commit = nla.checkpoints("acme/tiny")[2].commit
    for kind in troubles:
        where = "HEAD .*{}/model" if kind == "status" else "GET /lfs/.*{}"
        acme.fault(kind, where.format(commit), code=503, after=100)
    same(nla.scan("acme/tiny", moving))
    assert all(fault["hits"] for fault in acme.faults)
    whole(acme, tmp_path)


def test_trouble_of_all_kinds_together_ends(monkeypatch):
    monkeypatch.setattr(retries, "time", type("Clock", (), {"sleep": staticmethod(lambda seconds: None)}))
    contact, calls = retries.Contact(), []
    contact.made = True

    def call():
        calls.append(1)
        raise [OSError, TimeoutError, ConnectionError, RuntimeError][len(calls) % 4]("no")

    with pytest.raises(Unavailable, match="it cannot be had"):
        contact.patiently("it", call)
    assert len(calls) == retries.MOST + 1
