"""Spectra and ranks against closed forms, NumPy, and draws of random matrices."""

import numpy as np
import pandas as pd
import pytest
import torch

import nla
from nla import nulls
from nla.nulls.edges import gavish_donoho_threshold, mp_threshold
from tests.helpers.spectrum import gaussian

HALF, BRAIN, SINGLE = torch.float16, torch.bfloat16, torch.float32


def matrix_of(weight, **more):
    return nla.Matrix("dense", 0, 0, torch.as_tensor(weight), **more)


def ranks_by_definition(W):
    """The same numbers from NumPy's own singular values, sums written out."""
    s = np.linalg.svd(W, compute_uv=False)
    p = s / s.sum()
    energy = np.cumsum(s**2) / (s**2).sum()
    return {f"energy_rank_{q}": next(k for k, e in enumerate(energy, 1) if e >= q / 100) for q in (90, 95, 99)} | {
        "stable_rank": np.linalg.norm(W, "fro") ** 2 / np.linalg.norm(W, 2) ** 2,
        "effective_rank": np.exp(-sum(x * np.log(x) for x in p)),
        "participation_ratio": np.trace(W.T @ W) ** 2 / np.linalg.norm(W.T @ W, "fro") ** 2,
        "condition_number": np.linalg.cond(W),
    }


@pytest.mark.parametrize("shape", [(60, 60), (120, 30), (30, 120)])
@pytest.mark.parametrize("dtype", [HALF, BRAIN, SINGLE])
def test_ranks_agree_with_numpy(shape, dtype):
    weight = (0.02 * gaussian(*shape)).to(dtype)
    W, found = weight.double().numpy(), nla.spectrum(matrix_of(weight))
    expected = ranks_by_definition(W)
    assert {k: found[k] for k in expected} == pytest.approx(expected, rel=1e-7)
    assert found["singular_values"].dtype == np.float32
    assert found["singular_values"] == pytest.approx(np.linalg.svd(W, compute_uv=False), rel=1e-6)


def test_closed_forms():
    eye = nla.spectrum(matrix_of(torch.eye(20)))
    names = ("numerical_rank", "stable_rank", "effective_rank", "participation_ratio")
    assert [eye[n] for n in names] == pytest.approx([20] * 4)
    assert [eye[f"energy_rank_{q}"] for q in (90, 95, 99)] == [18, 19, 20]
    assert eye["condition_number"] == pytest.approx(1)
    one = nla.spectrum(matrix_of(torch.outer(torch.arange(1.0, 8), torch.arange(1.0, 5))))
    assert [one[n] for n in names] == pytest.approx([1] * 4, abs=1e-5)
    found = nla.numerics.ranks(np.array([2.0, 1.0, 1.0]))  # sum s^2 = 6, sum s^4 = 18, p = 1/2, 1/4, 1/4
    names = ("stable_rank", "participation_ratio", "effective_rank", "condition_number")
    assert [found[n] for n in names] == pytest.approx([1.5, 2, 2**1.5, 2])


@pytest.mark.parametrize("dtype", [HALF, BRAIN, SINGLE])
@pytest.mark.parametrize("m, n, k", [(90, 90, 1), (90, 90, 80), (60, 300, 7), (300, 60, 25), (2000, 40, 3)])
def test_numerical_rank_is_that_of_the_matrix_before_it_was_rounded(dtype, m, n, k):
    exact = 0.02 * gaussian(m, k, seed=m + k) @ gaussian(k, n, seed=n)
    stored = exact.to(dtype)
    found = nla.spectrum(matrix_of(stored))
    assert found["numerical_rank"] == k
    noise = np.linalg.norm((stored.double() - exact).numpy(), 2)
    assert found["resolution"] > noise  # and not so far above it that real singular values drown
    assert found["resolution"] < 3 * noise or dtype == SINGLE
    assert np.linalg.matrix_rank(stored.double().numpy()) > k  # the tolerance of float64 sees the noise


def test_resolution_of_gaussian_entries():
    for dtype, unit in ((HALF, 2.07e-4), (BRAIN, 8 * 2.07e-4)):
        weight = (0.02 * gaussian(700, 300)).to(dtype)
        noise = unit * 0.02 * (700**0.5 + 300**0.5)
        assert np.linalg.norm((weight.double() - 0.02 * gaussian(700, 300)).numpy(), 2) == pytest.approx(
            noise, rel=0.02
        )
        assert noise < nla.measures.resolution(matrix_of(weight)) < 1.15 * noise
    scaled = nla.measures.resolution(matrix_of((8 * 0.02 * gaussian(700, 300)).to(HALF)))
    assert scaled == pytest.approx(8 * nla.measures.resolution(matrix_of((0.02 * gaussian(700, 300)).to(HALF))))


@pytest.mark.parametrize("m, n", [(150, 150), (400, 100), (100, 400)])
def test_random_matrix_has_relative_ranks_of_one(m, n):
    draws = pd.DataFrame([nla.spectrum(matrix_of((0.1 * gaussian(m, n, seed=i)).half())) for i in range(25)])
    mean = draws.drop(columns="singular_values").mean()
    tolerances = {"numerical_rank": 1e-3, "effective_rank": 3e-3, "participation_ratio": 3e-3, "stable_rank": 0.02}
    for name, tolerance in (tolerances | {f"energy_rank_{q}": 0.01 for q in (90, 95, 99)}).items():
        assert mean[f"{name}_relative"] == pytest.approx(1, abs=tolerance), name
    assert draws.condition_number_relative.median() == pytest.approx(1, abs=0.06 if m != n else 0.5)
    assert mean.mp_rank <= 0.1 and mean.gavish_donoho_rank == 0


@pytest.mark.parametrize(
    "shape, known",  # over r, from draws of matrices of just these shapes
    [
        ((1024, 1024), dict(stable=0.2515, effective=0.8049, participation=0.4997, energy_90=0.51, energy_99=0.771)),
        ((4096, 1024), dict(stable=0.4469, effective=0.9662, participation=0.7999, energy_90=0.762, energy_99=0.966)),
        ((50304, 512), dict(stable=0.8266, effective=0.9987, participation=0.9899, energy_90=0.883, energy_99=0.988)),
    ],
)
def test_random_values_of_large_shapes(shape, known):
    found = nla.measures.random_ranks(*shape)
    names = ("stable_rank", "effective_rank", "participation_ratio", "energy_rank_90", "energy_rank_99")
    assert [found[n] / min(shape) for n in names] == pytest.approx(list(known.values()), rel=3e-3)


def test_random_ranks_in_closed_form():
    """Integrals over the square Marchenko-Pastur law, a quarter circle: s = 2 sin t with density (4/pi) cos^2 t."""
    t = np.linspace(0, np.pi / 2, 200001)
    s, weight = 2 * np.sin(t), 4 / np.pi * np.cos(t) ** 2
    mean = np.trapezoid(s * weight, t)
    entropy = np.trapezoid(-s / mean * np.log(np.maximum(s, 1e-300) / mean) * weight, t)
    found = nla.measures.random_ranks(3000, 3000, sigma=0.3)
    assert mean == pytest.approx(8 / (3 * np.pi))
    assert found["effective_rank"] / 3000 == pytest.approx(np.exp(entropy), rel=1e-4)
    assert found["participation_ratio"] / 3000 == pytest.approx(0.5, rel=1e-3)
    kept = np.cumsum((s**2 * weight)[::-1]) / (s**2 * weight).sum()
    share = np.cumsum(weight[::-1]) / weight.sum()
    assert found["energy_rank_95"] / 3000 == pytest.approx(share[np.searchsorted(kept, 0.95)], abs=1e-3)


def test_thresholds():
    for (m, n), factor in (((200, 200), 2.858), ((400, 100), 1.837), ((100, 400), 1.837), ((4900, 100), 1.460)):
        s = 0.3 * nulls.mp_spectrum(m, n)
        assert nla.nulls.bulk_sigma(s, m, n) == pytest.approx(0.3)
        assert gavish_donoho_threshold(s, m, n) == pytest.approx(factor * np.median(s), rel=2e-3)
        assert gavish_donoho_threshold(s, m, n) > mp_threshold(s, m, n) > 0.3 * nulls.mp_edges(m, n)[1]


@pytest.mark.parametrize("m, n", [(200, 200), (500, 120)])
def test_planted_directions_are_counted(m, n):
    """Above the transition sigma (mn)^(1/4) of Baik, Ben Arous and Peche a spike shows, below it does not."""
    U, V = (torch.linalg.qr(gaussian(side, 8, seed=side)).Q for side in (m, n))
    transition = (m * n) ** 0.25
    for strength, ranks in ((4.0, 8), (0.5, 0)):
        W = gaussian(m, n) + strength * transition * U @ V.T
        found = nla.spectrum(matrix_of(W.float()))
        assert (found["mp_rank"], found["gavish_donoho_rank"]) == (ranks, ranks)
    W = gaussian(m, n) + 3 + 4 * transition * U[:, :1] @ V[:, :1].T  # a huge direction does not hide another
    assert nla.spectrum(matrix_of(W.float()))["mp_rank"] == 2


def test_structure_moves_the_relative_ranks():
    noise = gaussian(200, 100)
    spiked = nla.spectrum(matrix_of((noise + 2).float()))
    for name in ("stable_rank", "effective_rank", "participation_ratio", "energy_rank_90"):
        assert spiked[f"{name}_relative"] < 0.9
    orthogonal = nla.spectrum(matrix_of(torch.linalg.qr(noise).Q.float()))
    for name in ("stable_rank", "effective_rank", "participation_ratio", "energy_rank_90"):
        assert orthogonal[f"{name}_relative"] > 1.01
    assert orthogonal["condition_number_relative"] < 0.4


@pytest.mark.parametrize("weight", [torch.zeros(5, 4), torch.ones(1, 7), torch.ones(7, 1), torch.ones(1, 1)])
def test_degenerate_matrices(weight):
    found = nla.spectrum(matrix_of(weight.half()))
    rank = int(weight.any())
    assert found["numerical_rank"] == rank
    if rank:
        names = ("stable_rank", "effective_rank", "condition_number", "energy_rank_99")
        assert [found[n] for n in names] + [found[f"{n}_relative"] for n in names] == pytest.approx([1] * 8)
    else:
        assert np.isnan(found["stable_rank"]) and np.isnan(found["effective_rank_relative"])
        assert found["mp_rank"] == found["gavish_donoho_rank"] == found["energy_rank_90"] == 0
