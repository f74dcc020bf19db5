"""What matrices read in running models of every family, and what models lose with parts of their singular values."""

import copy
import shutil
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer

import nla
from nla.matrices import in_memory
from nla.models import identity
from nla.models.recipes import Recipe
from nla.running import activations, evaluation, language, losses, surgery, texts
from nla.studies import stored
from nla.studies.fine_tuning_stages import fine_tuning
from nla.studies.random_matrix_theory import overlaps, removal_plots
from tests.test_families import CONFIGS, build

TOKENS = torch.randint(0, 50, (6, 14), generator=torch.Generator().manual_seed(0))


def family(name):
    return build(name.split()[0], **CONFIGS[name]).float().eval()


def inputs(model, tokens):
    """{module name: inputs (n, d)} of all modules that hold one matrix, by hooks of this test's own."""
    found = {}

    def keep(name):
        return lambda module, args: found.setdefault(name, []).append(args[0].reshape(-1, args[0].shape[-1]))

    modules = {n: m for n, m in model.named_modules() if isinstance(getattr(m, "weight", None), torch.nn.Parameter)}
    hooks = [m.register_forward_pre_hook(keep(n)) for n, m in modules.items()]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_covariances_of_every_family_are_numpys(name):
    model = family(name)
    seen, layout = inputs(model, TOKENS), in_memory.in_memory(model)
    kinds = set()
    for group, layer, found in activations.covariances(model, TOKENS, at_once=4):
        for kind in group:
            x = seen[layout.tensor_name(kind, layer).removesuffix(".weight")].double().numpy()
            assert found.tokens == len(x) == TOKENS.numel() and found.matrix.dtype == torch.float64
            scale = np.abs(x).max() ** 2
            np.testing.assert_allclose(found.mean.numpy(), x.mean(0), atol=1e-6 * scale**0.5)
            np.testing.assert_allclose(found.matrix.numpy(), np.cov(x.T, bias=True), atol=1e-6 * scale)
            assert layout.matrix(kind, layer).shape[1] == len(found.mean)
            kinds.add((kind, layer))
    assert kinds == {key for key in layout.index if key[1] >= 0}


def test_bounded_memory_changes_nothing(model):
    whole = list(activations.covariances(model, TOKENS))
    little = list(activations.covariances(model, TOKENS, memory=1))
    assert len(whole) == len(little) == 8
    for (kinds, layer, one), (same, place, other) in zip(whole, little, strict=True):
        assert (kinds, layer) == (same, place)
        torch.testing.assert_close(one.matrix, other.matrix, rtol=1e-6, atol=1e-9)
    assert [layer for _, layer, _ in activations.covariances(model, TOKENS, layers=[1])] == [1] * 4
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_overlap_by_hand():
    rng = np.random.default_rng(0)
    W, Q = rng.standard_normal((9, 30)), np.linalg.qr(rng.standard_normal((30, 30)))[0]
    C = Q * np.arange(30, 0, -1) @ Q.T
    covariance = activations.Covariance(100, torch.zeros(30), torch.from_numpy(C))
    found = overlaps.overlap(nla.Matrix("dense", 0, 0, torch.from_numpy(W)), covariance)
    _, _, Vt = np.linalg.svd(W.astype(np.float32), full_matrices=False)
    np.testing.assert_allclose(found["overlap"], np.abs(Vt @ Q).max(1), atol=1e-4)
    np.testing.assert_allclose(found["variance"], np.diag(Vt @ C @ Vt.T) / np.trace(C) * 30, rtol=1e-4)
    assert found["energy"] == pytest.approx(np.trace(Vt @ C @ Vt.T) / np.trace(C), rel=1e-4)
    aligned = overlaps.overlap(
        nla.Matrix("dense", 0, 0, torch.from_numpy((Q[:, :5] * np.arange(5, 0, -1)).T.copy())), covariance
    )
    np.testing.assert_allclose(aligned["overlap"], 1, atol=1e-5)


def test_an_overlap_does_not_say_where_the_inputs_vary():
    """The largest singular vectors are the eigenvectors of most variance, the smallest those of least: both overlap."""
    rng = np.random.default_rng(1)
    Q, values = np.linalg.qr(rng.standard_normal((40, 40)))[0], np.linspace(2, 0.1, 40)
    covariance = activations.Covariance(100, torch.zeros(40), torch.from_numpy(Q * values @ Q.T))
    W = (Q * np.arange(40, 0, -1)).T.copy()  # right singular vectors: the columns of Q, in the order of the variances
    found = overlaps.overlap(nla.Matrix("dense", 0, 0, torch.from_numpy(W)), covariance)
    np.testing.assert_allclose(found["overlap"], 1, atol=1e-4)
    np.testing.assert_allclose(found["place"], (np.arange(40) + 0.5) / 40)
    np.testing.assert_allclose(found["variance"], values / values.mean(), rtol=1e-3)
    reads = pd.DataFrame([{"step": 3, "kind": "dense", "layer": 0} | found])
    assert removal_plots.far_end(reads) == {"dense": (4, 4)}
    read = removal_plots.variance_read(reads).iloc[0]
    assert np.allclose(removal_plots.beyond(reads)[["largest", "middle", "smallest"]], 1)
    assert read.largest == pytest.approx(values[:4].mean() / values.mean(), rel=1e-3)
    assert read.smallest == pytest.approx(values[-4:].mean() / values.mean(), rel=1e-3)
    text = removal_plots.by_step(removal_plots.beyond(reads), 100)
    assert [line.split()[-1] for line in text.splitlines()[2:]] == ["100"] * 3


@pytest.mark.parametrize("d", [40, 300])
def test_random_overlap(d):
    """Three sigma: above the band 1.35 of 1,000 random vectors, below it no more; 20,000 drawn."""
    v = torch.randn(d, 20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    largest = (v / v.norm(dim=0)).abs().amax(0).numpy()
    low, high = overlaps.random_overlap(d, d)
    assert (largest > high).mean() == pytest.approx(0.00135, abs=0.0012)
    assert (largest < low).mean() < 0.0025
    assert largest.min() < 1.2 * low


def test_rank_of_a_short_text(model):
    *_, found = next(activations.covariances(model, TOKENS[:1, :5]))
    assert found.eigenvectors.shape[1] <= 4
    none = activations.Covariance(3, torch.zeros(4), torch.zeros(4, 4, dtype=torch.float64))
    assert np.isnan(overlaps.overlap(nla.Matrix("dense", 0, 0, torch.eye(4)), none)["overlap"]).all()


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


class FakeBpe:
    def token_to_id(self, token):
        return 3 if token == "[MASK]" else None


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


def test_masked_loss_is_that_of_the_model_itself():
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_config(family("bert").config).eval()
    tokens = torch.randint(4, 50, (4, 13), generator=torch.Generator().manual_seed(2))
    seen = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()))
    found = losses.masked_losses(model, tokens, mask=3, at_once=3)
    hook.remove()
    given = torch.cat(seen)
    hidden = given != tokens
    assert (given[hidden] == 3).all() and (hidden.sum(1) == 2).all()
    with torch.no_grad():
        expected = model(given, labels=tokens.masked_fill(~hidden, -100)).loss
    assert found.mean() == pytest.approx(float(expected), rel=1e-5)


def with_tokenizer(folder, *more):
    """The embedded tokenizer in a folder, with further special tokens; how many ids it has."""
    bpe = Tokenizer.from_file(str(nla.models.DEMO / "tokenizer.json"))
    bpe.add_special_tokens(list(more))
    bpe.save(str(folder / "tokenizer.json"))
    return bpe.get_vocab_size()


@pytest.mark.parametrize("name", ["gpt_neox", "bert", "llama"])
def test_a_folder_is_run_on_the_text_or_it_is_said_why_not(name, tmp_path, monkeypatch):
    settings = CONFIGS[name] | {"vocab_size": 1025, "max_position_embeddings": 40}
    build(name, **settings).save_pretrained(tmp_path / "m")
    checkpoint = nla.checkpoints(str(tmp_path / "m"))[0]
    assert evaluation.running(checkpoint) == (None, "there is no tokenizer.json beside the weights")
    with_tokenizer(tmp_path / "m", "[MASK]")
    assert "entries" in evaluation.running(checkpoint, 1e12)[1]
    text = tmp_path / "text"
    text.write_text("def f(x):\n    return x\n" * 60)
    monkeypatch.setenv("TEXT", str(text))
    now, why = evaluation.running(checkpoint)
    assert not why and now.windows.shape[1] == 41 and texts.texts() == [text.read_text()]
    assert 3 < now.losses(now.model).mean() < 15 and len(now.losses(now.model)) == len(now.windows)
    text.write_text("x")
    assert "shorter" in evaluation.running(checkpoint)[1]
    with_tokenizer(tmp_path / "m", *(f"<{i}>" for i in range(5)))
    assert "more tokens" in evaluation.running(checkpoint)[1]


def test_a_bert_without_its_head_can_be_read_but_not_scored(tmp_path):
    family("bert").bert.save_pretrained(tmp_path / "m")
    shutil.copy(nla.models.DEMO / "tokenizer.json", tmp_path / "m")
    model = language.headless_model(nla.checkpoints(str(tmp_path / "m"))[0])
    assert losses.losses_on(model, FakeBpe(), TOKENS) is None
    assert len(overlaps.overlaps(model, TOKENS)) == 18


def test_fine_tuning_with_a_part_taken_out(model):
    rng = np.random.default_rng(0)
    examples = [(list(rng.integers(4, 97, 5)), [7, 8, 9, 2]) for _ in range(fine_tuning.TRAINED + 6)]
    before = copy.deepcopy(model.state_dict())
    recipe = Recipe(peak=5e-3, steps=6, warmup=1)
    losses, table = fine_tuning.before_and_after(model, examples, recipe=recipe)
    again = fine_tuning.before_and_after(model, examples, recipe=recipe)
    assert losses["after"] < losses["before"] - 0.5 and losses == pytest.approx(again[0], rel=1e-3)
    pd.testing.assert_frame_equal(table, again[1], rtol=1e-2, atol=1e-3)
    assert all(torch.equal(before[n], tensor) for n, tensor in model.state_dict().items())
    assert set(table.taken) == {"untuned", "before", "after"} and len(table) == 18 and (table.error >= 0).all()
    mean = fine_tuning.answer_losses(model, examples[-6:]).mean()
    assert mean == pytest.approx(losses["before"]) and losses["before"] > 0
    with pytest.raises(ValueError, match="needs two more"):
        fine_tuning.before_and_after(model, examples[:5])


def test_what_is_kept_of_fine_tuning_comes_out_again():
    """One stage and one kind of the stored table, others every day, measured anew."""
    rng = np.random.default_rng(date.today().toordinal())
    record = stored.kept("random_matrix_theory/fine_tuning")
    table = pd.DataFrame(record["tables"]["later"]["rows"], columns=record["tables"]["later"]["columns"])
    row = table.iloc[rng.integers(len(table))]
    (checkpoint,) = (c for c in nla.checkpoints("demo-chain") if c.stage == row.stage)
    assert record["weights"][checkpoint.revision] == identity.content(checkpoint)
    pairs = texts.held_out()["pairs"]
    examples = fine_tuning.sequences(texts.tokenizer(checkpoint), pairs, evaluation.LENGTH)
    found = fine_tuning.by_stage([checkpoint], examples[::2], [row.kind]).iloc[0]
    assert found.rise == pytest.approx(row.rise, abs=2e-5) and found.error == pytest.approx(row.error, abs=2e-5)


def test_losses_on_answers_are_in_the_order_of_the_answers(model):
    """However long they are: of each alone, over the mean number of tokens of all."""
    examples = [([5] * (1 + i % 3), [7] * (1 + 7 * i % 11)) for i in range(40)]
    alone = np.array([fine_tuning.answer_losses(model, [each])[0] * len(each[1]) for each in examples])
    mean = np.mean([len(answer) for _, answer in examples])
    np.testing.assert_allclose(fine_tuning.answer_losses(model, examples), alone / mean, rtol=1e-5)


def test_answers_in_chat_format_and_as_source():
    bpe = Tokenizer.from_file(str(nla.models.DEMO / "tokenizer.json"))
    pairs = texts.held_out()["pairs"][:4]
    (prompt, answer), *_ = fine_tuning.sequences(bpe, pairs)
    assert prompt[0] == 2 and prompt[-1] == 3 and answer[-1] == 0 and bpe.decode(answer[:-1]) == pairs[0][2]
    assert fine_tuning.sequences(bpe, pairs, most=1) == []

    class Plain:
        token_to_id, encode = staticmethod(lambda token: None), bpe.encode

    prompt, answer = fine_tuning.sequences(Plain(), pairs)[0]
    assert bpe.decode(prompt + answer) == f'{pairs[0][0]}\n    """{pairs[0][2]}"""\n'


def test_what_is_said_of_rises():
    rises = pd.DataFrame({"kind": ["query", "value"] * 2, "stage": ["base", "base", "sft", "sft"]})
    rises = rises.assign(rise=[0.0, 0.001, -0.00001, 0.005], error=[0.001, 0.001, 0.001, 0.0015])
    assert surgery.grown(rises, "stage", "base", "sft") == ["value"]
    assert surgery.grown(rises, "stage", "base", "sft", errors=3) == []
    text = surgery.thousandths(rises, "stage", "rise")
    assert [line.split() for line in text.splitlines()[2:]] == [
        ["base", "0.0", "±1.0", "1.0", "±1.0"],
        ["sft", "0.0", "±1.0", "5.0", "±1.5"],
    ]
    tenths = pd.DataFrame({"kind": "dense", "layer": -1, "part": [9, 10], "loss": [1.0, 1.2], "loss_error": [0.1, 0.1]})
    assert surgery.upturns(tenths) == ["dense"] and surgery.upturns(tenths, 2) == []


def test_along_a_direction_are_the_moments_of_the_projections():
    x = torch.randn(4000, 6, generator=torch.Generator().manual_seed(1)).double() * torch.arange(1, 7) + 2
    inputs, v = activations.Inputs.of(x), torch.tensor([3.0, 0, 0, 4, 0, 0])  # float32, and not of length 1
    found = activations.Covariance(len(x), inputs.mean, inputs.centred).along(v)
    read = (x @ v.double() / 5).numpy()
    assert found == pytest.approx((read.mean(), read.std(), read.mean() ** 2 / (read**2).mean()))


def test_a_constant_is_constant_and_noise_is_not():
    mean, zero = torch.tensor([1.0, 2.0]).double(), torch.zeros(2, 2).double()
    assert activations.Covariance(3, mean, zero).along(mean) == pytest.approx((5**0.5, 0, 1))
    assert activations.Covariance(3, 0 * mean, zero + torch.eye(2)).along(mean) == pytest.approx((0, 1, 0))
    assert activations.Covariance(3, 0 * mean, zero).along(0 * mean)[2] == pytest.approx(0)
