"""The Marchenko-Pastur law by quadrature and by random matrices."""

import numpy as np
import pytest
from scipy.integrate import quad

from nla import nulls

SHAPES = [(300, 300), (400, 100), (100, 400), (5000, 60)]


@pytest.mark.parametrize("m, n", SHAPES)
def test_cdf_is_the_integral_of_the_density(m, n):
    lower, upper = nulls.mp_edges(m, n, 0.3)
    for s in np.linspace(lower, upper, 7):
        integral = quad(nulls.mp_density, lower, s, args=(m, n, 0.3), limit=200)[0]
        assert nulls.mp_cdf(s, m, n, 0.3) == pytest.approx(integral, abs=1e-7)
    assert nulls.mp_cdf([0, lower * 0.99, upper * 1.01], m, n, 0.3) == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("m, n", SHAPES[:3])
def test_spectrum_of_a_random_matrix(m, n):
    rng = np.random.default_rng(0)
    draws = np.array([np.linalg.svd(0.2 * rng.standard_normal((m, n)), compute_uv=False) for _ in range(40)])
    assert draws.mean(0) == pytest.approx(0.2 * nulls.mp_spectrum(m, n), rel=0.02, abs=0.02)
    assert draws[:, 0].mean() == pytest.approx(nulls.spectral_norm(m, n, 0.2), rel=3e-3)
    assert draws.sum(1).mean() == pytest.approx(nulls.nuclear_norm(m, n, 0.2), rel=2e-3)
