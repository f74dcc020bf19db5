"""Angles and orthogonality against closed forms, against float64 NumPy and SciPy, and against random draws."""

import numpy as np
import pytest
import torch
from scipy.linalg import polar

import nla
from nla import nulls
from tests.helpers.orthogonality import brute, matrix_of, normal, orthonormal


@pytest.mark.parametrize("shape", [(60, 60), (90, 30), (30, 90)])
def test_everything_relative_is_one_for_random_matrices(shape):
    draws = [nla.orthogonality(matrix_of(0.02 * normal(*shape, seed=s))) for s in range(50)]
    names = [k for k in draws[0] if k.endswith("_relative")]
    assert len(names) == 11
    for name in names:
        assert np.mean([d[name] for d in draws]) == pytest.approx(1, abs=0.02), name
    squares = [d["gram_short"] ** 2 for d in draws]
    assert np.mean(squares) == pytest.approx(nulls.gram_deviation(*shape) ** 2, rel=0.02)
    for side in ("rows", "columns"):
        assert np.mean([d[f"mean_angle_{side}"] for d in draws]) == pytest.approx(90, abs=0.1)


def test_large_random_matrices_have_the_textbook_values():
    assert nulls.gram_deviation(4096, 1024) == pytest.approx(0.5, rel=1e-3)
    assert nulls.gram_deviation(512, 512) == pytest.approx(1, rel=2e-3)
    assert nulls.procrustes(1024, 1024) == pytest.approx(1 - (8 / (3 * np.pi)) ** 2, rel=1e-3)
    assert nulls.procrustes(2048, 512) == pytest.approx(0.0637, abs=1e-4)


@pytest.mark.parametrize("shape", [(50, 50), (80, 20), (20, 80)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_gram_deviations_and_procrustes_by_their_definitions(shape, dtype):
    weight = (0.05 * (normal(*shape) + 0.2)).to(dtype)
    W, found = weight.double().numpy(), nla.orthogonality(matrix_of(weight))
    for name, G in zip(("short", "long"), sorted((W @ W.T, W.T @ W), key=len), strict=True):
        deviation = np.linalg.norm(G * len(G) / np.trace(G) - np.eye(len(G))) / len(G) ** 0.5
        assert found[f"gram_{name}"] == pytest.approx(deviation, rel=1e-6)
    assert found["gram_long"] >= found["gram_long_least"]
    Q = polar(W)[0]
    best = (W * Q).sum() / min(shape)  # the scale c of the nearest c Q
    assert found["procrustes"] == pytest.approx(((W - best * Q) ** 2).sum() / (W**2).sum(), rel=1e-6)
    for other in (0.99 * best, 1.01 * best):
        assert ((W - other * Q) ** 2).sum() / (W**2).sum() > found["procrustes"]
    for side, vectors in (("rows", W), ("columns", W.T)):
        cosine = brute(vectors)
        assert found[f"pairs_{side}"] == len(cosine)
        assert found[f"mean_abs_cosine_{side}"] == pytest.approx(np.abs(cosine).mean(), rel=1e-6)
        assert found[f"mean_angle_{side}"] == pytest.approx(np.degrees(np.arccos(cosine)).mean(), abs=1e-5)


def test_orthogonal_matrix():
    square = nla.orthogonality(matrix_of(3 * orthonormal(40, 40).float()))
    for name in ("gram_short", "gram_long", "procrustes", "max_abs_cosine_rows", "sd_angle_columns"):
        assert square[name] == pytest.approx(0, abs=2e-5), name
    tall = nla.orthogonality(matrix_of(0.1 * orthonormal(80, 20).float()))
    assert tall["gram_short"] == pytest.approx(0, abs=1e-6) and tall["max_abs_cosine_columns"] < 1e-6
    assert tall["gram_long"] == pytest.approx(tall["gram_long_least"]) == pytest.approx(3**0.5)
    assert tall["max_abs_cosine_rows"] > 0.1  # 80 rows in 20 dimensions


def test_matrix_and_vectors_are_different_questions():
    scaled = nla.orthogonality(matrix_of(torch.diag(torch.arange(1.0, 21))))
    assert scaled["max_abs_cosine_rows"] < 1e-6  # every pair at right angles,
    assert scaled["gram_short"] > 0.5 and scaled["procrustes"] > 0.2  # and yet far from orthogonal


@pytest.mark.parametrize("weight", [torch.zeros(4, 6), torch.zeros(1, 5), normal(1, 9), normal(9, 1), torch.ones(1, 1)])
def test_degenerate_matrices_do_not_crash(weight):
    found = nla.orthogonality(matrix_of(weight))
    assert all(isinstance(v, (int, float)) for v in found.values())
    assert nla.angles(matrix_of(weight))["angles_rows"].shape == (720,)
    if not weight.any():
        assert np.isnan(found["gram_short"]) and np.isnan(found["procrustes"]) and np.isnan(found["mean_angle_rows"])


def test_rank_one():
    found = nla.orthogonality(matrix_of(torch.outer(torch.arange(1.0, 9), normal(5))))
    assert found["gram_short"] == pytest.approx(2, rel=1e-6) and found["procrustes"] == pytest.approx(0.8, rel=1e-5)
    assert found["mean_abs_cosine_rows"] == pytest.approx(1) and found["mean_angle_rows"] == pytest.approx(0, abs=0.1)


def by_blocks(stacked, heads):
    """The three parts of ||G/c - I||^2 / M, straight from the blocks of the matrix G/c - I."""
    M = len(stacked)
    G = stacked @ stacked.T
    blocks = (G * M / np.trace(G)).reshape(heads, M // heads, heads, M // heads).swapaxes(1, 2)
    diagonal = [blocks[h, h] for h in range(heads)]
    level = [np.trace(b) / len(b) for b in diagonal]
    within = sum(((b - x * np.eye(len(b))) ** 2).sum() for b, x in zip(diagonal, level, strict=True)) / M
    across = sum((blocks[h, k] ** 2).sum() for h in range(heads) for k in range(heads) if h != k) / M
    return within**0.5, np.std(level), across**0.5


@pytest.mark.parametrize("kind", ["query", "key", "value", "dense"])
def test_parts_by_head(ladder, kind):
    with nla.load(str(ladder)) as weights:
        matrix = weights.matrix(kind, 1)
        found, W = nla.head_isotropy(matrix), matrix.weight.double().numpy()
    stacked = W.T if kind == "dense" else W  # heads own columns of dense
    parts = [found[f"head_{p}"] for p in ("within", "between", "across")]
    assert parts == pytest.approx(by_blocks(stacked, 3), rel=1e-9)
    assert sum(p**2 for p in parts) == pytest.approx(found["gram_heads"] ** 2, rel=1e-12)
    assert found["gram_heads"] == pytest.approx(nla.orthogonality(matrix)["gram_short"], rel=1e-9)  # square matrices


@pytest.mark.parametrize("heads, d_head, d_model", [(6, 8, 48), (4, 5, 70), (5, 16, 30)])
def test_parts_by_head_of_random_matrices(heads, d_head, d_model):
    draws = [nla.head_isotropy(matrix_of(normal(heads * d_head, d_model, seed=s), "query", heads)) for s in range(300)]
    for name in ("head_within", "head_between", "head_across", "gram_heads"):
        square = np.mean([d[f"{name}_relative"] ** 2 for d in draws])  # the null is exact for squares
        assert square == pytest.approx(1, abs=0.1 if name == "head_between" else 0.02), name


def test_each_part_answers_to_its_own_cause():
    basis = orthonormal(24, 24).float().reshape(3, 8, 24)
    bigger = basis * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    stretched = torch.diag(torch.arange(1.0, 9)) @ basis
    same = basis[:1].expand(3, 8, 24)
    for blocks, only in ((bigger, "between"), (stretched, "within"), (same, "across")):
        found = nla.head_isotropy(matrix_of(blocks.reshape(24, 24), "value", 3))
        for part in ("within", "between", "across"):
            assert (found[f"head_{part}"] > 0.3) == (part == only), (part, only)
    single = nla.head_isotropy(matrix_of(normal(8, 24), "query", 1))
    parts = [single[f"head_{part}"] for part in ("between", "across", "across_relative")]
    assert parts == pytest.approx([0, 0, 1])
    assert np.isnan(nla.head_isotropy(matrix_of(torch.zeros(6, 6), "query", 2))["gram_heads"])


def test_in_a_scan(ladder):
    table = nla.scan(str(ladder), [nla.orthogonality, nla.angles, nla.head_isotropy], progress=False)
    for row in table.itertuples():
        assert (row.pairs_rows, row.pairs_columns) == (row.rows * (row.rows - 1) // 2, row.cols * (row.cols - 1) // 2)
        assert (row.angles_rows.sum(), row.angles_columns.sum()) == (row.pairs_rows, row.pairs_columns)
    assert table[table.kind.isin(["query", "key", "value", "dense"])].gram_heads.notna().all()
    assert table[~table.kind.isin(["query", "key", "value", "dense"])].gram_heads.isna().all()
    assert not (table.columns.duplicated()).any()
