"""Small seeded models in temporary folders; tables and figures go there too."""

import os
import shutil
import time

import pytest

from tests.helpers.ladders import branches, moving, tiny_neox

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def own_build(tmp_path, monkeypatch):
    """Each test has its own build/ and figures/."""
    monkeypatch.setenv("NLA_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("NLA_FIGURES", str(tmp_path / "figures"))


@pytest.fixture(scope="session")
def model():
    """The model at the last step of `ladder`, in float32, as transformers runs it."""
    return tiny_neox(2).half().float().eval()


@pytest.fixture(scope="session")
def original_ladder(tmp_path_factory, model):
    """step0, step1 (a copy of step0), step20, step100 of a tiny model, fp16, as the Hub stores them."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    for step, seed in ((0, 0), (20, 1), (100, 2)):
        tiny_neox(seed).half().save_pretrained(folder / f"step{step}")
    shutil.copytree(folder / "step0", folder / "step1")
    return folder


@pytest.fixture
def ladder(original_ladder, tmp_path):
    """A copy of `original_ladder` that a test may spoil."""
    return shutil.copytree(original_ladder, tmp_path / "tiny")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on loopback, with this process as a client of it that waits for nothing and has a cache of its own."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    from nla.models import hub_listing, retries
    from tests.hub_server import HubServer

    class Hasty:  # the client's own waiting; ours is retries.DELAYS
        def __getattr__(self, name):
            return (lambda seconds: time.sleep(seconds / 100)) if name == "sleep" else getattr(time, name)

    monkeypatch.setattr(file_download, "time", Hasty())
    monkeypatch.setattr(_http, "time", Hasty())
    monkeypatch.setattr(retries, "time", Hasty())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setattr(hub_listing, "HUB", hub_listing.Hub(server.endpoint, tmp_path / "hf" / "nla"))
        yield server


@pytest.fixture
def acme(hub, original_ladder):
    """The Hub, with the checkpoints of `original_ladder` as branches of acme/tiny."""
    hub.add("acme/tiny", branches(original_ladder))
    return hub


@pytest.fixture(scope="session")
def undisturbed(original_ladder, tmp_path_factory):
    """The table of `moving` on `original_ladder`."""
    import nla

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLA_BUILD", str(tmp_path_factory.mktemp("build")))
        return nla.scan(str(original_ladder), moving).drop(columns="model")


@pytest.fixture
def same(undisturbed):
    """Assert that a table is that of an undisturbed scan of `original_ladder` with `moving`."""
    import pandas as pd

    def check(table):
        pd.testing.assert_frame_equal(table.drop(columns="model"), undisturbed, rtol=1e-6)

    return check
