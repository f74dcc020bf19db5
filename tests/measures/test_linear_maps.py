"""Canonical correlations and ridge regression against SciPy, against fits made one by one, and against random pairs."""

from itertools import permutations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.linalg import subspace_angles

import nla
from nla import nulls
from nla.measures import linear_maps
from nla.measures.linear_maps import FOLDS, PENALTIES, ridge
from tests.helpers.correlation import gaussian, matrix_of


def mixed(n, d, seed, noise):
    """Neurons whose output is a fixed map of their input, plus `noise` of the same size."""
    w_in, other = gaussian(n, d, seed)
    mixing = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(99)))[0]
    return w_in, w_in @ mixing + noise * other


@pytest.mark.parametrize("n, d", [(60, 10), (25, 20)])  # in the second some correlations must be 1
def test_canonical_correlations_are_cosines_of_angles_between_column_spaces(n, d):
    w_in, w_out = mixed(n, d, 0, 1.5)
    w_in, w_out = w_in + 0.02, w_out * torch.linspace(0.1, 3, d)
    found = nla.neuron_cca(matrix_of(w_in, w_out))
    centred = [(w - w.mean(0)).double().numpy() for w in (w_in, w_out)]
    expected = np.cos(np.sort(subspace_angles(*centred)))
    assert found["canonical_correlations"] == pytest.approx(expected, abs=1e-6)
    assert found["cca_mean_square"] == pytest.approx((expected**2).mean())
    assert found["cca_largest"] == pytest.approx(expected[0])
    assert (found["canonical_correlations"] > 1 - 1e-9).sum() == max(2 * d - (n - 1), 0)


def test_canonical_correlations_do_not_see_that_reading_and_writing_share_a_space():
    w_in, noise = gaussian(80, 10, 1)
    w_out = w_in + 0.5 * noise
    turned = w_out @ torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(5)))[0]
    one, other = (nla.neuron_cca(matrix_of(w_in, w)) for w in (w_out, turned))
    assert one["canonical_correlations"] == pytest.approx(other["canonical_correlations"], abs=1e-5)
    cosines = [nla.correlation(matrix_of(w_in, w))["rho_mean_abs"] for w in (w_out, turned)]
    assert cosines[0] > 0.8 and cosines[1] < 0.5


def test_wachter_is_what_unpaired_matrices_give():
    drawn = [nla.neuron_cca(matrix_of(*gaussian(120, 30, seed))) for seed in range(200)]
    z = np.array([d["cca_z"] for d in drawn])
    assert abs(z.mean()) < 0.25 and 0.85 < z.std() < 1.15
    assert 0.01 < (np.abs(z) > 1.96).mean() < 0.1
    mean = np.mean([d["canonical_correlations"] for d in drawn], axis=0)
    assert mean == pytest.approx(nulls.wachter_spectrum(30, 30, 119), abs=0.015)
    assert drawn[0]["cca_mean_square_random"] == pytest.approx(30 / 119)
    assert drawn[0]["cca_edge"] == pytest.approx(2 * (30 / 119 * 89 / 119) ** 0.5)
    assert 0.9 < mean[0] / drawn[0]["cca_edge"] < 1
    assert nla.neuron_cca(matrix_of(*mixed(120, 30, 0, 2.0)))["cca_z"] > 10


def test_mean_square_over_all_shuffles():
    w_in, w_out = gaussian(7, 2, 3)
    w_out[0] *= 30  # an outlier that a Gaussian null would not know
    orders = permutations(range(7))
    every = [nla.neuron_cca(matrix_of(w_in, w_out[list(order)]))["cca_mean_square"] for order in orders]
    assert np.mean(every) == pytest.approx(2 / 6, rel=1e-6)


def one_by_one(x, y, folds):
    """r2 for each of `PENALTIES`, every fit made by solving its normal equations."""
    x, y = x / x.std(0), y / y.std(0)
    error, mean_square = np.zeros(len(PENALTIES)), ((y - y.mean(0)) ** 2).sum()
    for k in range(FOLDS):
        fitted, left = folds != k, folds == k
        a, b = x[fitted] - x[fitted].mean(0), y[fitted] - y[fitted].mean(0)
        for i, penalty in enumerate(PENALTIES):
            ridge_matrix = a.T @ a + penalty * np.trace(a.T @ a) / a.shape[1] * np.eye(a.shape[1])
            guess = y[fitted].mean(0) + (x[left] - x[fitted].mean(0)) @ np.linalg.solve(ridge_matrix, a.T @ b)
            error[i] += ((y[left] - guess) ** 2).sum()
    return 1 - error / mean_square


def folds_of(index, n, seed=0):
    return np.random.default_rng([seed, 0, index]).permutation(n) % FOLDS


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_ridge_agrees_with_fits_made_one_by_one(noise):
    x, y = mixed(83, 8, 4, noise)
    x, y = x + 0.05, y * torch.linspace(0.2, 2, 8) - 0.01
    found = ridge(lambda: [(x, y)])
    expected = one_by_one(x.double().numpy(), y.double().numpy(), folds_of(0, 83))
    assert found["ridge_r2"] == pytest.approx(expected.max(), rel=1e-6)
    assert found["ridge_penalty"] == pytest.approx(PENALTIES[expected.argmax()])
    assert found["least_squares_r2"] == pytest.approx(expected[0], rel=1e-6)


def test_layers_are_pooled_into_one_sample():
    layers = [mixed(40, 6, 5, 1.0), mixed(31, 6, 6, 1.0)]
    layers[1] = tuple(w + 0.1 for w in layers[1])
    found = ridge(lambda: iter(layers))
    x, y = (torch.cat(w).double().numpy() for w in zip(*layers, strict=True))
    expected = one_by_one(x, y, np.concatenate([folds_of(0, 40), folds_of(1, 31)]))
    assert found["ridge_r2"] == pytest.approx(expected.max(), rel=1e-6)


def test_shuffles_within_layers_keep_what_only_the_layer_explains():
    layers = [tuple(w + 0.1 * index for w in gaussian(100, 6, index)) for index in range(2)]
    found = ridge(lambda: layers)
    assert found["ridge_r2"] > 0.5  # the mean of each layer, not the neuron
    assert abs(found["ridge_r2"] - found["ridge_r2_shuffled"]) < 0.05 and found["ridge_p"] > 0.1


def test_a_learnt_map_is_found_and_its_absence_too():
    found = nla.neuron_regression(matrix_of(*mixed(800, 20, 7, 1.0)))
    assert found["ridge_r2"] == pytest.approx(0.5, abs=0.05)  # half of the variance is noise
    assert found["ridge_p"] == pytest.approx(1 / (1 + linear_maps.SHUFFLES))
    assert found["ridge_r2"] > found["ridge_r2_shuffled"] + 50 * found["ridge_r2_shuffled_sd"]
    nothing = [nla.neuron_regression(matrix_of(*gaussian(80, 20, seed))) for seed in range(200)]
    expected = 1 - 80 / 79 * (1 + 1 / 64) * (1 + 20 / (64 - 20 - 2))  # Gaussian x, 64 neurons fitted to
    for name in ("least_squares_r2", "least_squares_r2_shuffled"):
        assert np.mean([f[name] for f in nothing]) == pytest.approx(expected, abs=0.01), name
    assert abs(np.mean([f["ridge_r2"] - f["ridge_r2_shuffled"] for f in nothing])) < 0.003
    assert np.mean([f["ridge_p"] <= 1 / 11 for f in nothing]) == pytest.approx(1 / 11, abs=0.06)


def test_expected_r2_over_shuffles_in_closed_form():
    """Mean of the squared error over shuffles: trace of its quadratic form, times the variance of y."""
    x, y = mixed(40, 5, 8, 0.5)
    n, folds, z = 40, folds_of(0, 40), x.double().numpy() / x.double().numpy().std(0)
    form = np.zeros((n, n))
    for k in range(FOLDS):
        fitted, left = folds != k, folds == k
        a = z[fitted] - z[fitted].mean(0)
        weights = np.zeros((left.sum(), n))
        ridge_matrix = a.T @ a + PENALTIES[0] * np.trace(a.T @ a) / 5 * np.eye(5)
        weights[:, fitted] = -1 / fitted.sum() - (z[left] - z[fitted].mean(0)) @ np.linalg.solve(ridge_matrix, a.T)
        weights[np.arange(left.sum()), np.flatnonzero(left)] += 1
        form += weights.T @ weights
    found = ridge(lambda: [(x, y)], shuffles=1000)
    assert found["least_squares_r2_shuffled"] == pytest.approx(1 - np.trace(form) / (n - 1), abs=0.01)


def test_pooled_over_a_checkpoint_without_its_spoilt_layer(ladder):
    with nla.load(str(ladder), step=100) as weights:
        whole = nla.measures.pooled_regression(weights)
        pairs = [nla.measures.neurons.in_out(m) for m in weights.matrices(kinds=["dense_h_to_4h"])]
    assert whole["ridge_r2"] == pytest.approx(ridge(lambda: pairs)["ridge_r2"])
    path = ladder / "step100" / "model.safetensors"
    state = load_file(path)
    state["gpt_neox.layers.1.mlp.dense_4h_to_h.weight"][0, 0] = float("nan")
    save_file(state, path, metadata={"format": "pt"})
    with nla.load(str(ladder), step=100) as weights:
        assert nla.measures.pooled_regression(weights)["ridge_r2"] == pytest.approx(
            ridge(lambda: pairs[:1])["ridge_r2"]
        )


def test_too_few_neurons_give_nan():
    assert all(np.isnan(v) for v in ridge(lambda: [gaussian(6, 3, 0)]).values())
    assert all(np.isnan(v) for v in ridge(lambda: []).values())
