"""Angles between random directions have their laws."""

import numpy as np
import pytest
from scipy.integrate import quad

from nla import nulls
from nla.numerics import pairs
from tests.helpers.orthogonality import normal


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
    assert (spectrum > 1 - 1e-9).sum() == ones and lower <= spectrum[-1] and spectrum[ones] <= upper
    assert nulls.wachter_edges(p, p, 4 * p)[1] == pytest.approx(0.75**0.5)


@pytest.mark.parametrize("d", [2, 3, 10, 300])
def test_nulls_of_angles_by_quadrature(d):
    density = nulls.angle_density
    inside = (max(0, 90 - 60 * 10 / d**0.5), min(180, 90 + 60 * 10 / d**0.5))
    assert quad(density, *inside, args=(d,))[0] == pytest.approx(1, rel=1e-6)
    square = quad(lambda a: (a - 90) ** 2 * density(a, d), *inside)[0]
    assert nulls.angle_sd(d) == pytest.approx(square**0.5, rel=1e-6)
    absolute = quad(lambda a: abs(np.cos(np.radians(a))) * density(a, d), *inside, points=[90])[0]
    assert nulls.cosine_mean_abs(d) == pytest.approx(absolute, rel=1e-6)


def test_nulls_at_the_ends():
    assert nulls.angle_sd(1) == pytest.approx(90) and nulls.cosine_mean_abs(1) == pytest.approx(1)  # 0 or 180 degrees
    assert nulls.cosine_max_abs(1, 5) == pytest.approx(1)
    assert nulls.cosine_max_abs(7, 1) == pytest.approx(nulls.cosine_mean_abs(7), rel=1e-4)  # the largest of one
    assert nulls.cosine_mean_abs(50304) == pytest.approx((2 / np.pi / 50304) ** 0.5, rel=1e-5)
    # Vectors of 1024 entries: 1.7912 degrees simulated; the largest of 4096 and of 1024 of them about 0.16.
    assert nulls.angle_sd(1024) == pytest.approx(1.7912, abs=5e-4)
    assert nulls.cosine_max_abs(1024, 4096 * 4095 // 2) == pytest.approx(0.165, abs=0.004)


@pytest.mark.parametrize("count, d", [(30, 20), (100, 60), (40, 3)])
def test_largest_cosine_of_random_vectors(count, d):
    draws = [pairs.all_pairs(normal(count, d, seed=s)).max_abs_cosine for s in range(120)]
    assert np.mean(draws) == pytest.approx(nulls.cosine_max_abs(d, count * (count - 1) // 2), rel=0.02)
