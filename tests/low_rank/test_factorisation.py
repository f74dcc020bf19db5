"""Factors of low rank: each method is the optimum of what it minimises."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from nla.low_rank import factorisation
from nla.running.activations import Inputs
from tests.helpers.low_rank import problem

SHAPES = [(12, 12), (30, 9), (9, 30), (1, 7)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", factorisation.METHODS)
def test_every_method_is_exact_at_full_rank(shape, name):
    W, X = problem(shape)
    B, A, *shift = factorisation.METHODS[name](W, min(shape), Inputs.of(X))
    assert B.shape == (shape[0], min(shape)) and A.shape == (min(shape), shape[1])
    np.testing.assert_allclose(B @ A, W, atol=1e-7)
    assert all(torch.allclose(s, torch.zeros_like(s), atol=1e-7) for s in shift)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_truncation_is_eckart_young(shape):
    W, _ = problem(shape)
    U, s, Vt = np.linalg.svd(W.numpy(), full_matrices=False)
    for method in (factorisation.truncated, factorisation.randomised):
        B, A = method(W, 4)
        np.testing.assert_allclose(B @ A, U[:, :4] * s[:4] @ Vt[:4], atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_whitened_is_the_optimum_of_the_outputs(shape):
    """Against the textbook route, by a Cholesky factor and its inverse, and against a minimiser that knows neither."""
    W, X = problem(shape)
    inputs, rank = Inputs.of(X), 3
    B, A = factorisation.whitened(W, rank, inputs)
    L = np.linalg.cholesky(inputs.second.numpy())
    U, s, Vt = np.linalg.svd(W.numpy() @ L, full_matrices=False)
    np.testing.assert_allclose(B @ A, U[:, :rank] * s[:rank] @ Vt[:rank] @ np.linalg.inv(L), atol=1e-6)
    found = ((X @ (W - B @ A).T) ** 2).sum(1).mean()
    assert found == pytest.approx((s[rank:] ** 2).sum(), rel=1e-9)
    assert factorisation.errors(W, (B, A), inputs)["outputs"] == pytest.approx(
        math.sqrt(found / ((X @ W.T) ** 2).sum(1).mean()), rel=1e-9
    )

    def loss(flat):
        factors = torch.tensor(flat, requires_grad=True)
        b, a = factors[: rank * shape[0]].view(shape[0], rank), factors[rank * shape[0] :].view(rank, shape[1])
        value = ((X @ (W - b @ a).T) ** 2).sum(1).mean()
        value.backward()
        return value.item(), factors.grad.numpy()

    start = np.random.default_rng(5).standard_normal(rank * sum(shape))
    searched = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 4000}).fun
    assert found <= searched + 1e-9 and searched == pytest.approx(float(found), rel=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_turned_keeps_the_spectrum_and_no_direction(shape):
    W, X = problem(shape)
    generator, C = torch.Generator().manual_seed(0), Inputs.of(X).second
    draws = [factorisation.turned(factorisation.truncated(W, None), generator) for _ in range(2000)]
    for one in draws[:3]:
        np.testing.assert_allclose(one @ one.T, W @ W.T, atol=1e-9)
    mean = torch.stack([one @ C @ one.T for one in draws]).mean(0)
    expected = W @ W.T * C.trace() / shape[1]
    assert float(torch.linalg.norm(mean - expected) / torch.linalg.norm(expected)) < 0.05


def test_affine_is_the_optimum_with_a_bias():
    W, X = problem((20, 8))
    inputs, bias = Inputs.of(X), torch.randn(20, dtype=torch.float64)
    B, A, new = factorisation.affine(W, 2, inputs, bias)
    centred = X - X.mean(0)
    s = np.linalg.svd((centred @ W.T).numpy(), compute_uv=False)
    lost = ((X @ W.T + bias - X @ (B @ A).T - new) ** 2).sum()
    assert float(lost) == pytest.approx((s[2:] ** 2).sum(), rel=1e-6)
    plain = factorisation.whitened(W, 2, inputs)
    shift = factorisation.affine(W, 2, inputs)
    assert factorisation.errors(W, shift, inputs)["outputs"] < factorisation.errors(W, plain, inputs)["outputs"]
    whole = ((X @ W.T) ** 2).sum()
    assert factorisation.errors(W, shift, inputs)["outputs"] == pytest.approx(math.sqrt(lost / whole), rel=1e-6)


@pytest.mark.parametrize("method", [factorisation.whitened, factorisation.affine, factorisation.scaled])
def test_degenerate_inputs_and_weights(method):
    """Few inputs, so that their covariance is singular; a matrix of zeros; inputs that are all zero in places."""
    W, X = problem((10, 6), count=3)
    B, A, *_ = method(W, 6, Inputs.of(X))
    assert B.isfinite().all() and A.isfinite().all()
    if method is factorisation.whitened:
        np.testing.assert_allclose(X @ (B @ A).T, X @ W.T, atol=1e-6)
    X[:, 2] = 0
    for matrix in (W, torch.zeros_like(W), torch.ones_like(W)):
        assert all(f.isfinite().all() for f in method(matrix, 2, Inputs.of(X)))


@pytest.mark.parametrize("count", [5, 60])
def test_regression_beats_any_other_map_of_its_rank(count):
    W, X = problem((15, 10), count=count)
    Y = X @ W.T + 0.3 * torch.randn(count, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    best = np.linalg.lstsq(X.numpy(), Y.numpy(), rcond=None)[0]
    s = np.linalg.svd(X.numpy() @ best, compute_uv=False)
    floor = float(((X.numpy() @ best - Y.numpy()) ** 2).sum())
    for rank in (1, 3, 10):
        B, A, lost = factorisation.regression(X, Y, rank)
        assert B.shape[1] == len(A) <= rank
        assert lost == pytest.approx(float((X @ (B @ A).T - Y).square().sum()), abs=1e-8)
        assert lost == pytest.approx(floor + (s[rank:] ** 2).sum(), abs=1e-8)
    exact = factorisation.regression(X, X @ W.T, min(count, 10))[-1]
    assert exact < 1e-18 * float((X @ W.T).square().sum()) * 1e3
