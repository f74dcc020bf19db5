"""How far directions turned, by NumPy and SciPy, and by chance."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ortho_group

from nla.studies.drift_from_init import turning
from tests.helpers.nulls import matrix_of


def overlap(one, other, k, side):
    bases = [np.linalg.svd(w, full_matrices=False) for w in (one, other)]
    left, right = (b[0][:, :k] if side == "left" else b[2][:k].T for b in bases)
    return np.linalg.norm(left.T @ right) ** 2 / k


def test_turning_by_numpy_and_scipy():
    """The measured overlaps by NumPy, the controls by drawing rotations of SciPy's."""
    rng = np.random.default_rng(10)
    first = rng.standard_normal((50, 36))
    W = 0.8 * first + 3 * np.linalg.qr(rng.standard_normal((50, 2)))[0] @ rng.standard_normal((2, 36))
    matrix = matrix_of(W, first)
    found = turning.turning(matrix, draws=60)
    a = (W * first).sum() / (first**2).sum()
    R = W - a * first
    drawn = [a * first + ortho_group.rvs(50, random_state=rng) @ R @ ortho_group.rvs(36, random_state=rng)
             for _ in range(60)]  # fmt: skip
    noise = [a * first + rng.standard_normal(R.shape) * np.linalg.norm(R) / R.size**0.5 for _ in range(60)]
    s, s_0 = (np.linalg.svd(w, compute_uv=False) for w in (W, first))
    assert found["k"] == 16
    assert found["in_spectrum"] == pytest.approx(((s - s_0) ** 2).sum() / ((W - first) ** 2).sum(), rel=1e-5)
    for side in ("left", "right"):
        assert found[side] == pytest.approx(overlap(W, first, 16, side), abs=1e-5)
        for control, matrices in (("rotated", drawn), ("noise", noise)):
            expected = np.array([overlap(w, first, 16, side) for w in matrices])
            sd = found[f"{side}_{control}_sd"]
            assert found[f"{side}_{control}"] == pytest.approx(expected.mean(), abs=4 * sd * (2 / 60) ** 0.5)
            assert sd == pytest.approx(expected.std(), rel=0.5)
    assert found["left_rotated"] > found["left_noise"] + 5 * found["left_noise_sd"]  # two directions displace little


def test_turning_of_a_change_that_points_anywhere_is_that_of_its_controls():
    """The mean z of matrices that are noise, or rotated, themselves is 0 and its spread 1."""
    rng = np.random.default_rng(11)
    rows = []
    for layer in range(60):
        first = rng.standard_normal((40, 40))
        U, V = (ortho_group.rvs(40, random_state=rng) for _ in range(2))
        matrix = matrix_of(0.9 * first + (U * np.r_[20, 10, np.ones(38)]) @ V.T, first, layer)
        rows.append({"kind": f"{layer}", **turning.turning(matrix)})
    found = turning.compared(pd.DataFrame(rows), "left")
    assert abs(found.z.mean()) < 4 / 60**0.5 * 1.2 and 0.7 < found.z.std() < 1.8  # Student's, 7 degrees of freedom


def test_compared_is_a_mean_over_layers_with_its_error():
    one = {"kind": "key", "left": 0.5, "left_rotated": 0.4, "left_noise": 0.6}
    table = pd.DataFrame([one | {"left_rotated_sd": sd, "left_noise_sd": 0.1} for sd in (0.03, 0.04)])
    found = turning.compared(table, "left", draws=4).loc["key"]
    assert found["sd rotated"] == pytest.approx(0.05 / 2) and found["sd noise"] == pytest.approx(0.02**0.5 / 2)
    assert found["z"] == pytest.approx(0.1 / 0.025 / 1.25**0.5)


def test_turning_of_what_cannot_be_compared():
    W = np.random.default_rng(12).standard_normal((12, 8))
    alone, same = turning.turning(matrix_of(W)), turning.turning(matrix_of(W, W))
    assert set(alone) == set(same) and np.isnan(list(alone.values())).all()
    assert (same["left"], same["left_rotated"]) == pytest.approx((1, 1)) and np.isnan(same["in_spectrum"])
    for odd in (np.zeros((5, 4)), np.ones((1, 1)), W[:1], W[:, :1]):
        assert turning.turning(matrix_of(odd, odd + 1))["k"] >= 1
