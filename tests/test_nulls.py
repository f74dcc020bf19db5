"""The random-matrix values against quadrature, against draws, and against textbook numbers."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import ortho_group

import nla
from nla import nulls
from nla.nulls import draws
from nla.studies import norms
from nla.studies.drift_from_init import turning

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
    assert (spectrum > 1 - 1e-9).sum() == ones and lower <= spectrum[-1] and spectrum[ones] <= upper
    assert nulls.wachter_edges(p, p, 4 * p)[1] == pytest.approx(0.75**0.5)


# Controls: a part of the matrix is kept


def matrix_of(weight, initial=None, layer=0):
    matrix = nla.Matrix("dense", layer, 1, torch.as_tensor(weight))
    if initial is not None:
        vars(matrix)["initial"] = nla.Matrix("dense", layer, 0, torch.as_tensor(initial))  # where `once` looks
    return matrix


def test_random_signs_keep_all_that_sizes_decide():
    rng = np.random.default_rng(6)
    W = matrix_of(rng.standard_normal((90, 60)) * np.exp(rng.standard_normal(60)))
    drawn = draws.random_signs(W)
    assert torch.equal(drawn.abs(), W.values.abs()) and 0.45 < ((drawn > 0) == (W.values > 0)).double().mean() < 0.55
    keeps = ("l1", "frobenius", "linf", "induced_1", "induced_inf")
    one, other = (nla.norms(matrix_of(w)) for w in (W.values, drawn))
    assert [one[n] for n in keeps] == pytest.approx([other[n] for n in keeps])


@pytest.mark.parametrize("m, n", [(200, 200), (300, 80)])
def test_random_signs_of_equal_entries_have_the_norm_of_a_gaussian_matrix(m, n):
    found = norms.random_sign_spectral(matrix_of(np.full((m, n), 0.2)), draws=20)["sign_spectral"]
    assert found == pytest.approx(nulls.spectral_norm(m, n, 0.2), rel=0.02)  # for large m, n: Soshnikov 2002
    assert found < 0.25 * 0.2 * (m * n) ** 0.5  # the norm of the matrix itself


def test_random_signs_explain_long_rows_and_columns():
    rng = np.random.default_rng(7)
    scales = np.exp(0.8 * rng.standard_normal((150, 1))) * np.exp(0.8 * rng.standard_normal(100))
    draws = [rng.standard_normal((150, 100)) * scales for _ in range(30)]
    found = [norms.random_sign_spectral(matrix_of(W), draws=2)["sign_spectral"] for W in draws]
    assert np.mean(found) == pytest.approx(np.mean([np.linalg.norm(W, 2) for W in draws]), rel=0.02)
    assert np.mean(found) > 1.5 * nulls.spectral_norm(150, 100, np.sqrt((scales**2).mean()))


@pytest.mark.parametrize("m, n", [(60, 60), (90, 40), (40, 90)])
def test_a_rotated_change_keeps_its_singular_values_and_little_else(m, n):
    rng = np.random.default_rng(8)
    first = rng.standard_normal((m, n))
    matrix = matrix_of(0.7 * first + 4 * np.outer(rng.standard_normal(m), rng.standard_normal(n)) / m**0.5, first)
    a = (matrix.values.numpy() * first).sum() / (first**2).sum()
    change = matrix.values.numpy() - a * first
    s = np.linalg.svd(change, compute_uv=False)
    cosines, overlaps = [], []
    for drawn in draws.rotated_changes(matrix, matrix.initial, 200):
        rotated = drawn.numpy() - a * first
        assert np.linalg.svd(rotated, compute_uv=False) == pytest.approx(s, abs=1e-4 * s[0])
        cosines.append((rotated * change).sum() / (s**2).sum())
        overlaps.append((np.linalg.svd(rotated)[0][:, 0] @ np.linalg.svd(change)[0][:, 0]) ** 2)
    assert np.mean(cosines) == pytest.approx(0, abs=4 * np.std(cosines) / 200**0.5)
    assert np.mean(overlaps) == pytest.approx(1 / m, abs=4 * np.std(overlaps) / 200**0.5)  # cos^2 is Beta(1/2, (m-1)/2)
    assert np.mean(np.square(overlaps)) == pytest.approx(3 / (m * (m + 2)), rel=0.6)


def test_haar_columns_have_the_moments_of_the_haar_measure():
    """E q = 0 and E tr Q = 0; without the signs of R the diagonal of Q is negative on average."""
    Q = torch.stack([draws._haar(6, 6, np.random.default_rng(k)) for k in range(3000)]).double()
    assert torch.allclose(Q.mT @ Q, torch.eye(6, dtype=torch.float64), atol=1e-5)
    error = 1 / 6**0.5 / 3000**0.5
    assert (Q.mean(0).abs() < 4.5 * error).all()
    assert (Q**4).mean().item() == pytest.approx(3 / (6 * 8), rel=0.02)


def test_draws_are_independent_between_matrices_and_repeat_themselves():
    rng = np.random.default_rng(9)
    W, first = rng.standard_normal((2, 30, 20))
    for changes in (draws.noise_changes, draws.rotated_changes):
        one, again, other = (list(changes(m := matrix_of(W, first, layer), m.initial, 2)) for layer in (0, 0, 1))
        assert torch.allclose(one[0], again[0]) and torch.allclose(one[1], again[1])
        assert not torch.allclose(one[0], one[1]) and not torch.allclose(one[0], other[0])


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
