"""The random-matrix values against quadrature, against draws, and against textbook numbers."""

import numpy as np
import pytest

from nla import nulls


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
