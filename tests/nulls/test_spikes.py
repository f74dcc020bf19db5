"""Directions under noise: their values, strengths and visibility."""

import numpy as np
import pytest
import torch

import nla
from nla import nulls
from nla.nulls import edges, spikes
from tests.helpers.random_matrix import matrix_of, planted


@pytest.mark.parametrize("m, n", [(300, 300), (400, 100), (100, 400)])
@pytest.mark.parametrize("strength", [1.5, 3.0])
def test_a_planted_spike_is_found_and_its_strength_recovered(m, n, strength):
    sigma, recovered, overlaps = 0.05, [], []
    for seed in range(8):
        W, u, v = planted(m, n, strength * spikes.visible(m, n, sigma), seed, sigma)
        matrix = matrix_of(W)
        found = nla.random_matrix(matrix)
        assert found["outliers_right"] >= 1 and found["edge_right"] > 2.02
        recovered.append(found["spikes"][0])
        U, _, Vt = matrix.singular_vectors
        overlaps.append([float((U[:, 0] @ torch.tensor(u)) ** 2), float((Vt[0] @ torch.tensor(v)) ** 2)])
        assert found["sigma_median"] == pytest.approx(sigma, rel=0.02)
        assert found["spike_energy"] < found["energy_right"] < 1
    assert np.mean(recovered) == pytest.approx(strength, rel=0.06)
    theta = strength * spikes.visible(m, n, sigma)
    predicted = spikes.spike_overlaps(theta, m, n, sigma)
    np.testing.assert_allclose(np.mean(overlaps, axis=0), predicted, atol=0.08)


def test_a_spike_below_the_threshold_leaves_no_trace():
    found = [nla.random_matrix(matrix_of(planted(200, 200, 0.6 * 200**0.5, seed)[0])) for seed in range(20)]
    assert sum(f["outliers_right"] for f in found) <= 3


def test_strengths_and_values_of_spikes_are_inverse():
    for m, n in ((50, 50), (300, 20), (20, 300)):
        theta = spikes.visible(m, n, 0.3) * np.array([1.01, 1.5, 4, 100])
        s = spikes.spike_values(theta, m, n, 0.3)
        np.testing.assert_allclose(spikes.spike_strengths(s, m, n, 0.3), theta, rtol=1e-9)
        assert spikes.spike_values(0.0, m, n, 0.3) == pytest.approx(nulls.mp_edges(m, n, 0.3)[1])
        assert np.isnan(spikes.spike_strengths(0.9 * nulls.mp_edges(m, n, 0.3)[1], m, n, 0.3))
        assert spikes.spike_overlaps(0.0, m, n) == pytest.approx((0, 0), abs=1e-12)


def test_noise_with_the_directions_of_a_spectrum_has_them():
    m, n = 300, 100
    theta = spikes.visible(m, n) * np.array([8.0, 5.0, 3.0])
    s = np.concatenate([spikes.spike_values(theta, m, n), nulls.mp_spectrum(m - 3, n - 3)])
    drawn = np.linalg.svd(spikes.spiked(s, m, n, np.random.default_rng(0)), compute_uv=False)
    np.testing.assert_allclose(drawn[:3], s[:3], rtol=0.06)
    assert edges.refitted(drawn, m, n, None)["right"] == 3
