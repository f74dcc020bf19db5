"""Weights that were quantised: multiplied out exactly where their scales are beside them, else refused in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import nla
from nla.numerics import encodings
from tests.helpers.families import CONFIGS, build

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
GROUPS = {"group_0": {"weights": {"num_bits": 8, "group_size": None, "block_structure": None}}}
ROWS = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": GROUPS}
WHOLE = ROWS | {"format": "int-quantized"}
GROUPED = WHOLE | {"config_groups": {"group_0": {"weights": {"group_size": 5}}}}
BLOCKED = ROWS | {"config_groups": {"group_0": {"weights": {"block_structure": [16, 8]}}}}


def scales(weight, rows, columns):
    """The largest entry of each block, (number of blocks down, number across)."""
    down, across = weight.split(rows), weight.abs().split(columns, 1)
    return torch.tensor([[block.abs().max() for block in part.split(columns, 1)] for part in down]), len(across)


def quantised(weight, name, rows, columns, dtype, flat=False, zero=False):
    """(what a file holds for this matrix, the numbers which that stands for, entry by entry)."""
    largest = 448 if dtype == E4M3 else 57344 if dtype == E5M2 else 127
    scale = scales(weight, rows, columns)[0] / largest
    places = [[(i // rows, j // columns) for j in range(weight.shape[1])] for i in range(weight.shape[0])]
    full = torch.stack([torch.stack([scale[p] for p in line]) for line in places])
    codes = (weight / full).round().clamp(-127, 127) if dtype == torch.int8 else weight / full
    codes = codes.to(dtype)
    shift = torch.full(scale.shape, 3, dtype=torch.int8)
    true = (codes.float() - (3 if zero else 0)) * full
    scale = scale.flatten() if flat else scale
    return {"": codes, name: scale} | ({"weight_zero_point": shift} if zero else {}), true


CASES = {  # quantization_config, name of the scale, rows and columns of a block (None: all), dtype, more
    "fp8 in blocks": ({"quant_method": "fp8", "weight_block_size": [16, 8]}, "weight_scale_inv", 16, 8, E4M3),
    "fp8 in large blocks": (
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        "weight_scale_inv",
        128,
        128,
        E4M3,
    ),
    "fp8 whole": ({"quant_method": "fp8", "weight_block_size": None}, "weight_scale_inv", 999, 999, E5M2),
    "fbgemm": ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, "weight_scale", 1, 999, E4M3),
    "fp8 by rows, flat": (ROWS, "weight_scale", 1, 999, E4M3, {"flat": True}),
    "fp8 in blocks of compressed-tensors": (BLOCKED, "weight_scale", 16, 8, E4M3),
    "fp8, config.json silent": (None, "weight_scale", 999, 999, E4M3),
    "modelopt": ({"quant_method": "modelopt", "quant_algo": "FP8"}, "weight_scale", 999, 999, E4M3, {"flat": True}),
    "int8 by rows": (WHOLE, "weight_scale", 1, 999, torch.int8),
    "int8 by groups": (GROUPED, "weight_scale", 1, 5, torch.int8),
    "int8 with a zero point": (WHOLE, "weight_zero_point", 1, 999, torch.int8, {"zero": True}),
}


def checkpoint(folder, family, spoil, said=None, **more):
    """A model of this family; `spoil(name, matrix)` says what the file holds for each matrix of a layer."""
    build(family, **CONFIGS[family]).save_pretrained(folder)
    plain, stored = load_file(folder / "model.safetensors"), {}
    for name, tensor in plain.items():
        inner = tensor.ndim == 2 and any(
            part in name for part in ("proj", "dense", "query_key_value", "c_", "attention")
        )
        stored |= {name: tensor} if not inner else spoil(name, tensor)
    save_file({name: tensor.contiguous() for name, tensor in stored.items()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | more
    config |= {"quantization_config": said} if said is not None else {}
    (folder / "config.json").write_text(json.dumps(config))
    return plain


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("case", CASES)
def test_scales_beside_the_weights_are_multiplied_out(tmp_path, case, family):
    (said, name, rows, columns, dtype), more = CASES[case][:5], (CASES[case][5:] or ({},))[0]
    name, true = "weight_scale" if more.get("zero") else name, {}

    def spoil(weight, tensor):
        held, true[weight] = quantised(tensor, name, rows, columns, dtype, **more)
        return {weight: held.pop("")} | {weight.removesuffix("weight") + end: t for end, t in held.items()}

    plain = checkpoint(tmp_path, family, spoil, said)
    layer = "gpt_neox.layers.1." if family == "gpt_neox" else "model.layers.1."
    names = {"dense_4h_to_h": "mlp.dense_4h_to_h", "dense": "attention.dense"}
    names = names if family == "gpt_neox" else {"query": "self_attn.q_proj", "gate": "mlp.gate_proj"}
    with nla.load(str(tmp_path)) as weights:
        for kind, module in names.items():
            expected = true[f"{layer}{module}.weight"]
            assert weights.matrix(kind, 1).weight.dtype == torch.float32
            assert torch.equal(weights.matrix(kind, 1).weight, expected)
            assert (expected - plain[f"{layer}{module}.weight"]).norm() < 0.2 * expected.norm() + 99 * bool(
                more.get("zero")
            )
        if family == "gpt_neox":
            fused = true[f"{layer}attention.query_key_value.weight"].view(3, 3, 12, 36)
            assert torch.equal(weights.matrix("key", 1).weight, fused[:, 1].reshape(36, 36))
        assert torch.equal(
            weights.matrix("embed_in").weight, next(t for n, t in plain.items() if "embed_in" in n or "embed_t" in n)
        )
        assert not weights.layout.unmeasured
    table = nla.scan(str(tmp_path), nla.norms, progress=False)
    found = table[(table.kind == next(iter(names))) & (table.layer == 1)].frobenius.item()
    assert found == pytest.approx(true[f"{layer}{next(iter(names.values()))}.weight"].double().norm().item(), rel=1e-6)


def test_as_transformers_multiplies_blocks_out():
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    torch.manual_seed(0)
    codes, scale = torch.randn(64, 96).to(E4M3), torch.rand(4, 3)
    config = type("Config", (), {"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 32]}})
    ours = encodings.decoded("w.weight", {"w.weight": codes, "w.weight_scale_inv": scale}, config)
    assert torch.equal(ours, Fp8Dequantize(None)._dequantize_one(codes, scale))


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_rows_of_bitsandbytes(tmp_path, family):
    true = {}

    def spoil(name, tensor):
        largest = tensor.abs().amax(1)
        codes = (tensor / largest[:, None] * 127).round().to(torch.int8)
        true[name], stem = codes.float() * (largest[:, None] / 127), name.removesuffix("weight")
        return {name: codes, stem + "SCB": largest, stem + "weight_format": torch.tensor(0, dtype=torch.uint8)}

    checkpoint(tmp_path, family, spoil, {"load_in_8bit": True, "load_in_4bit": False})
    with nla.load(str(tmp_path)) as weights:
        name = next(n for n in true if (".1." in n and "down_proj" in n) or "1.mlp.dense_4h_to_h" in n)
        assert torch.equal(weights.matrix("dense_4h_to_h", 1).weight, true[name])
        assert not weights.layout.unmeasured


def plain(name, tensor):
    return {name: tensor}


def named(*ends):
    def spoil(name, tensor):
        return {name.removesuffix("weight") + end: torch.zeros(4, 4, dtype=torch.int32) for end in ends}

    return spoil


def cast(dtype, *beside):
    def spoil(name, tensor):
        there = {name.removesuffix("weight") + end: scale.clone() for end, scale in beside}
        return {name: tensor.to(dtype)} | there

    return spoil


REFUSED = {
    "gptq": (named("qweight", "qzeros", "scales", "g_idx"), {"quant_method": "gptq", "bits": 4}, "quantised by gptq"),
    "awq": (named("qweight", "qzeros", "scales"), {"quant_method": "awq"}, "quantised by awq"),
    "gptq, silent": (named("qweight", "qzeros", "scales"), None, "quantised by GPTQ or AWQ"),
    "4 bits": (
        named("weight", "weight.absmax", "weight.quant_map", "weight.quant_state.bitsandbytes__nf4"),
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False},
        r"quantised by bitsandbytes \(load_in_8bit: False\)",
    ),
    "4 bits, silent": (named("weight", "weight.absmax", "weight.quant_map"), None, "bitsandbytes in 4 bits"),
    "mxfp4": (named("weight_blocks", "weight_scales"), {"quant_method": "mxfp4"}, "quantised by mxfp4"),
    "mxfp4, silent": (named("weight_blocks", "weight_scales"), None, "quantised by MXFP4"),
    "packed": (
        named("weight_packed", "weight_scale", "weight_shape"),
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        r"compressed-tensors \(format: pack-quantized\)",
    ),
    "packed, silent": (named("weight_packed", "weight_scale"), None, "packed integers"),
    "nvfp4": (
        named("weight", "weight_scale", "weight_scale_2"),
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        "NVFP4",
    ),
    "unknown": (plain, {"quant_method": "tomorrow"}, "quantised by tomorrow"),
    "nameless": (plain, {"bits": 4}, "a method without a name"),
    "no object": (plain, "fp8", "gives quantization_config as 'fp8'"),
    "rotated": (plain, ROWS | {"transform_config": {"u": 1}}, "with a transform"),
    "sparse": (plain, ROWS | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "with a transform or sparsity"),
    "bare fp8": (cast(E4M3), None, r"q_proj\.weight holds float8_e4m3fn without scales"),
    "bare e5m2": (cast(E5M2), {"quant_method": "fp8"}, r"q_proj\.weight holds float8_e5m2 without scales"),
    "bytes": (cast(torch.uint8), None, r"q_proj\.weight holds uint8, not floating-point"),
    "int8, silent": (cast(torch.int8, ("weight_scale", torch.ones(1))), None, "holds int8, not floating-point"),
    "scales of a 16-bit matrix": (
        cast(torch.bfloat16, ("weight_scale", torch.ones(1))),
        ROWS,
        "an encoding that is not known",
    ),
    "exponents as scales": (
        cast(E4M3, ("weight_scale_inv", torch.ones(1, dtype=torch.uint8))),
        {"quant_method": "fp8"},
        "scales in uint8",
    ),
    "blocks of no size": (cast(E4M3, ("weight_scale_inv", torch.ones(4, 3))), {"quant_method": "fp8"}, "4 x 3 scales"),
    "blocks of another size": (
        cast(E4M3, ("weight_scale_inv", torch.ones(4, 3))),
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        "no blocks that config.json gives",
    ),
    "both ways": (
        cast(torch.int8, ("weight_scale", torch.ones(1)), ("SCB", torch.ones(90))),
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        "scale and largest beside it",
    ),
    "reordered": (
        cast(torch.int8, ("weight_scale", torch.ones(1)), ("weight_g_idx", torch.ones(1))),
        WHOLE,
        "scale and order beside it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_encodings_are_refused_in_one_line(tmp_path, case):
    spoil, said, message = REFUSED[case]
    checkpoint(tmp_path, "llama", spoil, said)
    with pytest.raises(nla.CheckpointError, match=message) as caught, nla.load(str(tmp_path)) as weights:
        weights.matrix("query", 0)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(nla.CheckpointError, match=message) as caught:
        nla.scan(str(tmp_path), nla.norms, progress=False)
    assert "\n" not in str(caught.value)


def test_a_transposed_matrix_with_scales_is_refused(tmp_path):
    """Of a square one nobody could tell whether its rows are outputs."""
    spoil = cast(torch.int8, ("SCB", torch.ones(36)))
    checkpoint(tmp_path, "gpt2", spoil, {"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(nla.CheckpointError, match="an encoding that is not known"), nla.load(str(tmp_path)) as weights:
        weights.matrix("dense", 0)


def test_what_is_not_stored_entry_by_entry(tmp_path):
    checkpoint(tmp_path, "llama", plain)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save({n: t.to_sparse() if "q_proj" in n else t for n, t in state.items()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(nla.CheckpointError, match="not stored entry by entry"), nla.load(str(tmp_path)) as weights:
        weights.matrix("query", 0)
    torch.save({n: torch.nn.Parameter(t) for n, t in state.items()}, tmp_path / "pytorch_model.bin")
    table = nla.scan(str(tmp_path), nla.norms, progress=False)  # also what asks for gradients
    assert table.frobenius.gt(0).all() and len(table) == 3 * 7 + 2
