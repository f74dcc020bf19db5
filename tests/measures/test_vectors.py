"""Biases and LayerNorms against the tensors themselves, the model's own forward pass, and draws of random ones."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import nla
from nla import figures
from nla.matrices import Norm
from nla.measures.vectors import rotary_dimensions
from nla.running import attention
from nla.studies.biases_layernorms import plots

READERS = ("query", "key", "value", "dense_h_to_4h", "embed_out")


def tensors(folder):
    return {name: t.double().numpy() for name, t in load_file(folder / "model.safetensors").items()}


def bare(values, bias=None, norm=None, kind="dense_h_to_4h"):
    """A Matrix made from tensors, with these vectors beside it."""
    matrix = nla.Matrix(kind, 0, 0, values)
    matrix.__dict__.update(bias=bias, norm=norm)
    return matrix


def test_bias_is_cut_like_the_weight(ladder, model):
    """W x + b, with the bias cut per head, is the model's own query, key and value."""
    captured = attention.capture_attention(model, torch.arange(20))
    with nla.load(str(ladder)) as weights:
        for layer, seen in enumerate(captured):
            for kind in ("query", "key", "value"):
                matrix = weights.matrix(kind, layer)
                ours = seen["input"] @ matrix.values.T + matrix.bias
                torch.testing.assert_close(ours, seen[kind], rtol=1e-4, atol=1e-4)


def test_sizes_of_every_vector(ladder):
    table = nla.scan(str(ladder), nla.vectors).set_index(["kind", "layer", "step"]).sort_index()
    raw = {step: tensors(ladder / f"step{step}") for step in (0, 20, 100)}
    for kind, name in (("dense", "attention.dense.bias"), ("dense_4h_to_h", "mlp.dense_4h_to_h.bias")):
        v, first, before = (raw[step][f"gpt_neox.layers.1.{name}"] for step in (100, 0, 20))
        row = table.loc[kind, 1, 100]
        expected = {
            "bias_l2": np.linalg.norm(v),
            "bias_rms": np.sqrt((v**2).mean()),
            "bias_mean": v.mean(),
            "bias_sd": v.std(),
            "bias_smallest": v.min(),
            "bias_largest": v.max(),
            "bias_drift": np.linalg.norm(v - first),
            "bias_update": np.linalg.norm(v - before),
        }
        assert row[list(expected)].to_dict() == pytest.approx(expected, rel=1e-6)
        assert np.isnan(row.gain_l2)  # these read no norm
    for kind, name in (
        ("query", "gpt_neox.layers.1.input_layernorm"),
        ("dense_h_to_4h", "gpt_neox.layers.1.post_attention_layernorm"),
        ("embed_out", "gpt_neox.final_layer_norm"),
    ):
        row = table.loc[kind, -1 if kind == "embed_out" else 1, 100]
        gain, shift, gain_0 = raw[100][f"{name}.weight"], raw[100][f"{name}.bias"], raw[0][f"{name}.weight"]
        assert row.gain_mean == pytest.approx(gain.mean(), rel=1e-6)
        assert row.gain_drift == pytest.approx(np.linalg.norm(gain - gain_0), rel=1e-6)
        assert row.shift_l2 == pytest.approx(np.linalg.norm(shift), rel=1e-6)
    assert table.loc["query", 0, 0].bias_drift == pytest.approx(0) and np.isnan(table.loc["query", 0, 0].bias_update)
    assert table.loc["query", 0, 1].bias_update == pytest.approx(0)  # step 1 is a copy of step 0
    fused = raw[100]["gpt_neox.layers.0.attention.query_key_value.bias"].reshape(3, 3, 14)
    energy = (fused[:, 1] ** 2).sum(0)
    row = table.loc["key", 0, 100]
    assert row.bias_rotated == pytest.approx(energy[:4].sum() / energy.sum(), rel=1e-6)  # int(0.3 * 14)
    assert (row.bias_rotated_random, row.bias_negative) == pytest.approx((4 / 14, (fused[:, 1] < 0).mean()))
    assert np.isnan(table.loc["value", 0, 100].bias_rotated)
    assert table.loc["embed_out", -1].bias_l2.isna().all() and table.loc["embed_in", -1].gain_l2.isna().all()


@pytest.mark.parametrize(
    "kind, layer, module", [("query", 1, "attention"), ("dense_h_to_4h", 0, "mlp"), ("embed_out", -1, "head")]
)
def test_folding_leaves_the_map_as_it_was(ladder, model, kind, layer, module):
    """What the model's own LayerNorm and matrix make of x is the folded matrix times x, normalised without gain."""
    x = torch.randn(9, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    inner = model.gpt_neox
    norm = {
        "attention": inner.layers[layer].input_layernorm,
        "mlp": inner.layers[layer].post_attention_layernorm,
        "head": inner.final_layer_norm,
    }[module]
    with nla.load(str(ladder)) as weights, torch.no_grad():
        matrix = weights.matrix(kind, layer)
        bias = matrix.bias if matrix.bias is not None else 0.0
        own = norm(x) @ matrix.values.T + bias
        bare = torch.nn.functional.layer_norm(x, x.shape[1:], eps=norm.eps)
        torch.testing.assert_close(
            bare @ nla.measures.fold(matrix).T + bias + matrix.values @ norm.bias, own, rtol=1e-4, atol=1e-5
        )


def test_a_bias_on_keys_that_are_not_rotated_does_nothing(ladder, model):
    """It adds the same to all scores of a query, which softmax does not see; on rotated ones it does not."""
    tokens = torch.arange(24)[None]
    with nla.load(str(ladder)) as weights:
        turned = rotary_dimensions(weights.matrix("key", 0))
    changed = {}
    for name, part in {"rest": slice(turned, None), "rotated": slice(0, turned)}.items():
        bias = model.gpt_neox.layers[0].attention.query_key_value.bias
        with torch.no_grad():
            before, kept = model(tokens).logits, bias.clone()
            bias.view(3, 3, 14)[:, 1, part] += 3.0
            changed[name] = float((model(tokens).logits - before).abs().max())
            bias.copy_(kept)
    assert changed["rest"] < 1e-4 < 1e-2 < changed["rotated"]


def test_folded_numbers_by_svd(ladder):
    with nla.load(str(ladder)) as weights:
        for kind in READERS:
            matrix = weights.matrix(kind, -1 if kind == "embed_out" else 1)
            W, g = matrix.values.double().numpy(), matrix.norm.gain.double().numpy()
            F = W * g - (W * g).mean(1, keepdims=True)
            s, plain = np.linalg.svd(F, compute_uv=False), np.linalg.svd(W, compute_uv=False)
            found = nla.folded(matrix)
            rms = np.sqrt((g**2).mean())
            assert found["folded_frobenius"] == pytest.approx(np.linalg.norm(F), rel=1e-5)
            assert found["folded_frobenius_ratio"] == pytest.approx(
                np.linalg.norm(F) / np.linalg.norm(W) / rms, rel=1e-5
            )
            assert found["folded_spectral_ratio"] == pytest.approx(s[0] / plain[0] / rms, rel=1e-5)
            assert found["folded_stable_rank"] == pytest.approx((s**2).sum() / s[0] ** 2, rel=1e-4)
            columns = np.corrcoef(g, np.linalg.norm(W, axis=0))[0, 1]
            assert found["folded_columns"] == pytest.approx(columns, rel=1e-5)
            ones = np.ones(len(g)) / np.sqrt(len(g))
            assert found["folded_mean_share"] == pytest.approx(
                np.linalg.norm((W * g) @ ones) ** 2 / np.linalg.norm(W * g) ** 2, rel=1e-5
            )
            b = 0 if matrix.bias is None else matrix.bias.double().numpy()
            through = np.linalg.norm(b + W @ matrix.norm.bias.double().numpy())
            assert found["folded_bias_l2"] == pytest.approx(through, rel=1e-5)
            np.testing.assert_allclose(found["folded_singular_values"], s, rtol=1e-4, atol=1e-4)
    assert nla.folded.kinds == ("query", "key", "value", "dense_h_to_4h", "gate", "embed_out")


def test_a_gain_with_nan_is_not_folded_in(ladder):
    with nla.load(str(ladder)) as weights:
        matrix = weights.matrix("query", 1)
        matrix.norm.gain[3] = torch.nan
        assert nla.folded(matrix) == {} != nla.folded(weights.matrix("query", 0))


def test_a_gain_that_knows_nothing_changes_nothing():
    """Random matrix, random gain: own and shuffled ratio agree, and 1 for the Frobenius norm."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(20):
        W, gain = torch.randn(120, 60, generator=generator), 1 + 0.3 * torch.randn(60, generator=generator)
        found.append(nla.folded(bare(W, norm=Norm(gain, None, False))))
    mean = {name: np.mean([f[name] for f in found]) for name in found[0] if "values" not in name}
    assert mean["folded_frobenius_ratio"] == pytest.approx(1, abs=0.01)
    for name in ("spectral", "stable_rank", "effective_rank"):
        assert mean[f"folded_{name}_ratio"] == pytest.approx(mean[f"folded_{name}_shuffled"], rel=0.03), name
    assert abs(mean["folded_columns"]) < 3 / math.sqrt(20 * 60) and mean["folded_mean_share"] == pytest.approx(
        1 / 60, rel=0.2
    )


def test_a_gain_that_amplifies_what_is_read():
    W = torch.randn(100, 40, generator=torch.Generator().manual_seed(1))
    gain = torch.linspace(0.2, 2, 40)
    found = nla.folded(bare(W * gain, norm=Norm(gain, None, False)))
    assert found["folded_columns"] > 0.9 and found["folded_frobenius_ratio"] > 1.2 > found["folded_frobenius_shuffled"]


def test_constant_gain_and_centring():
    W = torch.randn(30, 20, generator=torch.Generator().manual_seed(2))
    twice = nla.folded(bare(W, norm=Norm(torch.full((20,), 2.0), None, False)))
    assert twice["folded_frobenius"] == pytest.approx(2 * float(W.norm()), rel=1e-6)
    for name in ("frobenius", "spectral", "stable_rank", "effective_rank"):
        assert twice[f"folded_{name}_ratio"] == pytest.approx(1, rel=1e-5)
    assert twice["folded_columns"] == pytest.approx(0, abs=1e-6) and "folded_bias_l2" not in twice
    ones = nla.folded(bare(torch.ones(30, 20), norm=Norm(torch.ones(20), None, True)))
    assert ones["folded_mean_share"] == pytest.approx(1) and ones["folded_frobenius"] == pytest.approx(0, abs=1e-5)


def test_degenerate_input_does_not_crash():
    zero = nla.folded(bare(torch.zeros(5, 4), torch.zeros(5), Norm(torch.zeros(4), torch.zeros(4), True)))
    assert zero["folded_frobenius"] == pytest.approx(0) and np.isnan(zero["folded_frobenius_ratio"])
    assert nla.folded(bare(torch.randn(1, 4), None, Norm(torch.ones(4), None, True)))[
        "folded_stable_rank"
    ] == pytest.approx(1)
    assert nla.folded(bare(torch.randn(3, 4))) == {} and nla.vectors(bare(torch.randn(3, 4))) == {}
    assert nla.vectors(nla.Matrix("dense", 0, 0, torch.randn(3, 4))) == {}  # a bare tensor


def test_models_without_biases(ladder):
    """Query, key and value without bias: their columns are there for the other kinds only."""
    for step in (0, 1, 20, 100):
        folder = ladder / f"step{step}"
        kept = {
            n: t for n, t in load_file(folder / "model.safetensors").items() if not n.endswith("query_key_value.bias")
        }
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((folder / "config.json").read_text()) | {"attention_bias": False}
        (folder / "config.json").write_text(json.dumps(config))
    table = nla.scan(str(ladder), [nla.vectors, nla.folded])
    assert table[table.kind == "query"].bias_l2.isna().all() and table[table.kind == "dense"].bias_l2.notna().all()
    assert table[table.kind == "query"].folded_bias_l2.notna().all()  # the norm's own shift, through W


def test_the_band_of_chance_is_that_of_independent_pairs(ladder):
    """Two standard deviations hold 95 % of the correlations of independent pairs; each panel has its own band."""
    table = nla.scan(str(ladder), nla.folded, kinds=["query", "dense_h_to_4h"])
    fig = figures.over_steps(table, "folded_columns", baseline=0.0, null="chance")
    plots.chance_band(fig, table, "rows")
    rows = table.groupby("kind").rows.first()
    generator = np.random.default_rng(0)
    for ax, kind in zip(fig.axes, ("query", "dense_h_to_4h"), strict=False):
        reach = max(patch.get_extents().transformed(ax.transData.inverted()).y1 for patch in ax.patches)
        drawn = [np.corrcoef(generator.standard_normal((2, rows[kind])))[0, 1] for _ in range(2000)]
        assert np.mean(np.abs(drawn) < reach) == pytest.approx(0.954, abs=0.02)
    assert "chance, 2 s.d." in [text.get_text() for text in fig.axes[0].get_legend().get_texts()]


def test_the_walk_of_noise_is_in_the_legend(ladder):
    fig = figures.over_steps(nla.scan(str(ladder), nla.norms, kinds=["query", "key"]), "rms")
    plots.noise_walk(fig, np.arange(101.0))
    assert [text.get_text() for text in fig.axes[0].get_legend().get_texts()] == ["walk of noise updates"]
    assert all(ax.lines[-1].get_ydata()[-1] == 100 for ax in fig.axes[:2])
