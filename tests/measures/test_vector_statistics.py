"""Singular vectors of noise pass Porter-Thomas; known ones do not."""

import numpy as np
import pytest
import torch
from scipy import stats

import nla
from nla.measures.vector_statistics import porter_thomas, spacing_ratios, statistics
from tests.helpers.random_matrix import gaussian, matrix_of


@pytest.mark.parametrize("d", [60, 500])
def test_vectors_of_a_gaussian_matrix_pass_porter_thomas_at_the_stated_rate(d):
    """0.8 to 0.9 % at 1 % and 4.2 % at 5 %, over 12,000 vectors; 3.3 binomial standard errors either way."""
    vectors = torch.randn(d, 12000, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    p = porter_thomas(vectors / vectors.norm(dim=0))
    for level, stated in ((0.01, 0.0085), (0.05, 0.042)):
        assert (p < level).mean() == pytest.approx(stated, abs=3.3 * (stated / 12000) ** 0.5)


def test_porter_thomas_is_the_kolmogorov_test_of_scipy():
    vectors = torch.randn(300, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) ** 3
    vectors = vectors / vectors.norm(dim=0)
    expected = [stats.kstest(v.numpy() * 300**0.5, "norm").pvalue for v in vectors.T]
    np.testing.assert_allclose(porter_thomas(vectors), expected, rtol=0.15, atol=1e-3)
    assert (porter_thomas(vectors) < 0.01).all()


@pytest.mark.parametrize("shape", [(200, 200), (300, 80), (80, 300)])
def test_singular_vectors_of_noise(shape):
    found = [nla.singular_vector_statistics(matrix_of(gaussian(*shape, seed))) for seed in range(10)]
    for side in ("left", "right"):
        z = np.concatenate([f[f"entropy_{side}"] for f in found])
        assert z.mean() == pytest.approx(0, abs=0.15) and z.std() == pytest.approx(1, abs=0.12)
        assert np.mean([f[f"participation_{side}"] for f in found]) == pytest.approx(1, abs=0.02)
        p = np.concatenate([f[f"porter_thomas_{side}"] for f in found])
        assert (p < 0.01).mean() < 0.025
    assert np.mean([f["spacing_ratio"] for f in found]) == pytest.approx(0.5307, abs=0.03)
    errors = [f["spacing_error"] for f in found]
    assert np.std([f["spacing_ratio"] for f in found]) == pytest.approx(np.mean(errors), rel=0.6)
    assert np.isnan(found[0]["kept"]).all() and 0 < found[0]["kept_random"] < 1


def test_statistics_of_known_vectors():
    d = 100
    one, flat, absent = torch.zeros(d, 1), torch.full((d, 1), d**-0.5), torch.zeros(d, 1)
    one[3] = 1
    p, z, participation = statistics(torch.cat([one, flat, absent], 1).double())
    assert p[0] < 1e-6 and z[0] < -10 and participation[0] == pytest.approx((d + 2) / 3)
    assert z[1] > 5 and participation[1] == pytest.approx((d + 2) / (3 * d))
    assert np.isnan([p[2], z[2], participation[2]]).all()


def test_spacing_ratios():
    np.testing.assert_allclose(spacing_ratios(np.array([7.0, 4.0, 3.0, 1.0])), [1 / 3, 1 / 2])
    poisson = np.sort(np.random.default_rng(0).uniform(size=20000))
    assert spacing_ratios(poisson).mean() == pytest.approx(2 * np.log(2) - 1, abs=0.008)
    assert spacing_ratios(np.ones(4)).size == 0


def test_directions_kept_since_the_first_checkpoint(ladder):
    table = nla.scan(str(ladder), nla.singular_vector_statistics)
    start = table[(table.step == 1) & (table.layer >= 0)]  # a copy of step 0
    assert all(np.allclose(k, 1, atol=1e-4) for k in start.kept)
    with nla.load(str(ladder), 100) as now, nla.load(str(ladder), 0) as then:
        for kind in ("key", "dense_h_to_4h", "dense_4h_to_h"):
            U, _, Vt = np.linalg.svd(now.matrix(kind, 1).values.double().numpy(), full_matrices=False)
            U0, _, Vt0 = np.linalg.svd(then.matrix(kind, 1).values.double().numpy(), full_matrices=False)
            short, short0 = (Vt.T, Vt0.T) if kind == "dense_h_to_4h" else (U, U0)
            row = table[(table.step == 100) & (table.kind == kind) & (table.layer == 1)].iloc[0]
            np.testing.assert_allclose(row.kept, np.abs(short0.T @ short).max(0), atol=1e-5)
            assert len(row.kept_noise) == len(row.kept) and abs(row.kept_random - np.mean(row.kept_noise)) < 0.1
