"""Unpaired neurons by brute force."""

import numpy as np
import pytest
import torch

import nla
from nla import nulls
from nla.studies.w1_w2_correlation import BINS, unpaired
from tests.helpers.correlation import gaussian, matrix_of, planted


def test_unpaired_is_all_pairs_by_brute_force():
    w_in, w_out = planted(60, 12, np.linspace(-0.2, 0.9, 60), seed=2)
    w_in, w_out = w_in + 0.5, w_out + 0.5  # crowded together: any two have a cosine
    w_in[7] = 0
    found = unpaired(matrix_of(w_in, w_out))
    first, second = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in np.delete([w_in, w_out], 7, axis=1))
    C = first @ second.T
    rng = np.random.default_rng(0)
    means = [C[np.arange(59), rng.permutation(59)].mean() for _ in range(4000)]
    assert found["unpaired_mean"] == pytest.approx(C.mean(), abs=1e-6) and C.mean() > 0.1
    assert found["unpaired_mean_sd"] == pytest.approx(np.std(means), rel=0.05)
    beyond = (np.abs(C) > nulls.cosine_quantile(0.9995, 12)).mean()
    assert found["unpaired_beyond"] == pytest.approx(beyond) and beyond > 0.001
    assert found["unpaired_density"] == pytest.approx(np.histogram(C, BINS, density=True)[0], abs=2 / C.size * 250)
    z = (found["unpaired_mean"], found["unpaired_mean_sd"], nla.correlation(matrix_of(w_in, w_out)))
    assert (z[2]["rho_mean"] - z[0]) / z[1] == pytest.approx(z[2]["rho_mean_z"])


def test_unpaired_of_random_directions_is_the_exact_null():
    found = unpaired(matrix_of(*gaussian(600, 50, 3)))
    assert abs(found["unpaired_mean"]) < 5 / (600 * 50**0.5)  # of two mean directions, each of length 600^-1/2
    assert found["unpaired_mean_sd"] == pytest.approx((600 * 50) ** -0.5, rel=0.02)
    assert found["unpaired_beyond"] == pytest.approx(0.001, rel=0.3)


def test_unpaired_needs_two_neurons_and_a_finite_output():
    w = torch.eye(3)
    assert unpaired(matrix_of(w[:1], w[:1])) == {} and unpaired(matrix_of(w, w * np.nan)) == {}
