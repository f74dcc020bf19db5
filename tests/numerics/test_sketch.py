"""Sketches against exact spectra: analytic matrices, bias and coverage over hundreds of seeds, and scans with them."""

import numpy as np
import pytest
import torch

import nla
from nla.measures.sketched import sketched_spectrum
from nla.numerics import quadrature, sketch
from tests.helpers.sketch import MATRICES, coverage, singular_values, spiked, unbiased

SEEDS = 200


@pytest.mark.parametrize("name", MATRICES)
def test_trace_of_the_squared_gram_is_unbiased_and_covered(name):
    W = MATRICES[name]
    truth, product, rank = (singular_values(W) ** 4).sum(), sketch.squared_gram(W), min(W.shape)
    for estimator, count in ((sketch.hutchinson, 12), (sketch.hutch_pp, 36)):
        found = [estimator(product, sketch.signs(rank, count, seed=i)) for i in range(SEEDS)]
        assert unbiased(truth, found), (estimator, np.mean([e.value for e in found]) / truth)
        assert 0.88 <= coverage(truth, found)[0] <= 1, estimator


def test_hutch_pp_pays_on_a_falling_spectrum_only():
    errors = {}
    for name in ("square", "spiked"):
        W = MATRICES[name]
        truth, product = (singular_values(W) ** 4).sum(), sketch.squared_gram(W)
        for estimator in (sketch.hutchinson, sketch.hutch_pp):
            z = [sketch.signs(80, 36, seed=i) for i in range(60)]
            errors[name, estimator] = np.std([estimator(product, each).value for each in z]) / truth
    assert errors["spiked", sketch.hutch_pp] < 0.3 * errors["spiked", sketch.hutchinson]
    assert errors["square", sketch.hutch_pp] > 0.7 * errors["square", sketch.hutchinson]


def test_hutchinson_is_exact_on_a_diagonal():
    d = torch.arange(1.0, 31.0).double()
    assert sketch.hutchinson(lambda z: d[:, None] * z, sketch.signs(30, 4)) == pytest.approx((465, 0))
    with pytest.raises(ValueError, match="at least 6"):
        sketch.hutch_pp(lambda z: z, sketch.signs(30, 5))


@pytest.mark.parametrize("name", ["spiked", "tall"])
def test_block_krylov_is_below_and_within_its_error(name):
    W = MATRICES[name].float()
    s, hits = singular_values(W), []
    for seed in range(SEEDS):
        found = sketch.block_krylov(W, 6, depth=3, seed=seed)
        assert (found.s <= s[:6] * (1 + 1e-5)).all()
        hits.append(s[:6] - found.s <= found.error)
    assert np.mean(hits) >= (0.99 if name == "spiked" else 0.8)  # in a bulk a residual shows some s, not which
    assert np.mean([h[0] for h in hits]) >= 0.95


def test_block_krylov_finds_the_subspace():
    W = MATRICES["spiked"]
    found = sketch.block_krylov(W, 6, depth=4)
    Vt = torch.linalg.svd(W, full_matrices=False).Vh
    sine = (found.short - Vt[:6].T @ (Vt[:6] @ found.short)).norm()
    assert sine <= found.sine < 1e-2
    assert found.s == pytest.approx(singular_values(W)[:6], rel=1e-6)
    assert W @ found.short == pytest.approx((found.long * torch.from_numpy(found.s)).numpy(), abs=1e-3 * found.s[0])
    assert sketch.block_krylov(W.T, 6, depth=4).s == pytest.approx(found.s)
    library = torch.svd_lowrank(W, 14, niter=3)[1][:6].numpy()
    assert found.s == pytest.approx(library, rel=1e-2)


@pytest.mark.parametrize("name", ["spiked", "wide"])
def test_range_finder_is_below_within_its_error_and_no_better_than_krylov(name):
    W = MATRICES[name]
    s, worse, library = singular_values(W), [], []
    for seed in range(40):
        found = sketch.range_finder(W, 6, seed=seed)
        assert (found.s <= s[:6] * (1 + 1e-9)).all() and s[0] - found.s[0] <= found.error[0]
        long_side = W.T if name == "spiked" else W
        assert long_side @ found.long == pytest.approx((found.short * torch.from_numpy(found.s)).numpy(), abs=1e-9)
        worse.append(s[:6] - found.s >= s[:6] - sketch.block_krylov(W, 6, seed=seed).s - 1e-9)
        torch.manual_seed(seed)
        library.append([found.s, torch.svd_lowrank(W, 14, niter=2)[1][:6].numpy()])
    assert np.mean(worse) > 0.9
    ours, theirs = np.mean(library, 0)
    assert ours == pytest.approx(theirs, rel=0.01)
    assert sketch.range_finder(W, 6, iterations=20).s == pytest.approx(s[:6], rel=1e-3)


def test_row_pairs_unbiased_covered_and_exact_with_all_rows():
    rows = spiked(300, 40)
    for X, kernel in ((rows / rows.norm(dim=1, keepdim=True), torch.abs), (rows, torch.square)):
        gram = kernel(X @ X.T).numpy()
        truth = gram[~np.eye(300, dtype=bool)].mean()
        found = [sketch.row_pairs(X, kernel, 40, seed) for seed in range(SEEDS)]
        assert unbiased(truth, found) and coverage(truth, found)[0] >= 0.88
        assert sketch.row_pairs(X, kernel, 1000) == pytest.approx((truth, 0))


def test_degenerate_matrices():
    for W in (torch.zeros(9, 5), torch.ones(9, 5), torch.ones(1, 7), torch.eye(6)):
        s = singular_values(W)
        density = quadrature.quadrature(W, 4, 30)
        found = density.trace(np.abs)
        assert abs(found.value - s.sum()) <= found.error + 1e-4
        measured = sketched_spectrum(nla.Matrix("dense", 0, 0, W))
        if s[0]:
            assert measured["stable_rank"] == pytest.approx((s @ s) / s[0] ** 2, rel=1e-4)
