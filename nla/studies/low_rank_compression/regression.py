"""llm_lora's Experiments 1 and 2 on Mistral-7B again: factors fitted to outputs by Adam, as there, and in closed form.

ebany_research/llm_lora/lora_mistral.md of github.com/dmitrymailk/gpus_go_brrrr, and the Mistral-7B whose layers it
took.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
import torch

from nla import low_rank
from nla.low_rank.counts import parameters, skeleton
from nla.low_rank.factorisation import affine, errors, regression
from nla.running.activations import Inputs
from nla.studies.low_rank_compression.calibration import inputs, matrices

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
PRINTED = {  # what was replaced by rank 16 without bias, [(kinds, layers)] -> number in llm_lora
    "nothing": ([], 7_241_748_480),
    "MLP of layer 17": ([(MLP, [17])], 7_066_472_448),
    "attention of layers 6 to 31": ([(ATTENTION, range(6, 32))], 6_162_305_024),
    "that, and the MLP of 7 layers": ([(ATTENTION, range(6, 32)), (MLP, range(16, 23))], 4_935_372_800),
    "everything but embed_in": ([(ATTENTION + MLP + ("embed_out",), range(32))], 173_867_040),
}


def mistral_table(rank=16):
    """Parameters of Mistral-7B by what of it is replaced: columns replaced, counted, printed by llm_lora."""
    rows = []
    for name, (recipe, printed) in PRINTED.items():
        model = skeleton(MISTRAL)
        keys = [key for kinds, layers in recipe for key in low_rank.linears(model, kinds, layers)]
        low_rank.replace(model, dict.fromkeys(keys, rank))
        rows.append({"replaced": name, "counted": parameters(model), "printed": printed})
    return pd.DataFrame(rows)


def one_prompt(model, windows, steps, length=82, rank=64):
    """Experiment 1: the MLP's first matrix from 82 tokens by two pairs of factors of rank 64, in three layers.

    At most 82 inputs are independent, and the factors have rank 128, so that a residual of 0 is always possible.

    Returns
    -------
    pandas.DataFrame
        step, layer, residual (over the sum of squares), rate ("constant", as in llm_lora, or "falling to 0").
    pandas.DataFrame
        layer, and the residual of the closed form at ranks 128, 82 and 41.
    """
    keys = _first(model)
    keys = [keys[i] for i in sorted({0, len(keys) // 2, len(keys) - 1})]
    X, W = inputs(model, windows[:1, :-1][:, :length], keys), matrices(model, keys)
    X, Y = torch.stack([X[key] for key in keys]), torch.stack([X[key] @ W[key].T for key in keys])
    whole = Y.double().square().sum((1, 2)).cpu().numpy()
    tables = [
        trained(X, Y, rank, steps, decay=rate != "constant").assign(rate=rate) for rate in ("constant", "falling to 0")
    ]
    table = pd.concat(tables)
    table["residual"] /= whole[table.layer]
    table["layer"] = [keys[place][1] for place in table.layer]
    rows = [
        {"layer": key[1]} | {f"rank {r}": regression(x, y, r)[-1] / s for r in (2 * rank, length, length // 2)}
        for key, x, y, s in zip(keys, X, Y, whole, strict=True)
    ]
    return table, pd.DataFrame(rows)


def many_prompts(model, fit, held_out, steps, rates=((1e-5, "1e-5"), (1e-3, "1e-3, falling to 0"))):
    """Experiment 2: the same in one layer, from many prompts at half the rank, one prompt a step, gradients clipped.

    Returns
    -------
    pandas.DataFrame
        step, rate, relative: root of the residual over the sum of squares, on `held_out`.
    float
        The same for `factorisation.affine`, the closed form with a bias.
    """
    keys = _first(model)
    key = keys[int(len(keys) * 15 / MISTRAL["num_hidden_layers"])]
    W = matrices(model, [key])[key]
    X, test = (inputs(model, windows[:, :-1], [key])[key] for windows in (fit, held_out))
    rank, moments = max(1, min(W.shape) // 4), Inputs.of(test)
    Y, wanted = (x @ W.T for x in (X, test))
    found = []
    for lr, name in rates:
        options = {"decay": "falling" in name, "batch": fit.shape[1] - 1, "clip": 1.0}
        one = trained(X[None], Y[None], rank, steps, lr, held_out=(test[None], wanted[None]), **options)
        one["relative"] = (one.residual / float(wanted.double().square().sum())) ** 0.5
        found.append(one.assign(rate=name))
    closed = errors(W, affine(W, 2 * rank, Inputs.of(X)), moments)["outputs"]
    return pd.concat(found), closed


def _first(model):
    """[(kind, layer)] of what llm_lora took, the gate, or, without one, W1."""
    kinds = dict(low_rank.linears(model))
    return low_rank.linears(model, ["gate" if "gate" in kinds else "dense_h_to_4h"])


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
        step (about 30, evenly spaced in the logarithm), layer (place in X), residual.
    """
    count, factors = X.shape[1], _first_factors(X, Y, rank, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(factors, lr=lr, fused=True)

    def residuals(x, y):
        first, second, inner, outer = factors
        hidden = torch.cat([x @ first[..., :rank], x @ first[..., rank:] + inner], 2)
        return torch.baddbmm(outer, hidden, second).sub(y).square().sum((1, 2))

    noted, rows = set(np.unique(np.geomspace(1, steps, 30).round().astype(int))), []
    for step in range(1, steps + 1):
        start = 0 if batch is None else (step - 1) * batch % (count - count % batch)
        part = slice(start, None if batch is None else start + batch)
        if decay:
            optimizer.param_groups[0]["lr"] = lr * (1 - (step - 1) / steps)
        optimizer.zero_grad()
        loss = residuals(X[:, part], Y[:, part])
        loss.sum().backward()
        if clip:
            _clip(factors, clip)
        optimizer.step()
        if step in noted:
            with torch.no_grad():
                now = residuals(*(held_out or (X, Y)))
            rows += [{"step": step, "layer": i, "residual": float(r)} for i, r in enumerate(now)]
    return pd.DataFrame(rows)


def _first_factors(X, Y, rank, generator):
    """[first factors (layers, n, 2 rank), second (layers, 2 rank, m), and their biases], as training begins."""
    layers, _, n = X.shape
    sizes = list(pairwise((n, rank, Y.shape[2])))
    A, B = (0.02 * torch.randn(layers, a, b, generator=generator) for a, b in sizes)
    down, up = (_uniform((layers, a, b), a, generator) for a, b in sizes)
    inner, outer = (_uniform((layers, 1, b), a, generator) for a, b in sizes)
    factors = [torch.cat([A, down], 2), torch.cat([B, up], 1), inner, outer]
    return [f.to(X.device).requires_grad_() for f in factors]


def _clip(factors, most):
    """Gradients of at most this norm, layer by layer."""
    norm = sum(f.grad.square().sum((1, 2), keepdim=True) for f in factors).sqrt()
    for f in factors:
        f.grad.mul_((most / norm).clamp(max=1))


def _uniform(shape, inputs, generator):
    """As torch.nn.Linear begins: uniform within 1/sqrt(inputs)."""
    return (2 * torch.rand(shape, generator=generator) - 1) / inputs**0.5
