"""Matrices replaced in running models of every family, singular values taken out, and the loss on text."""

import copy
import json
import math

import numpy as np
import pytest
import torch

import nla
from nla.running import language, losses, surgery, texts as running_texts
from nla.studies.fine_tuning_stages.shaken import Shaken, shaken
from tests.test_families import CONFIGS, build

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


def test_loss_is_that_of_the_model_itself(model):
    windows = torch.randint(0, 97, (5, 33), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(windows[:, :-1]).logits.double().log_softmax(-1)
    expected = -np.mean([logits[i, t, windows[i, t + 1]].item() for i in range(5) for t in range(32)])
    assert losses.loss(model, windows) == pytest.approx(expected, rel=1e-5)
    assert losses.loss(model, windows, at_once=2) == pytest.approx(expected, rel=1e-5)


def test_loss_of_a_model_that_knows_nothing(model):
    blank = copy.deepcopy(model)
    with torch.no_grad():
        blank.get_output_embeddings().weight.zero_()
    assert losses.loss(blank, torch.randint(0, 97, (3, 17))) == pytest.approx(math.log(97))


def test_windows_and_tokenizer():
    last = nla.checkpoints("demo-chain")[-1]
    bpe = running_texts.tokenizer(last)
    assert bpe.get_vocab_size() == 1024
    texts = ["def f(x):\n    return x\n" * 5, "y = 1\n" * 20]
    windows = running_texts.windows(bpe, texts, 16)
    stream = [i for text in texts for i in bpe.encode(text).ids]
    assert windows.shape == ((len(stream) - 1) // 16, 17)
    assert windows[0].tolist() == stream[:17] and windows[1].tolist() == stream[16:33]


def test_no_tokenizer(ladder):
    assert running_texts.tokenizer(nla.checkpoints(str(ladder))[0]) is None


def test_held_out_text_is_not_what_the_model_was_trained_on():
    """Its loss on the excerpts is well above the one on training text, as on all held-out files."""
    text, record = running_texts.held_out(), nla.history("demo")["saved"][-1]
    last = nla.checkpoints("demo")[-1]
    found = losses.loss(
        language.language_model(last), running_texts.windows(running_texts.tokenizer(last), text["source"])[:24]
    )
    assert record["train_loss"] + 0.4 < found < 2.6
    assert len(text["pairs"]) >= 100 and all(parameters for _, parameters, _ in text["pairs"])
    assert "PSF" in text["notice"] and json.dumps(text).isascii()


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


def test_shaken_weights_are_moved_by_noise_of_the_norm_asked_for(ladder):
    with nla.load(str(ladder), 100) as weights:
        sizes = {("query", 0): 0.3, ("dense_h_to_4h", 1): 0.01}
        shaken = [Shaken(weights, sizes, seed) for seed in (0, 0, 1)]
        for kind, layer in weights.index():
            W = weights.matrix(kind, layer).values.double()
            moved = [each.matrix(kind, layer).values.double() for each in shaken]
            size = sizes.get((kind, layer), 0.0)
            assert float((moved[0] - W).norm() / W.norm()) == pytest.approx(size, rel=0.01)
            assert torch.allclose(moved[0], moved[1]) and torch.allclose(moved[0], moved[2]) == (size == 0)
        noise = [each.matrix("dense_h_to_4h", 1).values.double() for each in shaken[1:]]
        noise = [(each - weights.matrix("dense_h_to_4h", 1).values.double()).flatten() for each in noise]
        assert abs(float(torch.corrcoef(torch.stack(noise))[0, 1])) < 4 / len(noise[0]) ** 0.5
        matrix = shaken[0].matrix("dense_4h_to_h", 1)  # not moved, but what stands beside it is
        assert torch.allclose(matrix.sibling("dense_h_to_4h").weight, shaken[0].matrix("dense_h_to_4h", 1).weight)
        assert torch.equal(shaken[0].matrix("query", 0).initial.weight, weights.matrix("query", 0).initial.weight)
        assert matrix.weight.dtype == weights.matrix("dense_4h_to_h", 1).weight.dtype


def test_measures_after_a_random_update(ladder):
    table = shaken(str(ladder), 100, {("query", 0): 0.5}, [nla.norms, nla.spectrum], draws=2)
    assert len(table) == 2 and set(table.draw) == {0, 1} and table.rms.nunique() == 2
    with nla.load(str(ladder), 100) as weights:
        matrix = Shaken(weights, {("query", 0): 0.5}, 1).matrix("query", 0)
    assert table.stable_rank[1] == pytest.approx(nla.spectrum(matrix)["stable_rank"], rel=1e-6)
