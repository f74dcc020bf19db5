"""Input rows and output columns against planted cosines, brute force over all shuffles, SciPy, and random matrices."""

from itertools import permutations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats

import nla
from nla import nulls
from nla.matrices import Norm
from nla.measures import neurons
from nla.measures.correlation import pair_statistics
from tests.helpers.correlation import gaussian, matrix_of, planted


def test_planted_cosines_are_found():
    rho = np.random.default_rng(1).uniform(-0.9, 0.95, 200)
    matrix = matrix_of(*planted(200, 30, rho))
    assert nla.neuron_cosines(matrix)["rho"].numpy() == pytest.approx(rho, abs=1e-6)
    found = nla.correlation(matrix)
    expected = {"mean": rho.mean(), "mean_abs": np.abs(rho).mean(), "inflation": rho.std() * 30**0.5}
    expected |= {"skew": stats.skew(rho), "q05": np.quantile(rho, 0.05), "q50": np.median(rho)}
    assert {k: found[f"rho_{k}"] for k in expected} == pytest.approx(expected, abs=1e-6)
    assert found["rho_beyond"] == pytest.approx((np.abs(rho) > nulls.cosine_quantile(0.9995, 30)).mean())
    assert found["rho_abs_z"] > 10 and found["rho_abs_p"] == pytest.approx(1 / 1001)


def test_signs_that_cancel_are_seen_by_the_absolute_value_alone():
    signs = np.where(np.arange(400) % 2, 0.5, -0.5)
    found = nla.correlation(matrix_of(*planted(400, 40, signs)))
    assert abs(found["rho_mean_z"]) < 4 and abs(found["trace_z"]) < 4
    assert found["rho_abs_z"] > 30


@pytest.mark.parametrize("centred", [True, False])
def test_fold_is_what_the_residual_stream_meets(centred):
    torch.manual_seed(0)
    n, d = 50, 12
    w_in, w_out, x = torch.randn(n, d), torch.randn(n, d), torch.randn(7, d)
    norm = Norm(torch.rand(d) + 0.5, torch.randn(d), centred)
    read, written = neurons.fold(w_in, w_out, norm)
    if centred:
        scaled = torch.nn.functional.layer_norm(x, (d,), norm.gain, norm.bias, eps=0)
        direct = (read.double() @ x.double().T / x.double().std(1, correction=0)).T + norm.bias @ w_in.T
        explicit = w_in @ torch.diag(norm.gain) @ (torch.eye(d) - 1 / d)
        assert torch.allclose(written, w_out @ (torch.eye(d) - 1 / d), atol=1e-6)
    else:
        scaled = torch.nn.functional.rms_norm(x, (d,), norm.gain, eps=0)
        direct = (read @ x.T / x.square().mean(1).sqrt()).T
        explicit = w_in @ torch.diag(norm.gain)
        assert torch.equal(written, w_out)
    assert torch.allclose(read, explicit, atol=1e-5)
    assert torch.allclose(scaled @ w_in.T, direct.float(), atol=1e-4)
    matrix = matrix_of(w_in, w_out, norm)
    expected = torch.nn.functional.cosine_similarity(read.double(), written.double())
    assert nla.neuron_cosines(matrix)["folded_rho"].numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    size = (d - centred) ** 0.5
    assert nla.correlation(matrix)["folded_inflation"] == pytest.approx(float(expected.std(correction=0)) * size)


def test_folding_needs_a_norm():
    found = nla.correlation(matrix_of(*gaussian(40, 10, 0)))
    assert np.isnan(found["folded_mean"]) and np.isnan(found["folded_abs_p"]) and np.isfinite(found["rho_mean"])


def every_shuffle(w_out):
    return [w_out[list(order)] for order in permutations(range(len(w_out)))]


def test_exact_moments_are_those_of_all_shuffles():
    w_in, w_out = gaussian(6, 4, 2)
    w_out = w_out + 0.03  # a direction all of them share
    cosine = torch.nn.functional.cosine_similarity
    drawn = np.array([cosine(w_in.double(), other.double()).numpy() for other in every_shuffle(w_out)])
    signed, absolute, spread = neurons.shuffled_cosines(w_in, w_out, count=300, seed=3)
    for found, every in ((signed, drawn.mean(1)), (absolute, np.abs(drawn).mean(1))):
        assert (found.mean, found.sd) == pytest.approx((every.mean(), every.std()), rel=1e-5)
        assert np.abs(found.samples[:, None] - every).min(1).max() < 1e-6  # each sample is one of the 720 shuffles
        assert len(np.unique(found.samples)) > 200
        observed = every[0]
        z, p = neurons.significance(observed, found)
        assert z == pytest.approx((observed - every.mean()) / every.std(), rel=1e-4)
        assert p == pytest.approx((np.abs(every - every.mean()) >= abs(observed - every.mean())).mean(), abs=0.08)
    assert spread == pytest.approx(drawn.std(), rel=1e-5)  # all shuffles together are all pairs, equally often


def test_moments_of_the_mean_agree_with_the_gram_matrices():
    w_in, w_out = (w.double().numpy() + 0.01 for w in gaussian(300, 20, 4))
    signed, absolute, spread = neurons.shuffled_cosines(*map(torch.as_tensor, (w_in, w_out)), count=4000)
    a, b = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (w_in, w_out))
    assert signed.mean == pytest.approx(a.mean(0) @ b.mean(0), rel=1e-5)
    variance = np.trace(np.cov(a.T) @ np.cov(b.T)) * 299 / 300**2
    assert signed.sd == pytest.approx(variance**0.5, rel=1e-5)
    assert spread == pytest.approx((a @ b.T).std(), rel=1e-5)
    for found in (signed, absolute):
        assert found.samples.mean() == pytest.approx(found.mean, abs=4 * found.sd / 4000**0.5)
        assert found.samples.std() == pytest.approx(found.sd, rel=0.05)


def test_blocks_change_nothing(monkeypatch):
    norm = Norm(torch.linspace(0.5, 2, 10), None, True)
    whole = nla.correlation(matrix_of(*gaussian(101, 10, 5), norm))
    monkeypatch.setattr(neurons, "BLOCK", 400)
    assert nla.correlation(matrix_of(*gaussian(101, 10, 5), norm)) == pytest.approx(whole, rel=1e-5, abs=1e-7)


def test_shuffles_are_the_same_every_time():
    first, again = (nla.correlation(matrix_of(*gaussian(60, 10, 6))) for _ in range(2))
    assert first == pytest.approx(again, rel=1e-5, nan_ok=True)
    gate = nla.correlation(matrix_of(*gaussian(60, 10, 6), kind="gate"))
    assert gate["rho_mean_z"] == pytest.approx(first["rho_mean_z"]) and gate["rho_mean_p"] != first["rho_mean_p"]


def test_pair_statistics_by_definition_and_over_all_shuffles():
    w_in, w_out = (w + 0.01 for w in gaussian(6, 4, 7))
    found, a = pair_statistics(w_in, w_out), w_in.double().numpy()
    upper = np.triu_indices(6, 1)

    def direct(b):
        centred = [w - w.mean(0) for w in (a, b)]
        hsic = [np.sum((p.T @ q) ** 2) for p, q in ((centred[0], centred[1]), (centred[0],) * 2, (centred[1],) * 2)]
        gram = np.corrcoef((a @ a.T)[upper], (b @ b.T)[upper])[0, 1]
        return np.sum(a * b), gram, hsic[0] / (hsic[1] * hsic[2]) ** 0.5

    every = np.array([direct(b.double().numpy()) for b in every_shuffle(w_out)])
    (trace, gram, cka), (mean, _, cka_mean), (sd, gram_sd, _) = every[0], every.mean(0), every.std(0)
    expected = {"trace": trace, "gram_correlation": gram, "cka": cka, "cka_shuffled": cka_mean}
    expected |= {"trace_z": (trace - mean) / sd, "gram_z": gram / gram_sd}
    expected["alignment"] = trace / np.linalg.norm(a) / np.linalg.norm(w_out.double().numpy())
    assert every.mean(0)[1] == pytest.approx(0, abs=1e-12)
    assert found == pytest.approx(expected, rel=1e-6)


def test_norm_correlations_agree_with_scipy():
    w_in, w_out = gaussian(80, 10, 8)
    w_out = w_out * w_in.norm(dim=1, keepdim=True)
    w_in[1], w_out[1], w_in[2] = w_in[0], w_out[0], 0  # ties, and a neuron that reads nothing
    found, sizes = nla.correlation(matrix_of(w_in, w_out)), [w.double().norm(dim=1).numpy() for w in (w_in, w_out)]
    assert found["norm_pearson"] == pytest.approx(stats.pearsonr(*sizes)[0], rel=1e-9)
    assert found["norm_spearman"] == pytest.approx(stats.spearmanr(*sizes)[0], rel=1e-9)
    assert found["norm_pearson"] > 0.5


def test_a_neuron_without_direction_counts_nowhere():
    w_in, w_out = gaussian(50, 10, 9)
    dead = torch.cat([w_in, torch.zeros(1, 10), w_in[:1]]), torch.cat([w_out, w_out[:1], torch.zeros(1, 10)])
    with_dead, without = nla.correlation(matrix_of(*dead)), nla.correlation(matrix_of(w_in, w_out))
    assert (with_dead["neurons_alive"], without["neurons_alive"]) == (50, 50)
    same = [name for name in without if name.startswith("rho_")]
    assert {k: with_dead[k] for k in same} == pytest.approx({k: without[k] for k in same})
    assert nla.neuron_cosines(matrix_of(*dead))["rho"].isnan().tolist() == [False] * 50 + [True] * 2


def test_cosines_of_random_matrices_follow_the_exact_null():
    w_in, w_out = gaussian(40000, 12, 10)
    w_in = w_in * torch.linspace(0.1, 3, 12)  # one isotropic side is enough
    rho = neurons.cosines(w_in, w_out).numpy()
    assert stats.kstest((rho + 1) / 2, stats.beta(5.5, 5.5).cdf).pvalue > 0.01
    assert stats.kstest(rho * 12**0.5, stats.norm.cdf).pvalue < 1e-3  # the normal approximation would be seen here
    expected = nla.measures.random_cosines(12)
    assert np.abs(rho).mean() == pytest.approx(expected["mean_abs"], rel=0.01)
    assert (np.abs(rho) > nulls.cosine_quantile(0.9995, 12)).mean() == pytest.approx(0.001, abs=0.0006)
    assert np.quantile(rho, 0.95) == pytest.approx(expected["q95"], rel=0.02)


def test_significance_has_its_stated_rate():
    """Unpaired, but far from isotropic: both sides share a direction, so that the mean of rho is not 0."""
    found = []
    norm = Norm(torch.linspace(0.2, 2, 10), None, True)
    for seed in range(200):
        w_in, w_out = gaussian(40, 10, seed)
        found.append(nla.correlation(matrix_of(w_in + 0.01, w_out + 0.02, norm)))
    assert np.mean([f["rho_mean"] for f in found]) > 0.2
    for name in ("rho_mean", "rho_abs", "folded_mean", "folded_abs", "trace", "gram"):
        z = np.array([f[f"{name}_z"] for f in found])
        assert abs(z.mean()) < 0.25 and 0.85 < z.std() < 1.15, name
        assert 0.01 < (np.abs(z) > 1.96).mean() < 0.1, name
    for name in ("rho_mean_p", "rho_abs_p", "folded_mean_p", "folded_abs_p"):
        p = np.array([f[name] for f in found])
        assert stats.kstest(p, stats.uniform.cdf).pvalue > 1e-3 and p.min() >= 1 / 1001, name
    assert np.mean([f["cka"] / f["cka_shuffled"] for f in found]) == pytest.approx(1, abs=0.02)


def test_random_matrices_have_the_stated_values():
    drawn = [nla.correlation(matrix_of(*gaussian(160, 40, seed))) for seed in range(40)]
    mean = {name: np.mean([d[name] for d in drawn]) for name in drawn[0]}
    expected = nla.measures.random_cosines(40)
    for name in ("mean", "mean_abs", "q25", "q75"):
        assert mean[f"rho_{name}"] == pytest.approx(expected[name], abs=0.006), name
    assert (mean["rho_inflation"], mean["rho_pairs_inflation"]) == pytest.approx((1, 1), abs=0.02)
    assert mean["cka"] == pytest.approx(40 / (159 + 40), rel=0.02)
    spread = {name: np.std([d[name] for d in drawn]) for name in drawn[0]}
    assert spread["alignment"] == pytest.approx((160 * 40) ** -0.5, rel=0.35)
    assert spread["gram_correlation"] == pytest.approx(2**0.5 / 160, rel=0.35)
    assert spread["norm_pearson"] == pytest.approx(159**-0.5, rel=0.35)


def test_through_a_scan(ladder):
    table = nla.scan(str(ladder), [nla.correlation, nla.neuron_cosines], workers=1)
    assert set(table.kind[table.rho_mean.notna()]) == {"dense_h_to_4h"}
    row = table[(table.step == 100) & (table.kind == "dense_h_to_4h") & (table.layer == 1)].iloc[0]
    state = {k: v.double().numpy() for k, v in load_file(ladder / "step100" / "model.safetensors").items()}
    w_in, w_out = (state[f"gpt_neox.layers.1.mlp.{name}.weight"] for name in ("dense_h_to_4h", "dense_4h_to_h"))
    gain = state["gpt_neox.layers.1.post_attention_layernorm.weight"]
    centre = np.eye(len(gain)) - 1 / len(gain)
    for name, a, b in (("rho", w_in, w_out.T), ("folded", w_in @ np.diag(gain) @ centre, w_out.T @ centre)):
        rho = np.diag(a @ b.T) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert row[f"{name}_mean"] == pytest.approx(rho.mean(), abs=1e-8)
        column = row["rho" if name == "rho" else "folded_rho"]
        assert column.dtype == np.float32 and column == pytest.approx(rho, abs=1e-6)
    assert row.trace == pytest.approx(np.trace(w_out @ w_in), rel=1e-6)
    copy = table[table.kind == "dense_h_to_4h"].pivot(index="layer", columns="step", values="rho_abs_p")
    assert copy[0].tolist() == pytest.approx(copy[1].tolist())


def test_an_output_matrix_that_is_not_finite_empties_its_own_row_only(ladder):
    path = ladder / "step20" / "model.safetensors"
    state = load_file(path)
    state["gpt_neox.layers.0.mlp.dense_4h_to_h.weight"][3, 4] = float("nan")
    save_file(state, path, metadata={"format": "pt"})
    table = nla.scan(str(ladder), [nla.correlation, nla.neuron_cca, nla.neuron_regression], kinds=["dense_h_to_4h"])
    spoilt = (table.step == 20) & (table.layer == 0)
    for name in ("rho_mean", "cca_z", "ridge_r2"):
        assert table[name].isna().equals(spoilt.rename(name)), name


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (3, 1), (8, 20), (30, 1)])
@pytest.mark.parametrize("content", ["zero", "one row", "rank one", "gaussian"])
@pytest.mark.filterwarnings("error")
def test_degenerate_input_gives_no_exception(shape, content):
    w_in, w_out = gaussian(*shape, 11)
    if content == "zero":
        w_in = w_in * 0
    if content == "one row":
        w_in[1:], w_out[:-1] = 0, 0
    if content == "rank one":
        w_in, w_out = w_in[:, :1] * torch.ones(shape[1]), torch.ones(shape)
    for measure in (nla.correlation, nla.neuron_cosines, nla.neuron_cca, nla.neuron_regression):
        assert measure(matrix_of(w_in, w_out, Norm(torch.ones(shape[1]), None, True)))


def test_a_bare_matrix_has_no_output_columns():
    with pytest.raises(ValueError, match="no sibling dense_4h_to_h"):
        nla.correlation(nla.Matrix("dense_h_to_4h", 0, 0, torch.ones(4, 3)))
