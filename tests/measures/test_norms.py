"""Norms against closed forms, NumPy, and draws of random matrices."""

import numpy as np
import pytest
import torch

import nla


def matrix_of(weight):
    return nla.Matrix("dense", 0, 0, torch.as_tensor(weight))


@pytest.mark.parametrize("shape", [(60, 60), (120, 30), (30, 120)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_norms_agree_with_numpy(shape, dtype):
    weight = (0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    W, found = weight.double().numpy(), nla.norms(matrix_of(weight))
    expected = {
        "l1": np.abs(W).sum(),
        "frobenius": np.linalg.norm(W),
        "linf": np.abs(W).max(),
        "induced_1": np.linalg.norm(W, 1),
        "induced_inf": np.linalg.norm(W, np.inf),
        "spectral": np.linalg.norm(W, 2),
        "nuclear": np.linalg.norm(W, "nuc"),
        "mean_abs": np.abs(W).mean(),
        "rms": np.sqrt((W**2).mean()),
    }
    assert {k: found[k] for k in expected} == pytest.approx(expected, rel=1e-7)
    assert np.linalg.norm(W.astype(np.float16) if dtype == torch.float16 else W.ravel()) > 0


def test_closed_forms():
    ones = nla.norms(matrix_of(torch.ones(6, 4)))
    assert [ones[n] for n in ("l1", "linf", "induced_1", "induced_inf")] == pytest.approx([24, 1, 6, 4])
    assert (ones["frobenius"], ones["spectral"], ones["nuclear"]) == pytest.approx([24**0.5] * 3)
    eye = nla.norms(matrix_of(torch.eye(5)))
    assert (eye["spectral"], eye["nuclear"], eye["frobenius"]) == pytest.approx((1, 5, 5**0.5))


@pytest.mark.parametrize("p", [0.5, 1, 1.7, 2, 3, 10, np.inf])
def test_lp(p):
    weight = torch.randn(40, 25, generator=torch.Generator().manual_seed(1)).half()
    flat = np.abs(weight.double().numpy().ravel())
    expected = flat.max() if p == np.inf else (flat**p).sum() ** (1 / p)
    assert nla.measures.lp_norm(matrix_of(weight), p) == pytest.approx(expected, rel=1e-12)


def test_lp_of_extreme_entries_and_bad_p():
    huge = matrix_of(torch.full((3, 3), 6e4, dtype=torch.float16))
    assert nla.measures.lp_norm(huge, 100) == pytest.approx(float(torch.tensor(6e4).half()) * 9**0.01)
    assert nla.measures.lp_norm(matrix_of(torch.zeros(3, 3)), 3) == pytest.approx(0)
    with pytest.raises(ValueError, match="p > 0"):
        nla.measures.lp_norm(huge, 0)


def test_fp16_sums_do_not_saturate():
    weight = torch.ones(400, 400, dtype=torch.float16)  # 160,000 entries: beyond fp16
    assert nla.norms(matrix_of(weight))["l1"] == pytest.approx(160000)


@pytest.mark.parametrize("m, n", [(150, 150), (400, 100), (100, 400)])
def test_random_matrix_has_relative_norms_of_one(m, n):
    generator = torch.Generator().manual_seed(2)
    draws = [nla.norms(matrix_of(0.1 * torch.randn(m, n, generator=generator))) for _ in range(60)]
    for name, tolerance in {"l1": 2e-3, "nuclear": 3e-3, "spectral": 5e-3, "linf": 0.03}.items():
        assert np.mean([d[f"{name}_relative"] for d in draws]) == pytest.approx(1, abs=tolerance), name
    for name in ("induced_1", "induced_inf"):
        assert np.mean([d[f"{name}_relative"] for d in draws]) == pytest.approx(1, abs=0.02), name
    assert np.mean([d["frobenius"] for d in draws]) == pytest.approx(
        nla.measures.random_norms(m, n, 0.1)["frobenius"], rel=1e-2
    )


def test_learned_structure_moves_the_relative_norms():
    noise = torch.randn(200, 200, generator=torch.Generator().manual_seed(3))
    spiked = nla.norms(matrix_of(noise + torch.outer(torch.ones(200), torch.ones(200))))
    outlier = noise.clone()
    outlier[0, 0] = 60
    assert spiked["spectral_relative"] > 4 and spiked["nuclear_relative"] < 0.9
    assert nla.norms(matrix_of(outlier))["linf_relative"] > 10


def test_frobenius_relative_is_growth_since_the_first_checkpoint(ladder):
    with nla.load(str(ladder), step=100) as weights, nla.load(str(ladder), step=0) as first:
        now, then = weights.matrix("key", 0), first.matrix("key", 0)
        growth = nla.norms(now)["frobenius"] / nla.norms(then)["frobenius"]
        assert nla.norms(now)["frobenius_relative"] == pytest.approx(growth)


def test_zero_matrix_gives_no_exception():
    zero = nla.norms(matrix_of(torch.zeros(5, 4)))
    assert zero["l1"] == pytest.approx(0) and np.isnan(zero["l1_relative"])
