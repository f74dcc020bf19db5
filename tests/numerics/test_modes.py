"""Tests of one mode and of a gap have their level."""

import json

import numpy as np
import pytest
from scipy import stats

from nla.numerics import modes
from tests.helpers import alpha_references as references
from tests.helpers.power_law import pareto

SAID = json.loads(references.PATH.read_text())


def test_dip_agrees_with_diptest():
    for name, x in references.samples().items():
        assert modes.dip(x) == pytest.approx(SAID["diptest"][name], abs=1e-12), name


def test_dip_of_closed_forms():
    assert modes.dip(np.arange(10.0)) == pytest.approx(1 / 20)  # evenly spaced: nothing can be nearer
    assert modes.dip(np.array([0.0, 1e-9, 1.0, 1.0 + 1e-9])) == pytest.approx(1 / 4, rel=1e-6)
    assert modes.dip(np.array([3.0])) == pytest.approx(0.5)


def test_dip_has_the_level_that_its_threshold_names():
    rng = np.random.default_rng(11)
    dips = np.array([20 * modes.dip(rng.random(400)) for _ in range(150)])
    assert 0.01 < (dips > 0.535).mean() < 0.1
    both = np.concatenate([rng.standard_normal(200), rng.standard_normal(200) + 4])
    assert 20 * modes.dip(both) > 0.7


def test_gap_p_is_uniform_and_sees_a_gap():
    rng = np.random.default_rng(12)
    samples = pareto(3.0, (300, 100), rng)
    p = [modes.gap_p(x, 3.0, 99) for x in samples]  # the last spacing reaches the value below the tail
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    x = samples[0].copy()
    x[-20:] *= 1.5  # the twenty largest stand apart
    assert modes.gap_p(x, 3.0, 99) < 1e-3
    x = samples[1].copy()
    x[-1] *= 1e3  # a dragon king
    assert modes.gap_p(x, 3.0, 99) < 1e-3
    assert np.isnan(modes.gap_p(np.array([1.0]), np.nan, 0))
