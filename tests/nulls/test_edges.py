"""Edges of the bulk: noise stays within at the stated rate, planted values do not."""

import numpy as np
import pytest
from scipy import stats

import nla
from nla import nulls
from nla.nulls import edges, marchenko_pastur, spikes
from tests.helpers.random_matrix import draws, gaussian, matrix_of


@pytest.mark.parametrize("m, n", [(48, 48), (192, 48), (75, 300), (160, 160)])
def test_a_random_matrix_stays_in_its_null(m, n):
    """False alarms over 600 draws: 0.8 to 1.6 % are stated on the right, 0.6 to 1.3 % on the left."""
    found = [nla.random_matrix(FromSpectrum(s, m, n)) for s in draws(m, n, 600, seed=m + n)]
    distance = np.array([f["mp_distance_relative"] for f in found])
    assert distance.mean() == pytest.approx(1, abs=0.04)
    assert np.quantile(distance, 0.99) < 1.5 and distance.max() < marchenko_pastur.DEPARTED
    right = sum(f["outliers_right"] > 0 for f in found)
    assert 1 <= right <= 15, right
    left = [f["outliers_left"] for f in found]
    assert np.isnan(left).all() if m == n else sum(x > 0 for x in left) <= 15
    edges = np.array([f["edge_right"] for f in found])
    assert edges.mean() == pytest.approx(-1.2065, abs=0.4) and edges.std() == pytest.approx(1.268, rel=0.2)


class FromSpectrum:
    """A matrix of which only the spectrum is drawn, and entries are the quantiles of their law."""

    def __init__(self, s, m, n):
        self.singular_values, self.shape = s, (m, n)
        self.histogram = stats.norm.ppf((np.arange(m * n) + 0.5) / (m * n)), np.ones(m * n)


def test_error_of_sigma_from_the_median():
    for m, n in ((96, 96), (256, 64), (300, 300)):
        sigma = [nla.nulls.bulk_sigma(s, m, n) for s in draws(m, n, 400)]
        assert np.std(sigma) == pytest.approx(edges.median_error(m, n), rel=0.15)


@pytest.mark.parametrize("shape", [(400, 100), (100, 400)])
def test_planted_low_outliers_are_found_in_a_rectangular_matrix(shape):
    U, s, Vt = np.linalg.svd(gaussian(*shape, 3), full_matrices=False)
    s[-5:] = 0.7 * nulls.mp_edges(*shape)[0]
    found = nla.random_matrix(matrix_of(U * s @ Vt))
    assert found["outliers_left"] == 5 and found["outliers_right"] == 0 and found["edge_left"] > 5
    assert found["energy_left"] == pytest.approx((s[-5:] @ s[-5:]) / (s @ s), rel=1e-5)
    assert nla.random_matrix(matrix_of(gaussian(*shape, 3)))["outliers_left"] == 0


@pytest.mark.parametrize("m, n", [(768, 192), (192, 768), (200, 200)])
def test_sigma_is_known_again_once_many_directions_are_out(m, n):
    """A fifth of the values is lifted out of noise: the median of all is too high, that of the rest is not."""
    count, sigma = min(m, n) // 5, 0.03
    W, i = gaussian(m, n, 6, sigma), np.arange(count)
    W[i, i] += spikes.visible(m, n, sigma) * np.linspace(1.5, 4, count)  # noise has no directions of its own
    s = matrix_of(W).singular_values
    none, once, end = (edges.refitted(s, m, n, rounds) for rounds in (0, 1, None))
    assert none["sigma"] > 1.05 * sigma and abs(once["sigma"] / sigma - 1) < abs(none["sigma"] / sigma - 1) / 3
    assert end["sigma"] == pytest.approx(sigma, rel=0.02) and abs(end["right"] - count) <= 2
    assert none["mp_distance_relative"] > 5 and end["mp_distance_relative"] < 2
    found = nla.random_matrix(matrix_of(W))
    assert none["taken"] == 0 and none["right"] == found["outliers_right"]
    assert none["edge_right"] == pytest.approx(found["edge_right"])
    np.testing.assert_equal(none["left"], found["outliers_left"])
    assert np.isnan(end["left"]) if m == n else end["left"] == 0
    noise = [edges.refitted(x, m, n, None)["taken"] for x in draws(m, n, 20)]
    assert np.count_nonzero(noise) <= 2


def test_where_a_lower_edge_is():
    edge = edges.lower_edge
    assert np.isnan(edge(1.0, 100, 100, 1.0)) and np.isnan(edge(1.0, 101, 100, 1.0))
    assert edge(nulls.mp_edges(400, 100)[0] * 0.5, 400, 100, 1.0) > 10 > -5 > edge(20.0, 400, 100, 1.0)
