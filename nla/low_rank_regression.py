"""Experiments 1 and 2 of seed 004 again: factors fitted to outputs by Adam, as there, beside the closed form.

ebany_research/llm_lora/lora_mistral.md of github.com/dmitrymailk/gpus_go_brrrr, and the Mistral-7B whose layers it
took.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
import torch

from nla import low_rank
from nla.low_rank_models import parameters, skeleton

MISTRAL = {  # config.json of Open-Orca/Mistral-7B-OpenOrca; mistralai/Mistral-7B-v0.1 has 32,000 tokens, else the same
    "model_type": "mistral",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32002,
    "tie_word_embeddings": False,
}
ATTENTION, MLP = ("query", "key", "value", "dense"), ("gate", "dense_h_to_4h", "dense_4h_to_h")
PRINTED = {  # what was replaced by rank 16 without bias, [(kinds, layers)] -> number in the seed
    "nothing": ([], 7_241_748_480),
    "MLP of layer 17": ([(MLP, [17])], 7_066_472_448),
    "attention of layers 6 to 31": ([(ATTENTION, range(6, 32))], 6_162_305_024),
    "that, and the MLP of 7 layers": ([(ATTENTION, range(6, 32)), (MLP, range(16, 23))], 4_935_372_800),
    "everything but embed_in": ([(ATTENTION + MLP + ("embed_out",), range(32))], 173_867_040),
}


def mistral_table(rank=16):
    """Parameters of Mistral-7B by what of it is replaced: columns replaced, counted, printed by the seed."""
    rows = []
    for name, (recipe, printed) in PRINTED.items():
        model = skeleton(MISTRAL)
        keys = [key for kinds, layers in recipe for key in low_rank.linears(model, kinds, layers)]
        low_rank.replace(model, dict.fromkeys(keys, rank))
        rows.append({"replaced": name, "counted": parameters(model), "printed": printed})
    return pd.DataFrame(rows)


def trained(X, Y, rank, steps, lr=1e-3, decay=False, batch=None, clip=None, held_out=None, seed=0):
    """Sums of squared residuals while Adam fits y = x A B + up(down(x)), two pairs of factors of `rank` with biases.

    The layers' losses are added, which changes nothing for any of them: Adam works by the entry, and `clip` by the
    layer. The two pairs are one of twice the rank, kept so here.

    Parameters
    ----------
    X, Y : torch.Tensor
        (layers, N, n) and (layers, N, m).
    decay : bool
        The learning rate falls linearly to 0.
    batch : int, optional
        Rows per step, in order; all if None.
    clip : float, optional
        Largest norm of the gradient of a layer.
    held_out : (X, Y), optional
        Where the residuals are taken instead, on all rows.

    Returns
    -------
    pandas.DataFrame
        step (about 60, evenly spaced in the logarithm), layer (place in X), residual.
    """
    generator = torch.Generator().manual_seed(seed)
    layers, count, n = X.shape
    sizes = list(pairwise((n, rank, Y.shape[2])))
    A, B = (0.02 * torch.randn(layers, a, b, generator=generator) for a, b in sizes)
    down, up = (_uniform((layers, a, b), a, generator) for a, b in sizes)
    inner, outer = (_uniform((layers, 1, b), a, generator) for a, b in sizes)
    factors = [torch.cat([A, down], 2), torch.cat([B, up], 1), inner, outer]
    factors = [f.to(X.device).requires_grad_() for f in factors]
    optimizer = torch.optim.Adam(factors, lr=lr, fused=True)

    def residuals(x, y):
        first, second, inner, outer = factors
        hidden = torch.cat([x @ first[..., :rank], x @ first[..., rank:] + inner], 2)
        return torch.baddbmm(outer, hidden, second).sub(y).square().sum((1, 2))

    noted, rows = set(np.unique(np.geomspace(1, steps, 60).round().astype(int))), []
    for step in range(1, steps + 1):
        start = 0 if batch is None else (step - 1) * batch % (count - count % batch)
        part = slice(start, None if batch is None else start + batch)
        if decay:
            optimizer.param_groups[0]["lr"] = lr * (1 - (step - 1) / steps)
        optimizer.zero_grad()
        loss = residuals(X[:, part], Y[:, part])
        loss.sum().backward()
        if clip:
            norm = sum(f.grad.square().sum((1, 2), keepdim=True) for f in factors).sqrt()
            for f in factors:
                f.grad.mul_((clip / norm).clamp(max=1))
        optimizer.step()
        if step in noted:
            with torch.no_grad():
                now = residuals(*(held_out or (X, Y)))
            rows += [{"step": step, "layer": i, "residual": float(r)} for i, r in enumerate(now)]
    return pd.DataFrame(rows)


def _uniform(shape, inputs, generator):
    """As torch.nn.Linear begins: uniform within 1/sqrt(inputs)."""
    return (2 * torch.rand(shape, generator=generator) - 1) / inputs**0.5
