"""All pairs of vectors: cosines and angles are those of brute force."""

import resource

import numpy as np
import pytest
import torch

import nla
from nla.numerics import pairs
from tests.helpers.orthogonality import brute, matrix_of, normal, orthonormal


@pytest.mark.parametrize("block", [1, 2, 7, 23, 512])
@pytest.mark.parametrize("shape", [(23, 5), (24, 60), (2, 3)])
def test_all_pairs_agree_with_brute_force_for_any_block(shape, block, monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", block)
    vectors = normal(*shape) + 0.3
    cosine, found = brute(vectors), pairs.all_pairs(vectors)
    degrees = np.degrees(np.arccos(cosine))
    assert (found.vectors, found.count) == (shape[0], len(cosine))
    expected = (cosine.mean(), np.abs(cosine).mean(), np.sqrt((cosine**2).mean()), np.abs(cosine).max())
    assert found[2:6] == pytest.approx(expected, abs=1e-6)
    assert found[6:8] == pytest.approx((degrees.mean(), degrees.std()), abs=1e-4)
    near = np.abs(degrees[:, None] - pairs.EDGES).min(1) < 1e-4  # float32 may choose the other side of the edge
    clear = np.histogram(degrees[~near], pairs.EDGES)[0]
    assert near.sum() <= 3 and found.histogram.sum() == len(cosine) and (found.histogram >= clear).all()


def test_more_vectors_than_one_block_and_a_float32_product():
    vectors = normal(2 * pairs.BLOCK + 77, 300, seed=1) + 0.1
    V = vectors.double()
    V = V / V.norm(dim=1, keepdim=True)
    upper = np.triu_indices(len(V), 1)
    cosine = (V @ V.T).numpy()[upper]
    degrees, found = np.degrees(np.arccos(cosine)), pairs.all_pairs(vectors)
    assert found.count == len(cosine) == found.histogram.sum()
    assert (found.mean_angle, found.sd_angle) == pytest.approx((degrees.mean(), degrees.std()), abs=1e-6)
    assert found.max_abs_cosine == pytest.approx(np.abs(cosine).max(), abs=1e-6)
    moved = np.abs(found.histogram - np.histogram(degrees, pairs.EDGES)[0]).sum()
    near = (np.abs(degrees / 0.25 - np.round(degrees / 0.25)) * 0.25 < 1e-5).sum()
    assert moved <= 2 * near < len(cosine) / 1000


def test_sum_of_squared_cosines_is_the_norm_of_the_other_gram_matrix():
    unit = pairs.normalised(normal(600, 40)).double()
    total = float((unit.T @ unit).square().sum())  # over ordered pairs, and the diagonal
    found = pairs.all_pairs(unit.float())
    assert found.rms_cosine**2 * found.count * 2 + 600 == pytest.approx(total, rel=1e-6)


def test_known_angles():
    right = pairs.all_pairs(torch.eye(5))
    assert (right.max_abs_cosine, right.mean_angle, right.sd_angle) == pytest.approx((0, 90, 0), abs=1e-6)
    assert np.flatnonzero(right.histogram).tolist() == [360] and right.histogram[360] == 10
    line = pairs.all_pairs(torch.tensor([[1.0, 2.0], [2.0, 4.0], [-3.0, -6.0]]))
    assert (line.histogram[0], line.histogram[-1]) == (1, 2)
    assert (line.mean_abs_cosine, line.max_abs_cosine) == pytest.approx((1, 1))
    assert line.mean_angle == pytest.approx(120, abs=0.05)  # at 0 and 180 degrees a cosine in float32 says no more
    star = torch.tensor([[np.cos(a), np.sin(a)] for a in np.radians([10, 40.1, 130.2])]).float()
    assert np.flatnonzero(pairs.all_pairs(star).histogram).tolist() == [120, 360, 480]  # 30.1, 90.1 and 120.2 degrees


def test_zero_vectors_have_no_angle():
    vectors = normal(6, 9)
    with_zeros = torch.cat([vectors[:2], torch.zeros(3, 9), vectors[2:], torch.zeros(1, 9)])
    bare, found = pairs.all_pairs(vectors), pairs.all_pairs(with_zeros)
    assert found[:-1] == pytest.approx(bare[:-1], rel=1e-6, abs=1e-6) and (found.histogram == bare.histogram).all()
    for few in (torch.zeros(3, 4), torch.ones(1, 4)):
        none = pairs.all_pairs(few)
        assert none.count == 0 and np.isnan(none[2:8]).all() and none.histogram.sum() == 0
    vectors[3, 4] = np.nan  # is not a zero: it shows
    assert np.isnan(pairs.all_pairs(vectors)[2:8]).all()


def test_memory_does_not_grow_with_the_number_of_pairs():
    vectors = normal(8000, 4)  # all cosines at once: 0.5 GB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert pairs.all_pairs(vectors).count == 8000 * 7999 // 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # KiB


def test_welch_bound_is_attained_by_the_simplex_and_its_rms_by_any_tight_frame():
    d = 7
    simplex = orthonormal(d + 1, d + 1).clone()
    simplex[:, 0] = 1
    simplex = torch.linalg.qr(simplex)[0][:, 1:]  # d + 1 points of R^d, equally far from each other
    found = nla.orthogonality(matrix_of(simplex.float()))
    values = [found[k] for k in ("max_abs_cosine_rows", "rms_cosine_rows", "mean_abs_cosine_rows", "welch_rows")]
    assert values == pytest.approx([1 / d] * 4, rel=1e-5) and found["mean_cosine_rows"] == pytest.approx(-1 / d)
    assert found["welch_columns"] == pytest.approx(0)
    bases = nla.orthogonality(matrix_of(torch.cat([torch.eye(d), orthonormal(d, d).float()])))
    assert bases["rms_cosine_rows"] == pytest.approx(bases["welch_rows"], rel=1e-5)
    assert bases["max_abs_cosine_rows"] > 1.5 * bases["welch_rows"]
    assert bases["gram_long"] == pytest.approx(bases["gram_long_least"], rel=1e-5)
