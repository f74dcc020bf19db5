"""Spoilt files by the hundred: whatever is done to one, it is read, or refused in one line."""

import json
import shutil
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.torch import load_file, save_file

import nla
from nla.models import checkpoints
from tests.helpers.families import CONFIGS, build
from tests.helpers.files import rewrite
from tests.helpers.ladders import tiny_neox

LAYOUTS = ["safetensors", "bin", "legacy bin", "sharded safetensors", "sharded bin"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{layout: folder of one checkpoint of a model as small as possible}."""
    root = tmp_path_factory.mktemp("fuzz")
    tiny_neox(0, heads=1, d_head=4, layers=1, inter=8, vocab=5).half().save_pretrained(root / "original")
    folders = {layout: shutil.copytree(root / "original", root / layout) for layout in LAYOUTS}
    for layout, folder in folders.items():
        if layout != "safetensors":
            rewrite(folder, layout)
    return folders


@st.composite
def edits(draw):
    """What is done to the bytes of a file: places are fractions of it, many of them near its beginning and end."""
    place = st.one_of(st.floats(0, 1), st.floats(0, 0.02), st.floats(0.97, 1))
    kind = draw(st.sampled_from(["set", "flip", "cut", "drop", "double", "zero"]))
    return kind, draw(place), draw(place), draw(st.integers(0, 255))


def edited(data, todo):
    data = bytearray(data)
    for kind, first, second, value in todo:
        a, b = sorted((int(first * len(data)), int(second * len(data))))
        if kind == "cut":
            del data[a:]
        elif kind == "drop":
            del data[a : a + 1 + value % 9]
        elif kind == "double":
            data[a:a] = data[a : a + 1 + value]
        elif kind == "zero":
            data[a : min(b, a + 1 + value)] = bytes(min(b, a + 1 + value) - a)
        elif a < len(data):
            data[a] = value if kind == "set" else data[a] ^ (1 << value % 8)
    return bytes(data)


def read(folder, *measures):
    """Read all there is: the number of matrices, or the one line that says why not."""
    (checkpoint,) = checkpoints(str(folder))
    try:
        with nla.Weights(checkpoint) as weights:
            for matrix in weights.matrices():
                assert matrix.weight.ndim == 2
                if matrix.finite:
                    assert matrix.histogram[1].sum() == matrix.weight.numel()
                weights.norm(matrix.kind, matrix.layer), weights.bias(matrix.kind, matrix.layer)
                for measure in measures:
                    measure(matrix)
            assert all("\n" not in line for line in weights.layout.unmeasured)
            return len(weights.index())
    except nla.CheckpointError as error:
        assert str(error) and "\n" not in str(error)
        return str(error)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(todo=st.lists(edits(), min_size=1, max_size=3), which=st.integers(0, 3))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_spoilt_files(models, tmp_path, layout, todo, which):
    folder = tmp_path / "spoilt"
    shutil.copytree(models[layout], folder, dirs_exist_ok=True)
    assert read(folder) == 8
    paths = sorted(p for p in folder.iterdir() if p.name != "generation_config.json")
    path = paths[which % len(paths)] if which else next(p for p in paths if p.suffix in (".bin", ".safetensors"))
    path.write_bytes(edited(path.read_bytes(), todo))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch on pickles of other protocols
        read(folder)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SIZES = ["num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size", "intermediate_size", "head_dim"]
KEYS = ["model_type", *SIZES, "num_key_value_heads", "word_embed_proj_dim", "n_layer", "n_inner", "rotary_pct", "x"]
KEYS += ["tie_word_embeddings", "architectures", "do_layer_norm_before", "layer_norm_elementwise_affine", "to_dict"]
KEYS += ["_remove_final_layer_norm", "rope_parameters", "quantization_config", "compression_config"]
encodings = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("sparsity_config", "transform_config", "config_groups", "weight_block_size", "bits"), values
    )
    | {"quant_method": st.sampled_from(["fp8", "bitsandbytes", "compressed-tensors", "modelopt"]) | values}
    | {"format": st.sampled_from(["dense", "int-quantized"]) | values, "load_in_8bit": st.just(True) | values},
)


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """{family: folder of one checkpoint}; of the last, in fp8 with scales beside it."""
    folders = {name: tmp_path_factory.mktemp("family") for name in ("llama", "opt", "gpt2", "bert", "fp8")}
    for name, folder in folders.items():
        family = name.replace("fp8", "llama")
        build(family, **CONFIGS[family]).save_pretrained(folder)
    state = load_file(folders["fp8"] / "model.safetensors")
    names = [name for name in state if "proj" in name and state[name].ndim == 2]
    state |= {name: state[name].to(torch.float8_e4m3fn) for name in names}
    save_file(state | {f"{name}_scale_inv": torch.rand(3, 1) for name in names}, folders["fp8"] / "model.safetensors")
    return folders


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=st.dictionaries(st.sampled_from(KEYS), values | encodings | st.just("gone"), min_size=1, max_size=3))
@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "bert", "fp8"])
def test_nonsense_in_config(families, tmp_path, family, changes):
    folder = shutil.copytree(families[family], tmp_path / "config", dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "gone"}))
    read(folder, nla.vectors)


@pytest.mark.parametrize("said", [{"model_type": "a\nb"}, {"quantization_config": {"quant_method": "a\r\nb"}}])
def test_one_line_whatever_is_quoted(families, tmp_path, said):
    folder = shutil.copytree(families["llama"], tmp_path / "lines")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | said))
    assert "a b" in read(folder)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(value=values, inside=st.booleans())
def test_nonsense_in_an_index(models, tmp_path, value, inside):
    folder = tmp_path / "index"
    shutil.copytree(models["sharded bin"], folder, dirs_exist_ok=True)
    index = {"weight_map": {"w": value}} if inside else value
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert isinstance(read(folder), str)


def test_other_numbers_than_floating_point(models, tmp_path):
    folder = shutil.copytree(models["safetensors"], tmp_path / "whole numbers")
    state = load_file(folder / "model.safetensors")
    torch.save({k: (v * 100).to(torch.int16) for k, v in state.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "int16" in read(folder)
