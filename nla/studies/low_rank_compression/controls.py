"""Experiment 3 of llm_lora on Mistral-7B with controls: one MLP at rank 16, deleted, random, and in other layers."""

import pandas as pd
import torch

from nla import low_rank
from nla.running import surgery
from nla.running.resumed import Resumed
from nla.studies.low_rank_compression.budgets import product
from nla.studies.low_rank_compression.calibration import interval, matrices
from nla.studies.low_rank_compression.regression import MISTRAL, MLP

RANK = 16 / MISTRAL["hidden_size"]  # of the hidden size, as there
DEPTH = 17 / MISTRAL["num_hidden_layers"]


def controls(model, plain, factors, held_out, elsewhere=None, rank=None):
    """Losses, window by window, when the MLP of one layer is replaced, for each layer and way.

    Parameters
    ----------
    plain, factors : dict
        Of `budgets.all_factors`, without and with moments.
    elsewhere : torch.Tensor, optional
        The windows for all layers but `middle`; None: `held_out`.
    rank : int, optional
        Of each of its matrices; None: as much of the hidden size as rank 16 is in Mistral-7B, at least 1.

    Returns
    -------
    pandas.DataFrame
        layer, way ("truncated SVD", "whitened", "random", "deleted"), rank, mean, low, high: the difference to
        the model as it is, paired by window, with its 95 % bootstrap interval; losses: (n,) of each window.
    """
    runs = [Resumed(model, held_out), Resumed(model, held_out if elsewhere is None else elsewhere)]
    wholes, rows, keys = [above.losses() for above in runs], [], low_rank.linears(model, MLP)
    hidden = model.config.hidden_size
    rank = rank or max(1, round(RANK * hidden))
    generator = torch.Generator().manual_seed(0)
    for layer in dict.fromkeys(layer for _, layer in keys):
        old = matrices(model, [key for key in keys if key[1] == layer])
        ways = {
            "truncated SVD": {key: product(plain[key], rank) for key in old},
            "whitened": {key: product(factors[key], rank) for key in old},
        }
        ways["random"] = {k: _random(W, rank, generator) for k, W in ways["truncated SVD"].items()}
        ways["deleted"] = {key: torch.zeros_like(W) for key, W in old.items()}
        above, whole = (each[int(layer != middle(model))] for each in (runs, wholes))
        above.reach(layer)
        for way, new in ways.items():
            with surgery.replaced(model, new):
                found = above.losses()
            mean, low, high = interval(found - whole)
            row = {"layer": layer, "way": way, "rank": rank, "mean": mean, "low": low, "high": high, "losses": found}
            rows.append(row)
    return pd.DataFrame(rows)


def middle(model):
    """The layer as deep in `model` as 17, whose MLP llm_lora replaced, is in Mistral-7B."""
    return int(DEPTH * model.config.num_hidden_layers)


def _random(W, rank, generator):
    """Of the same rank and norm as W, its factors Gaussian."""
    B, A = torch.randn(len(W), rank, generator=generator), torch.randn(rank, W.shape[1], generator=generator)
    return (B @ A * (torch.linalg.norm(W) / torch.linalg.norm(B @ A)).cpu()).to(W.device)


def by_samples(whole, table):
    """How the loss differences of `controls` settle with the number of windows, `whole` (n,) being of the whole model.

    Returns
    -------
    pandas.DataFrame
        way, windows, mean, low, high: paired, with 95 % bootstrap intervals.
    """
    counts, rows = sorted({2**i for i in range(2, 20) if 2**i < len(whole)} | {len(whole)}), []
    for row in table.itertuples():
        for n in counts:
            mean, low, high = interval((row.losses - whole)[:n])
            rows.append({"way": row.way, "windows": n, "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def windows_needed(whole, replaced, difference):
    """How many windows it takes until a paired difference of this size is 1.96 standard errors from 0."""
    return float((1.96 * (replaced - whole).std(ddof=1) / difference) ** 2)
