"""Matrices replaced in running models of every family, singular values taken out, and the loss on text."""

import copy

import numpy as np
import pytest
import torch

import nla
from nla.matrices import in_memory
from nla.running import language, losses, surgery
from tests.helpers.activations import FakeBpe, family
from tests.helpers.families import CONFIGS, build

HERE = ("gpt_neox", "bloom", "gpt2 narrow", "opt", "llama", "qwen3", "phi3", "gemma2")


@pytest.mark.parametrize("name", HERE)
def test_only_the_matrix_meant_is_replaced_and_only_for_the_while(name, tmp_path):
    assert set(HERE) <= set(CONFIGS)
    model = built(name)
    original = copy.deepcopy(model.state_dict())
    matrices = read(model, tmp_path / "before")
    generator = torch.Generator().manual_seed(0)
    kinds = [("query", 1), ("value", 1), ("dense_h_to_4h", 0), ("dense_4h_to_h", 2)]
    new = {key: torch.randn(matrices[key].shape, generator=generator) for key in kinds}
    with surgery.replaced(model, new):
        inside = read(model, tmp_path / "inside")
    for key, before in matrices.items():
        assert torch.equal(inside[key], new.get(key, before)), key
    assert all(torch.equal(original[n], tensor) for n, tensor in model.state_dict().items())


def built(name):
    """A small random model of a family."""
    return build(name.split()[0], **CONFIGS[name]).float().eval()


def read(model, folder):
    """{(kind, layer): float32 (out, in)} as nla reads the model from its files."""
    model.save_pretrained(folder)
    with nla.load(str(folder)) as weights:
        return {(m.kind, m.layer): m.values.clone() for m in weights.matrices()}


def test_an_error_inside_restores_too(model):
    before = {n: p.clone() for n, p in model.state_dict().items()}
    with pytest.raises(ZeroDivisionError), surgery.replaced(model, {("key", 0): torch.zeros(42, 42)}):
        raise ZeroDivisionError
    with (
        pytest.raises(RuntimeError),
        surgery.replaced(model, {("key", 0): torch.zeros(42, 42), ("key", 1): torch.zeros(3)}),
    ):
        raise AssertionError("not to be reached")
    assert all(torch.equal(before[n], p) for n, p in model.state_dict().items())


@pytest.mark.parametrize("shape", [(40, 40), (60, 25), (25, 60), (4, 7), (1, 5)])
@pytest.mark.parametrize("part", [0, 1, -1])
def test_without_a_part_of_the_singular_values(shape, part):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    U, s, Vt = np.linalg.svd(values.double().numpy(), full_matrices=False)
    parts = np.array_split(np.arange(len(s)), min(10, len(s)))
    if part >= len(parts):
        return
    s[parts[part]] = 0
    found = surgery.without(nla.Matrix("dense", 0, 0, values), part)
    np.testing.assert_allclose(found.numpy(), U * s @ Vt, atol=1e-5)


def test_removal_by_hand(ladder):
    """Rises against a model whose weights were set by hand."""
    windows = torch.randint(0, 97, (4, 20), generator=torch.Generator().manual_seed(1))
    steps = nla.checkpoints(str(ladder))[2:]
    table = surgery.removal(steps, {"loss": lambda model: losses.loss(model, windows)}, parts=(0, -1))
    assert len(table) == 2 * 6 * 2 + 6 and set(table.part) == {1, 10}
    for kind, name in (("dense", "attention.dense"), ("dense_h_to_4h", "mlp.dense_h_to_4h")):
        with nla.load(str(ladder), 100) as now, nla.load(str(ladder), 20) as then:
            model, before = (language.language_model(steps[1]) for _ in range(2))
            whole = losses.loss(model, windows)
            for layer in range(2):
                W, old = now.matrix(kind, layer), then.matrix(kind, layer)
                with torch.no_grad():
                    model.get_submodule(f"gpt_neox.layers.{layer}.{name}").weight.copy_(cut(W.values))
                    new = cut(old.values) + W.values - old.values
                    before.get_submodule(f"gpt_neox.layers.{layer}.{name}").weight.copy_(new)
        rows = table[(table.kind == kind) & (table.part == 10)].iloc[1:].set_index("taken").loss
        assert rows["after"] == pytest.approx(losses.loss(model, windows) - whole, abs=1e-5)
        assert rows["before"] == pytest.approx(losses.loss(before, windows) - whole, abs=1e-5)


def cut(values):
    """Without the smallest tenth of the singular values, by a full decomposition."""
    U, s, Vt = torch.linalg.svd(values.double(), full_matrices=False)
    s[np.array_split(np.arange(len(s)), 10)[-1]] = 0
    return (U * s @ Vt).float()


def test_what_it_costs_more_to_take_out_before_is_paired(ladder):
    """Mean difference of the losses on the same windows, and its error; nothing of it where it was taken after."""
    windows = torch.randint(0, 97, (6, 20), generator=torch.Generator().manual_seed(2))
    steps = nla.checkpoints(str(ladder))[2:]
    table = surgery.removal(steps, {"loss": lambda model: losses.losses(model, windows)})
    mean = surgery.removal(steps, {"loss": lambda model: losses.loss(model, windows)})
    np.testing.assert_allclose(table.loss, mean.loss, atol=1e-7)
    with nla.load(str(ladder), 100) as now, nla.load(str(ladder), 20) as then:
        after, before = (language.language_model(steps[1]) for _ in range(2))
        for layer in range(2):
            W, old = (w.matrix("dense", layer).values for w in (now, then))
            with torch.no_grad():
                name = f"gpt_neox.layers.{layer}.attention.dense"
                after.get_submodule(name).weight.copy_(cut(W))
                before.get_submodule(name).weight.copy_(cut(old) + W - old)
    apart = losses.losses(before, windows) - losses.losses(after, windows)
    row = table[(table.kind == "dense") & (table.taken == "before")].iloc[0]
    assert row.loss_beyond == pytest.approx(apart.mean(), abs=1e-6)
    assert row.loss_beyond_error == pytest.approx(apart.std(ddof=1) / 6**0.5, abs=1e-6)
    assert table[table.taken == "after"].loss_beyond.isna().all() and "loss_beyond_error" not in mean


TOKENS = torch.randint(0, 50, (6, 14), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2 narrow", "bert", "llama", "phi3"])
def test_removing_all_deciles_in_turn_and_putting_them_back_leaves_the_loss_unchanged(name):
    model = family(name)
    before, loss = copy.deepcopy(model.state_dict()), losses.losses_on(model, FakeBpe(), TOKENS)
    whole = loss(model)
    table = surgery.deciles(model, {"loss": loss})
    assert all(torch.equal(before[n], tensor) for n, tensor in model.state_dict().items())
    assert np.allclose(loss(model), whole)
    kinds = {kind for kind, layer in in_memory.in_memory(model).index if layer >= 0}
    assert len(table) == 10 * len(kinds) and set(table.part) == set(range(1, 11)) and table.loss.abs().max() > 0
    layout = in_memory.in_memory(model)
    for kind in kinds:  # what was taken out in turn adds up to the matrix
        matrix = layout.matrix(kind, 1)
        removed = sum(matrix.values - surgery.without(matrix, part) for part in range(min(10, min(matrix.shape))))
        torch.testing.assert_close(removed, matrix.values, rtol=1e-4, atol=1e-4)


def test_deciles_layer_by_layer(model):
    windows = torch.randint(0, 97, (5, 20), generator=torch.Generator().manual_seed(1))
    loss = {"loss": lambda m: losses.losses(m, windows)}
    table = surgery.deciles(model, loss, kinds=["value"], parts=(0,), layers=[0, 1])
    with surgery.replaced(model, {("value", 1): surgery.without(in_memory.in_memory(model).matrix("value", 1), 0)}):
        rise = losses.losses(model, windows)
    rise = rise - losses.losses(model, windows)
    row = table[table.layer == 1].iloc[0]
    assert row.loss == pytest.approx(rise.mean(), abs=1e-6) and len(table) == 2
    assert row.loss_error == pytest.approx(rise.std(ddof=1) / 5**0.5, abs=1e-6)
    assert losses.loss(model, windows) == pytest.approx(losses.losses(model, windows).mean())
