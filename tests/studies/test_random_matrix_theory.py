"""Overlaps and departures by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

import nla
from nla import nulls
from nla.running import activations
from nla.studies.random_matrix_theory import beside_nulls, onset, overlaps
from tests.helpers.random_matrix import gaussian, matrix_of


def test_overlap_by_hand():
    rng = np.random.default_rng(0)
    W, Q = rng.standard_normal((9, 30)), np.linalg.qr(rng.standard_normal((30, 30)))[0]
    C = Q * np.arange(30, 0, -1) @ Q.T
    covariance = activations.Covariance(100, torch.zeros(30), torch.from_numpy(C))
    found = overlaps.overlap(nla.Matrix("dense", 0, 0, torch.from_numpy(W)), covariance)
    _, _, Vt = np.linalg.svd(W.astype(np.float32), full_matrices=False)
    np.testing.assert_allclose(found["overlap"], np.abs(Vt @ Q).max(1), atol=1e-4)
    np.testing.assert_allclose(found["variance"], np.diag(Vt @ C @ Vt.T) / np.trace(C) * 30, rtol=1e-4)
    assert found["energy"] == pytest.approx(np.trace(Vt @ C @ Vt.T) / np.trace(C), rel=1e-4)
    aligned = overlaps.overlap(
        nla.Matrix("dense", 0, 0, torch.from_numpy((Q[:, :5] * np.arange(5, 0, -1)).T.copy())), covariance
    )
    np.testing.assert_allclose(aligned["overlap"], 1, atol=1e-5)


def test_an_overlap_does_not_say_where_the_inputs_vary():
    """The largest singular vectors are the eigenvectors of most variance, the smallest those of least: both overlap."""
    rng = np.random.default_rng(1)
    Q, values = np.linalg.qr(rng.standard_normal((40, 40)))[0], np.linspace(2, 0.1, 40)
    covariance = activations.Covariance(100, torch.zeros(40), torch.from_numpy(Q * values @ Q.T))
    W = (Q * np.arange(40, 0, -1)).T.copy()  # right singular vectors: the columns of Q, in the order of the variances
    found = overlaps.overlap(nla.Matrix("dense", 0, 0, torch.from_numpy(W)), covariance)
    np.testing.assert_allclose(found["overlap"], 1, atol=1e-4)
    np.testing.assert_allclose(found["place"], (np.arange(40) + 0.5) / 40)
    np.testing.assert_allclose(found["variance"], values / values.mean(), rtol=1e-3)
    reads = pd.DataFrame([{"step": 3, "kind": "dense", "layer": 0} | found])
    assert overlaps.far_end(reads) == {"dense": (4, 4)}
    read = overlaps.variance_read(reads).iloc[0]
    assert np.allclose(overlaps.beyond(reads)[["largest", "middle", "smallest"]], 1)
    assert read.largest == pytest.approx(values[:4].mean() / values.mean(), rel=1e-3)
    assert read.smallest == pytest.approx(values[-4:].mean() / values.mean(), rel=1e-3)
    text = overlaps.by_step(overlaps.beyond(reads), 100)
    assert [line.split()[-1] for line in text.splitlines()[2:]] == ["100"] * 3


@pytest.mark.parametrize("d", [40, 300])
def test_random_overlap(d):
    """Three sigma: above the band 1.35 of 1,000 random vectors, below it no more; 20,000 drawn."""
    v = torch.randn(d, 20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    largest = (v / v.norm(dim=0)).abs().amax(0).numpy()
    low, high = overlaps.random_overlap(d, d)
    assert (largest > high).mean() == pytest.approx(0.00135, abs=0.0012)
    assert (largest < low).mean() < 0.0025
    assert largest.min() < 1.2 * low


def test_low_values_are_told_from_what_scales_and_directions_make():
    rng, (m, n) = np.random.default_rng(7), (400, 100)
    U, s, Vt = np.linalg.svd(gaussian(m, n, 8), full_matrices=False)
    s[-5:], s[:20] = 0.7 * nulls.mp_edges(m, n)[0], s[:20] * np.linspace(3, 1.2, 20)
    scaled = gaussian(m, n, 9) * np.exp(rng.normal(0, 1, n))
    for W, planted_low in ((U * s @ Vt, True), (scaled, False)):
        table = pd.DataFrame(beside_nulls.beside_nulls(matrix_of(W)))
        left = table.groupby(["of", "sigma"]).left.mean().unstack("of")
        assert list(table.of.unique()) == ["trained", "directions", "scales"] and len(table) == 3 * (1 + 3 + 3)
        if planted_low:
            assert (left.trained >= 5).all() and (left[["directions", "scales"]] <= 1).all(axis=None)
        else:  # unequal columns lower the smallest values: the null of scales does as well
            assert left.trained["all"] > 5 and left.scales["all"] == pytest.approx(left.trained["all"], rel=0.3)


def test_the_first_departure_is_the_one_that_stays():
    base = {"kind": "dense", "layer": 0, "edge_left": np.nan, "edge_right": 0.0}
    values = {0: 1.0, 2: 4.0, 4: 1.0, 8: 4.0, 16: 5.0}
    table = pd.DataFrame([base | {"step": s, "mp_distance_relative": d} for s, d in values.items()])
    found = onset.departures(table).iloc[0]
    assert found.distance == 8 and np.isnan(found.right) and found.left == -1
    assert onset.span(pd.Series([8.0, 16.0, np.nan])) == "8-16 (1 of 3 never)"
    assert onset.span(pd.Series([-1.0])) == "no such edge"
