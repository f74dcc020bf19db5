"""Small seeded models in temporary folders; tables and figures go there too."""

import os
import shutil

import pytest
import torch

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
