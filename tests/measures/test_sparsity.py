"""Sparsity against SciPy, brute force, closed forms, draws of random matrices, and planted zeros and dead rows."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from scipy.integrate import quad

import nla
from nla.measures.sparsity import balanced_kurtosis
from nla.nulls.entries import half_normal_weibull, random_gini, random_hoyer

DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def matrix_of(weight, initial=None):
    matrix = nla.Matrix("dense", 0, 0, torch.as_tensor(weight))
    matrix.__dict__["initial"] = None if initial is None else matrix_of(initial)
    return matrix


def gaussian(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pairwise_gini(x):
    return np.abs(x[:, None] - x).sum() / (2 * len(x) * x.sum())


def plot_fit(x):
    """Weibull plot of the sorted values one by one, ties at their mean rank."""
    rank = (stats.rankdata(x) - 0.5) / len(x)
    inside = (rank >= 0.1) & (rank <= 0.9)
    slope, shift = np.polyfit(np.log(x[inside]), np.log(-np.log(1 - rank[inside])), 1)
    return slope, np.exp(-shift / slope)


@pytest.mark.parametrize("dtype", DTYPES)
def test_entrywise_numbers_agree_with_numpy_and_scipy(dtype):
    start = gaussian(70, 40, seed=1, scale=0.03)
    weight = 1.7 * start + gaussian(70, 40, seed=2, scale=0.02) * gaussian(70, 1, seed=3).abs()
    weight[0, :5] = torch.tensor([0.0, -0.0, 0.0, 0.4, -0.5])
    weight, start = weight.to(dtype), start.to(dtype)
    found = nla.sparsity(matrix_of(weight, start))
    W, W0 = weight.double().numpy(), start.double().numpy()
    x, rms, rms0 = np.abs(W.ravel()), np.sqrt((W**2).mean()), np.sqrt((W0**2).mean())
    shape, _, scale = stats.weibull_min.fit(x[x > 0], floc=0)
    plot_shape, plot_scale = plot_fit(x[x > 0])
    expected = {
        "exact_zeros": (W == 0).sum(),
        "rms_growth": rms / rms0,
        **{f"below_{t}_rms": (x < t * rms).mean() for t in (0.01, 0.1, 1)},
        **{f"below_{t}_initial": (x < t * rms0).mean() for t in (0.01, 0.1, 1)},
        "below_0.01_max": (x < 0.01 * x.max()).mean(),
        "hoyer": (x.size**0.5 - np.linalg.norm(x, 1) / np.linalg.norm(x)) / (x.size**0.5 - 1),
        "gini": pairwise_gini(x),
        **{f"quantile_{q}": np.quantile(x, q, method="inverted_cdf") / rms for q in (0.1, 0.5, 0.9, 0.99, 0.999)},
        "kurtosis": stats.kurtosis(W, axis=None, bias=False),
        "kurtosis_within_rows": stats.kurtosis(W, axis=1, bias=False).mean(),
        "kurtosis_within_columns": stats.kurtosis(W, axis=0, bias=False).mean(),
        "weibull_plot_shape": plot_shape,
        "weibull_plot_scale": plot_scale / rms,
        "row_gini": pairwise_gini(np.linalg.norm(W, axis=1)),
        "column_gini": pairwise_gini(np.linalg.norm(W, axis=0)),
    }
    assert found["exact_zeros"] == 3
    assert {k: found[k] for k in expected} == pytest.approx(expected, rel=1e-9)
    # SciPy's own maximum is found by a simplex search, to fewer digits.
    assert (found["weibull_shape"], found["weibull_scale"]) == pytest.approx((shape, scale / rms), rel=2e-4)
    log_likelihood = [stats.weibull_min.logpdf(x[x > 0], k, scale=s * rms).sum() for k, s in
                      ((found["weibull_shape"], found["weibull_scale"]), (shape, scale / rms))]  # fmt: skip
    assert log_likelihood[0] >= log_likelihood[1] - 1e-9 * abs(log_likelihood[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_histogram_gives_what_the_values_give(dtype):
    matrix = matrix_of((gaussian(50, 60) ** 3).to(dtype))
    flat = matrix.weight.double().numpy().ravel()
    for function in (nla.numerics.hoyer, nla.numerics.gini, nla.numerics.weibull, nla.numerics.weibull_plot):
        assert function(*matrix.histogram) == pytest.approx(function(flat), rel=1e-12), function.__name__


def test_known_distributions():
    """A Laplace law is a Weibull law of shape 1; sparse and flat vectors are the ends of both indices."""
    rng = np.random.default_rng(0)
    found = nla.sparsity(matrix_of(rng.laplace(size=(1000, 1000)).astype(np.float32)))
    assert found["gini"] == pytest.approx(0.5, abs=2e-3)
    assert found["hoyer"] == pytest.approx(1 - 0.5**0.5, abs=2e-3)
    assert found["kurtosis"] == pytest.approx(3, abs=0.1)
    assert (found["weibull_shape"], found["weibull_plot_shape"]) == pytest.approx((1, 1), abs=3e-3)
    assert (found["weibull_scale"], found["weibull_plot_scale"]) == pytest.approx((0.5**0.5,) * 2, abs=3e-3)
    one, flat = np.eye(1, 100)[0], -np.ones(100)
    assert (nla.numerics.hoyer(one), nla.numerics.gini(one)) == pytest.approx((1, 0.99))
    assert (nla.numerics.hoyer(flat), nla.numerics.gini(flat)) == pytest.approx((0, 0))
    drawn = 0.3 * rng.weibull(1.7, 400_000)
    assert nla.numerics.weibull(drawn) == pytest.approx((1.7, 0.3), rel=0.01)
    assert nla.numerics.weibull_plot(drawn) == pytest.approx((1.7, 0.3), rel=0.01)


def test_weibull_shapes_of_a_half_normal_law():
    """The likelihood equation by quadrature, the plot by Gauss-Legendre; the latter is the published 1.2054, 0.8875."""
    fits = half_normal_weibull()
    shape, scale = fits["weibull"]
    integrands = (lambda x: x**shape, lambda x: x**shape * np.log(x), np.log)
    moment, log_moment, log_mean = (quad(lambda x, f: f(x) * stats.halfnorm.pdf(x), 0, 12, (f,))[0] for f in integrands)
    assert log_moment / moment - 1 / shape == pytest.approx(log_mean, abs=1e-8)
    assert scale == pytest.approx(moment ** (1 / shape), abs=1e-8)
    nodes, weights = np.polynomial.legendre.leggauss(100)
    F = 0.5 + 0.4 * nodes
    x, y = np.log(stats.halfnorm.ppf(F)), np.log(-np.log(1 - F))
    slope = np.cov(x, y, aweights=weights)[0, 1] / np.cov(x, aweights=weights)
    assert fits["weibull_plot"] == pytest.approx((slope, np.exp((weights @ (x - y / slope)) / 2)), abs=1e-6)
    assert fits["weibull_plot"] == pytest.approx((1.2054, 0.8875), abs=5e-5)
    assert fits["weibull"] == pytest.approx((1.2628, 0.8554), abs=5e-5)


@pytest.mark.parametrize("m, n", [(120, 120), (60, 240), (240, 60)])
def test_random_matrices_have_the_random_values(m, n):
    draws = [nla.sparsity(matrix_of(gaussian(m, n, seed=s, scale=0.1), gaussian(m, n, seed=1000 + s, scale=0.05)))
             for s in range(40)]  # fmt: skip
    expected = nla.measures.random_sparsity(m, n, growth=2.0)
    for name, value in expected.items():
        drawn = np.array([d[name] for d in draws])
        assert abs(drawn.mean() - value) < 4 * drawn.std() / 40**0.5 + 2e-4, (name, drawn.mean(), value)
    assert set(expected) <= set(draws[0])


def test_random_values_in_closed_form():
    expected = nla.measures.random_sparsity(2000, 2000)
    assert expected["hoyer"] == pytest.approx(1 - (2 / np.pi) ** 0.5, abs=5e-4)
    assert expected["gini"] == pytest.approx(2**0.5 - 1, abs=1e-6)
    assert (expected["below_0.1_rms"], expected["quantile_0.5"]) == pytest.approx((0.0797, 0.6745), abs=5e-5)
    # A long vector's norm is nearly normal with variance 1/2, whose mean difference is 1/sqrt(pi).
    assert random_gini(10**6, 5000) == pytest.approx(0.5**0.5 / (np.pi * 5000) ** 0.5, rel=1e-3)
    few = [
        nla.numerics.gini(np.linalg.norm(draw, axis=1))
        for draw in np.random.default_rng(0).standard_normal((4000, 5, 50))
    ]
    assert np.mean(few) == pytest.approx(random_gini(5, 50), rel=0.02)
    assert random_hoyer(2) == pytest.approx((2**0.5 - 4 / np.pi) / (2**0.5 - 1))  # E |cos| + |sin| = 4 / pi


def test_kurtosis_is_told_apart():
    """Unequal norms of rows and columns make pooled entries heavy-tailed; heavy-tailed entries are so everywhere."""
    z = gaussian(500, 400)
    rows, columns = (gaussian(k, seed=k).mul(0.5).exp() for k in (500, 400))
    excess = [3 * float((s**4).mean() / (s**2).mean() ** 2 - 1) for s in (rows, columns)]
    by_rows = nla.sparsity(matrix_of(rows[:, None] * z))
    assert by_rows["kurtosis"] == pytest.approx(excess[0], rel=0.1)
    assert by_rows["kurtosis_within_columns"] == pytest.approx(excess[0], rel=0.15)
    assert abs(by_rows["kurtosis_within_rows"]) < 0.05 and abs(by_rows["kurtosis_balanced"]) < 0.05
    by_columns = nla.sparsity(matrix_of(z * columns))
    assert by_columns["kurtosis_within_rows"] == pytest.approx(excess[1], rel=0.15)
    assert abs(by_columns["kurtosis_within_columns"]) < 0.05
    both = balanced_kurtosis(rows[:, None] * z * columns)
    assert both == pytest.approx(balanced_kurtosis(z), abs=1e-3) and abs(both) < 0.05
    laplace = torch.from_numpy(np.random.default_rng(1).laplace(size=(500, 400)))
    by_entries = nla.sparsity(matrix_of(laplace.float()))
    assert all(by_entries[f"kurtosis{part}"] == pytest.approx(3, abs=0.3)
               for part in ("", "_within_rows", "_within_columns", "_balanced"))  # fmt: skip


def test_balancing_ends_with_equal_rows_and_columns():
    """The kurtosis of the matrix that plain alternating division by RMS leads to."""
    uneven = (gaussian(30, 50) * gaussian(30, 50, seed=1).exp()).double().numpy()
    scaled = uneven.copy()
    for _ in range(1000):
        scaled /= np.sqrt((scaled**2).mean(1, keepdims=True))
        scaled /= np.sqrt((scaled**2).mean(0, keepdims=True))
    expected = (scaled**4).mean() / (scaled**2).mean() ** 2 * 32 * 52 / (30 * 50) - 3
    assert balanced_kurtosis(torch.from_numpy(uneven).float()) == pytest.approx(expected, abs=1e-3)
    padded = torch.zeros(33, 51)
    padded[2:32, :50] = torch.from_numpy(uneven)
    assert balanced_kurtosis(padded) == pytest.approx(expected, abs=1e-3)


def test_entries_that_round_to_zero():
    weight = gaussian(1000, 1000, scale=3e-6)
    found = nla.sparsity(matrix_of(weight.half()))
    assert found["exact_zeros"] == (weight.half() == 0).sum() > 5000
    assert found["exact_zeros"] == pytest.approx(found["expected_zeros"], rel=0.05)
    small = nla.sparsity(matrix_of(gaussian(1000, 1000, scale=0.02).half()))["expected_zeros"]
    assert small == pytest.approx(1e6 * 2 * 2.0**-25 / (0.02 * (2 * np.pi) ** 0.5), rel=2e-3)
    assert nla.sparsity(matrix_of(weight.bfloat16()))["expected_zeros"] == pytest.approx(0, abs=1e-20)


def test_scale_is_no_matter():
    weight = gaussian(40, 30).half()
    one, four = (nla.sparsity(matrix_of(w, weight)) for w in (weight, 4 * weight))
    moved = {"expected_zeros", "rms_growth", "untouched_ratio", *(f"below_{t}_initial" for t in (0.01, 0.1, 1))}
    assert {k: four[k] for k in four if k not in moved} == pytest.approx({k: one[k] for k in one if k not in moved})
    assert (four["rms_growth"], four["untouched_ratio"]) == pytest.approx((4, 4))


@pytest.mark.parametrize("dtype", DTYPES)
def test_planted_rows_and_columns_are_found(dtype):
    """Rows 3 and 7 and column 5 only decayed since the first checkpoint; row 9 and column 11 died."""
    start = gaussian(80, 60, scale=0.02)
    start[:, 11] *= 0.01
    weight = start + gaussian(80, 60, seed=1, scale=0.2) * start.abs()
    weight[9] *= 0.01
    weight[[3, 7]] = 0.83 * start[[3, 7]]
    found = nla.sparsity(matrix_of(weight.to(dtype), start.to(dtype)))
    assert (found["untouched_rows"], found["untouched_columns"]) == (2, 0)
    assert found["untouched_ratio"] == pytest.approx(0.83, abs=2e-3)
    assert (found["dead_rows"], found["dead_columns"]) == (1, 1)
    weight[20] *= 30  # one long row does not make the others dead
    weight[:, 5] = 0.83 * start[:, 5]
    found = nla.sparsity(matrix_of(weight.to(dtype), start.to(dtype)))
    assert (found["untouched_columns"], found["dead_rows"]) == (1, 1)


def test_departure_against_angles():
    start, weight = gaussian(20, 30).double(), gaussian(20, 30).double() + gaussian(20, 30, seed=1)
    for axis in (0, 1):
        sine, ratio = nla.measures.departure(matrix_of(weight.float(), start.float()), axis)
        cosine = torch.nn.functional.cosine_similarity(weight, start, axis).numpy()
        assert sine == pytest.approx(np.sqrt(1 - cosine**2), rel=1e-5)
        assert ratio == pytest.approx((weight.norm(dim=axis) / start.norm(dim=axis)).numpy(), rel=1e-6)


def test_untouched_embeddings_of_a_ladder(ladder):
    name = "gpt_neox.embed_in.weight"
    first, last = (load_file(ladder / f"step{s}" / "model.safetensors") for s in (0, 100))
    last[name][90:] = (0.7 * first[name][90:].float()).half()
    save_file(last, ladder / "step100" / "model.safetensors", metadata={"format": "pt"})
    table = nla.scan(str(ladder), [nla.sparsity, nla.norms], kinds=["embed_in"], progress=False).set_index("step")
    assert table.untouched_rows.tolist() == [97, 97, 0, 7]
    assert table.untouched_ratio[100] == pytest.approx(0.7, abs=1e-3)
    assert (table.rms_growth / (table.rms / table.rms[0])).to_numpy() == pytest.approx(1)


def test_weight_histogram_is_a_density():
    weight = gaussian(300, 300, seed=5, scale=0.05).half()
    found = nla.measures.weight_histogram(matrix_of(weight))
    x = weight.double().numpy().ravel()
    expected = np.histogram(x / np.sqrt((x**2).mean()), nla.measures.WEIGHT_BINS, density=True)[0]
    assert found["weight_density"] == pytest.approx(expected)
    centres = (nla.measures.WEIGHT_BINS[1:] + nla.measures.WEIGHT_BINS[:-1]) / 2
    assert found["weight_density"] == pytest.approx(stats.norm.pdf(centres), abs=0.012)
    weight[0, 0] = 60.0
    assert nla.measures.weight_histogram(matrix_of(weight))["weight_outside"] == pytest.approx(1 / 9e4, abs=1e-12)


@pytest.mark.parametrize(
    "weight",
    [torch.zeros(5, 4), torch.ones(5, 4), torch.ones(1, 1), gaussian(1, 30), gaussian(30, 1), gaussian(2, 3),
     torch.outer(gaussian(8), gaussian(6)), torch.eye(6)],
    ids=["zero", "constant", "1x1", "row", "column", "2x3", "rank 1", "identity"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_degenerate_matrices(weight, dtype):
    for initial in (None, torch.zeros_like(weight), torch.full_like(weight, np.nan), weight):
        matrix = matrix_of(weight.to(dtype), None if initial is None else initial.to(dtype))
        found = nla.sparsity(matrix) | nla.measures.weight_histogram(matrix)
        assert all(np.ndim(v) <= 1 for v in found.values())
    assert found["exact_zeros"] == (weight == 0).sum()
    assert set(nla.measures.random_sparsity(*weight.shape)) <= set(found)


def test_what_cannot_be_said_is_nan():
    zero = nla.sparsity(matrix_of(torch.zeros(5, 4)))
    assert zero["exact_zeros"] == 20 and zero["expected_zeros"] == pytest.approx(20)
    undefined = ("hoyer", "gini", "kurtosis", "kurtosis_balanced", "weibull_shape", "weibull_plot_shape", "row_gini",
                 "quantile_0.5", "untouched_rows", "below_0.1_initial", "rms_growth")  # fmt: skip
    assert np.isnan([zero[name] for name in undefined]).all()
    spoilt = nla.sparsity(matrix_of(gaussian(5, 4), torch.full((5, 4), np.nan)))
    assert np.isnan([spoilt[name] for name in ("below_1_initial", "rms_growth", "untouched_rows")]).all()
    identity = nla.sparsity(matrix_of(torch.eye(6)))
    assert (identity["gini"], identity["row_gini"], identity["column_hoyer"]) == pytest.approx((5 / 6, 0, 0))
