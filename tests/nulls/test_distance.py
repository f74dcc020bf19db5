"""Distance of a spectrum from the Marchenko-Pastur law, by brute force."""

import numpy as np
import pytest
from scipy import integrate, stats

from nla import nulls
from nla.nulls import marchenko_pastur
from tests.helpers.random_matrix import draws

SHAPES = [(96, 96), (256, 64), (64, 256), (120, 100)]


@pytest.mark.parametrize("m, n", SHAPES)
def test_distance_is_that_of_a_brute_force_kolmogorov_test(m, n):
    s, sigma = draws(m, n, 1)[0] * 0.02, 0.021
    lower, upper = nulls.mp_edges(m, n, sigma)

    def cdf(values):  # by quadrature of the density, not by the closed form
        return [integrate.quad(nulls.mp_density, lower, min(max(x, lower), upper), (m, n, sigma))[0] for x in values]

    expected = stats.kstest(s, lambda values: np.array(cdf(np.atleast_1d(values)))).statistic
    assert marchenko_pastur.distance(s, m, n, sigma) == pytest.approx(expected, abs=1e-6)


def test_the_null_of_the_distance_is_that_of_explicit_matrices():
    """Means over a few large Gaussian matrices, computed elsewhere; sd 0.32/r each."""
    for (m, n), value in {(512, 512): 0.00554, (2048, 512): 0.0056, (768, 768): 0.00409, (1024, 1024): 0.0031}.items():
        assert marchenko_pastur.random_distance(m, n) == pytest.approx(value, abs=0.25 / n)
