"""Rows that lean against a bias, against the mean of what they read, or against neither."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import nla
from nla.matrices import Norm
from nla.running.activations import Covariance
from nla.studies.orthogonality import leaning

D = 40
BETA, MU = torch.eye(D)[0] * 0.5, torch.eye(D)[0] * 0.5 + torch.eye(D)[1] * 2


def rows(towards, count=300, size=0.0, seed=0):
    w = torch.randn(count, D, generator=torch.Generator().manual_seed(seed))
    w -= torch.outer(w @ towards, towards) / (towards @ towards)
    return w / w.norm(dim=1, keepdim=True) + size * towards / towards.norm()


def matrix_of(w, bias=BETA):
    norm = Norm(torch.full((D,), 1.5), bias, True)
    weights = SimpleNamespace(norm=lambda kind, layer: norm)
    return nla.Matrix("dense_h_to_4h", 0, 0, w, None, weights)


def read(mean, variance=1.0):
    return Covariance(1000, mean.double(), variance * torch.eye(D).double())


def test_what_rows_lean_against_takes_the_lean_away_and_nothing_else_does():
    w = rows(MU, size=-0.5)
    found = leaning.leaning(matrix_of(w), read(MU))
    tilt = 1 / 1.25 * 0.25  # cosine of two rows that share -0.5 of MU beside a unit vector of their own
    assert found["angle"] == pytest.approx(np.degrees(np.arccos(tilt)), abs=0.3)
    assert found["- mu"] == pytest.approx(90, abs=0.3) and found["angle"] < found["- beta"] < 81
    assert found["cos mu"] == pytest.approx(-1, abs=0.02) and found["against mu"] == pytest.approx(1)
    assert found["cos beta"] == pytest.approx(-float(BETA @ MU / BETA.norm() / MU.norm()), abs=0.05)
    unit = (w / w.norm(dim=1, keepdim=True)).numpy()
    left = unit - np.outer(unit @ MU.numpy(), MU.numpy()) / float(MU @ MU)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    angles = np.degrees(np.arccos((left @ left.T)[np.triu_indices(300, 1)]))
    assert (found["- mu"], found["sd - mu"]) == pytest.approx((angles.mean(), angles.std()), abs=1e-3)


def test_a_lean_of_another_cause_stays():
    """Where projecting out the mean row would leave 90 degrees of anything."""
    found = leaning.leaning(matrix_of(rows(torch.eye(D)[5], size=0.5)), read(MU))
    assert found["- beta"] == pytest.approx(found["angle"], abs=0.5) and found["- mu"] < 80


def test_constant_share_of_the_leading_direction():
    v1 = torch.eye(D)[0]
    found = leaning.constant(matrix_of(rows(v1, size=-2.0)), read(MU, variance=0.25))
    assert found["cos row"] == pytest.approx(1, abs=1e-3)
    assert found["isotropic"] == pytest.approx(0.25 / (0.25 + 1.5**2), rel=0.05)  # beta 0.5 beside a gain of 1.5
    assert found["text"] == pytest.approx(0.25 / (0.25 + 0.25), abs=0.05)
    assert found["random"] == pytest.approx(4.25 / (4.25 + 0.25 * D)) and 0 <= found["v_2"] <= 1
    assert leaning.constant(matrix_of(rows(MU, size=-2.0)), read(MU))["beta/mean"] == pytest.approx(
        0.25 / 4.25, rel=0.1
    )


def test_without_a_text_or_a_bias_or_a_norm():
    w = rows(MU, size=-0.5)
    silent = leaning.leaning(matrix_of(w, None))
    assert (silent["cos beta"], silent["- beta"]) == pytest.approx((0, silent["angle"])) and np.isnan(silent["- mu"])
    assert np.isnan(silent["against mu"]) and silent["against beta"] == pytest.approx(0)
    share = leaning.constant(matrix_of(w, None))
    assert share["isotropic"] == pytest.approx(0) and np.isnan(share["text"]) and np.isnan(share["beta/mean"])
    bare = nla.Matrix("dense_h_to_4h", 0, 0, w, None, SimpleNamespace(norm=lambda kind, layer: None))
    assert np.isnan(leaning.constant(bare)["isotropic"]) and leaning.leaning(bare)["cos beta"] == pytest.approx(0)
