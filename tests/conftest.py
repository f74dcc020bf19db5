"""Small seeded models in temporary folders; tables and figures go there too."""

import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def own_build(tmp_path, monkeypatch):
    """Each test has its own build/ and figures/."""
    monkeypatch.setenv("NLA_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("NLA_FIGURES", str(tmp_path / "figures"))


def tiny_neox(seed, heads=3, d_head=14, layers=2, inter=100, vocab=97):
    """A seeded random GPT-NeoX with odd head count and sizes, and biases that are not zero."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        num_hidden_layers=layers,
        hidden_size=heads * d_head,
        num_attention_heads=heads,
        intermediate_size=inter,
        vocab_size=vocab,
        max_position_embeddings=64,
        rotary_pct=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPTNeoXForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


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

    from nla.models import cache, hub_listing, retries
    from tests.hub_server import HubServer

    class Hasty:  # the client's own waiting; ours is patience.DELAYS
        def __getattr__(self, name):
            return (lambda seconds: time.sleep(seconds / 100)) if name == "sleep" else getattr(time, name)

    monkeypatch.setattr(file_download, "time", Hasty())
    monkeypatch.setattr(_http, "time", Hasty())
    monkeypatch.setattr(retries, "time", Hasty())
    monkeypatch.setattr(retries, "_contact", {"made": False, "lost": False})
    monkeypatch.setattr(cache, "_ours", set())
    monkeypatch.setattr(hub_listing, "_refused", {})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def acme(hub, original_ladder):
    """The Hub, with the checkpoints of `original_ladder` as branches of acme/tiny."""
    hub.add("acme/tiny", branches(original_ladder))
    return hub


def branches(folder):
    """{revision: folder} of a ladder as a repository has them; main is the last."""
    steps = {path.name: path for path in folder.glob("step*")}
    return steps | {"main": max(steps.values(), key=lambda p: int(p.name[4:]))}


def moving(matrix):
    """A measure that needs the checkpoint before."""
    before = matrix.previous
    return {
        "moved": float((matrix.values - before.values).norm()) if before else 0.0,
        "l1": float(matrix.values.abs().sum()),
    }


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


def on_disk(tmp_path):
    """{commit: {file: bytes}} of what nla keeps of the Hub, and the names of what is no checkpoint."""
    found, other = {}, []
    for place, _, names in os.walk(tmp_path / "hf" / "nla"):  # which does not mind what vanishes meanwhile
        for path in (Path(place) / name for name in names):
            if len(path.parent.name) == 40:
                with contextlib.suppress(FileNotFoundError):
                    found.setdefault(path.parent.name, {})[path.name] = path.read_bytes()
            elif path.suffix not in (".json", ".lock"):
                other.append(path.name)
    return found, other


def whole(server, tmp_path, repo="acme/tiny"):
    """Assert that nothing on this disk is but whole files of the repository."""
    found, other = on_disk(tmp_path)
    assert other == []
    for commit, files in found.items():
        for name, data in files.items():
            assert server.repositories[repo].commits[commit][name].data == data, name
    return found
