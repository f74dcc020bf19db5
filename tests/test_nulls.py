"""The random-matrix values against quadrature, against draws, and against textbook numbers."""

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
    assert nulls.mp_cdf([0, lower * 0.99, upper * 1.01], m, n, 0.3).tolist() == [0, 0, 1]


@pytest.mark.parametrize("m, n", SHAPES[:3])
def test_spectrum_of_a_random_matrix(m, n):
    rng = np.random.default_rng(0)
    draws = np.array([np.linalg.svd(0.2 * rng.standard_normal((m, n)), compute_uv=False) for _ in range(40)])
    assert draws.mean(0) == pytest.approx(0.2 * nulls.mp_spectrum(m, n), rel=0.02, abs=0.02)
    assert draws[:, 0].mean() == pytest.approx(nulls.spectral_norm(m, n, 0.2), rel=3e-3)
    assert draws.sum(1).mean() == pytest.approx(nulls.nuclear_norm(m, n, 0.2), rel=2e-3)


def test_largest_singular_value_fluctuates_as_tracy_and_widom_say():
    rng = np.random.default_rng(1)
    largest = np.array([np.linalg.norm(rng.standard_normal((80, 120)), 2) for _ in range(2000)])
    above = (largest > nulls.spectral_norm(80, 120, fluctuation=nulls.TRACY_WIDOM_Q99)).mean()
    assert 0.003 < above < 0.02


def test_square_nuclear_norm_in_closed_form():
    assert nulls.nuclear_norm(1000, 1000) / 1000**1.5 == pytest.approx(8 / (3 * np.pi), rel=1e-5)


@pytest.mark.parametrize("two_sided", [False, True])
def test_expected_maximum(two_sided):
    draws = np.random.default_rng(2).standard_normal((4000, 700))
    draws = np.abs(draws) if two_sided else draws
    assert draws.max(1).mean() == pytest.approx(nulls.normal_max(700, two_sided), rel=5e-3)
    assert nulls.normal_max(1, two_sided) == pytest.approx(np.sqrt(2 / np.pi) if two_sided else 0, abs=1e-6)
    assert nulls.normal_max(2) == pytest.approx(1 / np.sqrt(np.pi))  # known for two draws


def test_absolute_moments():
    assert [nulls.abs_moment(p) for p in (1, 2, 4)] == pytest.approx([np.sqrt(2 / np.pi), 1, 3])


def test_median_condition_number():
    rng = np.random.default_rng(3)
    drawn = [np.linalg.cond(rng.standard_normal((60, 60))) for _ in range(3000)]
    assert np.median(drawn) == pytest.approx(nulls.median_condition_number(60, 60), rel=0.08)
    assert nulls.median_condition_number(400, 100) == pytest.approx(3)


@pytest.mark.parametrize("d", [3, 12, 768])
def test_cosine_of_independent_directions(d):
    rng = np.random.default_rng(4)
    drawn = rng.standard_normal((20000, d))
    drawn = drawn[:, 0] / np.linalg.norm(drawn, axis=1)
    for p in (0.001, 0.05, 0.5, 0.9):
        x = nulls.cosine_quantile(p, d)
        centre = [-5 / d**0.5, x] if d > 100 else None  # where the density is, for the quadrature
        assert quad(nulls.cosine_density, -1, x, args=(d,), points=centre)[0] == pytest.approx(p, abs=1e-7)
        assert (drawn < x).mean() == pytest.approx(p, abs=5 * (p * (1 - p) / 20000) ** 0.5)
    assert np.abs(drawn).mean() == pytest.approx(nulls.cosine_mean_abs(d), rel=0.02)


@pytest.mark.parametrize("p, q, n", [(60, 60, 240), (60, 40, 240), (60, 60, 120), (60, 60, 90), (40, 60, 70)])
def test_canonical_correlations_of_independent_matrices(p, q, n):
    rng = np.random.default_rng(5)
    spaces = [[np.linalg.qr(rng.standard_normal((n, k)))[0] for k in (p, q)] for _ in range(40)]
    drawn = np.mean([np.linalg.svd(a.T @ b, compute_uv=False) for a, b in spaces], axis=0)
    spectrum, (lower, upper) = nulls.wachter_spectrum(p, q, n), nulls.wachter_edges(p, q, n)
    assert drawn == pytest.approx(spectrum, abs=0.02)
    assert (spectrum**2).mean() == pytest.approx(max(p, q) / n, rel=1e-3)
    ones = max(p + q - n, 0)
    assert (spectrum == 1).sum() == ones and lower <= spectrum[-1] and spectrum[ones] <= upper
    assert nulls.wachter_edges(p, p, 4 * p)[1] == pytest.approx(0.75**0.5)
