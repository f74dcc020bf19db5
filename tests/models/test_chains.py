"""Chains of stages, the measure of an update, and the two stages that the embedded model went through."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

import nla
from nla import models
from nla.commands import targets
from nla.studies import chains
from tests.helpers.ladders import branches
from tests.helpers.stages import change


@pytest.fixture
def chain(ladder):
    """step0 > step20 > step100 of the tiny ladder, written out."""
    return f"{ladder}/step0>{ladder}/step20>{ladder}/step100"


def test_a_written_chain(chain, ladder):
    found = nla.checkpoints(chain)
    assert [(c.step, c.stage, c.revision, c.model) for c in found] == [
        (0, "base", "base", chain),
        (1, "stage", "stage", chain),
        (2, "stage2", "stage2", chain),
    ]
    assert [c.folder.name for c in found] == ["step0", "step20", "step100"]
    assert nla.recipe(chain) is None and nla.history(chain) is None
    assert chains.ladder_of(f"{ladder}>{ladder}/step0") == str(ladder)
    assert nla.checkpoints(f"{ladder}>{ladder}/step0")[0].folder.name == "step100"  # of a ladder the last


@pytest.mark.parametrize(
    "link, stage",
    [
        ("allenai/OLMo-2-0425-1B-RLVR1", "rlvr"),
        ("lomahony/pythia-1b-helpful-sft@main", "sft"),
        ("Leogrin/eleuther-pythia1b-hh-dpo", "dpo"),
        ("/data/SFT/my-dpo/", "dpo"),
        ("lomahony/pythia-1.4b-helpful-sfted1-ppo-3epochs-old", "ppo"),
        ("somebody/model", "stage"),
    ],
)
def test_stages_are_told_from_names(link, stage):
    assert list(chains.links(f"base>{link}")) == ["base", stage]


def test_stages_may_be_said(ladder):
    assert chains.links("start=a/b@step0>base=c>sft>rlhf=/d/e") == {
        "start": "a/b@step0",
        "base": "c",
        "sft": "sft",
        "rlhf": "/d/e",
    }
    steps = nla.checkpoints(str(ladder))
    whole = chains.with_start(f"{ladder}>{ladder}/step20", steps)
    found = nla.checkpoints(whole)
    assert [(c.stage, c.folder.name) for c in found] == [("start", "step0"), ("base", "step100"), ("stage", "step20")]
    with nla.load(whole, step=2) as weights:
        initial = weights.matrix("key", 0).initial.weight
    with nla.load(str(ladder), step=0) as weights:
        assert torch.equal(initial, weights.matrix("key", 0).weight)
    assert chains.with_start("a>b", steps[:1]) == "a>b"
    hub = [models.Checkpoint("m", "step0", 0, "pretraining", None, "org/m", "0" * 40)] * 2
    assert chains.with_start("org/m>org/n", hub) == "start=org/m@step0>base=org/m>stage=org/n"
    assert chains.ends(hub) == "start=org/m@step0>base=org/m@step0" and chains.ends(hub[:1]) is None
    found = nla.checkpoints(chains.ends(steps))
    assert [(c.stage, c.folder.name) for c in found] == [("start", "step0"), ("base", steps[-1].folder.name)]


@pytest.mark.parametrize("text", ["a>", ">b", "a>>b", ">"])
def test_a_chain_with_a_gap(text):
    with pytest.raises(ValueError, match="takes base>sft"):
        nla.checkpoints(text)


def test_unknown_link_and_chain_in_a_chain(ladder):
    with pytest.raises(ValueError, match="nonsense"):
        nla.checkpoints(f"{ladder}>nonsense")
    with pytest.raises(ValueError, match="itself a chain"):
        nla.checkpoints(f"{ladder}>demo-chain")


def test_known_chains():
    for name, links in chains.CHAINS.items():
        assert next(iter(links)) == "base" and len(links) >= 3, name
        assert chains.is_chain(name) and not chains.is_chain(links["base"])
    assert chains.chain_of("demo") == "demo-chain" and chains.chain_of("demo-chain") == "demo-chain"
    assert chains.chain_of("pythia-1b") == chains.chain_of("EleutherAI/pythia-1b@main") == "pythia-1b-helpful"
    assert chains.chain_of("pythia-14m") is None
    assert chains.ladder_of("pythia-1b-helpful") == "EleutherAI/pythia-1b"
    seen = []

    def resolve(link):
        seen.append(link)
        return [models.Checkpoint("m", "main", 0, "pretraining", None)]

    found = chains.checkpoints("pythia-1b-deduped-tldr", resolve)
    assert [c.stage for c in found] == ["base", "sft", "ppo"]
    assert all("@" in link for link in seen) and "ppo_left_padding_new_nowhiten_reward__44413__1709671965" in seen[2]


def test_slug_is_a_name_of_a_folder(chain, tmp_path):
    assert models.slug("org/name") == "org--name" and models.slug("/a/b>/c/d") == "a--b+--c--d"
    for model in (chain, chain + "x", "x/" * 300):
        slug = models.slug(model)
        assert not set(slug) & set("/> ") and (tmp_path / slug).mkdir() is None
        script = [sys.executable, targets.__file__, "names", model, "0,4"]  # as make calls it
        assert subprocess.run(script, capture_output=True, text=True).stdout.split() == [slug, "0,4"]


def test_a_damaged_stage_is_left_out(chain, ladder):
    change(ladder / "step20", lambda name, t: t * math.nan if name.endswith("layers.0.mlp.dense_h_to_4h.weight") else t)
    table = nla.scan(chain, nla.update).set_index(["kind", "layer", "step"]).sort_index()
    assert not table.finite["dense_h_to_4h", 0, 1] and np.isnan(table.delta_norm["dense_h_to_4h", 0, 2])
    assert table.delta_norm["dense_h_to_4h", 1, 2] > 0


def test_a_chain_of_ids_from_the_hub(hub, chain, ladder, tmp_path):
    """base@main of a ladder, its SFT and DPO in repositories of their own; notebooks 12 and 13 on them, by make."""
    from tests.helpers.make import ROOT, make

    base = branches(ladder)
    hub.add("acme/base", {**base, "main": base["step0"]})
    hub.add("acme/base-sft", {"main": base["step20"]})
    hub.add("acme/base-dpo", {"main": base["step100"]})
    ids = "acme/base@main>acme/base-sft>acme/base-dpo"
    table, same = nla.scan(ids, [nla.update, nla.norms]), nla.scan(chain, [nla.update, nla.norms])
    assert list(dict.fromkeys(table.stage)) == ["base", "sft", "dpo"]
    numbers = [c for c in table if c.startswith(("delta_norm", "delta_stable", "l1", "spectral"))]
    assert np.allclose(table[numbers], same[numbers], equal_nan=True, rtol=1e-12)
    home = [f"HF_ENDPOINT={hub.endpoint}", f"HF_HOME={tmp_path / 'hf'}", "HF_HUB_OFFLINE=0"]
    names = [path.name for path in sorted((ROOT / "notebooks").glob("1[23]_*.ipynb"))]
    out = tmp_path / "build" / models.slug(ids)
    done = make(*(str(out / name) for name in names), f"MODEL={ids}", *home)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((out / names[0]).read_text())["cells"]
    said = "".join(line for cell in cells for made in cell.get("outputs", ()) for line in made.get("text", ()))
    assert all(f"{stage}: 14 matrices" in said for stage in ("base", "sft", "dpo"))
