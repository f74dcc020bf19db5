"""Projected AdamW against torch's AdamW, against NumPy, and its projectors against an SVD."""

import numpy as np
import pytest
import torch

from nla.nulls.recipes import Recipe
from nla.studies.randomised_nla import galore, runs as randomised_nla_runs, tables

RECIPE = Recipe(1e-3, 10, 2)


def gradient(m, n, seed=0):
    """Of falling singular values, as gradients are."""
    generator = torch.Generator().manual_seed(seed)
    U, V = (torch.linalg.qr(torch.randn(side, min(m, n), generator=generator))[0] for side in (m, n))
    return (U * 0.7 ** torch.arange(min(m, n))) @ V.T


def trained(optimizer, weight, steps=12):
    """The weight after so many steps with seeded gradients."""
    for step in range(steps):
        weight.grad = gradient(*weight.shape, seed=step)
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(20, 20), (30, 12), (12, 30)])
def test_with_the_identity_as_projector_it_is_adamw(shape):
    start = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    options = dict(lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    weights = [torch.nn.Parameter(start.clone()) for _ in range(3)]
    whole = [dict(params=[weights[1]], rank=min(shape), projector=lambda g, r: torch.eye(r))]
    theirs = trained(torch.optim.AdamW([weights[0]], eps=1e-8, **options), weights[0])
    assert torch.allclose(trained(galore.GaLore(whole, **options), weights[1]), theirs, atol=1e-6)
    assert torch.allclose(trained(galore.GaLore([weights[2]], **options), weights[2]), theirs, atol=1e-6)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_algorithm_2_of_the_paper_in_numpy(shape):
    """Rank 3, a new projector every 5 steps, moments kept: written out for the wide orientation."""
    start = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    weight = torch.nn.Parameter(start.clone())
    group = dict(params=[weight], rank=3, refresh=5, scale=0.25)
    ours = trained(galore.GaLore([group], lr=1e-2, weight_decay=0.1), weight).numpy()
    flip = (lambda x: x) if shape[0] <= shape[1] else (lambda x: x.T)
    W = flip(start.double().numpy()).copy()
    mean = square = 0.0
    for step in range(12):
        G = flip(gradient(*shape, seed=step)).numpy()
        if step % 5 == 0:  # moments stay when P changes, so that its signs matter: they must be torch's
            P = (torch.linalg.svd(gradient(*shape, seed=step))[0 if shape[0] <= shape[1] else 2]).numpy()
            P = P[:, :3] if shape[0] <= shape[1] else P[:3].T
        mean, square = 0.9 * mean + 0.1 * P.T @ G, 0.95 * square + 0.05 * (P.T @ G) ** 2
        N = mean / (1 - 0.9 ** (step + 1)) / (np.sqrt(square / (1 - 0.95 ** (step + 1))) + 1e-8)
        W = W * (1 - 1e-2 * 0.1) - 1e-2 * 0.25 * P @ N
    assert np.allclose(ours, flip(W), atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 40), (90, 40), (40, 90)])
@pytest.mark.parametrize("name", galore.PROJECTORS)
def test_projectors(name, shape):
    G, rank = gradient(*shape), 6
    torch.manual_seed(0)
    P = galore.PROJECTORS[name](G, rank)
    assert P.shape == (40, rank)
    assert torch.allclose(P.T @ P, torch.eye(rank), atol=1e-5)
    best = 0.7 ** (2 * torch.arange(40))
    kept = galore.project(P, G).square().sum() / G.square().sum()
    share = best[:rank].sum() / best.sum()
    if name == "random":
        assert kept < 0.6 * share
    else:
        assert share * (0.999 if name == "sketched" else 0.99999) <= kept <= share * 1.00001
    assert galore.project_back(P, galore.project(P, G), shape).shape == shape


def test_a_random_projector_keeps_its_share_of_any_gradient():
    torch.manual_seed(0)
    G = gradient(40, 90)
    kept = [float(galore.project(galore.random(G, 10), G).square().sum() / G.square().sum()) for _ in range(400)]
    assert np.mean(kept) == pytest.approx(10 / 40, abs=4 * np.std(kept) / 20)


def test_only_matrices_of_the_layers_are_projected_and_the_state_is_counted(model):
    groups = galore.groups_of(model, RECIPE, rank=4, refresh=2)
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = galore.GaLore(groups, lr=1e-3)
    for step in range(3):
        torch.manual_seed(step)
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    assert len(optimizer.projector_seconds) == 2
    assert (
        randomised_nla_runs.captured(optimizer) < 1
        and randomised_nla_runs.captured(galore.GaLore([torch.nn.Parameter()])) is None
    )
    expected = 0
    for name, p in model.named_parameters():
        low = p.ndim == 2 and ".layers." in name
        expected += 4 * ((2 * 4 * max(p.shape) + 4 * min(p.shape)) if low else 2 * p.numel())
        change = (p.detach() - before[name] * (1 - 1e-3 * RECIPE.weight_decay) ** 3) if low else None
        assert change is None or torch.linalg.matrix_rank(change, rtol=1e-3) <= 8, name
        p.data.copy_(before[name])
        p.grad = None
    assert galore.state_bytes(optimizer) == expected


def test_product_of_factors_starts_at_the_best_approximation():
    linear = torch.nn.Linear(20, 30)
    U, s, Vt = torch.linalg.svd(linear.weight.detach(), full_matrices=False)
    randomised_nla_runs.parametrize.register_parametrization(linear, "weight", randomised_nla_runs.Product(5))
    assert torch.allclose(linear.weight, (U[:, :5] * s[:5]) @ Vt[:5], atol=1e-5)
    assert sum(p.numel() for p in linear.parameters()) == 5 * 50 + 30


def test_committed_runs_are_whole():
    """Each of them; those that claims rest on have all seeds, and `summary` says how many the others have."""
    table, spectra = tables.runs(), tables.final_spectra()
    runs = table.groupby(["label", "seed"], sort=False)
    assert (runs.step.apply(tuple) == randomised_nla_runs.EVALUATED).all() and np.isfinite(table.held_out_loss).all()
    wanted = [tables.label(configuration) for configuration in randomised_nla_runs.CONFIGURATIONS]
    assert set(table.label) <= set(wanted) and set(table.seed) == set(randomised_nla_runs.SEEDS)
    assert set(tables.excess()[wanted[:4]].dropna().index) == set(randomised_nla_runs.SEEDS)
    matrices = spectra.groupby(["label", "seed"], sort=False).size()
    assert matrices.nunique() == 1 and list(matrices.index) == list(runs.size().index)
    starts = table[(table.step == 0) & (table.name != "low-rank weights")].groupby("seed").held_out_loss
    assert (starts.nunique() == 1).all()  # the same start
    assert tables.summary().seeds.equals(
        runs.size().groupby("label", sort=False).size()[table.label.unique()].rename("seeds")
    )
