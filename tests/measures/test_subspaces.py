"""Leading singular subspaces against SciPy, and against what noise leaves of them."""

import numpy as np
import pytest
import scipy.linalg
import torch

import nla
from nla.measures.subspaces import LARGEST, dimensions
from nla.numerics import threads
from nla.numerics.changes import compare
from tests.helpers.drift import gaussian, moved


@pytest.fixture(autouse=True)
def one_thread():
    """As in a scan: matrices this small only lose by sharing."""
    with threads.one_thread_each(threads.cores()):
        yield


def in_k(found, name, k):
    return found[name][found["subspace_k"].tolist().index(k)]


@pytest.mark.parametrize("shape", [(60, 60), (90, 40), (40, 90)])
def test_overlaps_and_angles_agree_with_scipy(shape):
    first, final = gaussian(*shape), gaussian(*shape, seed=1)
    now = (first + 0.2 * gaussian(*shape, seed=2)).float()
    found = nla.subspaces(moved(now, first.float(), final=final.float()))
    own, *others = (scipy.linalg.svd(w.float().double().numpy(), full_matrices=False) for w in (now, first, final))
    for end, other in zip(("first", "final"), others, strict=True):
        for side, mine, its in (("left", own[0], other[0]), ("right", own[2].T, other[2].T)):
            for k in found["subspace_k"]:
                expected = np.linalg.norm(mine[:, :k].T @ its[:, :k]) ** 2 / k
                assert in_k(found, f"{side}_{end}", k) == pytest.approx(expected, abs=1e-5), (side, end, k)
            angles = scipy.linalg.subspace_angles(mine[:, :16], its[:, :16])[::-1]
            assert found[f"{side}_{end}_angles"] == pytest.approx(angles, abs=1e-4)
            assert np.mean(np.cos(angles) ** 2) == pytest.approx(in_k(found, f"{side}_{end}", 16), abs=1e-5)


def test_overlap_with_itself_and_with_what_is_orthogonal():
    U, s, Vt = torch.linalg.svd(gaussian(32, 32))
    first = (U * s) @ Vt
    found = nla.subspaces(moved(first, first, final=(U.flip(1) * s) @ Vt))  # left vectors in the opposite order
    assert found["subspace_k"].tolist() == [1, 2, 4, 8, 16]
    for name in ("left_first", "right_first", "right_final"):
        assert found[name] == pytest.approx(np.ones(5)) and found[f"{name}_angles"].max() < 2e-3
    assert found["left_final"] == pytest.approx(np.zeros(5), abs=1e-10)
    assert found["left_final_angles"] == pytest.approx(np.full(16, np.pi / 2))


def test_dimensions():
    assert dimensions(192, 192)[-1] == 64 and dimensions(64, 900)[-1] == 32
    assert dimensions(1, 9).tolist() == dimensions(3, 3).tolist() == [1]
    assert dimensions(5120, 20480)[-1] == LARGEST


@pytest.mark.parametrize("m, n", [(48, 48), (96, 40)])
def test_overlaps_of_independent_matrices(m, n):
    draws = [nla.subspaces(moved(gaussian(m, n, seed=k), gaussian(m, n, seed=100 + k))) for k in range(60)]
    ks = draws[0]["subspace_k"]
    for side, size in (("left", m), ("right", n)):
        mean, error = (f([d[f"{side}_first"] for d in draws], axis=0) for f in (np.mean, np.std))
        assert (np.abs(mean - ks / size) < 4 * error / 60**0.5).all(), side


@pytest.mark.parametrize("d, k", [(100, 16), (400, 16), (64, 32)])
def test_smallest_angle_between_random_subspaces(d, k):
    draws = []
    for seed in range(20):
        bases = [np.linalg.qr(gaussian(d, k, seed=2 * seed + i).numpy())[0] for i in (0, 1)]
        draws.append(scipy.linalg.subspace_angles(*bases).min())
    assert np.mean(draws) == pytest.approx(nla.measures.random_angle(d, k), abs=0.06)


def test_change_of_rank_one_and_of_noise():
    first = gaussian(80, 50)
    line = torch.outer(gaussian(80, seed=1), gaussian(50, seed=2))
    found = nla.subspaces(moved(first + line, first))
    assert found["change_stable_rank"] == pytest.approx(1, rel=1e-5)
    assert found["change_spectral"] == pytest.approx(float(line.norm()), rel=1e-6)
    noise = nla.subspaces(moved(gaussian(200, 100), gaussian(200, 100, seed=1)))["change_stable_rank"]
    assert noise == pytest.approx(200 * 100 / (200**0.5 + 100**0.5) ** 2, rel=0.06)


def test_random_drift_is_the_overlap_left_by_noise():
    first, noise = gaussian(64, 48), gaussian(64, 48, seed=1)
    found = nla.subspaces(moved(0.9 * first + 0.5 * noise, first))
    for side in ("left", "right"):  # here W itself is W_0 and noise
        assert found[f"{side}_first_noise"][3:] == pytest.approx(found[f"{side}_first"][3:], abs=0.12)
    line = torch.outer(gaussian(64, seed=2), gaussian(48, seed=3))  # made as large as W_0, but it is one direction
    learnt = nla.subspaces(moved(first + first.norm() / line.norm() * line, first))
    assert learnt["left_first"][4] > learnt["left_first_noise"][4] + 0.2


def test_random_drift_has_the_projection_and_the_residual_of_what_it_replaces():
    first, noise = gaussian(100, 80), gaussian(100, 80, seed=1)
    matrix = moved(0.7 * first + 0.4 * noise, first)
    found, expected = (
        compare(m, matrix.initial) for m in (moved(nla.nulls.random_drift(matrix, matrix.initial)), matrix)
    )
    assert found["projection"] == pytest.approx(expected["projection"], abs=0.02)
    assert found["residual"] == pytest.approx(expected["residual"], rel=0.02)
