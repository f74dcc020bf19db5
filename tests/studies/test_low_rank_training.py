"""The 26 experiments, the models they make in every family, and how variants are trained and compared."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import nla
from nla.demo import train
from nla.low_rank.changes import Change, Silent, apply, halves, label
from nla.low_rank.counts import skeleton
from nla.running import language
from nla.running.evaluation import CannotRun
from nla.studies.low_rank_training import experiments, runs as low_rank_training_runs, variants
from tests.helpers.families import CONFIGS
from tests.helpers.ladders import tiny_neox

TINY = {
    "model_type": "gpt_neox",
    "num_hidden_layers": 3,
    "hidden_size": 36,
    "num_attention_heads": 3,
    "intermediate_size": 50,
    "vocab_size": 53,
    "max_position_embeddings": 16,
}
CHANGES = {
    "qkv": Change("qkv", "factored", 4, start=1),
    "bent": Change("qkv", "factored", 4, activation="gelu"),
    "dense": Change("dense", "factored", 3),
    "mlp": Change("mlp", "factored", 5, start=1, stop=2),
    "narrow": Change("mlp", "narrow", 7),
    "linear": Change("mlp", "linear"),
    "silent": Change("attention", "silent"),
    "frozen": Change("embed_in", "frozen"),
    "dropped": Change("layer", "dropped", start=2),
}


def tokens(count=2, length=9, vocabulary=53, seed=0):
    return torch.randint(2, vocabulary, (count, length), generator=torch.Generator().manual_seed(seed))


def config(name="gpt_neox"):
    return skeleton({"model_type": name.split()[0]} | CONFIGS[name]).config


def model(name="gpt_neox", seed=0):
    return train.new_model(seed, config(name)).eval()


def logits(net, ids):
    with torch.no_grad():
        return net(ids, use_cache=False).logits


def test_24_counts_are_the_published_and_2_are_misprints():
    table = experiments.table().set_index("number")
    wrong = table[table.parameters != table.published]
    assert dict(wrong.parameters) == {18: 220_353_704, 26: 380_102_656}
    assert table.published[18] == table.published[17] and table.published[26] == table.published[1]
    assert list(table.index) == list(range(1, 27))
    parts = table[[*experiments.SHOWN, "norms"]].sum(axis=1)
    assert (parts == table.parameters).all()


def test_what_llm_lora_calls_full_attention_would_have_been_more():
    sizes = experiments.GEOMETRY["pythia-410m"]
    assert experiments.count(sizes, (experiments.qkv(8, 1),)) == 333_736_120
    assert experiments.count(sizes, (experiments.qkv(8, 6),)) == 349_300_880


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("together", ["qkv dense mlp frozen", "narrow silent dropped", "bent linear"])
def test_in_every_family_the_count_is_that_of_a_real_model_which_runs(name, together):
    changes = [CHANGES[what] for what in together.split()]
    real, left = apply(model(name), changes), experiments.count(config(name))
    held = sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert held == sum(experiments.by_part(config(name), changes).values()) < left
    for change in changes:  # each takes something away by itself, but the non-linearity has no parameters
        alone = experiments.count(config(name), [change])
        assert held <= alone < left or (alone == left and change.how == "linear")
    assert logits(real, tokens()).isfinite().all()


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "phi3", "llama"])
def test_at_full_rank_and_width_nothing_changes(name):
    expected = logits(model(name), tokens())
    with torch.no_grad():
        net = model(name)
        inner = net.config.intermediate_size if hasattr(net.config, "intermediate_size") else 144
        apply(net, [Change("mlp", "narrow", inner), Change("dense", "factored", 36)])
    torch.testing.assert_close(logits(net, tokens()), expected, rtol=1e-4, atol=1e-4)


def test_factors_begin_as_the_balanced_nearest_matrix_of_their_rank():
    W = torch.randn(20, 12, generator=torch.Generator().manual_seed(1))
    B, A = halves(W, 5)
    U, s, Vt = np.linalg.svd(W.double().numpy())
    np.testing.assert_allclose((B @ A).numpy(), (U[:, :5] * s[:5]) @ Vt[:5], atol=1e-5)
    np.testing.assert_allclose(torch.linalg.svdvals(B), np.sqrt(s[:5]), rtol=1e-5)
    np.testing.assert_allclose(torch.linalg.svdvals(A), np.sqrt(s[:5]), rtol=1e-5)


def test_factored_layer_computes_b_phi_a_and_its_inner_bias_begins_at_0():
    net = apply(model(), [Change("qkv", "factored", 4, activation="gelu")])
    layer = net.gpt_neox.layers[1].attention.query_key_value
    assert not layer.down.bias.any() and not layer.up.bias.any()
    with torch.no_grad():
        layer.down.bias.normal_()
        x = torch.randn(3, 36)
        inner = torch.nn.functional.gelu(x @ layer.down.weight.T + layer.down.bias)
        torch.testing.assert_close(layer(x), inner @ layer.up.weight.T + layer.up.bias)


def test_without_attention_only_the_last_token_counts_and_with_it_all():
    ids, other = tokens(1), tokens(1, seed=1)
    other[:, -1] = ids[:, -1]
    for changes, same in (([CHANGES["silent"]], True), ([CHANGES["bent"]], False)):
        net = apply(model(), changes)
        assert torch.allclose(logits(net, ids)[:, -1], logits(net, other)[:, -1]) is same


def test_linear_mlp_is_a_matrix_and_a_skipped_dense_does_nothing():
    net = apply(model(), [Change("mlp", "linear"), Change("dense", "skipped")])
    mlp, x = net.gpt_neox.layers[0].mlp, torch.randn(4, 36)
    with torch.no_grad():
        torch.testing.assert_close(mlp(2 * x) - mlp(x), mlp(x) - mlp(0 * x), rtol=1e-4, atol=1e-5)
    assert net.gpt_neox.layers[0].attention.dense(x) is x


def test_narrow_mlp_is_the_first_neurons_of_the_whole_one():
    whole, narrow = model(), apply(model(), [Change("mlp", "narrow", 7, start=1)])
    with torch.no_grad():
        kept = whole.gpt_neox.layers[2].mlp
        kept.dense_4h_to_h.weight[:, 7:] = 0
        x = torch.randn(4, 36)
        torch.testing.assert_close(narrow.gpt_neox.layers[2].mlp(x), kept(x))
    assert narrow.gpt_neox.layers[0].mlp.dense_h_to_4h.out_features == 50


def test_all_variants_start_alike():
    net = model()
    for name, (_, changes) in variants.variants(net.config).items():
        other = dict(apply(model(), changes).named_parameters())
        common = [n for n, p in net.named_parameters() if n in other and other[n].shape == p.shape]
        assert len(common) >= 10, name
        assert all(torch.equal(other[n], net.get_parameter(n)) for n in common), name


def test_start_of_the_embedded_model_is_its_recipes():
    net = train.new_model(0)
    for name, p in net.named_parameters():
        if p.ndim == 2:
            kind = "dense" if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")) else "query"
            assert p.std().item() == pytest.approx(train.RECIPE.initial_std(kind, 192, 6), rel=0.02), name
        else:
            assert (p == ("norm" in name and name.endswith("weight"))).all(), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change("qkv", "factored", 0.5), "rank 0.5"),
        (Change("qkv", "factored", 37), "rank 37"),
        (Change("qkv", "factored", 4, start=3), "layers 3 to 2 are not all in 0 to 2"),
        (Change("qkv", "factored", 4, stop=9), "layers 0 to 8 are not all in 0 to 2"),
        (Change("mlp", "narrow", 51), "MLP of 51 neurons: layer 0 has 1 to 50"),
        (Change("layer", "dropped"), "all layers dropped"),
        (Change("mpl", "factored", 4), "unknown part 'mpl'"),
        (Change("mlp", "factorized", 4), "unknown change 'factorized'"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as error:
        apply(model(), [change])
    assert "\n" not in str(error.value)


def test_a_count_that_cannot_be_had_says_why():
    table = experiments.table(config("qwen2")).set_index("number")
    assert table.parameters.isna()[26] and "serves as embed_out" in table.why_not[26]
    assert table.parameters.isna()[8] and "cannot be left out: it makes 36 of 90" in table.why_not[8]
    assert table.parameters[4] < table.parameters[1]


def test_labels_say_what_is_changed():
    changes = (experiments.qkv(8, 6, "gelu"), experiments.NO_DENSE, experiments.factored_mlp(16, 12, 19))
    assert label(changes) == "qkv rank 8 with GELU from layer 6, no dense, mlp rank 16 in layers 12-18"
    assert label(()) == "whole" and label([CHANGES["dropped"]]) == "first 2 layers"
    assert label([CHANGES["silent"], CHANGES["frozen"]]) == "no attention, embed_in frozen"


def training(name, **options):
    options = {"steps": 3, "batch": 2} | options
    ids = tokens(40, 17)
    return variants.compare(config(), ids[:30], ids[30:], [name], **options)


def test_training_depends_on_the_seed_alone():
    one, two, other = training("whole"), training("whole"), training("whole", seeds=(1,))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)
    assert not np.allclose(one.held_out_loss, other.held_out_loss, rtol=1e-3) and one.order[0] != other.order[0]
    assert list(one.step) == [0, 1, 2, 3][: len(one)] and list(one.tokens) == [0, 32, 64, 96][: len(one)]
    assert one.order[0] == training("no attention").order[0]
    assert one.held_out_loss[0] == pytest.approx(np.log(53), abs=0.5)
    assert one.parameters[0] == sum(p.numel() for p in model().parameters())


def test_training_learns_what_there_is_to_learn():
    ids = torch.arange(2, 19).repeat(40, 1)  # every token says which is next
    table = variants.compare(config(), ids, ids, ["whole", "no attention"], steps=60, batch=4)
    ends = table.pivot(index="experiment", columns="step", values="held_out_loss")
    assert (ends[60] < 1).all() and (ends[0] > 3).all()


def test_what_is_frozen_stays_and_the_rest_moves(monkeypatch):
    trained = []
    monkeypatch.setattr(variants, "parameters", lambda net, trainable: trained.append(net) or 0)
    training("embed_in frozen")
    moved = {n for n, p in trained[0].named_parameters() if not torch.equal(p, model().get_parameter(n))}
    assert not any("embed_in" in n for n in moved)
    assert {"gpt_neox.layers.0.attention.query_key_value.weight", "lm_head.weight"} <= moved


def test_unknown_variants_and_no_steps_are_refused():
    with pytest.raises(ValueError, match="no variant 'half': there are whole; qkv rank 1"):
        training("half")
    with pytest.raises(ValueError, match="0 steps"):
        training("whole", steps=0)


def test_models_that_are_not_trained_say_why(tmp_path, monkeypatch):
    monkeypatch.delenv("TEXT", raising=False)
    tiny_neox(0).save_pretrained(tmp_path / "tiny")
    checkpoint, demo = nla.checkpoints(str(tmp_path / "tiny"))[0], nla.checkpoints("demo")[0]
    sizes, small = language.configuration(checkpoint), language.configuration(demo)
    for why, place, config, options in (
        ("there is no tokenizer.json", checkpoint, sizes, {}),
        ("tokenizer.json has 1024 tokens, the model 97", demo, sizes, {}),
        ("3,062,784 parameters need a GPU", demo, small, {"small": 1e6}),
        ("set TEXT to a file", demo, small, {"small": 1e6, "device": "cuda"}),
        ("no.txt is not a file", demo, small, {"text": str(tmp_path / "no.txt")}),
    ):
        with pytest.raises(CannotRun, match=re.escape(why)):
            variants.material(place, config, **options)
    text = tmp_path / "some.txt"
    text.write_text("def f(x):\n    return x\n" * 3000)
    monkeypatch.setenv("TEXT", str(text))
    windows, unseen = variants.material(demo, small, device="cuda", small=1e6)
    assert windows.shape[1] == unseen.shape[1] == 257 and len(windows) > 5 * len(unseen)


def test_a_short_training_reads_as_much_text_as_it_takes(monkeypatch):
    monkeypatch.delenv("TEXT", raising=False)
    files = {f"{i}.py": f"x{i} = {i}\n" * 900 for i in range(50)}
    monkeypatch.setattr(train, "corpus", lambda seed: (files, dict(list(files.items())[:20])))
    demo = nla.checkpoints("demo")[0]
    sizes = language.configuration(demo)
    whole, few = (variants.material(demo, sizes, most=most)[0] for most in (None, 40))
    assert 40 <= len(few) < len(whole) / 2
    assert torch.equal(whole[0], few[0])  # it begins with the first file


def test_a_geometry_on_the_hub_is_trained_on_a_text_that_is_named(hub, tmp_path, monkeypatch):
    """What MODEL=pythia-410m TEXT=file does on a GPU, at a tiny size and on the CPU."""
    folder, text = tmp_path / "step0", tmp_path / "some.txt"
    tiny_neox(0, vocab=1024).half().save_pretrained(folder)
    shutil.copy(nla.models.DEMO / "tokenizer.json", folder)
    hub.add("acme/small", {"step0": folder, "main": folder})
    checkpoint = nla.checkpoints("acme/small")[-1]
    sizes = language.configuration(checkpoint)
    with pytest.raises(CannotRun, match="parameters need a GPU"):
        variants.material(checkpoint, sizes, small=1e4)
    text.write_text("def f(x):\n    return x\n" * 1000)
    windows, unseen = variants.material(checkpoint, sizes, str(text), "cuda", small=1e4)
    assert windows.shape[1] == 65  # the context of this model
    chosen = variants.few(sizes)
    assert {"whole", "no attention"} < set(chosen) and any("mlp rank" in name for name in chosen)
    table = variants.compare(sizes, windows, unseen, chosen, steps=8, held_out=4, device="cpu", peak=1e-2)
    ends = table.pivot(index="experiment", columns="step", values="held_out_loss")
    assert set(ends.index) == set(chosen) and (ends[8] < ends[0] - 0.5).all()
    known = variants.variants(sizes)
    for name, rows in table.groupby("experiment"):
        assert (rows.parameters == experiments.count(sizes, known[name][1])).all()
    assert not [path for _, path, _ in hub.requests if "safetensors" in path]  # its weights are not asked for


def test_interval_is_students():
    rng = np.random.default_rng(0)
    losses = {name: 4 + rng.normal(size=4) for name in ("whole", "low")}
    same = {"number": 1, "peak": variants.PEAK, "parameters": 9, "order": "", "tokens_per_step": 2}
    pairs = [(name, seed, loss) for name, values in losses.items() for seed, loss in enumerate(values)]
    runs = [same | {"experiment": name, "seed": seed, "curve": [[7, loss]]} for name, seed, loss in pairs]
    table = variants.rows(runs)
    summary = variants.summary(table)
    low, high = stats.ttest_1samp(losses["low"] - losses["whole"], 0).confidence_interval(0.95)
    assert summary.above["low"] == pytest.approx((low + high) / 2)
    assert summary.half["low"] == pytest.approx((high - low) / 2)
    assert summary.spread["whole"] == pytest.approx(losses["whole"].std(ddof=1))
    assert variants.difference(table, "low", "whole") == f"{(low + high) / 2:+.3f} +- {(high - low) / 2:.3f} (4 seeds)"
    assert variants.difference(table[table.seed == 0], "low", "whole").endswith(" (1 seed)")


def test_counted_losses_by_hand():
    ids = tokens(60, 13, 7, seed=3)
    found = low_rank_training_runs.counted(ids[:50], ids[50:], 7)
    single = np.ones(7)
    for row in ids[:50].tolist():
        for b in row[1:]:
            single[b] += 1
    single /= single.sum()
    asked = [b for row in ids[50:].tolist() for b in row[1:]]
    assert found["unigram"] == pytest.approx(-np.mean(np.log(single[asked])), abs=1e-4)
    assert abs(found["bigram"] - found["unigram"]) < 0.1  # there is nothing to learn from the token before
    ordered = torch.arange(2, 19).repeat(40, 1)
    assert low_rank_training_runs.counted(ordered[:30], ordered[30:], 53)["bigram"] < 0.1 < 2 < found["unigram"] + 1


def test_runs_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    out, made = tmp_path / "runs.json", []

    def run(name, seed, peak, steps):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append((name, seed, peak))
        return {"parameters": 1, "order": "x", "curve": [[0, 7.0], [steps, 4.0]]}

    ids = tokens(400, 17)
    monkeypatch.setattr(train, "source", lambda: (ids[:300], ids[300:], "digest"))
    monkeypatch.setattr(low_rank_training_runs, "_run", run)
    monkeypatch.setattr(low_rank_training_runs, "ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(1))
    with pytest.raises(KeyboardInterrupt):
        low_rank_training_runs.main(out, 6, (0, 1), 1)
    first = json.loads(out.read_text())["runs"]
    assert 1 <= len(first) <= 5 and len(made) == 5
    made.clear()
    monkeypatch.setattr(
        low_rank_training_runs,
        "_run",
        lambda *key: made.append(key) or {"parameters": 1, "order": "x", "curve": [[0, 7.0]]},
    )
    low_rank_training_runs.main(out, 6, (0, 1), 1)
    runs = json.loads(out.read_text())["runs"]
    keys = [(r["experiment"], r["seed"], r["peak"]) for r in runs]
    assert len(keys) == len(set(keys)) == len(first) + len(made) and runs[: len(first)] == first
    assert sum(peak == variants.PEAK for *_, peak in keys) == 2 * len(variants.variants(train.shape()))


def test_committed_runs_are_whole_and_comparable():
    how, table = low_rank_training_runs.results()
    usual = table[table.peak == how["peak"]]
    assert how["steps"] == usual.step.max() == low_rank_training_runs.STEPS
    assert usual.groupby("seed").order.nunique().eq(1).all()
    assert table.groupby("experiment").parameters.nunique().eq(1).all()
    assert (table.groupby(["experiment", "seed", "peak"]).step.max() == how["steps"]).all()
    assert not table.duplicated(["experiment", "seed", "peak", "step"]).any()
    shape = train.shape()
    known = variants.variants(shape)
    assert set(usual.experiment) == set(known)
    for name, (number, changes) in known.items():
        rows = usual[usual.experiment == name]
        assert (rows.number == number).all() and (rows.parameters == experiments.count(shape, changes)).all()
        later = number in low_rank_training_runs.LATER or name in low_rank_training_runs.LATER
        assert 0 in set(rows.seed) and (later or set(rows.seed) == set(how["seeds"])), name
    first = usual[usual.step == 0].held_out_loss
    assert ((first > 6.5) & (first < 7.7)).all()
    last = usual[usual.step == how["steps"]].held_out_loss
    assert ((last > 3) & (last < 4.5)).all()
    assert (table.tokens == table.step * how["tokens_per_step"]).all()
    assert Silent(3)(torch.ones(2, 5)).tolist() == [[0.0] * 3] * 2
