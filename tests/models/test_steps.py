"""Names of steps, as published and as trainers leave them -> one ladder; nothing is left out in silence."""

import json
import os
import shutil
import subprocess
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.torch import save_file

import nla
from nla import models
from nla.commands import forks, targets
from nla.models import paths
from nla.numerics import steps

EMPTY = {"config.json": b"{}"}

PUBLISHED = {  # name -> stage, ingredient, step, tokens in 1e9
    "step143000": (1, 0, 143000, None),  # Pythia
    "stage1-step1000-tokens5B": (1, 0, 1000, 5),  # OLMo 2
    "stage2-ingredient3-step11931-tokens50B": (2, 3, 11931, 50),
    "stage1-step1413814": (1, 0, 1413814, None),  # OLMo 3
    "step557000-tokens2464B": (1, 0, 557000, 2464),  # OLMo
    "step1000-unsharded": (1, 0, 1000, None),  # its trainer, and a conversion
    "step1250-unsharded-hf": (1, 0, 1250, None),
    "step1250-seed-default": (1, 0, 1250, None),  # DataDecide
    "step1250-seed-large-aux-2": (1, 0, 1250, None),
    "step-715k-token-1499B": (1, 0, 715000, 1499),  # TinyLlama
    "TinyLlama-1.1B-intermediate-step-1431k-3T": (1, 0, 1431000, 3000),
    "TinyLlama-1.1B-step-50K-105b": (1, 0, 50000, 105),
    "TinyLlama-1.1B-intermediate-step-1195k-token-2.5T": (1, 0, 1195000, 2500),
    "ckpt_000": (1, 0, 0, None),  # Amber, K2
    "ckpt_358": (1, 0, 358, None),
    "CrystalCoder_phase2_checkpoint_055500": (2, 0, 55500, None),
    "stage2-step-3480000": (2, 0, 3480000, None),  # SmolLM3
    "lc-4k-to-32k-step-4000": (1, 0, 4000, None),
    "step-001000-2BT": (1, 0, 1000, 2),  # FineWeb's ablations
    "train_02200B": (1, 0, 2200, 2200),  # Baichuan 2
    "240b_tokens": (1, 0, 240, 240),  # RedPajama
    "1t_tokens": (1, 0, 1000, 1000),
    "global_step1000": (1, 0, 1000, None),  # BLOOM
    "step0753851": (1, 0, 753851, None),  # Lucie
    "extension_step0001220": (1, 0, 1220, None),
    "step_20k": (1, 0, 20000, None),  # MultiBERTs
    "step50000-tokens210B": (1, 0, 50000, 210),  # Apertus
    "checkpoint-500": (1, 0, 500, None),  # transformers' Trainer, Mistral of CRFM
    "iter_0000500": (1, 0, 500, None),  # Megatron
    "epoch=3-step=500": (1, 0, 500, None),  # Lightning
    "step-1.5k": (1, 0, 1500, None),
}
NO_STEP = ["stepX", "step1.5", "step1000a", "checkpoint-best", "checkpoint-epoch-3", "step1-step2", "step" + "9" * 30]
WRITTEN = ["step3000.tmp", "step3000-tmp", "tmp-checkpoint-500", ".step5", "step5.partial", "step5.tmp.81"]


def make(folder, names, weights=True, base=0):
    """Folders of these names, each with weights of its own."""
    for i, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        if weights:
            save_file({"x": torch.full((1,), float(base + i))}, folder / name / "model.safetensors")
    return folder


def found(model):
    """{revision: step}, and the line that names what is not followed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ladder = nla.checkpoints(str(model))
    lines = [str(w.message) for w in caught]
    assert len(lines) < 2 and "\n" not in "".join(lines)
    return {c.revision: c.step for c in ladder}, "".join(lines)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names(name):
    step = steps.parse(name)
    assert (step.stage, step.ingredient, step.step) == PUBLISHED[name][:3]
    assert step.tokens == (PUBLISHED[name][3] and pytest.approx(PUBLISHED[name][3]))


@pytest.mark.parametrize("name", [*NO_STEP, *WRITTEN])
def test_what_is_no_step_is_named(name, tmp_path):
    make(tmp_path, ["step0", "step7", name, "notes", ".ipynb_checkpoints"])
    (tmp_path / "ckpt_9.pt").touch()
    (tmp_path / "steps.png").touch()
    ladder, line = found(tmp_path)
    assert "ckpt_9.pt (a file)" in line and "png" not in line
    assert ladder == {"step0": 0, "step7": 7} and name in line and "notes" not in line and "ipynb" not in line
    assert ("being written" in line) == (name in WRITTEN)


LADDERS = [
    ["step-500", "step-1k", "step-2k", "step-10k"],
    ["checkpoint-5", "checkpoint-50", "checkpoint-100"],
    ["stage1-step0-tokens0B", "stage1-step1000-tokens3B", "stage1-step2000-tokens5B"],
    ["ckpt_000", "ckpt_001", "ckpt_358"],
    ["train_00220B", "train_02200B", "train_02420B"],
    ["240b_tokens", "960b_tokens", "1t_tokens"],
    ["global_step1000", "global_step10000", "global_step600000"],
    ["Amber-ckpt_040", "Amber-ckpt_306"],
    ["stage1-step-40000", "stage1-step-3440000", "stage2-step-3480000", "stage2-step-4200000", "stage3-step-4720000"],
]


@pytest.mark.parametrize("names", LADDERS)
def test_what_is_a_ladder_on_the_hub_is_one_on_disk(names, tmp_path, hub):
    right = {name: steps.parse(name).step for name in names}
    hub.add("acme/tiny", {name: EMPTY for name in [*sorted(names), "main"]})
    for model in (make(tmp_path / "tiny", sorted(names)), "acme/tiny"):
        ladder, line = found(model)
        assert list(ladder.items()) == list(right.items()) and line == ""
        assert {c.shift for c in nla.checkpoints(str(model))} == {0}


def test_a_stage_that_starts_anew_is_shifted_and_the_tables_say_so(ladder, tmp_path):
    names = [
        "stage1-step0",
        "stage1-step2000",
        "stage2-ingredient1-step0",
        "stage2-ingredient1-step500",
        "stage3-step20",
    ]
    for name, step in zip(names, (0, 1, 1, 20, 100), strict=True):
        shutil.copytree(ladder / f"step{step}", tmp_path / "olmo" / name)
    make(tmp_path / "olmo", ["stage2-ingredient2-step500"])
    here, line = found(tmp_path / "olmo")
    assert list(here.values()) == [0, 2000, 2500, 2520] and "stage2-ingredient2-step500 (another ingredient" in line
    assert "stage2-ingredient1-step0 (the end of the stage before)" in line
    with pytest.warns(UserWarning, match="not followed"):
        table = nla.scan(str(tmp_path / "olmo"), nla.norms, kinds=["query"], progress=False)
        audited = nla.audit(str(tmp_path / "olmo"))
    for rows in (table.drop_duplicates("revision"), audited):
        assert rows.shifted_by.tolist() == [0, 0, 2000, 2500] and rows.stage.tolist()[2:] == ["stage2", "stage3"]
    assert audited.attrs["not_followed"] == line
    assert "shifted_by" not in nla.audit(str(ladder))


def test_seeds_and_prefixes_of_their_own(hub):
    names = [f"step{s}-seed-{seed}" for s in (0, 1250) for seed in ("default", "small-aux-2")]
    hub.add("acme/decide", {name: EMPTY for name in names})
    here, line = found("acme/decide")
    assert here == {"step0-seed-default": 0, "step1250-seed-default": 1250}
    assert "step0-seed-small-aux-2, step1250-seed-small-aux-2 (another" in line
    hub.add("acme/lucie", {n: EMPTY for n in ("step0005000", "step0753851", "extension_step0000250", "fix-step2")})
    here, line = found("acme/lucie")
    assert list(here) == ["step0005000", "step0753851"] and "extension_step0000250" in line and "fix-step2" in line
    hub.add("acme/plain", {"main": EMPTY, "fix-step2-typo": EMPTY})
    assert found("acme/plain")[0] == {"main": 0} and "fix-step2-typo" in found("acme/plain")[1]


def test_repositories_of_another_model_are_no_steps_of_this_one(hub):
    for name in ("", "-chat-step1", "-chat-step2", "-step3k", "-step4k-seed-2"):
        hub.add(f"acme/llama{name}", {"main": EMPTY})
    here, line = found("acme/llama")
    assert here == {"step3k": 3000} and "step4k-seed-2 (another" in line and "chat" not in line
    del hub.repositories["acme/llama"]
    hub.add("acme/llama-chat", {"main": EMPTY})
    assert found("acme/llama-chat")[0] == {"step1": 1, "step2": 2}


def test_of_one_step_in_several_forms_the_one_with_weights_is_taken(tmp_path, hub):
    here = {"config.json": b"{}", "model.safetensors": b"weights"}
    hub.add("acme/forms", {"step1": EMPTY, "step1-hf": here, "step2": here, "step2-bf16": here})
    ladder, line = found("acme/forms")
    assert ladder == {"step1-hf": 1, "step2": 2} and "step1 (no weights)" in line and "step2-bf16 (as step2)" in line
    folder = make(tmp_path / "forms", ["step1", "step1-unsharded", "step2"], weights=False)
    make(folder, ["step1-hf", "step2-hf"])
    ladder, line = found(folder)
    assert ladder == {"step1-hf": 1, "step2-hf": 2} and "step1, step1-unsharded, step2 (no weights)" in line
    assert found(make(make(tmp_path / "a", ["step1"], weights=False), ["hf-step1"]))[0] == {"hf-step1": 1}
    other = make(make(tmp_path / "b", ["step1"], weights=False), ["hf-step2", "hf-step3"])
    assert list(found(other)[0]) == ["hf-step2", "hf-step3"]
    make(folder, ["step1-ema"])
    with pytest.raises(ValueError, match=r"step1-(ema and step1-hf|hf and step1-ema) are the same step"):
        nla.checkpoints(str(folder))


@pytest.mark.parametrize(
    "state, own, steps_found, said",
    [
        (None, 1, [500, 1000], ""),  # the same bytes as the last checkpoint
        (("checkpoint-1000", 1000), 1, [500, 1000], ""),
        ((".", 1234), 7, [500, 1000, 1234], ""),
        ((".", 1234), 1, [500, 1000, 1234], ""),  # as its trainer says; audit says that it is a copy
        ((".", 1000), 0, [500, 1000], "the weights above (the weights of checkpoint-500)"),  # the best one
        ((".", 1000), 7, [500, 1000], "the weights above (other weights"),
        (None, 7, [500, 1000], "the weights above (other weights"),
        ((".", "many"), 7, [500, 1000], "the weights above (other weights"),
    ],
)
def test_what_a_trainer_leaves(state, own, steps_found, said, tmp_path):
    make(tmp_path, ["checkpoint-500", "checkpoint-1000"])
    save_file({"x": torch.full((1,), float(own))}, tmp_path / "model.safetensors")
    if state:
        (tmp_path / state[0] / "trainer_state.json").write_text(json.dumps({"global_step": state[1]}))
    ladder, line = found(tmp_path)
    assert list(ladder.values()) == steps_found and said in line and bool(line) == bool(said)
    assert list(ladder)[2:] == ["final"] * (len(ladder) - 2)


def test_folders_without_weights_do_not_hide_the_weights_above_them(tmp_path):
    """As DeepSpeed leaves them within a checkpoint."""
    make(tmp_path, ["global_step500"], weights=False)
    assert found(tmp_path)[0] == {"global_step500": 500}  # nothing else is there; a scan says that it has no weights
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert found(tmp_path) == ({tmp_path.name: 0}, f"not followed in {tmp_path}: global_step500 (no weights)")


@pytest.mark.parametrize("asked", [".", "..", "{0}/../tiny", "~/tiny", "lr=1e-4", "a>b"])
def test_model_is_the_folder_that_it_means(asked, ladder, tmp_path, monkeypatch):
    monkeypatch.setenv("NLA_BUILD", str(tmp_path / "out" / "build"))
    monkeypatch.setenv("NLA_FIGURES", str(tmp_path / "out" / "figures"))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = shutil.copytree(ladder / "step20", tmp_path / (asked if asked in ("lr=1e-4", "a>b") else "one"))
    (folder / "notes").mkdir()
    monkeypatch.chdir({".": folder, "..": folder / "notes"}.get(asked, tmp_path))
    model, right = asked.format(ladder), ladder if "tiny" in asked else folder
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    table = nla.scan(model, nla.norms, kinds=["query"], progress=False)
    assert set(table.revision) == ({p.name for p in ladder.glob("step*")} if right == ladder else {folder.name})
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert written and all(path.is_relative_to(tmp_path / "out" / "build" / models.slug(right)) for path in written)
    assert nla.figures.saving.folder(model) == tmp_path / "out" / "figures" / models.slug(right)
    if ">" not in model:
        chain = f"{ladder} > {model}"
        assert [c.folder for c in nla.checkpoints(chain)][1] == (ladder / "step100" if right == ladder else folder)
        assert models.absolute(chain) == f"{ladder}>{right}"


def test_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for model in ("", "~nobody/x", "\0", "x" * 5000, "a/" * 3000):
        with pytest.raises(ValueError, match="unknown model"):
            nla.checkpoints(model)


def test_make_sees_new_files_of_every_name(tmp_path):
    for name in ("checkpoint-500", "ckpt_000", "step1-hf", "train_02200B"):
        folder = make(tmp_path / name, [name, "notes"])
        stamp = folder / ".scanned"
        stamp.touch()
        os.utime(stamp, (later := stamp.stat().st_mtime + 5, later))
        for file, again in (("notes/model.safetensors", False), (f"{name}/model.safetensors", True)):
            for model in (str(folder), f"demo > sft={folder}"):
                assert not targets.changed(model, stamp)
                os.utime(folder / file, (later + 5, later + 5))
                assert targets.changed(model, stamp) == again
                os.utime(folder / file, (1, 1))


def test_check_and_audit_say_it_in_one_line(tmp_path):
    folder = make(tmp_path / "run", ["checkpoint-5", "checkpoint-10", "checkpoint-best"])
    said = f"not followed in {folder}: checkpoint-best (no step)"
    for command, line in (("check", f"{folder}: 2 checkpoints, steps 5 to 10; {said}"), ("audit", said)):
        done = subprocess.run([forks.python(), "-m", "nla", command, str(folder)], capture_output=True, text=True)
        assert done.returncode == 0 and line in done.stdout.splitlines() and done.stderr == ""


WORDS = ["step", "checkpoint-", "ckpt_", "iter_", "global_step", "stage2-step", "stage1-ingredient2-step", "epoch", "X"]
TAILS = [
    "",
    "0",
    "7",
    "10",
    "10k",
    "007",
    "1.5",
    "2B",
    "-tokens3B",
    "-hf",
    ".tmp",
    "-seed-2",
    "-seed3",
    "a",
    "\n",
    " ",
    "é",
]
NAMES = st.one_of(
    st.tuples(st.sampled_from(["", "run-", "a_", "tmp-"]), st.sampled_from(WORDS), st.lists(st.sampled_from(TAILS)))
    .map(lambda parts: parts[0] + parts[1] + "".join(parts[2]))
    .filter(lambda name: len(os.fsencode(name)) < 200),
    st.sampled_from([*PUBLISHED, *NO_STEP, *WRITTEN]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(names=st.lists(NAMES, max_size=9, unique_by=str.lower), bare=st.sets(st.integers(0, 8)), above=st.booleans())
def test_any_names(names, bare, above, tmp_path_factory):
    """Each is in the ladder or named in the one line; no order, no number and no combination ends in a traceback."""
    folder = tmp_path_factory.mktemp("any")
    make(folder, [name for i, name in enumerate(names) if i not in bare])
    make(folder, [name for i, name in enumerate(names) if i in bare], weights=False)
    if above:
        save_file({"x": torch.ones(1)}, folder / "model.safetensors")
    try:
        ladder, line = found(folder)
    except ValueError as error:
        assert "\n" not in str(error)
        if "are the same step" in str(error):
            return
        assert "holds neither" in str(error)
        ladder, line = {}, str(error)
    for name in names:
        if any(word in name for word in ("step", "ckpt", "checkpoint", "iter", "epoch")):
            assert name in ladder or (name if name.isprintable() else repr(name)) in line
    values = list(ladder.values())
    assert values == sorted(values) and len(set(values)) == len(values)
    assert len({paths.slug(name) for name in ladder}) == len(ladder)


@settings(max_examples=300, deadline=None)
@given(names=st.lists(st.one_of(NAMES, st.text(max_size=12)), max_size=12, unique=True), data=st.data())
def test_any_branches(names, data):
    there = data.draw(st.sets(st.sampled_from(names))) if names else set()
    rungs, left = steps.follow(names, there.__contains__)
    followed = [rung.name for rung in rungs]
    assert not set(followed) & set(left) and set(followed) | set(left) >= {n for n in names if steps.parse(n)}
    assert {n for n in names if steps.LIKE.search(n.lower())} <= set(followed) | set(left) <= set(names)
    assert steps.line(left).isprintable() and [r.step for r in rungs] == sorted({r.step for r in rungs})
