"""Gaussian matrices of given row and column norms."""

import numpy as np
import pytest
import torch

import nla
from nla.measures.sparsity import balanced_kurtosis
from nla.nulls import draws
from nla.numerics import scaling
from nla.studies import spectrum_rank


def test_scales_are_those_that_were_planted():
    rng = np.random.default_rng(0)
    rows, columns = np.exp(rng.normal(size=300)), np.exp(rng.normal(size=500))
    signs = rng.choice([-1.0, 1.0], (300, 500))  # no noise in the squares: the scales are exact
    sigma, tau = scaling.scales(rows[:, None] * signs * columns)
    assert tau == pytest.approx(columns / np.mean(columns**2) ** 0.5)
    assert sigma == pytest.approx(rows * np.mean(columns**2) ** 0.5)


def test_scaling_is_that_of_the_balanced_kurtosis():
    rng = np.random.default_rng(1)
    W = torch.from_numpy(rng.standard_t(5, (200, 120)) * np.exp(rng.normal(size=120))).float()
    sigma, tau = scaling.scales(W)
    balanced = W.double().numpy() / sigma[:, None] / tau
    assert (balanced**2).mean(0) == pytest.approx(1, abs=1e-3) and (balanced**2).mean(1) == pytest.approx(1, abs=1e-3)
    m, n = W.shape
    fourth = (balanced**4).mean() / (balanced**2).mean() ** 2
    assert fourth * (m + 2) * (n + 2) / (m * n) - 3 == pytest.approx(balanced_kurtosis(W), abs=1e-3)


def test_a_draw_keeps_norms_and_nothing_else():
    rng = np.random.default_rng(2)
    W = np.outer(rng.uniform(0.5, 2, 400), rng.uniform(0.5, 2, 300)) * rng.choice([-1.0, 1.0], (400, 300))
    square = np.mean([draws.draw(W, rng) ** 2 for _ in range(20)], 0)
    for axis, size in ((0, 400), (1, 300)):  # of a mean of squares: sqrt(2 / (20 size)), here seven times that
        assert square.mean(axis) == pytest.approx((W**2).mean(axis), rel=7 * (2 / (20 * size)) ** 0.5)
    assert abs((draws.draw(W, rng) * W).sum() / (W**2).sum()) < 5 / (400 * 300) ** 0.5


def test_a_gaussian_is_drawn_as_one():
    """Its top singular value is at the Marchenko-Pastur edge: estimated scales of equal rows differ by noise only."""
    rng = np.random.default_rng(3)
    s = np.linalg.svd(draws.draw(rng.standard_normal((400, 200)), rng), compute_uv=False)
    assert s[0] == pytest.approx(400**0.5 + 200**0.5, rel=0.02)


def test_zero_rows_and_columns_stay_zero():
    W = np.random.default_rng(4).standard_normal((6, 5))
    W[2], W[:, 3] = 0, 0
    drawn = draws.draw(torch.from_numpy(W), np.random.default_rng(0))
    assert not drawn[2].any() and not drawn[:, 3].any() and (drawn != 0).sum() == 20
    assert not draws.draw(np.zeros((3, 4)), np.random.default_rng(0)).any()
    assert np.isnan(draws.draw(np.full((3, 4), np.nan), np.random.default_rng(0))).all()


def test_expected_is_the_mean_over_draws_of_a_measure():
    W = torch.from_numpy(
        np.outer(np.geomspace(0.1, 2, 60), np.ones(40)) * np.random.default_rng(5).normal(size=(60, 40))
    )
    matrix, seen = nla.Matrix("query", 2, 7, W.float()), []

    def measure(m):
        seen.append(m.values)
        return {"top": m.singular_values[0], "curve": m.singular_values}

    found = spectrum_rank.expected(matrix, nla.norms, measure, draws=4)
    assert len(seen) == 4 and not torch.equal(seen[0], seen[1]) and "curve" not in found
    assert found["top"] == pytest.approx(np.mean([np.linalg.svd(w.numpy(), compute_uv=False)[0] for w in seen]))
    assert spectrum_rank.expected(matrix, measure, draws=4)["top"] == pytest.approx(found["top"])
    iid = nla.nulls.spectral_norm(60, 40, float(W.square().mean() ** 0.5))
    assert found["top"] > 1.2 * iid  # what unequal rows alone do
