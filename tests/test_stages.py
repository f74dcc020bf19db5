"""Chains of stages, the measure of an update, and the two stages that the embedded model went through."""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import nla
from nla import measures, models
from nla.demo import stages, train
from nla.figures import parts
from nla.models import chains, paths
from nla.models.recipes import Recipe
from nla.studies.fine_tuning_stages import change_plots, controls
from tests.conftest import branches


@pytest.fixture
def chain(ladder):
    """step0 > step20 > step100 of the tiny ladder, written out."""
    return f"{ladder}/step0>{ladder}/step20>{ladder}/step100"


def change(folder, edit):
    """Rewrite the tensors of a checkpoint: edit(name, tensor) -> tensor."""
    path = folder / "model.safetensors"
    save_file({n: edit(n, t).contiguous() for n, t in load_file(path).items()}, path, metadata={"format": "pt"})


def test_a_written_chain(chain, ladder):
    found = nla.checkpoints(chain)
    assert [(c.step, c.stage, c.revision, c.model) for c in found] == [
        (0, "base", "base", chain),
        (1, "stage", "stage", chain),
        (2, "stage2", "stage2", chain),
    ]
    assert [c.path.name for c in found] == ["step0", "step20", "step100"]
    assert nla.recipe(chain) is None and nla.history(chain) is None
    assert chains.ladder_of(f"{ladder}>{ladder}/step0") == str(ladder)
    assert nla.checkpoints(f"{ladder}>{ladder}/step0")[0].path.name == "step100"  # of a ladder the last


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
    assert [(c.stage, c.path.name) for c in found] == [("start", "step0"), ("base", "step100"), ("stage", "step20")]
    with nla.load(whole, step=2) as weights:
        initial = weights.matrix("key", 0).initial.weight
    with nla.load(str(ladder), step=0) as weights:
        assert torch.equal(initial, weights.matrix("key", 0).weight)
    assert chains.with_start("a>b", steps[:1]) == "a>b"
    hub = [models.Checkpoint("m", "step0", 0, "pretraining", None, "org/m", "0" * 40)] * 2
    assert chains.with_start("org/m>org/n", hub) == "start=org/m@step0>base=org/m>stage=org/n"
    assert chains.ends(hub) == "start=org/m@step0>base=org/m@step0" and chains.ends(hub[:1]) is None
    found = nla.checkpoints(chains.ends(steps))
    assert [(c.stage, c.path.name) for c in found] == [("start", "step0"), ("base", steps[-1].path.name)]


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
        script = [sys.executable, paths.__file__, model]  # as make calls it
        assert subprocess.run(script, capture_output=True, text=True).stdout == slug + "\n"


def test_scan_of_a_chain_measures_updates(chain, ladder):
    table = nla.scan(chain, [nla.update, nla.norms])
    assert list(dict.fromkeys(table.stage)) == ["base", "stage", "stage2"]
    assert table[table.step == 0].delta_norm.isna().all() and table[table.step > 0].delta_norm.notna().all()
    whole = nla.scan(str(ladder), nla.update)
    row = table[(table.step == 2) & (table.kind == "key") & (table.layer == 1)].iloc[0]
    same = whole[(whole.step == 100) & (whole.kind == "key") & (whole.layer == 1)].iloc[0]
    assert row.delta_norm == pytest.approx(same.delta_norm)  # step20 comes before step100 in both


def brute(now, then, earlier=None):
    """`update` by full singular value decompositions."""
    W, D = then.astype(float), now.astype(float) - then.astype(float)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    m, n, r, total = *W.shape, len(s), (D**2).sum()
    parts = np.array_split(np.arange(r), min(10, r))
    out = [(m / len(p)) * ((U[:, p].T @ D) ** 2).sum() / total for p in parts]
    into = [(n / len(p)) * ((D @ Vt[p].T) ** 2).sum() / total for p in parts]
    d = np.linalg.svd(D, compute_uv=False)
    found = {
        "delta_norm": np.linalg.norm(D) / np.linalg.norm(W),
        "delta_changed": np.mean(now != then),
        "delta_along": (W * D).sum() / np.linalg.norm(W) / np.linalg.norm(D),
        "delta_stable_rank": (d**2).sum() / d[0] ** 2,
        "delta_deciles_out": out,
        "delta_deciles_in": into,
        "delta_diagonal": max(m, n) * (np.diag(U.T @ D @ Vt.T) ** 2).sum() / total,
    }
    if earlier is not None:
        last, k = then.astype(float) - earlier.astype(float), max(1, r // 10)
        found["delta_cosine"] = (D * last).sum() / np.linalg.norm(D) / np.linalg.norm(last)
        (Ua, _, Va), (Ub, _, Vb) = (np.linalg.svd(x, full_matrices=False) for x in (D, last))
        found["delta_overlap_out"] = ((Ua[:, :k].T @ Ub[:, :k]) ** 2).sum() / k / (k / m)
        found["delta_overlap_in"] = ((Va[:k] @ Vb[:k].T) ** 2).sum() / k / (k / n)
    return found


@pytest.mark.parametrize("kind", ["query", "dense_h_to_4h", "dense_4h_to_h", "embed_in"])
def test_update_by_brute_force(chain, kind):
    layer = -1 if kind == "embed_in" else 1
    with nla.load(chain, step=2) as weights:
        matrix = weights.matrix(kind, layer)
        now, then, earlier = (m.weight.numpy() for m in (matrix, matrix.previous, matrix.previous.previous))
        found = nla.update(matrix)
    for name, value in brute(now, then, earlier).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


def test_update_of_random_noise_is_random_everywhere(tmp_path):
    """Independent Gaussian updates have every share 1, cosine 0 and ranks of a random matrix."""
    found = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        one, two, three = (torch.randn(300, 120, generator=generator) for _ in range(3))
        found.append(nla.update(series(one, one + two, one + two + three)))
    mean = {k: np.mean([f[k] for f in found], axis=0) for k in found[0]}
    np.testing.assert_allclose(mean["delta_deciles_out"], 1, atol=0.1)
    np.testing.assert_allclose(mean["delta_deciles_in"], 1, atol=0.1)
    assert mean["delta_overlap_out"] == pytest.approx(1, abs=0.25) and mean["delta_overlap_in"] == pytest.approx(
        1, abs=0.25
    )
    assert abs(mean["delta_cosine"]) < 0.02 and mean["delta_diagonal"] == pytest.approx(1, abs=0.3)
    assert mean["delta_stable_rank_relative"] == pytest.approx(1, abs=0.03)
    assert mean["delta_effective_rank_relative"] == pytest.approx(1, abs=0.03)


def series(*values):
    """The last of a series of matrices, each knowing the one before."""
    matrix = None
    for step, value in enumerate(values):
        before, matrix = matrix, nla.Matrix("dense", 0, step, value)
        matrix.__dict__["previous"] = before
    return matrix


def test_update_in_known_places():
    torch.manual_seed(0)
    U, _ = torch.linalg.qr(torch.randn(60, 40, dtype=torch.float64))
    V, _ = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64))
    s = torch.linspace(10, 1, 40, dtype=torch.float64)
    W = U * s @ V.T
    for k, end in ((0, "top"), (39, "bottom")):  # along one pair of singular vectors
        found = nla.update(series(W, W + 0.1 * torch.outer(U[:, k], V[:, k])))
        assert found[f"delta_{end}_out"] == pytest.approx(60 / 4) and found[f"delta_{end}_in"] == pytest.approx(40 / 4)
        assert found["delta_stable_rank"] == pytest.approx(1) and found["delta_diagonal"] == pytest.approx(60)
        assert found["delta_norm"] == pytest.approx(0.1 / float(s.norm()))
    decayed = nla.update(series(W, 0.9 * W))
    assert decayed["delta_along"] == pytest.approx(-1) and decayed["delta_norm"] == pytest.approx(0.1)


def test_update_counts_changed_entries_in_the_coarser_dtype():
    then = torch.ones(8, 8, dtype=torch.float16)
    now = then.float().clone()
    now[0] += 1e-5  # lost in half precision
    now[1] += 0.5
    assert nla.update(series(then, now))["delta_changed"] == pytest.approx(1 / 8)
    assert nla.update(series(then.float(), now))["delta_changed"] == pytest.approx(2 / 8)


def test_no_update_and_odd_shapes():
    zero = nla.update(series(torch.randn(5, 4), torch.zeros(5, 4)))
    assert zero["delta_along"] == pytest.approx(-1) and zero["delta_norm"] == pytest.approx(1)
    same = nla.update(series(torch.ones(5, 4), torch.ones(5, 4)))
    assert (same["delta_norm"], same["delta_changed"]) == pytest.approx((0, 0)) and np.isnan(same["delta_along"])
    row = nla.update(series(torch.ones(1, 4), torch.ones(1, 4) * 2, torch.ones(1, 4) * 3))
    assert (row["delta_norm"], row["delta_cosine"]) == pytest.approx((0.5, 1))
    assert nla.update(series(torch.ones(3, 3))) == {}
    from_zero = nla.update(series(torch.zeros(5, 4), torch.ones(5, 4)))
    assert from_zero["delta_norm"] == np.inf


def test_resized_vocabulary_is_compared_on_common_rows(chain, ladder):
    def shorter(name, tensor):
        return tensor[:90] if name.endswith(("embed_in.weight", "embed_out.weight", "lm_head.weight")) else tensor

    with nla.load(chain, step=1) as weights:
        matrix = weights.matrix("embed_in")
        now, then = matrix.weight[:90].numpy(), matrix.previous.weight[:90].numpy()
    change(ladder / "step20", shorter)
    config = json.loads((ladder / "step20" / "config.json").read_text()) | {"vocab_size": 90}
    (ladder / "step20" / "config.json").write_text(json.dumps(config))
    table = nla.scan(chain, nla.update, kinds=["embed_in"])
    assert list(table.rows) == [97, 90, 97] and list(table.delta_rows[1:]) == [90, 90]
    assert table.delta_norm[1] == pytest.approx(brute(now, then)["delta_norm"], rel=1e-9)
    assert table[table.step == 2].delta_cosine.notna().all()
    every = nla.scan(chain, [getattr(measures, name) for name in measures.__all__])  # none of them stumbles over it
    resized = every[(every.kind == "embed_in") & (every.step == 1)].iloc[0]
    assert np.isnan(resized.distance) and np.isnan(resized.untouched_rows) and resized.l1 > 0


def test_a_damaged_stage_is_left_out(chain, ladder):
    change(ladder / "step20", lambda name, t: t * math.nan if name.endswith("layers.0.mlp.dense_h_to_4h.weight") else t)
    table = nla.scan(chain, nla.update).set_index(["kind", "layer", "step"]).sort_index()
    assert not table.finite["dense_h_to_4h", 0, 1] and np.isnan(table.delta_norm["dense_h_to_4h", 0, 2])
    assert table.delta_norm["dense_h_to_4h", 1, 2] > 0


def test_a_chain_of_ids_from_the_hub(hub, chain, ladder, tmp_path):
    """base@main of a ladder, its SFT and DPO in repositories of their own; notebooks 12 and 13 on them, by make."""
    from tests.test_make import ROOT, make

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


def test_stored_controls_are_as_long_as_the_stages_and_on_the_same_text(chain):
    how = json.loads(controls.RESULTS.read_text())["how"]
    record = json.loads((models.DEMO / "history.json").read_text())
    assert how["corpus"]["sha256"] == record["corpus"]["sha256"]
    assert how["recipes"] == {s: record["stages"][s]["recipe"] for s in ("sft", "dpo")}
    table = controls.of_chain("demo-chain")
    assert (table.groupby(["stage", "seed"]).size() == 38).all() and set(table.stage) == {"sft", "dpo"}
    assert table.delta_norm.between(1e-4, 0.2).all() and (table.delta_stable_rank >= 1).all()
    assert controls.of_chain(chain) is None


def test_a_control_by_hand(tmp_path):
    """Two updates of the end of pretraining on other text: numbers of the files that are left, and the same again."""
    source = tmp_path / "source"
    source.mkdir()
    for i in range(12):
        (source / f"m{i}.py").write_text("".join(f"def f_{i}_{j}(x, y={j}):\n    return x\n" for j in range(150)))
    recipe = Recipe(2e-4, steps=2, warmup=1)
    for name in ("a.json", "b.json"):
        controls.main(tmp_path / name, seeds=(3,), recipes={"sft": recipe}, root=source, batch=2)
    rows, again = (json.loads((tmp_path / name).read_text())["updates"] for name in ("a.json", "b.json"))
    pd.testing.assert_frame_equal(pd.DataFrame(rows), pd.DataFrame(again), rtol=1e-3, atol=1e-4)
    texts, _ = train.corpus(1234, source)
    bpe = stages.tokenizers.Tokenizer.from_file(str(models.DEMO / "tokenizer.json"))
    losses = controls.go_on(models.DEMO, train.token_windows(bpe, texts), recipe, 3, tmp_path / "out", batch=2)
    then = load_file(nla.checkpoints("demo")[-1].path / "model.safetensors")
    now = load_file(tmp_path / "out" / "model.safetensors")
    assert len(losses) == 2 and len(rows) == 38
    name = "gpt_neox.layers.3.mlp.dense_h_to_4h.weight"
    row = next(r for r in rows if (r["kind"], r["layer"]) == ("dense_h_to_4h", 3))
    D, W = now[name].double() - then[name].double(), then[name].double()
    assert row["delta_norm"] == pytest.approx(float(D.norm() / W.norm()), rel=1e-4) and row["delta_norm"] > 0
    assert row["delta_stable_rank"] == pytest.approx(float((D.norm() / torch.linalg.matrix_norm(D, 2)) ** 2), rel=1e-4)


def frame(step, values, name="rms"):
    return pd.DataFrame({"kind": "query", "layer": range(len(values)), "step": step, name: values})


def test_changes_of_opposite_sign_do_not_cancel():
    before = pd.concat([frame(0, [1.0, 1.0, 1.0, 1.0]), frame(1, [1.1, 0.9, 1.1, 0.9])])
    found = change_plots.changes(before, before[:0].assign(stage=None))
    np.testing.assert_allclose(found.rms, [10, -10, 10, -10])
    random = pd.concat([found.assign(rms=found.rms / k, draw=k) for k in (2, 5)])
    table = change_plots.change_table(found, random)[parts.PRETRAINING]
    assert table.loc["rms"].to_dict() == pytest.approx({"change": 10, "random": 5, "rising": 0.5})
    assert list(change_plots.change_table(found)[parts.PRETRAINING]) == ["change", "rising"]
    assert len(change_plots.changes(frame(0, [1.0]), before[:0].assign(stage=None))) == 0  # a single checkpoint


def test_random_changes_are_those_of_updates_of_the_same_norm(ladder):
    """Noise of relative norm d that knows nothing of W makes an RMS larger by the factor sqrt(1 + d^2)."""
    before = nla.scan(str(ladder), [nla.update, nla.norms], steps="log")
    found = change_plots.random_changes(before, before[:0], [nla.norms], draws=2)
    assert set(found.draw) == {0, 1} and set(found["update"]) == {parts.PRETRAINING}
    last = before[before.step == before.step.max()].set_index(["kind", "layer"])
    sizes = last.delta_norm.reindex(found.index)
    expected = 100 * (np.sqrt(1 + sizes**2) - 1)
    # <W, noise> is not exactly 0: 3 standard deviations of it
    chance = 100 * 3 * sizes / np.sqrt((last.rows * last.cols).reindex(found.index))
    assert (np.abs(found.rms - expected) < chance + 1e-3).all()
