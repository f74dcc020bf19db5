"""Nothing is waited for in silence or for ever: locks of other runs, downloads that stand still."""

import threading
import time
from concurrent.futures import Future

import huggingface_hub
import pytest
from filelock import FileLock
from huggingface_hub import constants

import nla
from nla.models import cache, retries
from nla.scanning.worker import Stream
from tests.helpers.ladders import moving, whole


@pytest.fixture
def hasty(monkeypatch):
    """Waits that are said at once, and end after half a second."""
    monkeypatch.setenv("NLA_WAIT", "0.5")
    monkeypatch.setattr(retries, "SAID", 0.05)


@pytest.mark.parametrize(
    "said, seconds", [("", 3600), ("600", 600), (".5s", 0.5), ("20 m", 1200), ("1.5h", 5400), ("2D", 172800)]
)
def test_how_long_to_wait(monkeypatch, said, seconds):
    monkeypatch.setenv("NLA_WAIT", said)
    assert retries.limit() == seconds


def test_a_time_that_is_none(monkeypatch):
    monkeypatch.setenv("NLA_WAIT", "an hour")
    with pytest.raises(ValueError, match="NLA_WAIT is 'an hour', not a time such as 600"):
        retries.Wait()


def test_a_lock_that_is_not_released(tmp_path, hasty, capsys):
    with FileLock(tmp_path / "lock"), pytest.raises(retries.Waited) as error:
        with retries.locked(tmp_path / "lock", "another run"):
            pass
    assert str(error.value) == "waited 0.5 s for another run, in vain; NLA_WAIT sets how long"
    said = capsys.readouterr().err.splitlines()
    assert 2 <= len(said) <= 6 and all("waiting for another run: 0 s, at most 0.5 (NLA_WAIT)" in line for line in said)
    with retries.locked(tmp_path / "lock", "nobody"):
        pass
    assert capsys.readouterr().err == ""


def test_signs_of_life_make_a_wait_longer(tmp_path, hasty):
    held = FileLock(tmp_path / "lock", thread_local=False)
    held.acquire()
    threading.Timer(1.2, held.release).start()
    with retries.locked(tmp_path / "lock", "another run", time.time):
        assert not held.is_locked


def test_a_checkpoint_that_another_process_fetches_and_does_not_get(acme, same, hasty):
    checkpoint = nla.checkpoints("acme/tiny")[2]
    with FileLock(checkpoint.folder.with_suffix(".lock")):
        with pytest.warns(
            UserWarning, match="step20 left out: .*another process that fetches or reads acme/tiny@step20"
        ):
            table = nla.scan("acme/tiny", nla.norms)
    assert set(table.step) == {0, 1, 100}
    same(nla.scan("acme/tiny", moving))


def test_bytes_that_arrive_are_signs_of_life(tmp_path):
    assert retries.newest(tmp_path) == 0
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "x").write_text("")
    assert abs(retries.newest(tmp_path, tmp_path / "other") - time.time()) < 60


class Panic(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize("how", ["stall", "panic"])
def test_a_transfer_that_stands_still_or_panics(acme, same, tmp_path, monkeypatch, capsys, how):
    """By Xet, which has no bound of its own: the next try is without it."""
    real, ended, tried = huggingface_hub.hf_hub_download, threading.Event(), []

    def download(repo, name, **options):
        tried.append(constants.HF_HUB_DISABLE_XET)
        if len(tried) == 1:
            if how == "stall":
                ended.wait(60)
            raise Panic  # nobody waits for it any more
        return real(repo, name, **options)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    if how == "stall":
        monkeypatch.setattr(cache, "SILENCE", 3)
        monkeypatch.setattr(retries, "SAID", 0.05)
    same(nla.scan("acme/tiny", moving))
    assert tried[:2] == [False, how == "stall"]
    assert how == "panic" or "waiting for the next bytes of config.json" in capsys.readouterr().err
    ended.set()
    whole(acme, tmp_path)


def test_two_threads_fetch_one_ahead(acme, monkeypatch):
    """Each looks at what is on its way and at the disk, and then begins: that is one step."""
    ladder = nla.checkpoints("acme/tiny")
    stream = Stream(ladder)
    monkeypatch.setattr(cache, "ahead", lambda checkpoint: time.sleep(0.05) or Future())
    both = [threading.Thread(target=stream.fetch_ahead, args=([c],)) for c in ladder[2:]]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)
    assert len(stream.coming) == 1
