"""Nothing in the files is left out in silence: a second head is measured, and what no matrix is read from is said."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import nla
from nla.commands import main
from tests.helpers.families import CONFIGS, SMALL, build

TIED = {"qwen2": {}, "gpt2": {}, "bert": {}, "llama": dict(tie_word_embeddings=True)}
HEADS = {"bert": "cls.predictions.decoder.weight"}


def edit(folder, tensors=None, **config):
    """Change what the file of a checkpoint holds, and what its config.json says."""
    path = folder / "model.safetensors"
    state = {n: t for n, t in (load_file(path) | (tensors or {})).items() if t is not None}
    save_file({n: t.contiguous() for n, t in state.items()}, path)
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | config))


def notes(folder):
    return nla.scan(str(folder), nla.norms, progress=False).attrs["summary"]["notes"]


@pytest.mark.parametrize("family", TIED)
def test_a_head_that_config_calls_tied_but_the_file_holds(tmp_path, family):
    model = build(family, **CONFIGS[family] | TIED[family])
    model.save_pretrained(tmp_path)
    embedding, name = model.get_input_embeddings().weight.detach(), HEADS.get(family, "lm_head.weight")
    edit(tmp_path, {name: embedding.clone()}, tie_word_embeddings=True)
    with nla.load(str(tmp_path)) as weights:
        assert ("embed_out", -1) not in weights.index() and name not in str(weights.layout.unmeasured)
    head = embedding + torch.randn_like(embedding)
    edit(tmp_path, {name: head})
    with nla.load(str(tmp_path)) as weights:
        assert torch.equal(weights.matrix("embed_out").weight, head)
    table = nla.scan(str(tmp_path), nla.norms, progress=False).set_index("kind")
    assert table.frobenius["embed_out"] == pytest.approx(head.norm().item(), rel=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gemma"])
def test_a_head_of_which_config_says_nothing_in_a_tied_family(tmp_path, family):
    build(family, **CONFIGS[family] | dict(tie_word_embeddings=False)).save_pretrained(tmp_path)
    edit(tmp_path, tie_word_embeddings=None)
    assert notes(tmp_path) == nla.audit(str(tmp_path)).attrs["notes"] == ["1 tensor is not measured: lm_head.weight"]
    state = load_file(tmp_path / "model.safetensors")
    edit(
        tmp_path,
        {"lm_head.weight": state.get("transformer.wte.weight", state.get("model.embed_tokens.weight")).clone()},
    )
    assert notes(tmp_path) == []


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_layers_beyond_config_and_tensors_of_no_part(tmp_path, capsys, family):
    build(family, **CONFIGS[family]).save_pretrained(tmp_path)
    stem, layers = ("model.layers", "num_hidden_layers") if family == "qwen2" else ("transformer.h", "n_layer")
    experts = {f"{stem}.{i}.mlp.experts.{e}.up.weight": torch.ones(2, 2) for i in range(3) for e in range(4)}
    edit(tmp_path, experts | {"score.weight": torch.ones(2, 36)}, **{layers: 1})
    expected = [
        "5 tensors of 2 names are not measured: "
        + ", ".join(sorted([f"{stem}.*.mlp.experts.*.up.weight", "score.weight"])),
        "layers in the files beyond the 1 of config.json are not measured: 1 to 2",
    ]
    assert notes(tmp_path) == expected
    assert notes(tmp_path) == expected  # also where the tables are read
    assert nla.audit(str(tmp_path)).attrs["notes"] == notes(tmp_path)


def test_it_is_said_once_for_a_ladder(tmp_path, capsys, monkeypatch):
    for step in (0, 7):
        build("llama", **CONFIGS["llama"]).save_pretrained(tmp_path / f"step{step}")
        edit(tmp_path / f"step{step}", {"extra.weight": torch.ones(2, 2) * step})
    assert notes(tmp_path) == ["1 tensor is not measured: extra.weight"]
    for command in ("audit", "scan"):
        monkeypatch.setattr("sys.argv", ["nla", command, str(tmp_path)])
        assert not main.main()
        said = capsys.readouterr()
        assert (said.out + said.err).count("not measured: extra.weight") == 1


def test_on_the_hub_an_index_tells_it_unfetched(hub, tmp_path):
    folder = tmp_path / "sharded"
    build("llama", **CONFIGS["llama"]).save_pretrained(folder, max_shard_size="60KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["extra.weight"] = next(iter(index["weight_map"].values()))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    hub.add("acme/sharded", {"main": folder})
    assert nla.audit("acme/sharded").attrs["notes"] == ["1 tensor is not measured: extra.weight"]
    assert hub.count(r"GET .*\.safetensors$") == 0


OWN = {"bert": ["cls.predictions.transform.dense"], "opt 350m": ["project_in", "project_out"]}
OLD = {  # buffers that older files hold
    "gpt_neox": ["gpt_neox.layers.0.attention.masked_bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"],
    "gpt2": ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"],
    "llama": ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.self_attn.k_scale"],
    "bert": ["bert.embeddings.position_ids"],
}


@pytest.mark.parametrize("case", CONFIGS)
def test_what_a_family_holds_besides_matrices_is_known(tmp_path, case):
    build(case.split()[0], **CONFIGS[case]).save_pretrained(tmp_path)
    edit(tmp_path, {name: torch.ones(2) for name in OLD.get(case, ())})
    with nla.load(str(tmp_path)) as weights:
        lines = " ".join(weights.layout.unmeasured)
    own = OWN.get(case.removesuffix(" untied"), [])
    assert bool(lines) == bool(own) and all(name in lines for name in own)
    assert len(own) == 0 or f"{1 + (case[:4] == 'bert') * 1 + (case[:3] == 'opt')} tensors of" in lines


@pytest.mark.parametrize("way", ["said", "not there"])
def test_an_opt_without_its_last_norm(tmp_path, way):
    config = SMALL | dict(ffn_dim=50, max_position_embeddings=51, word_embed_proj_dim=36)
    build("opt", **config, _remove_final_layer_norm=way == "said").save_pretrained(tmp_path)
    gone = [n for n in load_file(tmp_path / "model.safetensors") if "decoder.final_layer_norm" in n]
    assert bool(gone) == (way != "said")
    edit(tmp_path, dict.fromkeys(gone))
    with nla.load(str(tmp_path)) as weights:
        assert weights.norm("embed_out") is None and weights.norm("query", 2) is not None
    table = nla.scan(str(tmp_path), [nla.norms, nla.vectors, nla.correlation], progress=False)
    assert len(table) == 3 * 6 + 1 and table.frobenius.gt(0).all()
