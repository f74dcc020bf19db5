"""Random draws keep what they say and nothing else."""

import numpy as np
import pytest
import torch

import nla
from nla import nulls
from nla.nulls import draws
from nla.studies import norms
from tests.helpers.nulls import matrix_of


def test_random_signs_keep_all_that_sizes_decide():
    rng = np.random.default_rng(6)
    W = matrix_of(rng.standard_normal((90, 60)) * np.exp(rng.standard_normal(60)))
    drawn = draws.random_signs(W)
    assert torch.equal(drawn.abs(), W.values.abs()) and 0.45 < ((drawn > 0) == (W.values > 0)).double().mean() < 0.55
    keeps = ("l1", "frobenius", "linf", "induced_1", "induced_inf")
    one, other = (nla.norms(matrix_of(w)) for w in (W.values, drawn))
    assert [one[n] for n in keeps] == pytest.approx([other[n] for n in keeps])


@pytest.mark.parametrize("m, n", [(200, 200), (300, 80)])
def test_random_signs_of_equal_entries_have_the_norm_of_a_gaussian_matrix(m, n):
    found = norms.random_sign_spectral(matrix_of(np.full((m, n), 0.2)), draws=20)["sign_spectral"]
    assert found == pytest.approx(nulls.spectral_norm(m, n, 0.2), rel=0.02)  # for large m, n: Soshnikov 2002
    assert found < 0.25 * 0.2 * (m * n) ** 0.5  # the norm of the matrix itself


def test_random_signs_explain_long_rows_and_columns():
    rng = np.random.default_rng(7)
    scales = np.exp(0.8 * rng.standard_normal((150, 1))) * np.exp(0.8 * rng.standard_normal(100))
    draws = [rng.standard_normal((150, 100)) * scales for _ in range(30)]
    found = [norms.random_sign_spectral(matrix_of(W), draws=2)["sign_spectral"] for W in draws]
    assert np.mean(found) == pytest.approx(np.mean([np.linalg.norm(W, 2) for W in draws]), rel=0.02)
    assert np.mean(found) > 1.5 * nulls.spectral_norm(150, 100, np.sqrt((scales**2).mean()))


@pytest.mark.parametrize("m, n", [(60, 60), (90, 40), (40, 90)])
def test_a_rotated_change_keeps_its_singular_values_and_little_else(m, n):
    rng = np.random.default_rng(8)
    first = rng.standard_normal((m, n))
    matrix = matrix_of(0.7 * first + 4 * np.outer(rng.standard_normal(m), rng.standard_normal(n)) / m**0.5, first)
    a = (matrix.values.numpy() * first).sum() / (first**2).sum()
    change = matrix.values.numpy() - a * first
    s = np.linalg.svd(change, compute_uv=False)
    cosines, overlaps = [], []
    for drawn in draws.rotated_changes(matrix, matrix.initial, 200):
        rotated = drawn.numpy() - a * first
        assert np.linalg.svd(rotated, compute_uv=False) == pytest.approx(s, abs=1e-4 * s[0])
        cosines.append((rotated * change).sum() / (s**2).sum())
        overlaps.append((np.linalg.svd(rotated)[0][:, 0] @ np.linalg.svd(change)[0][:, 0]) ** 2)
    assert np.mean(cosines) == pytest.approx(0, abs=4 * np.std(cosines) / 200**0.5)
    assert np.mean(overlaps) == pytest.approx(1 / m, abs=4 * np.std(overlaps) / 200**0.5)  # cos^2 is Beta(1/2, (m-1)/2)
    assert np.mean(np.square(overlaps)) == pytest.approx(3 / (m * (m + 2)), rel=0.6)


def test_haar_columns_have_the_moments_of_the_haar_measure():
    """E q = 0 and E tr Q = 0; without the signs of R the diagonal of Q is negative on average."""
    Q = torch.stack([draws.haar(torch.from_numpy(G)) for G in np.random.default_rng(0).standard_normal((3000, 6, 6))])
    assert torch.allclose(Q.mT @ Q, torch.eye(6, dtype=torch.float64), atol=1e-5)
    error = 1 / 6**0.5 / 3000**0.5
    assert (Q.mean(0).abs() < 4.5 * error).all()
    assert (Q**4).mean().item() == pytest.approx(3 / (6 * 8), rel=0.02)


def test_draws_are_independent_between_matrices_and_repeat_themselves():
    rng = np.random.default_rng(9)
    W, first = rng.standard_normal((2, 30, 20))
    for changes in (draws.noise_changes, draws.rotated_changes):
        one, again, other = (list(changes(m := matrix_of(W, first, layer), m.initial, 2)) for layer in (0, 0, 1))
        assert torch.allclose(one[0], again[0]) and torch.allclose(one[1], again[1])
        assert not torch.allclose(one[0], one[1]) and not torch.allclose(one[0], other[0])
