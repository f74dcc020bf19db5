"""Errors of sketches are errors, and are covered."""

import zlib

import numpy as np
import pytest
import scipy.linalg
import torch

import nla
from nla.numerics import quadrature, sketch
from nla.studies.randomised_nla.sketch_errors import sketch_errors
from tests.helpers.sketch import gaussian, singular_values, spiked


def test_sketch_errors_are_errors_and_are_covered():
    inside = {}
    for seed in range(30):
        W = spiked(150, 60) if seed % 2 else gaussian(100, 150)
        found = sketch_errors(nla.Matrix("dense", seed, 0, W.float()))
        assert found["block_krylov_off"] <= 1e-6 and found["range_finder_off"] <= 1e-6
        assert found["block_krylov_sine"] <= found["block_krylov_sine_bound"] * 1.001
        for name in [k.removesuffix("_off") for k in found if k.endswith("_off")]:
            inside.setdefault(name, []).append(abs(found[f"{name}_off"]) <= found[f"{name}_error"])
    assert len(inside) == 8 and all(np.mean(hits) >= 0.85 for hits in inside.values()), inside


def test_directions_of_spikes_are_found_in_every_shape():
    for W in (spiked(150, 60, 8), spiked(60, 150, 8), spiked(80, 80, 8)):
        found = sketch_errors(nla.Matrix("dense", 0, 0, W.float()))
        assert found["block_krylov_sine"] <= 0.3 and found["block_krylov_sine"] <= found["block_krylov_sine_bound"]


def test_sketch_errors_against_numpy():
    W = spiked(150, 60).float()
    found, s = sketch_errors(nla.Matrix("dense", 3, 0, W)), singular_values(W)
    seed = zlib.crc32(b"dense 3 0")
    Vt = np.linalg.svd(W.double().numpy())[2]
    krylov = sketch.block_krylov(W, 8, seed=seed)
    angles = scipy.linalg.subspace_angles(Vt[:8].T, krylov.short.double().numpy())
    assert found["block_krylov_sine"] == pytest.approx(np.linalg.norm(np.sin(angles)), rel=1e-3)
    upper = nla.nulls.mp_edges(150, 60, nla.nulls.bulk_sigma(s, 150, 60))[1]
    count = quadrature.quadrature(W, seed=seed).count_above(upper).value
    assert found["above_off"] == pytest.approx((count - (s > upper).sum()) / 60)
    rows = (W / W.norm(dim=1, keepdim=True)).double().numpy()
    truth = np.abs(rows @ rows.T)[~np.eye(150, dtype=bool)].mean()
    estimate = sketch.row_pairs(torch.from_numpy(rows), torch.abs, 64, seed).value
    assert found["cosine_off"] == pytest.approx(estimate / truth - 1, abs=1e-5)


def test_sketch_errors_of_degenerate_matrices():
    for W in (torch.zeros(9, 5), torch.ones(9, 5), torch.ones(1, 7), torch.eye(60)):
        found = sketch_errors(nla.Matrix("dense", 0, 0, W))
        assert all(isinstance(v, float) for v in found.values())
        if W.any():
            assert abs(found["nuclear_off"]) <= found["nuclear_error"] + 1e-4
    assert np.isnan(found["below_off"])  # square: no lower edge
