"""Budgets, moments and factors of the compression study."""

import copy
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

import nla
from nla import low_rank
from nla.low_rank import factorisation
from nla.low_rank.counts import parameters, skeleton
from nla.running import losses
from nla.running.activations import Inputs
from nla.studies.low_rank_compression import budgets, calibration, regression
from tests.helpers.low_rank import problem, svd


def test_published_numbers():
    table = regression.mistral_table()
    assert (table.counted == table.printed).all() and len(table) == 5
    pythia = {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
    pythia |= {"model_type": "gpt_neox", "vocab_size": 50304}
    small = low_rank.replace(skeleton(pythia), {("query_key_value", i): 8 for i in range(24)}, inner_bias=True)
    assert parameters(skeleton(pythia)) == 405_334_016 and parameters(small) == 330_623_168


def test_without_alignment_against_what_must_come_out():
    """White inputs: the error in the weights, of a Gaussian matrix by the Marchenko-Pastur law. An orthogonal matrix,
    turned: the tail of the inputs' own spectrum."""
    W, X = problem((40, 20), count=100)
    white, ranks = Inputs(torch.eye(20).double(), torch.zeros(20).double(), torch.ones(20).double(), 1), [1, 5, 12]
    found = factorisation.without_alignment(W, ranks, white, white, draws=20)
    s = np.linalg.svd(W.numpy(), compute_uv=False)
    law = nla.nulls.mp_spectrum(40, 20)
    for values, spectrum, tolerance in ((found["turned"], s, 1e-9), (found["gaussian"], law, 0.02)):
        expected = [math.sqrt((spectrum[r:] ** 2).sum() / (spectrum**2).sum()) for r in ranks]
        np.testing.assert_allclose(values, expected, rtol=tolerance)
    inputs = Inputs.of(X)
    orthogonal = torch.linalg.qr(W)[0]  # (40, 20): every turned one has the same errors
    found = factorisation.without_alignment(orthogonal, ranks, inputs, inputs, draws=2)
    energies = np.linalg.eigvalsh(inputs.second.numpy())[::-1]
    expected = [math.sqrt(energies[r:].sum() / energies.sum()) for r in ranks]
    np.testing.assert_allclose(found["turned"], expected, rtol=1e-6)


def test_adam_approaches_the_closed_form():
    W, X = problem((8, 6), count=40)
    X = torch.randn(X.shape, generator=torch.Generator().manual_seed(3))
    Y = X @ W.T.float()
    table = regression.trained(X[None], Y[None], 1, 1000, lr=2e-2, decay=True)
    s = np.linalg.svd((Y - Y.mean(0)).numpy(), compute_uv=False)  # with a bias the mean is free
    floor = float((s[2:] ** 2).sum())
    assert table.step.max() == 1000 and table.residual.iloc[-1] == pytest.approx(floor, rel=0.02)
    assert table.residual.iloc[-1] >= floor * (1 - 1e-4)


def test_moments_are_those_of_what_the_modules_are_given(model):
    windows = torch.randint(0, 97, (5, 17), generator=torch.Generator().manual_seed(0))
    moments = calibration.input_moments(model, windows, at_once=2)
    assert set(moments) == set(low_rank.linears(model))
    given = calibration.inputs(model, windows[:, :-1], list(moments))
    for key, x in given.items():
        x = x.double()
        torch.testing.assert_close(moments[key].second, x.T @ x / len(x), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(moments[key].mean, x.mean(0), rtol=1e-4, atol=1e-6)
        assert moments[key].count == 80
    assert moments["query", 0] is moments["value", 0]
    small = low_rank.replace(copy.deepcopy(model), {("query", 0): 42, ("dense", 1): 42}, svd)
    again = calibration.input_moments(small, windows)
    torch.testing.assert_close(again["dense", 1].second, moments["dense", 1].second, rtol=1e-3, atol=1e-5)


def test_losses_and_their_interval(model):
    windows = torch.randint(0, 97, (9, 17), generator=torch.Generator().manual_seed(0))
    found = losses.losses(model, windows, at_once=4)
    assert found.shape == (9,) and found.mean() == pytest.approx(nla.running.losses.loss(model, windows), rel=1e-6)
    rng = np.random.default_rng(0)
    hits = [low <= 1 <= high for _, low, high in (calibration.interval(rng.exponential(size=60)) for _ in range(150))]
    assert 0.85 < np.mean(hits) <= 0.99


SMALL = {("query", 0): (8, 8), ("dense", 0): (8, 8), ("dense_h_to_4h", 0): (32, 8)}


def rises(rng, convex):
    """Of `sensitivity`: falling with what is kept."""
    rows = []
    for kind, layer in SMALL:
        steps = rng.exponential(size=3)
        steps = np.sort(steps) if convex else steps
        curve = np.cumsum(steps * [0.5, 0.25, 0.125])
        rows += [
            {"kind": kind, "layer": layer, "fraction": f, "rise": r}
            for f, r in zip((0.5, 0.25, 0.125), curve, strict=True)
        ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("share", [0.2, 0.3, 0.6, 0.9, 1.0])
def test_budgets_are_kept(share):
    rng, budget = np.random.default_rng(0), share * 384
    energies = {key: np.sort(rng.exponential(size=8))[::-1] for key in SMALL}
    for ranks in (
        budgets.uniform(SMALL, budget),
        budgets.by_energy(energies, SMALL, budget),
        budgets.by_sensitivity(rises(rng, convex=False), SMALL, budget),
    ):
        assert set(ranks) == set(SMALL)
        assert sum(budgets.held_by(SMALL[key], r) for key, r in ranks.items()) <= budget
    if share == 1:
        assert set(ranks.values()) == {None}


@pytest.mark.parametrize("seed", range(8))
def test_by_sensitivity_is_no_worse_than_any_other_choice(seed):
    """All choices of a fraction for each of three matrices whose rises are convex, against what it expects to lose."""
    table, sizes = rises(np.random.default_rng(seed), convex=True), {k: m * n for k, (m, n) in SMALL.items()}
    curves = {k: rows.sort_values("fraction") for k, rows in table.groupby(["kind", "layer"])}
    points = {k: [*zip(rows.fraction, rows.rise, strict=True), (1.0, 0.0)] for k, rows in curves.items()}
    for budget in (100, 200, 300):
        least = min(
            sum(rise for _, rise in choice)
            for choice in itertools.product(*points.values())
            if sum(f * sizes[k] for (f, _), k in zip(choice, points, strict=True)) <= budget
        )
        shares = budgets.shares_by_sensitivity(table, sizes, budget)
        assert sum(shares[k] * sizes[k] for k in sizes) <= budget + 1e-9
        found = sum(np.interp(shares[k], *zip(*points[k], strict=True)) for k in sizes)
        assert found <= least + 1e-9


def test_ranks_at_the_break_even():
    for (m, n), rank in (((8, 8), 4), ((32, 8), 6)):
        assert budgets.rank_for((m, n), 1) == rank and budgets.held_by((m, n), rank) <= m * n
        assert budgets.held_by((m, n), rank + 1) == budgets.held_by((m, n), None) == m * n
