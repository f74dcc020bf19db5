"""Every family of the table against a model that transformers builds: its modules, its own forward pass, its files."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import nla
from nla import matrices, models
from nla.matrices.tensors import Tensors
from nla.running import attention, language
from tests.helpers.families import CONFIGS, GROUPED, OPT, TIED, WIDE, build

QK_NORMS = ("q_norm", "k_norm")  # between projection and attention

LLAMA = {
    "layer": "model.layers",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "dense": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "dense_h_to_4h": "mlp.up_proj",
    "dense_4h_to_h": "mlp.down_proj",
    "act": "mlp.act_fn",
}
MODULES = {  # as transformers names them in memory
    "gpt_neox": {
        "layer": "gpt_neox.layers",
        "fused": "attention.query_key_value",
        "dense": "attention.dense",
        "dense_h_to_4h": "mlp.dense_h_to_4h",
        "dense_4h_to_h": "mlp.dense_4h_to_h",
        "act": "mlp.act",
    },
    "bloom": {
        "layer": "transformer.h",
        "fused": "self_attention.query_key_value",
        "dense": "self_attention.dense",
        "dense_h_to_4h": "mlp.dense_h_to_4h",
        "dense_4h_to_h": "mlp.dense_4h_to_h",
        "act": "mlp.gelu_impl",
    },
    "gpt2": {
        "layer": "transformer.h",
        "fused": "attn.c_attn",
        "dense": "attn.c_proj",
        "dense_h_to_4h": "mlp.c_fc",
        "dense_4h_to_h": "mlp.c_proj",
        "act": "mlp.act",
    },
    "opt": {
        "layer": "model.decoder.layers",
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "dense": "self_attn.out_proj",
        "dense_h_to_4h": "fc1",
        "dense_4h_to_h": "fc2",
        "act": "activation_fn",
    },
    "bert": {
        "layer": "bert.encoder.layer",
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "dense": "attention.output.dense",
        "dense_h_to_4h": "intermediate.dense",
        "dense_4h_to_h": "output.dense",
        "act": "intermediate.intermediate_act_fn",
    },
    "phi3": {
        "layer": "model.layers",
        "fused": "self_attn.qkv_proj",
        "dense": "self_attn.o_proj",
        "fused_mlp": "mlp.gate_up_proj",
        "dense_4h_to_h": "mlp.down_proj",
        "act": "mlp.activation_fn",
    },
}


@pytest.fixture(scope="module", params=CONFIGS)
def case(request, tmp_path_factory):
    """One family: its model, a folder of its checkpoints, and what transformers calls its modules."""
    family = request.param.split()[0]
    model = build(family, **CONFIGS[request.param])
    folder = tmp_path_factory.mktemp("family")
    model.save_pretrained(folder / "step7")
    names = MODULES.get(family, LLAMA)
    gated = names is LLAMA or family == "phi3"
    return SimpleNamespace(name=request.param, model=model, folder=folder, names=names, gated=gated)


def module(case, kind, layer):
    return case.model.get_submodule(f"{case.names['layer']}.{layer}.{case.names[kind]}")


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def normalised(x, norm, module):
    eps = next((getattr(module, n) for n in ("eps", "variance_epsilon") if hasattr(module, n)), 1e-5)
    x = x - x.mean(-1, keepdim=True) if norm.centred else x
    x = x * torch.rsqrt((x**2).mean(-1, keepdim=True) + eps) * norm.gain
    return x if norm.bias is None else x + norm.bias


def affine(weights, kind, layer, x):
    bias = weights.bias(kind, layer)
    return x @ weights.matrix(kind, layer).values.T + (0 if bias is None else bias)


@torch.no_grad()
def observed(case, modules):
    """(what `capture_attention` gives, {name: (input, output)} of these modules in the same run), 40 tokens."""
    flow, tokens = {}, torch.arange(40)

    def keep(name):
        def hook(module, args, kwargs, out):
            x, y = args[0] if args else kwargs["hidden_states"], out[0] if isinstance(out, tuple) else out
            flow[name] = x.reshape(40, -1), y.reshape(40, -1)

        return hook

    hooks = [m.register_forward_hook(keep(name), with_kwargs=True) for name, m in modules.items()]
    captured = attention.capture_attention(case.model, tokens)
    for hook in hooks:
        hook.remove()
    return captured, flow


@torch.no_grad()
def test_matrices_and_biases_are_those_of_the_modules(case):
    with nla.load(str(case.folder)) as weights:
        inner = [k for k in nla.KINDS if "embed" not in k and (case.gated or k != "gate")]
        outer = ["embed_in"] if case.name in TIED else ["embed_in", "embed_out"]
        expected = [(k, layer) for layer in range(3) for k in inner] + [(k, -1) for k in outer]
        assert weights.layers == 3
        assert [(m.kind, m.layer) for m in weights.matrices()] == weights.index() == expected
        for kind, layer in expected:
            if layer < 0:
                own = case.model.get_input_embeddings() if kind == "embed_in" else case.model.get_output_embeddings()
            elif kind in case.names:
                own = module(case, kind, layer)
            else:
                continue  # fused: seen in the forward pass
            found, bias = weights.matrix(kind, layer), getattr(own, "bias", None)
            transposed = type(own).__name__ == "Conv1D"
            assert torch.equal(found.values, own.weight.T if transposed else own.weight)
            assert found.shape == ((own.nf, own.nx) if transposed else tuple(own.weight.shape))
            if bias is None:
                assert weights.bias(kind, layer) is None
            else:
                assert bias.abs().min() > 0 and torch.equal(weights.bias(kind, layer), bias)


@torch.no_grad()
def test_query_key_value_are_what_the_model_attends_with(case):
    config = case.model.config
    heads, d_head = config.num_attention_heads, getattr(config, "head_dim", None) or 36 // config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", heads)
    captured = attention.capture_attention(case.model, torch.arange(40))
    assert len(captured) == 3
    with nla.load(str(case.folder)) as weights:
        for layer, seen in enumerate(captured):
            for kind in ("query", "key", "value"):
                matrix = weights.matrix(kind, layer)
                assert matrix.heads == (heads if kind == "query" else key_heads)
                assert matrix.shape == (matrix.heads * d_head, 36) == (*seen[kind].shape[1:], 36)
                assert matrix.per_head.shape == (matrix.heads, d_head, 36)
                close(affine(weights, kind, layer, seen["input"]), seen[kind])
            dense = weights.matrix("dense", layer)
            assert dense.heads == heads and dense.per_head.shape == (heads, d_head, 36)


@torch.no_grad()
def test_dense_joins_the_heads_and_the_mlp_computes_what_the_model_computes(case):
    """A token alone attends to itself: dense reads its own value, once per query head."""
    up = "fused_mlp" if "fused_mlp" in case.names else "dense_h_to_4h"
    captured, flow = observed(case, {kind: module(case, kind, 1) for kind in ("dense", up, "dense_4h_to_h")})
    captured = captured[1]
    with nla.load(str(case.folder)) as weights:
        query, value = weights.matrix("query", 1), weights.matrix("value", 1)
        values = captured["value"].view(40, value.heads, -1).repeat_interleave(query.heads // value.heads, 1)
        close(flow["dense"][0], values.flatten(1))
        close(affine(weights, "dense", 1, values.flatten(1)), flow["dense"][1])
        x, act = flow[up][0], module(case, "act", 1)
        hidden = affine(weights, "dense_h_to_4h", 1, x)
        hidden = act(affine(weights, "gate", 1, x)) * hidden if case.gated else act(hidden)
        close(hidden, flow["dense_4h_to_h"][0])
        close(affine(weights, "dense_4h_to_h", 1, hidden), flow["dense_4h_to_h"][1])


@torch.no_grad()
def test_norm_is_the_one_whose_output_the_module_receives(case):
    """Found by what flows: of all norms of the model, the one whose output is this module's input, or none."""
    norms = {n: m for n, m in case.model.named_modules() if "Norm" in type(m).__name__ and n[-6:] not in QK_NORMS}
    readers = {"head": case.model.get_output_embeddings()}
    for layer in range(3):
        for kind in ("query", "dense", "gate", "dense_h_to_4h", "dense_4h_to_h"):
            name = {"query": "fused", "gate": "fused_mlp", "dense_h_to_4h": "fused_mlp"}.get(kind, kind)
            name = kind if kind in case.names else name
            if name in case.names:
                readers[kind, layer] = module(case, name, layer)
    _, flow = observed(case, norms | readers)
    named = 0
    with nla.load(str(case.folder)) as weights:
        for reader in readers:
            kind, layer = ("embed_out", -1) if reader == "head" else reader
            read = flow[reader][0]
            sources = [n for n in norms if flow[n][1].shape == read.shape and torch.equal(flow[n][1], read)]
            for same in ("query", "key", "value") if kind == "query" else (kind,):
                norm = weights.norm(same, layer)
                assert (norm is not None) == (len(sources) == 1), (case.name, same, layer, sources)
                if norm:
                    named += 1
                    close(normalised(flow[sources[0]][0], norm, norms[sources[0]]), read)
                    own = [p for p in (norm.gain, norm.bias) if p is not None]
                    assert all(p.shape == (36,) and p.dtype == torch.float32 for p in own)
    assert named >= {"olmo2": 1, "olmo3": 1, "opt 350m": 9}.get(case.name, 13)


def contents(folder):
    """Every matrix, bias and norm of a checkpoint, by kind and layer."""
    with nla.load(str(folder)) as weights:
        return {key: (weights.matrix(*key), weights.bias(*key), weights.norm(*key)) for key in weights.index()}


def assert_same(found, expected, dtype=torch.float32):
    """The same contents, up to the rounding of weights and biases to dtype."""
    assert list(found) == list(expected)
    for key in found:
        (matrix, bias, norm), (first, first_bias, first_norm) = found[key], expected[key]
        assert matrix.weight.dtype == dtype and matrix.heads == first.heads
        assert torch.equal(matrix.weight, first.weight.to(dtype))
        assert (bias is None, norm is None) == (first_bias is None, first_norm is None)
        if bias is not None:
            assert bias.dtype == torch.float32 and torch.equal(bias, first_bias.to(dtype).float())
        for ours, theirs in zip((norm or ())[:2], (first_norm or ())[:2], strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0 if dtype == torch.float32 else 0.01)


def stored(case):
    return load_file(case.folder / "step7" / "model.safetensors")


def variant(case, folder, state, shards=0, **config):
    """A checkpoint of the same model in `folder` with another state, and other values in its config.json."""
    settings = json.loads((case.folder / "step7" / "config.json").read_text())
    return write(folder, state, settings | config, shards)


def write(folder, state, config, shards=0):
    """A checkpoint with this state, as safetensors or in `shards` .bin files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if not shards:
        save_file({name: t.contiguous() for name, t in state.items()}, folder / "model.safetensors")
        return folder
    files = {name: f"pytorch_model-{i % shards + 1:05}-of-{shards:05}.bin" for i, name in enumerate(state)}
    for file in set(files.values()):
        torch.save({name: t for name, t in state.items() if files[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sharded_bin_and_every_float_type(case, tmp_path, dtype):
    folder = variant(case, tmp_path / "v", {n: t.to(dtype) for n, t in stored(case).items()}, shards=3)
    assert_same(contents(folder), contents(case.folder), dtype)


def test_without_the_prefix_and_the_head(case, tmp_path):
    case.model.base_model.save_pretrained(tmp_path / "base")
    names = load_file(tmp_path / "base" / "model.safetensors")
    assert not any(n.startswith(p) for n in names for p in ("gpt_neox.", "transformer.", "model.", "bert."))
    expected = {key: content for key, content in contents(case.folder).items() if key[0] != "embed_out"}
    assert_same(contents(tmp_path / "base"), expected)


def test_measures_scan_it(case):
    table = nla.scan(str(case.folder), nla.norms, progress=False)
    with nla.load(str(case.folder)) as weights:
        assert list(zip(table.kind, table.layer, strict=True)) == weights.index()
    assert table.finite.all() and table.frobenius.gt(0).all() and table.spectral_relative.notna().all()


def test_missing_and_misshapen_tensors_are_named(case, tmp_path, monkeypatch):
    read, fetch = set(), Tensors.__getitem__
    monkeypatch.setattr(Tensors, "__getitem__", lambda self, name: (read.add(name), fetch(self, name))[1])
    contents(case.folder)
    state = stored(case)
    assert not [n for n in read if "position" in n or "q_norm" in n or "project_" in n]
    assert {n for n in state if "mlp" in n or "attn" in n or "attention" in n} - read <= {
        n for n in state if n.endswith(("q_norm.weight", "k_norm.weight", "post_attention_layernorm.weight"))
    }
    for name in sorted(n for n in read if ".0." not in n and ".2." not in n):
        rest = {n: t for n, t in state.items() if n != name}
        longer = torch.cat([state[name], state[name][:1]])
        with pytest.raises(nla.CheckpointError, match=rf"{name} is .*config\.json makes it \d+"):
            contents(variant(case, tmp_path / f"long {name}", rest | {name: longer}))
        with pytest.raises(nla.CheckpointError, match=f"{name} is "):
            contents(variant(case, tmp_path / f"deep {name}", rest | {name: state[name][None]}))
        if name.endswith(".weight") and not name.startswith(("lm_head", "embed_out", "cls")):
            with pytest.raises(nla.CheckpointError, match=f"the tensor {name} is missing"):
                contents(variant(case, tmp_path / f"without {name}", rest))


def test_config_that_says_nothing_or_nonsense(case, tmp_path):
    config = json.loads((case.folder / "step7" / "config.json").read_text())
    layers = next(n for n in ("num_hidden_layers", "n_layer") if n in config)
    for value, message in (
        (None, "does not give num_hidden_layers"),
        ("3", "positive"),
        (0, "positive"),
        (2.5, "pos"),
    ):
        folder = variant(case, tmp_path / str(value), stored(case), **{layers: value})
        with pytest.raises(nla.CheckpointError, match=message), nla.load(str(folder)):
            pass
    with pytest.raises(nla.CheckpointError, match="gives 1000000000000 layers"):
        contents(variant(case, tmp_path / "many", stored(case), **{layers: 10**12}))
    with pytest.raises(nla.CheckpointError, match=r"\.3\..* is missing"):
        contents(variant(case, tmp_path / "four", stored(case), **{layers: 4}))
    silent = dict.fromkeys(("intermediate_size", "ffn_dim", "vocab_size"))  # then the tensors say it
    assert_same(contents(variant(case, tmp_path / "silent", stored(case), **silent)), contents(case.folder))


@torch.no_grad()
def test_opt_13b_as_it_lies_on_the_hub(tmp_path):
    """Sharded fp16 .bin, names from "decoder." on, a head that is the embedding again, two positions too many."""
    model = build("opt", **OPT, word_embed_proj_dim=36)
    state = {name.removeprefix("model."): t.half() for name, t in model.state_dict().items()}
    assert "lm_head.weight" in state
    assert state["decoder.embed_positions.weight"].shape == state["decoder.embed_tokens.weight"].shape
    config = model.config.to_dict() | {"_remove_final_layer_norm": False, "torch_dtype": "float16"}
    del config["tie_word_embeddings"]
    folder = tmp_path / "step0"
    write(folder, state, config, shards=3)
    theirs = language.language_model(models.checkpoints(str(tmp_path))[0])
    with nla.load(str(tmp_path)) as weights:
        assert ("embed_out", -1) not in weights.index() and len(weights.index()) == 3 * 6 + 1
        assert torch.equal(weights.matrix("embed_in").values, theirs.get_input_embeddings().weight)
        assert torch.equal(weights.norm("embed_out").gain, theirs.model.decoder.final_layer_norm.weight)
        for layer, own in enumerate(theirs.model.decoder.layers):
            modules = {"dense": own.self_attn.out_proj, "dense_h_to_4h": own.fc1, "dense_4h_to_h": own.fc2}
            modules |= {"query": own.self_attn.q_proj, "key": own.self_attn.k_proj, "value": own.self_attn.v_proj}
            for kind, linear in modules.items():
                assert weights.matrix(kind, layer).weight.dtype == torch.float16
                assert torch.equal(weights.matrix(kind, layer).values, linear.weight)
                assert torch.equal(weights.bias(kind, layer), linear.bias)
            assert torch.equal(weights.norm("key", layer).gain, own.self_attn_layer_norm.weight)
            assert torch.equal(weights.norm("dense_h_to_4h", layer).bias, own.final_layer_norm.bias)
    table = nla.scan(str(tmp_path), nla.norms, progress=False)
    assert len(table) == 19 and table.finite.all()


def test_opt_350m_has_embeddings_narrower_than_its_layers(tmp_path):
    build("opt", **CONFIGS["opt 350m"]).save_pretrained(tmp_path)
    with nla.load(str(tmp_path)) as weights:
        assert weights.matrix("embed_in").shape == (53, 20) and weights.matrix("query", 0).shape == (36, 36)
        assert weights.norm("embed_out") is None and weights.norm("query", 0) is None


def test_bert_with_gamma_and_beta(tmp_path):
    model = build("bert", **WIDE)
    model.save_pretrained(tmp_path / "new")
    state = load_file(tmp_path / "new" / "model.safetensors")
    old = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t for n, t in state.items()}
    assert old.keys() != state.keys()
    write(tmp_path / "old", old, model.config.to_dict(), shards=1)
    assert_same(contents(tmp_path / "old"), contents(tmp_path / "new"))
    with nla.load(str(tmp_path / "old")) as weights:
        assert torch.equal(weights.norm("value", 0).bias, state["bert.embeddings.LayerNorm.bias"])
    with_decoder = old | {"cls.predictions.decoder.weight": torch.ones(53, 36)}
    write(tmp_path / "untied", with_decoder, model.config.to_dict() | {"tie_word_embeddings": False})
    with nla.load(str(tmp_path / "untied")) as weights:
        assert torch.equal(weights.bias("embed_out"), state["cls.predictions.bias"])


def test_neox_head_under_its_name_in_memory(tmp_path):
    model = build("gpt_neox", **CONFIGS["gpt_neox"])
    state = {n.replace("embed_out", "lm_head"): t for n, t in model.state_dict().items()}
    write(tmp_path, state, model.config.to_dict())
    with nla.load(str(tmp_path)) as weights:
        assert torch.equal(weights.matrix("embed_out").weight, model.get_output_embeddings().weight)


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "gpt2", "gemma"])
def test_config_silent_on_tying_means_what_the_family_means(tmp_path, family):
    model = build(family, **CONFIGS[family] | dict(tie_word_embeddings=False))
    config = model.config.to_dict()
    del config["tie_word_embeddings"]
    write(tmp_path, model.state_dict(), config)
    with nla.load(str(tmp_path)) as weights:
        assert (("embed_out", -1) in weights.index()) == (not type(model.config)().tie_word_embeddings)


def test_norms_without_parameters_where_opt_says_so(tmp_path):
    model = build("opt", **OPT, layer_norm_elementwise_affine=False, enable_bias=False)
    model.save_pretrained(tmp_path)
    with nla.load(str(tmp_path)) as weights:
        norm = weights.norm("key", 1)
        assert norm.centred and norm.bias is None and torch.equal(norm.gain, torch.ones(36))
        assert weights.bias("key", 1) is None


def test_asking_for_what_is_not_there(tmp_path):
    build("gpt2", **CONFIGS["gpt2"]).save_pretrained(tmp_path)
    with nla.load(str(tmp_path)) as weights:
        for ask in (weights.matrix, weights.bias, weights.norm):
            with pytest.raises(ValueError, match="has no gate in layer 1"):
                ask("gate", 1)
            with pytest.raises(ValueError, match="did you mean query"):
                ask("querry", 1)
            with pytest.raises(ValueError, match=r"layer 3 is not in 0\.\.2"):
                ask("query", 3)


@torch.no_grad()
def test_adding_a_family_is_adding_a_row(tmp_path, monkeypatch):
    row = matrices.Family(
        prefixes=("model.", ""),
        layer="layers.{}.",
        parts={
            "query": "self_attn.q_proj",
            "key": "self_attn.k_proj",
            "value": "self_attn.v_proj",
            "dense": "self_attn.o_proj",
            "dense_h_to_4h": "mlp.c_fc",
            "dense_4h_to_h": "mlp.c_proj",
            "embed_in": "embed_tokens",
            "embed_out": "lm_head",
        },
        norms={"attention": "input_layernorm", "mlp": "post_attention_layernorm", "head": "norm"},
        tied=True,
        grouped=True,
    )
    model = build("starcoder2", **GROUPED | dict(use_bias=True))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("tie_word_embeddings")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(nla.CheckpointError, match="but starcoder2; add a row"), nla.load(str(tmp_path)):
        pass
    monkeypatch.setitem(matrices.FAMILIES, "starcoder2", row)
    with nla.load(str(tmp_path)) as weights:
        for layer, seen in enumerate(attention.capture_attention(model, torch.arange(40))):
            for kind in ("query", "key", "value"):
                close(affine(weights, kind, layer, seen["input"]), seen[kind])
            for kind, name in list(row.parts.items())[3:6]:
                own = model.get_submodule(f"model.layers.{layer}.{name}")
                assert torch.equal(weights.matrix(kind, layer).weight, own.weight)
                assert torch.equal(weights.bias(kind, layer), own.bias)
            x = torch.randn(5, 36)
            norm, own = weights.norm("dense_h_to_4h", layer), model.model.layers[layer].post_attention_layernorm
            close(normalised(x, norm, own), own(x))
        assert weights.index()[-1] == ("embed_in", -1)
