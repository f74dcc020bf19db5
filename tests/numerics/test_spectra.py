"""Singular vectors by the short side are those of SciPy."""

import numpy as np
import pytest
import scipy.linalg
import torch

import nla
from nla.numerics import spectra, threads
from tests.helpers.drift import gaussian


@pytest.fixture(autouse=True)
def one_thread():
    """As in a scan: matrices this small only lose by sharing."""
    with threads.one_thread_each(threads.cores()):
        yield


@pytest.mark.parametrize("shape", [(40, 40), (90, 30), (30, 90), (1, 7), (7, 1)])
def test_singular_vectors_agree_with_scipy(shape):
    matrix = nla.Matrix("dense", 0, 0, gaussian(*shape, dtype=torch.float16))
    W, rank = matrix.weight.double().numpy(), min(shape)
    U, s, Vt = (x.numpy() for x in matrix.singular_vectors)
    U_scipy, s_scipy, Vt_scipy = scipy.linalg.svd(W, full_matrices=False)
    assert U.shape == (shape[0], rank) and Vt.shape == (rank, shape[1])
    assert s == pytest.approx(s_scipy, rel=1e-8)
    assert s == pytest.approx(matrix.singular_values, rel=1e-9)
    assert U * s @ Vt == pytest.approx(W, abs=1e-10)
    for found, expected in ((U, U_scipy), (Vt.T, Vt_scipy.T)):
        assert found.T @ found == pytest.approx(np.eye(rank), abs=1e-8)
        assert np.abs(found.T @ expected) == pytest.approx(np.eye(rank), abs=1e-5)  # up to sign


def test_long_side_is_orthonormal_as_far_as_documented():
    rng = np.random.default_rng(0)
    u, v = np.linalg.qr(rng.standard_normal((80, 40)))[0], np.linalg.qr(rng.standard_normal((40, 40)))[0]
    s = np.logspace(0, -5, 40)
    values = torch.tensor(u * s @ v)
    U, found, _ = spectra.singular_vectors(values, *spectra.short_side(spectra.gram(values)))
    error = np.abs(U.numpy().T @ U.numpy() - np.eye(40))
    assert (error < 1e-14 * (s[0] / np.minimum.outer(s, s)) ** 2).all()
    assert found.numpy() == pytest.approx(s, rel=1e-5)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30)])
def test_rank_deficient_matrix_has_zero_vectors_not_nan(shape):
    W = gaussian(shape[0], 3) @ gaussian(3, shape[1], seed=1)
    U, s, Vt = nla.Matrix("dense", 0, 0, W).singular_vectors
    assert (U * s) @ Vt == pytest.approx(W.numpy(), abs=1e-5)
    assert all(torch.isfinite(x).all() for x in (U, s, Vt))
    zero = nla.Matrix("dense", 0, 0, torch.zeros(shape)).singular_vectors
    assert all(torch.isfinite(x).all() for x in zero)
