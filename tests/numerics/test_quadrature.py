"""Quadrature of a spectrum: bounds, counts and quantiles are covered at their rate."""

import numpy as np
import pytest
import torch

import nla
from nla.numerics import quadrature, sketch
from tests.helpers.sketch import MATRICES, coverage, singular_values, unbiased

SEEDS = 200


@pytest.mark.parametrize("name", MATRICES)
def test_quadrature_of_all_steps_is_exact_per_probe(name):
    W = MATRICES[name]
    full = quadrature.quadrature(W, probes=2, steps=min(W.shape))
    s = singular_values(W)
    for nodes, weights in (full.gauss, full.radau):
        assert weights.sum(1) == pytest.approx([1, 1])
        assert np.sort(nodes, 1)[:, -1] == pytest.approx(s[0])
    assert full._sums(full.gauss, [np.abs]) == pytest.approx(full._sums(full.radau, [np.abs]), rel=1e-6)
    z = sketch.signs(2, min(W.shape), seed=0).double()
    tall = W if W.shape[0] >= W.shape[1] else W.T
    Vt = torch.linalg.svd(tall, full_matrices=False).Vh
    direct = ((z @ Vt.T) ** 2 @ torch.from_numpy(s)).numpy()  # z^T (W^T W)^(1/2) z
    assert full._sums(full.gauss, [np.abs])[:, 0] == pytest.approx(direct)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("what", ["nuclear", "fourth", "effective_rank"])
def test_quadrature_is_covered_at_its_rate(name, what):
    W = MATRICES[name]
    s = singular_values(W)
    truth = {"nuclear": s.sum(), "fourth": (s**4).sum(), "effective_rank": nla.numerics.ranks(s)["effective_rank"]}[
        what
    ]
    measure = {
        "nuclear": lambda d: d.trace(np.abs),
        "fourth": lambda d: d.trace(lambda x: x**4),
        "effective_rank": lambda d: d.effective_rank(),
    }[what]
    found = [measure(quadrature.quadrature(W, 8, 16, seed)) for seed in range(SEEDS)]
    share, ratio = coverage(truth, found)
    assert 0.88 <= share <= 1, share
    assert ratio == pytest.approx(1, abs=0.02)


def test_gauss_and_radau_bound_the_nuclear_norm_of_each_probe():
    W = MATRICES["square"]  # singular values down to 0: the hardest case
    full = quadrature.quadrature(W, 8, 80)
    exact = full._sums(full.gauss, [np.abs])
    for steps in (4, 8, 16, 32):
        few = quadrature.quadrature(W, 8, steps)
        assert (few._sums(few.gauss, [np.abs]) >= exact * (1 - 1e-9)).all()
        assert (few._sums(few.radau, [np.abs]) <= exact * (1 + 1e-9)).all()


def test_counts_and_quantiles():
    W = MATRICES["spiked"]
    s = singular_values(W)
    edge = 1.4 * np.sort(s)[-7]
    counts = [quadrature.quadrature(W, 8, 30, seed).count_above(edge) for seed in range(100)]
    assert (s > edge).sum() == 6 and unbiased(6, counts) and coverage(6, counts)[0] >= 0.9
    low = np.median(s)
    inside = [quadrature.quadrature(W, 8, 30, seed).count_above(low) for seed in range(100)]
    assert coverage(40, inside)[0] >= 0.9
    medians = [quadrature.quadrature(W, 12, 30, seed).quantile(0.5).value for seed in range(30)]
    assert np.mean(medians) == pytest.approx(np.median(s), rel=0.03)
