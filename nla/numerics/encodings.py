"""Tensors as files name and encode them -> numbers: what is in 8 bits with scales beside it; the rest told by name."""

import re
from collections import Counter

import torch

WRAPPED = re.compile(r"(?<![^.])(_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
HELD = re.compile(r"\.(weight|bias|weight_scale(_inv)?|weight_zero_point|SCB|weight_format|(in|out)put_scale\w*)$")
OTHERS = re.compile(  # what checkpoints are known to hold besides matrices with their biases
    r"(^|\.)(\w*norm\w*|ln_\w+)\.(weight|bias|gamma|beta)$|(att\w+\.(masked_)?bias|inv_freq|position_ids|_scale)$"
    r"|(^|\.)(wpe|embed_positions|(position|token_type)_embeddings)\.weight$",
    re.IGNORECASE,
)

PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BESIDE = {  # what stands beside the tensor x.weight, by the end of its name in place of weight
    "scale": ("weight_scale_inv", "weight_scale"),  # both are multiplied by
    "zero": ("weight_zero_point",),
    "largest": ("SCB",),  # of each row, which 127 stands for
    "order": ("weight_g_idx",),
}
MARKS = {  # ends of names that only encodings have which are not read here
    "GPTQ or AWQ": r"\.(qweight|qzeros)",
    "compressed-tensors with packed integers": r"weight_packed",
    "bitsandbytes in 4 bits": r"\.(absmax|quant_map|quant_state\.\w+)",
    "MXFP4": r"_blocks",
    "NVFP4": r"weight_scale_2",
    "AQLM": r"\.codebooks",
    "quanto": r"\._data",
}
READ = {  # quant_method -> what must stand in quantization_config too: a key, and the values it may have
    "fp8": (None, ()),
    "fbgemm_fp8": (None, ()),
    "bitsandbytes": ("load_in_8bit", (True,)),
    "compressed-tensors": ("format", ("dense", "float-quantized", "int-quantized", "naive-quantized")),
    "modelopt": ("quant_algo", ("FP8",)),
}


def declared(config):
    """The quantization_config of a config.json, a dict with its ``quant_method``; empty where weights are plain."""
    found = getattr(config, "quantization_config", None) or getattr(config, "compression_config", None)
    found = found.to_dict() if hasattr(found, "to_dict") else found
    if not found:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"config.json gives quantization_config as {str(found)[:40]!r}, not as an object")
    compressed, bits = hasattr(config, "compression_config"), {"load_in_8bit", "load_in_4bit"} & found.keys()
    default = "compressed-tensors" if compressed else "bitsandbytes" if bits else "a method without a name"
    return {"quant_method": default} | found


def unread(config, names):
    """Why the weights of these names are not read, or None: an encoding that is none of `READ`."""
    try:
        said = declared(config)
    except ValueError as error:
        return str(error)
    method = said.get("quant_method")
    ends = re.compile("|".join(f"(?P<m{i}>{mark})$" for i, mark in enumerate(MARKS.values())))
    mark = next((list(MARKS)[int(found.lastgroup[1:])] for found in map(ends.search, names) if found), None)
    key, values = READ.get(method, (None, ())) if isinstance(method, str) else (None, ())
    sparse = said.get("sparsity_config") or {}
    if said and (not isinstance(method, str) or method not in READ):
        mark = str(method)
    elif key and said.get(key) not in values:
        mark = f"{method} ({key}: {said.get(key)})"
    elif said.get("transform_config") or (isinstance(sparse, dict) and sparse.get("format", "dense") != "dense"):
        mark = f"{method} (with a transform or sparsity)"
    return mark and f"quantised by {mark}, which is not read; measure the weights that this was made from"


def unwrapped(named):
    """`named` by names without what torch.compile and the wrappers for parallel training add, where these are free."""
    bare = {name if (inner := WRAPPED.sub("", name)) in named else inner: value for name, value in named.items()}
    return bare if len(bare) == len(named) else named


def unclaimed(names, prefix, stem, layers, modules):
    """[line] on the tensors of no matrix: of layers (`prefix`, `stem`, number) beyond `layers`, of no known module."""
    beyond, others = set(), Counter()
    for name in names:
        layer = re.match(rf"{re.escape(prefix + stem)}(\d+)\.", name)
        module = HELD.sub("", name[layer.end() :] if layer else name.removeprefix(prefix))
        if layer and int(layer[1]) >= layers:
            beyond.add(int(layer[1]))
        elif not (module in modules and HELD.search(name)) and not OTHERS.search(name):
            others[re.sub(r"(?<![^.])\d+(?=\.)", "*", name)] += 1
    count, shown = others.total(), ", ".join(sorted(others)[:4]) + "…" * (len(others) > 4)
    many = f"{count} tensors of {len(others)} name{'s' * (len(others) > 1)} are" if count > 1 else "1 tensor is"
    lines = [f"{many} not measured: {shown}"] if others else []
    if beyond:
        ends = " to ".join(map(str, sorted({min(beyond), max(beyond)})))
        lines.append(f"layers in the files beyond the {layers} of config.json are not measured: {ends}")
    return lines


def equal(one, other):
    """Whether two tensors are the same bytes, as both embeddings are where one was saved twice."""
    same = one.dtype == other.dtype and one.shape == other.shape
    return same and torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


def decoded(name, tensors, config, transposed=False):
    """The numbers for which the tensor `name` of `tensors` stands, float32; plain ones are returned as they are.

    A scale is one number, one for each row, or one for each block; the size of the blocks is what config.json gives.
    """
    stored, stem = tensors[name], name.removesuffix("weight")
    there = {what: [stem + end for end in ends if stem + end in tensors] for what, ends in BESIDE.items()}
    found = {what: tensors[names[0]] for what, names in there.items() if names and stem != name}
    kind = str(stored.dtype).removeprefix("torch.")
    if stored.dtype in PLAIN and not found:
        return stored
    said = declared(config)
    whole = stored.dtype == torch.int8 and said.get("quant_method") in ("bitsandbytes", "compressed-tensors")
    if not (whole or stored.is_floating_point()):
        raise ValueError(f"holds {kind}, not floating-point numbers")
    if stored.ndim != 2 or not {"scale", "largest"} & found.keys():
        raise ValueError(f"holds {kind} without scales beside it, so that its numbers are not known")
    if transposed or stored.dtype in PLAIN or len(found.keys() - {"zero"}) > 1 or ("largest" in found and not whole):
        raise ValueError(f"holds {kind} with {' and '.join(found)} beside it, an encoding that is not known")
    scale = found["scale"] if "scale" in found else found["largest"].float() / 127
    if not scale.is_floating_point():
        raise ValueError(f"has scales in {str(scale.dtype).removeprefix('torch.')}, an encoding that is not known")
    numbers, sizes = stored.float(), _blocks(said)
    if "zero" in found:
        numbers -= _spread(found["zero"].float(), stored.shape, sizes)
    return numbers.mul_(_spread(scale.float(), stored.shape, sizes))


def _blocks(said):
    """{(rows, columns)} of the blocks with a scale of their own that quantization_config gives."""
    groups = said.get("config_groups")
    groups = [g.get("weights") for g in groups.values() if isinstance(g, dict)] if isinstance(groups, dict) else []
    groups = [g for g in groups if isinstance(g, dict)]
    pairs = [said.get("weight_block_size"), *(g.get("block_structure") for g in groups)]
    pairs += [[1, g.get("group_size")] for g in groups]
    pairs = [p for p in pairs if isinstance(p, list) and len(p) == 2 and all(type(n) is int and n > 0 for n in p)]
    return set(map(tuple, pairs))


def _spread(scale, shape, sizes):
    """`scale` so that it broadcasts to `shape`: a block of one of these `sizes` for each of its entries."""
    grid = scale = scale.reshape(-1, 1) if scale.ndim < 2 else scale
    blocks = {s for s in sizes if tuple(-(-n // b) for n, b in zip(shape, s, strict=True)) == tuple(grid.shape)}
    for axis, n in enumerate(shape):
        if grid.ndim != 2 or (grid.shape[axis] not in (1, n) and len({b[axis] for b in blocks}) != 1):
            there = " x ".join(map(str, grid.shape))
            raise ValueError(f"has {there} scales, which are no blocks that config.json gives")
        if grid.shape[axis] not in (1, n):
            size = next(iter(blocks))[axis]
            scale = scale.repeat_interleave(size, axis).narrow(axis, 0, n)
    return scale


def split_heads(fused, heads, index):
    """Query, key or value (`index` 0, 1, 2) out of GPT-NeoX's query_key_value, rows in the order of the heads.

    The rows are grouped by head, and within a head by query, key, value; contiguous thirds would mix all three.
    """
    d_head = fused.shape[0] // (3 * heads)
    parts = fused.view(heads, 3, d_head, *fused.shape[1:])  # (heads, 3, d_head, d_model)
    return parts[:, index].reshape(heads * d_head, *fused.shape[1:])
