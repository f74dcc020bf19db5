"""What several test modules share of conftest."""

import contextlib
import os
from pathlib import Path


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
