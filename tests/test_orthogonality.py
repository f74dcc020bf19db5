"""Angles and orthogonality against closed forms, against float64 NumPy and SciPy, and against random draws."""

import resource

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import polar

import nla
from nla import nulls
from nla.numerics import pairs
from nla.studies.orthogonality import plots


def matrix_of(weight, kind="dense_h_to_4h", heads=None):
    return nla.Matrix(kind, 0, 0, torch.as_tensor(weight), heads)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def orthonormal(m, n, seed=0):
    """m x n, m >= n, orthonormal columns, correct to float64; rounded to float32 by whoever uses it."""
    return torch.linalg.qr(normal(m, n, seed=seed).double())[0]


def brute(vectors):
    """Cosines of all pairs, the slow way, in float64."""
    V = np.asarray(vectors, dtype=np.float64)
    V = V[np.abs(V).sum(1) > 0]
    V = V / np.sqrt((V**2).sum(1, keepdims=True))
    return np.array([V[i] @ V[j] for i in range(len(V)) for j in range(i + 1, len(V))])


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


@pytest.mark.parametrize("d", [2, 3, 10, 300])
def test_nulls_of_angles_by_quadrature(d):
    density = nulls.angle_density
    inside = (max(0, 90 - 60 * 10 / d**0.5), min(180, 90 + 60 * 10 / d**0.5))
    assert quad(density, *inside, args=(d,))[0] == pytest.approx(1, rel=1e-6)
    square = quad(lambda a: (a - 90) ** 2 * density(a, d), *inside)[0]
    assert nulls.angle_sd(d) == pytest.approx(square**0.5, rel=1e-6)
    absolute = quad(lambda a: abs(np.cos(np.radians(a))) * density(a, d), *inside, points=[90])[0]
    assert nulls.cosine_mean_abs(d) == pytest.approx(absolute, rel=1e-6)


def test_nulls_at_the_ends():
    assert nulls.angle_sd(1) == pytest.approx(90) and nulls.cosine_mean_abs(1) == pytest.approx(1)  # 0 or 180 degrees
    assert nulls.cosine_max_abs(1, 5) == pytest.approx(1)
    assert nulls.cosine_max_abs(7, 1) == pytest.approx(nulls.cosine_mean_abs(7), rel=1e-4)  # the largest of one
    assert nulls.cosine_mean_abs(50304) == pytest.approx((2 / np.pi / 50304) ** 0.5, rel=1e-5)
    # Vectors of 1024 entries: 1.7912 degrees simulated; the largest of 4096 and of 1024 of them about 0.16.
    assert nulls.angle_sd(1024) == pytest.approx(1.7912, abs=5e-4)
    assert nulls.cosine_max_abs(1024, 4096 * 4095 // 2) == pytest.approx(0.165, abs=0.004)


@pytest.mark.parametrize("count, d", [(30, 20), (100, 60), (40, 3)])
def test_largest_cosine_of_random_vectors(count, d):
    draws = [pairs.all_pairs(normal(count, d, seed=s)).max_abs_cosine for s in range(120)]
    assert np.mean(draws) == pytest.approx(nulls.cosine_max_abs(d, count * (count - 1) // 2), rel=0.02)


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


def test_figures_take_the_side_of_the_residual_stream(ladder):
    table = nla.scan(str(ladder), [nla.orthogonality, nla.angles], progress=False)
    seen = plots.in_residual_stream(table).groupby("kind").first()
    for kind, side in {"query": "rows", "dense": "columns", "dense_4h_to_h": "columns", "embed_out": "rows"}.items():
        row = seen.loc[kind]
        assert row.mean_angle == row[f"mean_angle_{side}"] and row.max_abs_cosine == row[f"max_abs_cosine_{side}"]
        d, count = (row.cols, row[f"pairs_{side}"]) if side == "rows" else (row.rows, row[f"pairs_{side}"])
        assert row.max_abs_cosine_random == pytest.approx(nulls.cosine_max_abs(d, count))
    fig = plots.histograms(table)
    curves = [p.get_data() for ax in fig.axes for p in ax.patches]
    assert len(curves) == 2 * 2 * table.step.nunique()  # W1 rows and W2 columns of two layers
    assert all((c.values * np.diff(c.edges)).sum() == pytest.approx(1) for c in curves)
