"""Low-rank layers in every family: exact where they must be, counted, written and read; factors against brute force."""

import copy
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

import nla
from nla import low_rank
from nla.low_rank import factorisation, layers as low_rank_layers, saving
from nla.low_rank.counts import parameters, skeleton
from nla.matrices import in_memory
from nla.running import losses
from nla.running.activations import Inputs
from nla.studies import stored
from nla.studies.low_rank_compression import budgets, calibration, controls, progressive, regression
from tests.helpers.families import CONFIGS, TIED, build
from tests.helpers.low_rank import problem, svd

TOKENS = torch.randint(0, 53, (2, 9), generator=torch.Generator().manual_seed(0))


def built(name):
    torch.manual_seed(0)
    return build(name.split()[0], **CONFIGS[name]).float().eval()


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
    looked_up = lambda model: made.append(1) or in_memory.in_memory(model)  # noqa: E731
    monkeypatch.setattr(low_rank_layers, "in_memory", looked_up)
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


SHAPES = [(12, 12), (30, 9), (9, 30), (1, 7)]


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


@pytest.fixture(scope="module")
def compressed(model):
    """(model, windows, factors without moments, factors with those of the windows)."""
    windows = torch.randint(0, 97, (6, 17), generator=torch.Generator().manual_seed(0))
    moments = calibration.input_moments(model, windows)
    return model, windows, budgets.all_factors(model), budgets.all_factors(model, moments)


def test_sensitivity_and_controls_are_those_of_the_whole_model_run_anew(compressed):
    model, windows, plain, factors = compressed
    whole = losses.losses(model, windows)
    for row in budgets.sensitivity(model, factors, windows, [0.25]).itertuples():
        loss = budgets.loss_at(model, factors, {(row.kind, row.layer): row.rank}, windows)
        assert row.rise == pytest.approx(loss - whole.mean(), abs=1e-6)
    table = controls.controls(model, plain, factors, windows, elsewhere=windows[::2], rank=2)
    assert set(table.layer) == {0, 1} and table.way.nunique() == 4
    for row in table[table.way == "whitened"].itertuples():
        part = windows if row.layer == controls.middle(model) else windows[::2]
        ranks = {key: 2 for key in factors if key[1] == row.layer and key[0] in regression.MLP}
        rise = budgets.loss_at(model, factors, ranks, part) - losses.losses(model, part).mean()
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
            assert found[way, layer + 1] == pytest.approx(losses.losses(student, windows).mean(), rel=1e-4)
    first = progressive.progressive(model, plain, factors, windows, windows, [progressive.IN_TURN], layers=1)
    assert first.loss.tolist() == pytest.approx(found[progressive.IN_TURN].loc[:1].tolist(), rel=1e-5)


def test_what_is_stored_of_the_embedded_model_comes_out_again():
    """A checkpoint and a kind, a way of going in turn, or of a budget, others every day; losses to two thousandths."""
    draw = np.random.default_rng(date.today().toordinal())
    name = draw.choice(["training", "progressive", "budgets"])
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
    elif name == "budgets":
        wanted = table[~table.way.str.contains("sensitivity")].sample(1, random_state=int(draw.integers(1000)))
        way, share = wanted.way.iloc[0], wanted.share.iloc[0]
        moments = None if way.startswith("truncated") else calibration.input_moments(model, fit)
        factors = budgets.all_factors(model, moments)
        shapes = {key: (len(B), A.shape[1]) for key, (B, A) in factors.items()}
        size = share * sum(budgets.held_by(shape, None) for shape in shapes.values())
        energies = budgets.energies(factors, moments) if "energy" in way else None
        ranks = budgets.by_energy(energies, shapes, size) if "energy" in way else budgets.uniform(shapes, size)
        found = wanted.assign(loss=budgets.loss_at(model, factors, ranks, held_out))
    else:
        way, plain = draw.choice(progressive.WAYS), budgets.all_factors(model)
        moments = None if way == progressive.TRUNCATED else calibration.input_moments(model, fit)
        factors = budgets.all_factors(model, moments)
        found = progressive.progressive(model, plain, factors, fit, held_out, [way], layers=1, **kept["how"])
        wanted = table[(table.way == way) & (table.layers <= 1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted, rtol=2e-3, atol=2e-3)
