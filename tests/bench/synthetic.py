"""Checkpoints with the geometry of a Pythia and random weights: fp16 safetensors and config.json, as on the Hub."""

import json
import math
import os
import shutil
from pathlib import Path

from tests.bench import costs_table

GEOMETRY = costs_table.GEOMETRY | {"tiny": (64, 2, 2, 1000)}  # no Pythia: shows that an item runs
BUILD = Path(os.environ.get("NLA_BUILD", "build")).absolute()  # before an item moves it


def config(size, layers=None):
    """config.json of a pythia of this `size`, with fewer `layers` if said."""
    d, depth, heads, vocab = GEOMETRY[size]
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": d,
        "intermediate_size": 4 * d,
        "num_hidden_layers": layers or depth,
        "num_attention_heads": heads,
        "vocab_size": vocab,
        "max_position_embeddings": 2048,
        "rotary_pct": 0.25,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "use_parallel_residual": True,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


def shapes(size, layers=None):
    """{tensor: (shape, standard deviation at initialisation)}; small_init and wang_init, as Pythia has them."""
    c = config(size, layers)
    d, depth = c["hidden_size"], c["num_hidden_layers"]
    small, wang = math.sqrt(2 / (5 * d)), 2 / (depth * math.sqrt(d))
    found = {"gpt_neox.embed_in.weight": ((c["vocab_size"], d), small)}
    for i in range(depth):
        layer = f"gpt_neox.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found |= {f"{layer}{norm}.weight": ((d,), None), f"{layer}{norm}.bias": ((d,), 0.0)}
        for name, shape, sigma in (
            ("attention.query_key_value", (3 * d, d), small),
            ("attention.dense", (d, d), wang),
            ("mlp.dense_h_to_4h", (4 * d, d), small),
            ("mlp.dense_4h_to_h", (d, 4 * d), wang),
        ):
            found |= {f"{layer}{name}.weight": (shape, sigma), f"{layer}{name}.bias": (shape[:1], 0.0)}
    found |= {"gpt_neox.final_layer_norm.weight": ((d,), None), "gpt_neox.final_layer_norm.bias": ((d,), 0.0)}
    return found | {"embed_out.weight": ((c["vocab_size"], d), small)}


def matrices(size, layers=None):
    """Shapes of the matrices that `nla` makes of it: query, key and value apart."""
    d = config(size, layers)["hidden_size"]
    found = []
    for shape, _ in shapes(size, layers).values():
        if len(shape) == 2:
            found += [(d, d)] * 3 if shape == (3 * d, d) else [shape]
    return found


def place(*names):
    """A path under build/bench/."""
    path = BUILD / "bench" / Path(*names)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def checkpoint(folder, size, seed=0, layers=None):
    """Write one checkpoint into `folder`, unless it is there."""
    import torch
    from safetensors.torch import save_file

    if not (folder / "config.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        generator, state = torch.Generator().manual_seed(seed), {}
        for name, (shape, sigma) in shapes(size, layers).items():
            values = torch.ones(shape) if sigma is None else sigma * torch.randn(shape, generator=generator)
            state[name] = values.half()
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config(size, layers)))  # last: it says that the rest is there
    return folder


def ladder(size, count, layers=None):
    """A folder of `count` checkpoints; it is the MODEL."""
    folder = place("models", f"{size}-{layers or 'all'}-x{count}")
    for k in range(count):
        checkpoint(folder / f"step{1000 * k}", size, k, layers)
    return folder


def fresh():
    """An empty build folder, so that a scan computes; as a dict for the environment."""
    path = place("tables")
    shutil.rmtree(path, ignore_errors=True)
    return {"NLA_BUILD": str(path)}
