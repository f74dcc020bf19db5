"""Low-rank layers in every family: exact where they must be, counted, written and read; factors against brute force."""

import copy
import itertools
import math
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

import nla
from nla import low_rank
from nla.low_rank import factorisation, layers as low_rank_layers, saving
from nla.low_rank.counts import parameters, skeleton
from nla.matrices import in_memory
from nla.running.activations import Inputs
from nla.studies import stored
from nla.studies.low_rank_compression import budgets, calibration, controls, progressive, regression
from tests.test_families import CONFIGS, TIED, build

TOKENS = torch.randint(0, 53, (2, 9), generator=torch.Generator().manual_seed(0))


def built(name):
    torch.manual_seed(0)
    return build(name.split()[0], **CONFIGS[name]).float().eval()


def svd(W, rank, key):
    """An independent factorisation."""
    U, s, Vt = np.linalg.svd(W.double().numpy(), full_matrices=False)
    return torch.tensor(U[:, :rank] * s[:rank]), torch.tensor(Vt[:rank])


def ranks_of(model, name):
    """Full rank for every linear layer, and for the embeddings where they may be replaced."""
    keys = low_rank.linears(model)
    if name not in TIED:
        keys += [("embed_out", -1)] + [("embed_in", -1)] * (name != "gemma3_text")
    return {key: min(calibration.matrices(model, [key])[key].shape) for key in keys}


@pytest.mark.parametrize("name", CONFIGS)
def test_full_rank_is_exact_and_counted(name):
    model = built(name)
    ranks = ranks_of(model, name)
    before = {key: W.shape for key, W in calibration.matrices(model, list(ranks)).items()}
    small = low_rank.replace(copy.deepcopy(model), ranks, svd)
    with torch.no_grad():
        torch.testing.assert_close(small(TOKENS).logits, model(TOKENS).logits, rtol=1e-4, atol=1e-4)
    added = sum(ranks[key] * (m + n) - m * n for key, (m, n) in before.items())
    assert parameters(small) == sum(p.numel() for p in small.parameters()) == parameters(model) + added
    assert parameters(low_rank.replace(skeleton(model.config), ranks)) == parameters(small)


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_loaded_and_multiplied_out(name, tmp_path):
    model = built(name)
    ranks = {("query", 1): 3, ("value", 2): 0, ("dense_h_to_4h", 0): 4, ("dense", 1): 2, ("dense_4h_to_h", 2): 5}
    ranks |= {key: 7 for key in ranks_of(model, name) if key[1] < 0}
    low_rank.replace(model, ranks)
    saving.save(model, tmp_path / "small")
    again = saving.load(tmp_path / "small")
    assert type(again) is type(model) and saving.described(again) == saving.described(model)
    saving.multiplied(model).save_pretrained(tmp_path / "whole")
    whole, report = type(model).from_pretrained(tmp_path / "whole", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    with torch.no_grad():
        for other in (again, whole.eval()):
            torch.testing.assert_close(other(TOKENS).logits, model(TOKENS).logits, rtol=1e-4, atol=1e-4)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        type(model).from_pretrained(tmp_path / "small")
    if not name.startswith("bert"):
        assert again.generate(TOKENS, max_new_tokens=3, do_sample=False).shape == (2, 12)


def test_loading_what_is_no_compressed_model_or_does_not_fit(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(nla.CheckpointError, match="names no low-rank layers"):
        saving.load(tmp_path)
    small = low_rank.replace(copy.deepcopy(model), {("query", 0): 3})
    saving.save(small, tmp_path / "a")
    config = (tmp_path / "a" / "config.json").read_text()
    (tmp_path / "a" / "config.json").write_text(config.replace('"kind": "query"', '"kind": "key"'))
    with pytest.raises(nla.CheckpointError, match="do not fit"):
        saving.load(tmp_path / "a")


def test_a_part_of_a_fused_module_changes_only_its_outputs(model):
    small = low_rank.replace(copy.deepcopy(model), {("key", 1): 5}, svd)
    x = torch.randn(2, 7, 42, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = (m.gpt_neox.layers[1].attention.query_key_value(x).view(2, 7, 3, 3, 14) for m in (model, small))
    torch.testing.assert_close(after[..., [0, 2], :], before[..., [0, 2], :])
    W = calibration.matrices(model, [("key", 1)])["key", 1]
    B, A = svd(W, 5, None)
    bias = model.gpt_neox.layers[1].attention.query_key_value.bias.view(3, 3, 14)[:, 1].flatten()
    expected = x.double() @ (B @ A).T + bias
    torch.testing.assert_close(after[..., 1, :].flatten(-2).double(), expected, rtol=1e-4, atol=1e-4)
    low_rank.replace(small, {("query", 1): 4})  # more of the same module, later
    assert parameters(small) == parameters(model) - 2 * 42 * 42 + 9 * 84


def test_layers_are_looked_up_once_for_many_replacements(model, monkeypatch):
    made = []
    held = lambda model: made.append(1) or in_memory.Held(model)  # noqa: E731
    monkeypatch.setattr(low_rank_layers, "Held", held)
    keys = [("key", 0), ("query", 0), ("dense", 1), ("query", 1), ("embed_out", -1), ("value", 0)]
    small = low_rank.replace(copy.deepcopy(model), dict.fromkeys(keys, 4), svd)
    assert len(made) == 1
    one_by_one = copy.deepcopy(model)
    for key in keys:
        low_rank.replace(one_by_one, {key: 4}, svd)
    with torch.no_grad():
        torch.testing.assert_close(small(TOKENS).logits, one_by_one(TOKENS).logits)


def test_rank_zero_and_biases_and_activation(model):
    gone = low_rank.replace(copy.deepcopy(model), {("dense", 0): 0})
    x = torch.randn(3, 42)
    with torch.no_grad():
        bias = model.gpt_neox.layers[0].attention.dense.bias
        torch.testing.assert_close(gone.gpt_neox.layers[0].attention.dense(x), bias.expand(3, 42))
    none = low_rank.replace(copy.deepcopy(model), {("dense", 0): 0}, bias=False)
    assert parameters(none) == parameters(model) - 42 * 43
    both = low_rank.replace(copy.deepcopy(model), {("query_key_value", 0): 8}, inner_bias=True, activation="gelu")
    assert parameters(both) == parameters(model) - 126 * 42 + 8 * (42 + 126) + 8
    layer = both.gpt_neox.layers[0].attention.query_key_value
    with torch.no_grad():
        expected = layer.up(torch.nn.functional.gelu(layer.down(x)))
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    "ranks, message",
    [
        ({("query", 0): 43}, r"rank 43 of query in layer 0 is not a whole number in 0\.\.42, 42 x 42"),
        ({("query", 0): -1}, "rank -1"),
        ({("query", 0): 2.5}, "rank 2.5"),
        ({("query", 2): 3}, r"layer 2 is not in 0\.\.1"),
        ({("gate", 0): 3}, "this gpt_neox has no gate in layer 0"),
        ({("querry", 0): 3}, "did you mean query"),
    ],
)
def test_what_cannot_be_replaced_is_said_in_one_line(model, ranks, message):
    with pytest.raises(ValueError, match=message) as error:
        low_rank.replace(copy.deepcopy(model), ranks)
    assert "\n" not in str(error.value)


def test_replaced_twice_and_tied(model):
    small = low_rank.replace(copy.deepcopy(model), {("dense", 0): 3})
    with pytest.raises(ValueError, match="dense in layer 0 was replaced before"):
        low_rank.replace(small, {("dense", 0): 2})
    with pytest.raises(ValueError, match="serves as embed_out too"):
        low_rank.replace(built("gpt2"), {("embed_in", -1): 3})
    with pytest.raises(ValueError, match="no embed_out in layer -1 of its own"):
        low_rank.replace(built("gpt2"), {("embed_out", -1): 3})
    with pytest.raises(nla.CheckpointError, match="model_type"):
        other = copy.deepcopy(model)
        other.config = type("Config", (), {"model_type": "mamba"})()
        low_rank.linears(other)


def test_published_numbers():
    table = regression.mistral_table()
    assert (table.counted == table.printed).all() and len(table) == 5
    pythia = {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
    pythia |= {"model_type": "gpt_neox", "vocab_size": 50304}
    small = low_rank.replace(skeleton(pythia), {("query_key_value", i): 8 for i in range(24)}, inner_bias=True)
    assert parameters(skeleton(pythia)) == 405_334_016 and parameters(small) == 330_623_168


SHAPES = [(12, 12), (30, 9), (9, 30), (1, 7)]


def problem(shape, seed=0, count=200):
    """A matrix, inputs of very different directions and a mean that is not 0."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((shape[1], shape[1])) * np.geomspace(3, 0.05, shape[1])
    X = rng.standard_normal((count, shape[1])) @ mix.T + rng.standard_normal(shape[1])
    return torch.tensor(rng.standard_normal(shape)), torch.tensor(X)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", factorisation.METHODS)
def test_every_method_is_exact_at_full_rank(shape, name):
    W, X = problem(shape)
    B, A, *shift = factorisation.METHODS[name](W, min(shape), Inputs.of(X))
    assert B.shape == (shape[0], min(shape)) and A.shape == (min(shape), shape[1])
    np.testing.assert_allclose(B @ A, W, atol=1e-7)
    assert all(torch.allclose(s, torch.zeros_like(s), atol=1e-7) for s in shift)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", factorisation.METHODS)
def test_one_factorisation_serves_every_rank(shape, name):
    W, X = problem(shape)
    ranks, inputs, method = sorted({1, min(shape)}), Inputs.of(X), factorisation.METHODS[name]
    for rank, found in zip(ranks, factorisation.at_ranks(method, W, ranks, inputs), strict=True):
        expected = method(W, rank, inputs)
        np.testing.assert_allclose(found[0] @ found[1], expected[0] @ expected[1], atol=1e-9)
        assert len(found) == len(expected)
        for ours, theirs in zip(found[2:], expected[2:], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_truncation_is_eckart_young(shape):
    W, _ = problem(shape)
    U, s, Vt = np.linalg.svd(W.numpy(), full_matrices=False)
    for method in (factorisation.truncated, factorisation.randomised):
        B, A = method(W, 4)
        np.testing.assert_allclose(B @ A, U[:, :4] * s[:4] @ Vt[:4], atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_whitened_is_the_optimum_of_the_outputs(shape):
    """Against the textbook route, by a Cholesky factor and its inverse, and against a minimiser that knows neither."""
    W, X = problem(shape)
    inputs, rank = Inputs.of(X), 3
    B, A = factorisation.whitened(W, rank, inputs)
    L = np.linalg.cholesky(inputs.second.numpy())
    U, s, Vt = np.linalg.svd(W.numpy() @ L, full_matrices=False)
    np.testing.assert_allclose(B @ A, U[:, :rank] * s[:rank] @ Vt[:rank] @ np.linalg.inv(L), atol=1e-6)
    found = ((X @ (W - B @ A).T) ** 2).sum(1).mean()
    assert found == pytest.approx((s[rank:] ** 2).sum(), rel=1e-9)
    assert factorisation.errors(W, (B, A), inputs)["outputs"] == pytest.approx(
        math.sqrt(found / ((X @ W.T) ** 2).sum(1).mean()), rel=1e-9
    )

    def loss(flat):
        factors = torch.tensor(flat, requires_grad=True)
        b, a = factors[: rank * shape[0]].view(shape[0], rank), factors[rank * shape[0] :].view(rank, shape[1])
        value = ((X @ (W - b @ a).T) ** 2).sum(1).mean()
        value.backward()
        return value.item(), factors.grad.numpy()

    start = np.random.default_rng(5).standard_normal(rank * sum(shape))
    searched = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 4000}).fun
    assert found <= searched + 1e-9 and searched == pytest.approx(float(found), rel=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_turned_keeps_the_spectrum_and_no_direction(shape):
    W, X = problem(shape)
    generator, C = torch.Generator().manual_seed(0), Inputs.of(X).second
    draws = [factorisation.turned(factorisation.truncated(W, None), generator) for _ in range(2000)]
    for one in draws[:3]:
        np.testing.assert_allclose(one @ one.T, W @ W.T, atol=1e-9)
    mean = torch.stack([one @ C @ one.T for one in draws]).mean(0)
    expected = W @ W.T * C.trace() / shape[1]
    assert float(torch.linalg.norm(mean - expected) / torch.linalg.norm(expected)) < 0.05


def test_without_alignment_against_what_must_come_out():
    """White inputs: the error in the weights, of a Gaussian matrix by the Marchenko-Pastur law. An orthogonal matrix,
    turned: the tail of the inputs' own spectrum."""
    W, X = problem((40, 20), count=100)
    white, ranks = Inputs(torch.eye(20).double(), torch.zeros(20).double(), torch.ones(20).double(), 1), [1, 5, 12]
    found = factorisation.without_alignment(W, ranks, white, white, draws=20)
    s = np.linalg.svd(W.numpy(), compute_uv=False)
    law = nla.nulls.mp_spectrum(40, 20)
    for values, spectrum, tolerance in ((found["turned"], s, 1e-9), (found["gaussian"], law, 0.02)):
        expected = [math.sqrt((spectrum[r:] ** 2).sum() / (spectrum**2).sum()) for r in ranks]
        np.testing.assert_allclose(values, expected, rtol=tolerance)
    inputs = Inputs.of(X)
    orthogonal = torch.linalg.qr(W)[0]  # (40, 20): every turned one has the same errors
    found = factorisation.without_alignment(orthogonal, ranks, inputs, inputs, draws=2)
    energies = np.linalg.eigvalsh(inputs.second.numpy())[::-1]
    expected = [math.sqrt(energies[r:].sum() / energies.sum()) for r in ranks]
    np.testing.assert_allclose(found["turned"], expected, rtol=1e-6)


def test_affine_is_the_optimum_with_a_bias():
    W, X = problem((20, 8))
    inputs, bias = Inputs.of(X), torch.randn(20, dtype=torch.float64)
    B, A, new = factorisation.affine(W, 2, inputs, bias)
    centred = X - X.mean(0)
    s = np.linalg.svd((centred @ W.T).numpy(), compute_uv=False)
    lost = ((X @ W.T + bias - X @ (B @ A).T - new) ** 2).sum()
    assert float(lost) == pytest.approx((s[2:] ** 2).sum(), rel=1e-6)
    plain = factorisation.whitened(W, 2, inputs)
    shift = factorisation.affine(W, 2, inputs)
    assert factorisation.errors(W, shift, inputs)["outputs"] < factorisation.errors(W, plain, inputs)["outputs"]
    whole = ((X @ W.T) ** 2).sum()
    assert factorisation.errors(W, shift, inputs)["outputs"] == pytest.approx(math.sqrt(lost / whole), rel=1e-6)


@pytest.mark.parametrize("method", [factorisation.whitened, factorisation.affine, factorisation.scaled])
def test_degenerate_inputs_and_weights(method):
    """Few inputs, so that their covariance is singular; a matrix of zeros; inputs that are all zero in places."""
    W, X = problem((10, 6), count=3)
    B, A, *_ = method(W, 6, Inputs.of(X))
    assert B.isfinite().all() and A.isfinite().all()
    if method is factorisation.whitened:
        np.testing.assert_allclose(X @ (B @ A).T, X @ W.T, atol=1e-6)
    X[:, 2] = 0
    for matrix in (W, torch.zeros_like(W), torch.ones_like(W)):
        assert all(f.isfinite().all() for f in method(matrix, 2, Inputs.of(X)))


@pytest.mark.parametrize("count", [5, 60])
def test_regression_beats_any_other_map_of_its_rank(count):
    W, X = problem((15, 10), count=count)
    Y = X @ W.T + 0.3 * torch.randn(count, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    best = np.linalg.lstsq(X.numpy(), Y.numpy(), rcond=None)[0]
    s = np.linalg.svd(X.numpy() @ best, compute_uv=False)
    floor = float(((X.numpy() @ best - Y.numpy()) ** 2).sum())
    for rank in (1, 3, 10):
        B, A, lost = factorisation.regression(X, Y, rank)
        assert B.shape[1] == len(A) <= rank
        assert lost == pytest.approx(float((X @ (B @ A).T - Y).square().sum()), abs=1e-8)
        assert lost == pytest.approx(floor + (s[rank:] ** 2).sum(), abs=1e-8)
    exact = factorisation.regression(X, X @ W.T, min(count, 10))[-1]
    assert exact < 1e-18 * float((X @ W.T).square().sum()) * 1e3


def test_adam_approaches_the_closed_form():
    W, X = problem((8, 6), count=40)
    X = torch.randn(X.shape, generator=torch.Generator().manual_seed(3))
    Y = X @ W.T.float()
    table = regression.trained(X[None], Y[None], 1, 1000, lr=2e-2, decay=True)
    s = np.linalg.svd((Y - Y.mean(0)).numpy(), compute_uv=False)  # with a bias the mean is free
    floor = float((s[2:] ** 2).sum())
    assert table.step.max() == 1000 and table.residual.iloc[-1] == pytest.approx(floor, rel=0.02)
    assert table.residual.iloc[-1] >= floor * (1 - 1e-4)


def test_moments_are_those_of_what_the_modules_are_given(model):
    windows = torch.randint(0, 97, (5, 17), generator=torch.Generator().manual_seed(0))
    moments = calibration.input_moments(model, windows, at_once=2)
    assert set(moments) == set(low_rank.linears(model))
    given = calibration.inputs(model, windows[:, :-1], list(moments))
    for key, x in given.items():
        x = x.double()
        torch.testing.assert_close(moments[key].second, x.T @ x / len(x), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(moments[key].mean, x.mean(0), rtol=1e-4, atol=1e-6)
        assert moments[key].count == 80
    assert moments["query", 0] is moments["value", 0]
    small = low_rank.replace(copy.deepcopy(model), {("query", 0): 42, ("dense", 1): 42}, svd)
    again = calibration.input_moments(small, windows)
    torch.testing.assert_close(again["dense", 1].second, moments["dense", 1].second, rtol=1e-3, atol=1e-5)


def test_losses_and_their_interval(model):
    windows = torch.randint(0, 97, (9, 17), generator=torch.Generator().manual_seed(0))
    found = calibration.losses(model, windows, at_once=4)
    assert found.shape == (9,) and found.mean() == pytest.approx(nla.running.losses.loss(model, windows), rel=1e-6)
    rng = np.random.default_rng(0)
    hits = [low <= 1 <= high for _, low, high in (calibration.interval(rng.exponential(size=60)) for _ in range(150))]
    assert 0.85 < np.mean(hits) <= 0.99


SMALL = {("query", 0): (8, 8), ("dense", 0): (8, 8), ("dense_h_to_4h", 0): (32, 8)}


def rises(rng, convex):
    """Of `sensitivity`: falling with what is kept."""
    rows = []
    for kind, layer in SMALL:
        steps = rng.exponential(size=3)
        steps = np.sort(steps) if convex else steps
        curve = np.cumsum(steps * [0.5, 0.25, 0.125])
        rows += [
            {"kind": kind, "layer": layer, "fraction": f, "rise": r}
            for f, r in zip((0.5, 0.25, 0.125), curve, strict=True)
        ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("share", [0.2, 0.3, 0.6, 0.9, 1.0])
def test_budgets_are_kept(share):
    rng, budget = np.random.default_rng(0), share * 384
    energies = {key: np.sort(rng.exponential(size=8))[::-1] for key in SMALL}
    for ranks in (
        budgets.uniform(SMALL, budget),
        budgets.by_energy(energies, SMALL, budget),
        budgets.by_sensitivity(rises(rng, convex=False), SMALL, budget),
    ):
        assert set(ranks) == set(SMALL)
        assert sum(budgets.held_by(SMALL[key], r) for key, r in ranks.items()) <= budget
    if share == 1:
        assert set(ranks.values()) == {None}


@pytest.mark.parametrize("seed", range(8))
def test_by_sensitivity_is_no_worse_than_any_other_choice(seed):
    """All choices of a fraction for each of three matrices whose rises are convex, against what it expects to lose."""
    table, sizes = rises(np.random.default_rng(seed), convex=True), {k: m * n for k, (m, n) in SMALL.items()}
    curves = {k: rows.sort_values("fraction") for k, rows in table.groupby(["kind", "layer"])}
    points = {k: [*zip(rows.fraction, rows.rise, strict=True), (1.0, 0.0)] for k, rows in curves.items()}
    for budget in (100, 200, 300):
        least = min(
            sum(rise for _, rise in choice)
            for choice in itertools.product(*points.values())
            if sum(f * sizes[k] for (f, _), k in zip(choice, points, strict=True)) <= budget
        )
        shares = budgets.shares_by_sensitivity(table, sizes, budget)
        assert sum(shares[k] * sizes[k] for k in sizes) <= budget + 1e-9
        found = sum(np.interp(shares[k], *zip(*points[k], strict=True)) for k in sizes)
        assert found <= least + 1e-9


def test_ranks_at_the_break_even():
    for (m, n), rank in (((8, 8), 4), ((32, 8), 6)):
        assert budgets.rank_for((m, n), 1) == rank and budgets.held_by((m, n), rank) <= m * n
        assert budgets.held_by((m, n), rank + 1) == budgets.held_by((m, n), None) == m * n


@pytest.fixture(scope="module")
def compressed(model):
    """(model, windows, factors without moments, factors with those of the windows)."""
    windows = torch.randint(0, 97, (6, 17), generator=torch.Generator().manual_seed(0))
    moments = calibration.input_moments(model, windows)
    return model, windows, budgets.all_factors(model), budgets.all_factors(model, moments)


def test_sensitivity_and_controls_are_those_of_the_whole_model_run_anew(compressed):
    model, windows, plain, factors = compressed
    whole = calibration.losses(model, windows)
    for row in budgets.sensitivity(model, factors, windows, [0.25]).itertuples():
        loss = budgets.loss_at(model, factors, {(row.kind, row.layer): row.rank}, windows)
        assert row.rise == pytest.approx(loss - whole.mean(), abs=1e-6)
    table = controls.controls(model, plain, factors, windows, elsewhere=windows[::2], rank=2)
    assert set(table.layer) == {0, 1} and table.way.nunique() == 4
    for row in table[table.way == "whitened"].itertuples():
        part = windows if row.layer == controls.middle(model) else windows[::2]
        ranks = {key: 2 for key in factors if key[1] == row.layer and key[0] in regression.MLP}
        rise = budgets.loss_at(model, factors, ranks, part) - calibration.losses(model, part).mean()
        assert row.mean == pytest.approx(rise, abs=1e-6) and len(row.losses) == len(part)


def test_in_turn_is_what_it_is_when_everything_runs_from_the_start(compressed):
    model, windows, plain, factors = compressed
    ranks = {key: budgets.rank_for((len(B), A.shape[1]), 0.5) for key, (B, A) in factors.items()}
    table = progressive.progressive(model, plain, factors, windows, windows, steps=2)
    found = table.set_index(["way", "layers"]).loss
    for way, chosen in ((progressive.TRUNCATED, plain), (progressive.AT_ONCE, factors)):
        for layers in (0, 1, 2):
            part = {key: rank for key, rank in ranks.items() if key[1] < layers}
            assert found[way, layers] == pytest.approx(budgets.loss_at(model, chosen, part, windows), rel=1e-5)
    for way, steps in ((progressive.IN_TURN, 0), (progressive.CALIBRATED, 2)):
        student = copy.deepcopy(model)
        for layer in (0, 1):
            here = {key: rank for key, rank in ranks.items() if key[1] == layer}
            moments = calibration.input_moments(student, windows)
            find = lambda W, rank, key, moments=moments: factorisation.whitened(W, rank, moments[key])  # noqa: E731
            low_rank.replace(student, here, find)
            if steps:
                progressive.calibrate(student, model, windows, steps, seed=layer)
            assert found[way, layer + 1] == pytest.approx(calibration.losses(student, windows).mean(), rel=1e-4)
    first = progressive.progressive(model, plain, factors, windows, windows, [progressive.IN_TURN], layers=1)
    assert first.loss.tolist() == pytest.approx(found[progressive.IN_TURN].loc[:1].tolist(), rel=1e-5)


def test_what_is_stored_of_the_embedded_model_comes_out_again():
    """A checkpoint and a kind, or a way of going in turn, others every day; losses to two thousandths."""
    draw = np.random.default_rng(date.today().toordinal())
    name = draw.choice(["training", "progressive"])
    kept = stored.kept(f"low_rank_compression/{name}")
    table = pd.DataFrame(kept["tables"]["rows"], columns=kept["tables"]["columns"])
    ladder = {c.revision: c for c in nla.checkpoints("demo")}
    last = ladder[draw.choice(list(kept["weights"]))]
    _, model = calibration.sound([last])
    fit, held_out = calibration.text(last, model)
    if name == "training":
        kind = draw.choice(nla.KINDS[:6])
        found = progressive.through_training([last], fit, held_out, **kept["how"], alone=[kind])
        wanted = table[(table.step == last.step) & table["what"].isin(["all", kind])]
        found, wanted = (t.sort_values(["what", "way"], ignore_index=True) for t in (found, wanted))
    else:
        way, plain = draw.choice(progressive.WAYS), budgets.all_factors(model)
        moments = None if way == progressive.TRUNCATED else calibration.input_moments(model, fit)
        factors = budgets.all_factors(model, moments)
        found = progressive.progressive(model, plain, factors, fit, held_out, [way], layers=1, **kept["how"])
        wanted = table[(table.way == way) & (table.layers <= 1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted, rtol=2e-3, atol=2e-3)
