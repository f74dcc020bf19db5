"""Spectra and singular vectors against random-matrix theory: closed forms, false alarms counted, planted structure."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

import nla
from nla import nulls
from nla.measures.vector_statistics import porter_thomas, spacing_ratios, statistics
from nla.nulls import edges, marchenko_pastur, spikes
from nla.studies.random_matrix_theory import beside_nulls, plots
from tests.test_families import CONFIGS

SHAPES = [(96, 96), (256, 64), (64, 256), (120, 100)]


def matrix_of(values, kind="dense"):
    return nla.Matrix(kind, 0, 0, torch.as_tensor(values).float())


def gaussian(m, n, seed, sigma=1.0):
    return sigma * np.random.default_rng(seed).standard_normal((m, n))


def planted(m, n, theta, seed, sigma=1.0):
    """Noise with one direction of strength theta, and the direction."""
    rng = np.random.default_rng(seed)
    u, v = (x / np.linalg.norm(x) for x in (rng.standard_normal(m), rng.standard_normal(n)))
    return sigma * rng.standard_normal((m, n)) + theta * np.outer(u, v), u, v


def draws(m, n, count, seed=0):
    """Descending spectra of Gaussian matrices."""
    rng = np.random.default_rng(seed)
    return [np.sqrt(nulls.gaussian_eigenvalues(m, n, rng))[::-1] for _ in range(count)]


@pytest.mark.parametrize("m, n", SHAPES)
def test_distance_is_that_of_a_brute_force_kolmogorov_test(m, n):
    s, sigma = draws(m, n, 1)[0] * 0.02, 0.021
    lower, upper = nulls.mp_edges(m, n, sigma)

    def cdf(values):  # by quadrature of the density, not by the closed form
        return [integrate.quad(nulls.mp_density, lower, min(max(x, lower), upper), (m, n, sigma))[0] for x in values]

    expected = stats.kstest(s, lambda values: np.array(cdf(np.atleast_1d(values)))).statistic
    assert marchenko_pastur.distance(s, m, n, sigma) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("m, n", [(48, 48), (192, 48), (75, 300), (160, 160)])
def test_a_random_matrix_stays_in_its_null(m, n):
    """False alarms over 600 draws: 0.8 to 1.6 % are stated on the right, 0.6 to 1.3 % on the left."""
    found = [nla.random_matrix(FromSpectrum(s, m, n)) for s in draws(m, n, 600, seed=m + n)]
    distance = np.array([f["mp_distance_relative"] for f in found])
    assert distance.mean() == pytest.approx(1, abs=0.04)
    assert np.quantile(distance, 0.99) < 1.5 and distance.max() < marchenko_pastur.DEPARTED
    right = sum(f["outliers_right"] > 0 for f in found)
    assert 1 <= right <= 15, right
    left = [f["outliers_left"] for f in found]
    assert np.isnan(left).all() if m == n else sum(x > 0 for x in left) <= 15
    edges = np.array([f["edge_right"] for f in found])
    assert edges.mean() == pytest.approx(-1.2065, abs=0.4) and edges.std() == pytest.approx(1.268, rel=0.2)


class FromSpectrum:
    """A matrix of which only the spectrum is drawn, and entries are the quantiles of their law."""

    def __init__(self, s, m, n):
        self.singular_values, self.shape = s, (m, n)
        self.histogram = stats.norm.ppf((np.arange(m * n) + 0.5) / (m * n)), np.ones(m * n)


def test_the_null_of_the_distance_is_that_of_explicit_matrices():
    """Means over a few large Gaussian matrices, computed elsewhere; sd 0.32/r each."""
    for (m, n), value in {(512, 512): 0.00554, (2048, 512): 0.0056, (768, 768): 0.00409, (1024, 1024): 0.0031}.items():
        assert marchenko_pastur.random_distance(m, n) == pytest.approx(value, abs=0.25 / n)


def test_error_of_sigma_from_the_median():
    for m, n in ((96, 96), (256, 64), (300, 300)):
        sigma = [nla.bulk_sigma(s, m, n) for s in draws(m, n, 400)]
        assert np.std(sigma) == pytest.approx(edges.median_error(m, n), rel=0.15)


@pytest.mark.parametrize("m, n", [(300, 300), (400, 100), (100, 400)])
@pytest.mark.parametrize("strength", [1.5, 3.0])
def test_a_planted_spike_is_found_and_its_strength_recovered(m, n, strength):
    sigma, recovered, overlaps = 0.05, [], []
    for seed in range(8):
        W, u, v = planted(m, n, strength * spikes.visible(m, n, sigma), seed, sigma)
        matrix = matrix_of(W)
        found = nla.random_matrix(matrix)
        assert found["outliers_right"] >= 1 and found["edge_right"] > 2.02
        recovered.append(found["spikes"][0])
        U, _, Vt = matrix.singular_vectors
        overlaps.append([float((U[:, 0] @ torch.tensor(u)) ** 2), float((Vt[0] @ torch.tensor(v)) ** 2)])
        assert found["sigma_median"] == pytest.approx(sigma, rel=0.02)
        assert found["spike_energy"] < found["energy_right"] < 1
    assert np.mean(recovered) == pytest.approx(strength, rel=0.06)
    theta = strength * spikes.visible(m, n, sigma)
    predicted = spikes.spike_overlaps(theta, m, n, sigma)
    np.testing.assert_allclose(np.mean(overlaps, axis=0), predicted, atol=0.08)


def test_a_spike_below_the_threshold_leaves_no_trace():
    found = [nla.random_matrix(matrix_of(planted(200, 200, 0.6 * 200**0.5, seed)[0])) for seed in range(20)]
    assert sum(f["outliers_right"] for f in found) <= 3


def test_strengths_and_values_of_spikes_are_inverse():
    for m, n in ((50, 50), (300, 20), (20, 300)):
        theta = spikes.visible(m, n, 0.3) * np.array([1.01, 1.5, 4, 100])
        s = spikes.spike_values(theta, m, n, 0.3)
        np.testing.assert_allclose(spikes.spike_strengths(s, m, n, 0.3), theta, rtol=1e-9)
        assert spikes.spike_values(0.0, m, n, 0.3) == pytest.approx(nulls.mp_edges(m, n, 0.3)[1])
        assert np.isnan(spikes.spike_strengths(0.9 * nulls.mp_edges(m, n, 0.3)[1], m, n, 0.3))
        assert spikes.spike_overlaps(0.0, m, n) == pytest.approx((0, 0), abs=1e-12)


@pytest.mark.parametrize("shape", [(400, 100), (100, 400)])
def test_planted_low_outliers_are_found_in_a_rectangular_matrix(shape):
    U, s, Vt = np.linalg.svd(gaussian(*shape, 3), full_matrices=False)
    s[-5:] = 0.7 * nulls.mp_edges(*shape)[0]
    found = nla.random_matrix(matrix_of(U * s @ Vt))
    assert found["outliers_left"] == 5 and found["outliers_right"] == 0 and found["edge_left"] > 5
    assert found["energy_left"] == pytest.approx((s[-5:] @ s[-5:]) / (s @ s), rel=1e-5)
    assert nla.random_matrix(matrix_of(gaussian(*shape, 3)))["outliers_left"] == 0


@pytest.mark.parametrize("m, n", [(768, 192), (192, 768), (200, 200)])
def test_sigma_is_known_again_once_many_directions_are_out(m, n):
    """A fifth of the values is lifted out of noise: the median of all is too high, that of the rest is not."""
    count, sigma = min(m, n) // 5, 0.03
    W, i = gaussian(m, n, 6, sigma), np.arange(count)
    W[i, i] += spikes.visible(m, n, sigma) * np.linspace(1.5, 4, count)  # noise has no directions of its own
    s = matrix_of(W).singular_values
    none, once, end = (edges.refitted(s, m, n, rounds) for rounds in (0, 1, None))
    assert none["sigma"] > 1.05 * sigma and abs(once["sigma"] / sigma - 1) < abs(none["sigma"] / sigma - 1) / 3
    assert end["sigma"] == pytest.approx(sigma, rel=0.02) and abs(end["right"] - count) <= 2
    assert none["mp_distance_relative"] > 5 and end["mp_distance_relative"] < 2
    found = nla.random_matrix(matrix_of(W))
    assert none["taken"] == 0 and none["right"] == found["outliers_right"]
    assert none["edge_right"] == pytest.approx(found["edge_right"])
    np.testing.assert_equal(none["left"], found["outliers_left"])
    assert np.isnan(end["left"]) if m == n else end["left"] == 0
    noise = [edges.refitted(x, m, n, None)["taken"] for x in draws(m, n, 20)]
    assert np.count_nonzero(noise) <= 2


def test_noise_with_the_directions_of_a_spectrum_has_them():
    m, n = 300, 100
    theta = spikes.visible(m, n) * np.array([8.0, 5.0, 3.0])
    s = np.concatenate([spikes.spike_values(theta, m, n), nulls.mp_spectrum(m - 3, n - 3)])
    drawn = np.linalg.svd(spikes.spiked(s, m, n, np.random.default_rng(0)), compute_uv=False)
    np.testing.assert_allclose(drawn[:3], s[:3], rtol=0.06)
    assert edges.refitted(drawn, m, n, None)["right"] == 3


def test_low_values_are_told_from_what_scales_and_directions_make():
    rng, (m, n) = np.random.default_rng(7), (400, 100)
    U, s, Vt = np.linalg.svd(gaussian(m, n, 8), full_matrices=False)
    s[-5:], s[:20] = 0.7 * nulls.mp_edges(m, n)[0], s[:20] * np.linspace(3, 1.2, 20)
    scaled = gaussian(m, n, 9) * np.exp(rng.normal(0, 1, n))
    for W, planted_low in ((U * s @ Vt, True), (scaled, False)):
        table = pd.DataFrame(beside_nulls.beside_nulls(matrix_of(W)))
        left = table.groupby(["of", "sigma"]).left.mean().unstack("of")
        assert list(table.of.unique()) == ["trained", "directions", "scales"] and len(table) == 3 * (1 + 3 + 3)
        if planted_low:
            assert (left.trained >= 5).all() and (left[["directions", "scales"]] <= 1).all(axis=None)
        else:  # unequal columns lower the smallest values: the null of scales does as well
            assert left.trained["all"] > 5 and left.scales["all"] == pytest.approx(left.trained["all"], rel=0.3)


def test_where_a_lower_edge_is():
    edge = edges.lower_edge
    assert np.isnan(edge(1.0, 100, 100, 1.0)) and np.isnan(edge(1.0, 101, 100, 1.0))
    assert edge(nulls.mp_edges(400, 100)[0] * 0.5, 400, 100, 1.0) > 10 > -5 > edge(20.0, 400, 100, 1.0)


def test_an_entry_a_mean_and_a_row_are_told_from_a_direction():
    m = n = 200
    least, cases = spikes.visible(m, n), {}
    cases["spread"] = planted(m, n, 4 * least, 0)[0]
    cases["mean"] = gaussian(m, n, 1) + 4 * least / n
    cases["entry"], cases["row"], cases["column"] = gaussian(m, n, 2), gaussian(m, n, 3), gaussian(m, n, 4)
    cases["entry"][7, 9] += 4 * least
    cases["row"][5] *= 5
    cases["column"][:, 5] *= 5
    for name, W in cases.items():
        matrix = matrix_of(W)
        found, origin = nla.random_matrix(matrix), nla.singular_vector_statistics(matrix)
        assert found["outliers_right"] == 1, name
        assert {k: v for k, v in origin.items() if k.startswith("spikes_") and v} == {f"spikes_{name}": 1}
        assert (found["largest_entry"] > 1) == (name == "entry" or found["largest_entry"] > 1.0)
        assert (found["mean_entry"] > 1) == (name == "mean")
    assert nla.random_matrix(matrix_of(cases["entry"]))["largest_entry"] == pytest.approx(4, abs=0.3)
    assert nla.random_matrix(matrix_of(cases["mean"]))["mean_entry"] == pytest.approx(4, abs=0.2)
    assert nla.random_matrix(matrix_of(cases["spread"]))["largest_entry"] < 0.6


def test_scale_free_and_transposed():
    W = planted(150, 60, 40, 5)[0]
    found, scaled = nla.random_matrix(matrix_of(W)), nla.random_matrix(matrix_of(1e-3 * W.T))
    for name, value in found.items():
        factor = 1e-3 if name.startswith("sigma") else 1
        np.testing.assert_allclose(scaled[name], value * factor, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("values", [np.zeros((5, 4)), np.ones((30, 20)), np.eye(12), np.ones((1, 7)), np.ones((6, 1))])
def test_degenerate_matrices(values):
    matrix = matrix_of(values)
    found, vectors = nla.random_matrix(matrix), nla.singular_vector_statistics(matrix)
    assert all(np.ndim(v) <= 1 for v in [*found.values(), *vectors.values()])
    assert len(beside_nulls.beside_nulls(matrix)) == 3 * (1 + 3 + 3)
    assert not values.any() or found["sigma_trace"] == pytest.approx(np.sqrt((values**2).mean()))


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


def test_measures_that_share_a_scan(ladder):
    from nla import measures

    every = [getattr(measures, name) for name in measures.__all__]
    table = nla.scan(str(ladder), every, steps=[0, 100], layers=[0])
    assert {"mp_distance", "outliers_right", "outliers_left", "rejected_top", "mp_rank"} <= set(table)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_initialised_model_of_every_family_passes_as_random(name, tmp_path):
    """As transformers initialises it: nothing beyond 1 false alarm in 100 tables, distances those of noise."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    sizes = {"hidden_size": 108, "vocab_size": 301}
    sizes |= {k: 156 for k in ("intermediate_size", "n_inner", "ffn_dim") if k in CONFIGS[name]}
    sizes |= {"head_dim": 12} if "head_dim" in CONFIGS[name] else {}
    settings = CONFIGS[name] | sizes
    if "word_embed_proj_dim" in settings:
        settings["word_embed_proj_dim"] = 108 if settings["word_embed_proj_dim"] == 36 else 60
    AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split()[0], **settings)).save_pretrained(tmp_path / "m")
    table = nla.scan(str(tmp_path / "m"), [nla.random_matrix, nla.singular_vector_statistics])
    inner = table[table.layer >= 0]
    assert len(inner) >= 18
    limit = edges.TRACY_WIDOM.isf(0.01 / len(inner))
    assert (inner.edge_right < limit).all() and not (inner.edge_left > limit).any()
    assert inner.mp_distance_relative.mean() == pytest.approx(1, abs=0.15) and inner.mp_distance_relative.max() < 1.9
    assert inner[["rejected_top", "rejected_middle", "rejected_bottom"]].mean().max() < 0.04
    assert (
        inner[[c for c in inner if c.startswith("entropy_") and c[8:] in ("top", "middle", "bottom")]]
        .mean()
        .abs()
        .max()
        < 0.3
    )
    assert inner.spacing_ratio.mean() == pytest.approx(0.5307, abs=0.04)
    found = plots.departures(inner)
    assert not (found[["distance", "right", "left"]] >= 0).any(axis=None)


def test_the_first_departure_is_the_one_that_stays():
    base = {"kind": "dense", "layer": 0, "edge_left": np.nan, "edge_right": 0.0}
    values = {0: 1.0, 2: 4.0, 4: 1.0, 8: 4.0, 16: 5.0}
    table = pd.DataFrame([base | {"step": s, "mp_distance_relative": d} for s, d in values.items()])
    found = plots.departures(table).iloc[0]
    assert found.distance == 8 and np.isnan(found.right) and found.left == -1
    assert plots.span(pd.Series([8.0, 16.0, np.nan])) == "8-16 (1 of 3 never)"
    assert plots.span(pd.Series([-1.0])) == "no such edge"
