"""Matrices against transformers' own forward pass, and their shared quantities against NumPy and SciPy."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file, save_file

import nla
from nla.matrices import split_heads
from nla.matrices.matrix import once
from nla.numerics import threads
from nla.running import attention
from tests.helpers.ladders import tiny_neox


@pytest.mark.parametrize("heads, d_head", [(1, 22), (3, 14), (5, 6), (7, 10)])
def test_split_gives_the_models_own_query_key_value(tmp_path, heads, d_head):
    model = tiny_neox(heads, heads, d_head).eval()
    model.save_pretrained(tmp_path / "step0")
    captured = attention.capture_attention(model, torch.arange(50))
    with nla.load(str(tmp_path)) as weights:
        for layer, seen in enumerate(captured):
            fused = model.gpt_neox.layers[layer].attention.query_key_value
            for i, kind in enumerate(("query", "key", "value")):
                matrix = weights.matrix(kind, layer)
                assert matrix.shape == (heads * d_head, heads * d_head) and matrix.heads == heads
                ours = seen["input"] @ matrix.values.T + split_heads(fused.bias, heads, i)
                torch.testing.assert_close(ours, seen[kind], rtol=1e-5, atol=1e-5)
                thirds = seen["input"] @ fused.weight.chunk(3)[i].T + fused.bias.chunk(3)[i]
                assert heads == 1 or (thirds - seen[kind]).abs().max() > 0.5


def test_split_loses_nothing():
    fused = torch.randn(3 * 5 * 4, 9)
    parts = [split_heads(fused, 5, i).view(5, 4, 9) for i in range(3)]
    assert torch.equal(torch.stack(parts, 1).reshape(fused.shape), fused)


def test_every_kind_is_the_tensor_transformers_holds(ladder, model):
    layer = model.gpt_neox.layers[1]
    expected = {
        "dense": layer.attention.dense,
        "dense_h_to_4h": layer.mlp.dense_h_to_4h,
        "dense_4h_to_h": layer.mlp.dense_4h_to_h,
        "embed_in": model.gpt_neox.embed_in,
        "embed_out": model.get_output_embeddings(),
    }
    with nla.load(str(ladder)) as weights:
        for kind, module in expected.items():
            matrix = weights.matrix(kind, -1 if "embed" in kind else 1)
            assert matrix.weight.dtype == torch.float16
            assert torch.equal(matrix.values, module.weight.detach())
        order = [(m.kind, m.layer) for m in weights.matrices()]
    assert order[:6] == [(k, 0) for k in nla.KINDS[:6]]
    assert order[-2:] == [("embed_in", -1), ("embed_out", -1)]
    assert len(order) == 2 * 6 + 2


def test_choosing_matrices(ladder):
    with nla.load(str(ladder), step=20) as weights:
        chosen = [(m.kind, m.layer, m.step) for m in weights.matrices(["key", "embed_in"], [1, -1])]
        assert chosen == [("key", 1, 20), ("embed_in", -1, 20)]
        with pytest.raises(ValueError, match="did you mean query"):
            weights.matrix("querry", 0)
        with pytest.raises(ValueError, match=r"layer 2 is not in 0\.\.1"):
            weights.matrix("query", 2)
        with pytest.raises(ValueError, match="no embed_in in layer 0"):
            weights.matrix("embed_in", 0)


def test_other_checkpoints_and_sibling(ladder):
    with nla.load(str(ladder), step=100) as weights, nla.load(str(ladder), step=0) as first:
        matrix = weights.matrix("value", 1)
        assert matrix.initial.step == 0
        assert torch.equal(matrix.initial.weight, first.matrix("value", 1).weight)
        assert torch.equal(matrix.sibling("dense").weight, weights.matrix("dense", 1).weight)
    with nla.load(str(ladder), step=20) as weights:
        matrix = weights.matrix("value", 1)
        assert (matrix.initial.step, matrix.previous.step, matrix.final.step) == (0, 1, 100)
        assert matrix.initial.previous is None and matrix.final.final is not None
    with pytest.raises(ValueError, match="no sibling dense"):
        nla.Matrix("value", 0, 0, torch.eye(3)).sibling("dense")


def test_causal_mask_in_the_file_is_not_a_matrix(ladder):
    path = ladder / "step100" / "model.safetensors"
    state = load_file(path)
    state["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    save_file(state, path)
    with nla.load(str(ladder)) as weights:
        assert all(m.weight.dtype == torch.float16 for m in weights.matrices())


def test_missing_tensor_is_an_error_that_names_it(ladder):
    path = ladder / "step100" / "model.safetensors"
    state = load_file(path)
    del state["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(state, path)
    with nla.load(str(ladder)) as weights:
        with pytest.raises(nla.CheckpointError, match=r"layers\.1\.mlp\.dense_h_to_4h\.weight is missing"):
            list(weights.matrices())


def test_missing_head_of_a_language_model_is_an_error(ladder):
    path = ladder / "step100" / "model.safetensors"
    state = load_file(path)
    del state["embed_out.weight"]
    save_file(state, path)
    with nla.load(str(ladder)) as weights, pytest.raises(nla.CheckpointError, match=r"embed_out\.weight is missing"):
        list(weights.matrices())


def test_unknown_family(ladder):
    config = ladder / "step100" / "config.json"
    config.write_text(config.read_text().replace('"gpt_neox"', '"mamba"'))
    with pytest.raises(nla.CheckpointError, match="model_type is not one of gpt_neox"), nla.load(str(ladder)):
        pass


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_histogram_holds_every_entry(dtype):
    weight = torch.randn(70, 31, generator=torch.Generator().manual_seed(0)).to(dtype)
    weight[0, :5] = torch.tensor([0.0, -0.0, 1e-7, -2.0, 3.0])
    values, counts = nla.Matrix("dense", 0, 0, weight).histogram
    assert np.repeat(values, counts) == pytest.approx(np.sort(weight.double().numpy().ravel()), abs=0)
    assert counts.sum() == weight.numel()


@pytest.mark.parametrize("shape", [(40, 40), (90, 30), (30, 90), (1, 7)])
def test_singular_values(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)).half()
    matrix = nla.Matrix("dense", 0, 0, weight)
    expected = scipy.linalg.svdvals(weight.double().numpy())
    assert matrix.singular_values.dtype == np.float64
    assert matrix.singular_values == pytest.approx(expected, rel=1e-8)
    assert matrix.gram.shape == (min(shape), min(shape))


def test_small_singular_values_are_kept_and_rank_deficiency_does_not_go_negative():
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((64, 64)))[0] for _ in range(2))
    s = np.logspace(0, -4, 64)
    s[-1] = 0
    matrix = nla.Matrix("dense", 0, 0, torch.tensor(u @ np.diag(s) @ v))
    measured = nla.Matrix("dense", 0, 0, torch.tensor(u @ np.diag(s) @ v)).singular_values
    exact = scipy.linalg.svdvals(matrix.values.double().numpy())  # of the float32 values
    assert measured[:-1] == pytest.approx(exact[:-1], rel=1e-6)
    assert 0 <= measured[-1] < 1e-6


def test_heads_are_those_the_model_attends_with(ladder, model):
    seen = attention.capture_attention(model, torch.arange(30))[1]
    with nla.load(str(ladder)) as weights:
        value, dense = weights.matrix("value", 1), weights.matrix("dense", 1)
        assert value.per_head.shape == dense.per_head.shape == (3, 14, 42)
        bias = split_heads(weights.tensors["gpt_neox.layers.1.attention.query_key_value.bias"].float(), 3, 2)
        ours = torch.einsum("hdm,nm->nhd", value.per_head, seen["input"]).flatten(1) + bias
        torch.testing.assert_close(ours, seen["value"], rtol=1e-5, atol=1e-5)
        out = torch.einsum("hdm,nhd->nm", dense.per_head, seen["value"].view(-1, 3, 14))
        torch.testing.assert_close(out, seen["value"] @ dense.values.T, rtol=1e-4, atol=1e-4)


def test_norm_before_a_matrix(ladder, model):
    with nla.load(str(ladder)) as weights:
        norm = weights.matrix("dense_h_to_4h", 1).norm
        assert torch.equal(norm.gain, model.gpt_neox.layers[1].post_attention_layernorm.weight.detach())
        assert torch.equal(norm.bias, model.gpt_neox.layers[1].post_attention_layernorm.bias.detach())
        assert norm.centred
        assert torch.equal(weights.matrix("key", 0).norm.gain, model.gpt_neox.layers[0].input_layernorm.weight.detach())
        final = model.gpt_neox.final_layer_norm.weight.detach()
        assert torch.equal(weights.matrix("embed_out").norm.gain, final)
        assert weights.matrix("dense", 0).norm is None and weights.matrix("embed_in").norm is None


def test_matrices_do_not_wait_for_one_another():
    """Before Python 3.12 functools.cached_property holds one lock for all instances, and four threads work as one."""
    both = threading.Barrier(2, timeout=10)

    class Slow:
        @once
        def value(self):
            both.wait()
            return self

    with ThreadPoolExecutor(2) as pool:
        slow = [Slow(), Slow()]
        assert list(pool.map(lambda each: each.value, slow)) == slow == [each.value for each in slow]


def test_a_factorisation_takes_one_thread_and_gives_the_others_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with pytest.raises(RuntimeError), threads.one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
