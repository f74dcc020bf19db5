"""Which revisions are what their names say: the known troubles of published ladders, made again in small."""

import os
import subprocess

import pytest
from safetensors.torch import load_file, save_file

import nla
from nla.commands import forks
from nla.models import published
from tests.helpers.ladders import branches, moving


def weights(name, **more):
    """A revision whose only file of weights is a blob of this name."""
    return {"config.json": b"{}", "model.safetensors": name.encode() * 50} | more


def test_stale_branches_of_pythia_2_8b(hub):
    """86 of 154 branches serve weights of the end: 76 the file of main, 10 (step143000 among them) another one."""
    second = {54000, *range(56000, 60000, 1000), *range(61000, 65000, 1000), 143000}
    rounded = {55000, 60000, 65000, 70000, 80000, 90000, 100000, 103000, 110000, 120000, 130000, 140000}
    first = {s for s in published.PYTHIA_STEPS if s <= 53000} | rounded
    assert (len(first), len(second)) == (76, 10)
    made = {"main": weights("main")}
    for step in published.PYTHIA_STEPS:
        made[f"step{step}"] = weights("main" if step in first else "late" if step in second else f"own {step}")
    hub.add("EleutherAI/pythia-2.8b", made)
    table = nla.audit("pythia-2.8b").set_index("step")
    assert hub.count() == hub.count("GET /api/models") == 2 + 155  # refs twice and every tree: nothing was fetched
    assert table.index.tolist() == list(published.PYTHIA_STEPS)
    assert set(table[table.status == "stale"].index) == (first | second) - {143000}
    assert set(table.of[list(first)]) == {"main"} and set(table.of[list(second - {143000})]) == {"step143000"}
    assert (table.status == "ok").sum() == 68 + 1
    hub.requests.clear()
    nla.audit("pythia-2.8b")
    assert hub.count("/tree/") == 0  # what a commit holds never changes


def test_mixed_shards_of_pythia_12b(hub):
    def shards(*names):
        named = {f"pytorch_model-0000{i}-of-00003.bin": n.encode() for i, n in enumerate(names, 1)}
        return {"config.json": b"{}", "pytorch_model.bin.index.json": b"{}"} | named

    made = {f"step{s}": shards(f"{s} a", f"{s} b", f"{s} c") for s in (49000, 50000, 51000, 58000, 143000)}
    made["step50000"] = shards("143000 a", "50000 b", "50000 c")
    made["step58000"] = shards("143000 a", "58000 b", "58000 c")
    made["step51000"].pop("pytorch_model-00002-of-00003.bin")
    hub.add("acme/12b", made | {"main": made["step143000"]})
    table = nla.audit("acme/12b").set_index("step")
    assert table.status.to_dict() == {49000: "ok", 50000: "mixed", 51000: "missing", 58000: "mixed", 143000: "ok"}
    assert table.of[[50000, 58000]].tolist() == ["step143000"] * 2
    assert table.bytes[49000] == 3 * 7 and table.bytes[51000] == 0


def test_step_0_is_step_1_and_published_steps_may_be_absent(hub):
    made = {f"step{s}": weights("same" if s < 2 else str(s)) for s in published.PYTHIA_STEPS if s not in (64, 40000)}
    made["step8"] = {"config.json": b"{}"}
    hub.add("EleutherAI/pythia-410m-seed9", made)
    table = nla.audit("pythia-410m-seed9")
    assert table.step.is_monotonic_increasing and len(table) == 154
    table = table.set_index("step")
    assert table.status[1] == "duplicate" and table.of[1] == "step0"
    assert table[table.status == "missing"].index.tolist() == [8, 64, 40000]
    assert (table.status == "ok").sum() == 150


def test_the_bin_files_may_be_right_where_safetensors_are_stale(hub):
    made = {
        f"step{s}": weights(
            "final" if s in (10, 20, 30) else str(s), **{"pytorch_model.bin": bytes([s if s != 20 else 30])}
        )
        for s in (0, 10, 20, 30)
    }
    made["step0"].pop("pytorch_model.bin")
    hub.add("acme/stale", made)
    table = nla.audit("acme/stale").set_index("step")
    assert table.status.tolist() == ["ok", "stale", "stale", "ok"]
    assert table["bin"].fillna("-").tolist() == ["-", "ok", "stale", "ok"]


def test_a_folder(ladder):
    (ladder / "step20" / "model.safetensors").unlink()
    (ladder / "step50").mkdir()
    os.link(ladder / "step100" / "model.safetensors", ladder / "step50" / "model.safetensors")
    table = nla.audit(str(ladder))
    assert table.status.tolist() == ["ok", "duplicate", "missing", "stale", "ok"]
    assert table.of.fillna("").tolist() == ["", "step0", "", "step100", ""]
    assert table.bytes[0] == (ladder / "step0" / "model.safetensors").stat().st_size
    assert nla.audit(str(ladder / "step0")).status.tolist() == ["ok"]


def with_buffer(folder, name):
    """Store the checkpoint in `folder` again, with a buffer that is no weight."""
    import torch

    state = load_file(folder / "model.safetensors")
    save_file(state | {f"gpt_neox.layers.0.attention.{name}": torch.ones(1)}, folder / "model.safetensors")


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_after_a_scan_files_that_differ_in_buffers_alone(hub, ladder, where):
    with_buffer(ladder / "step1", "masked_bias")
    model = str(ladder) if where == "folder" else "acme/tiny"
    hub.add("acme/tiny", branches(ladder))
    assert nla.audit(model).status.tolist() == ["ok"] * 4
    table = nla.scan(model, moving)
    assert table.groupby("step").duplicate_of.first().fillna("").to_dict() == {0: "", 1: "step0", 20: "", 100: ""}
    assert table.attrs["summary"]["duplicates"] == 1
    after = nla.audit(model)
    assert after.status.tolist() == ["ok", "duplicate", "ok", "ok"] and after.of[1] == "step0"


def test_command_line(acme, tmp_path):
    env = os.environ | {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    command = [forks.python(), "-m", "nla", "audit", "acme/tiny"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0 and done.stdout.startswith("acme/tiny: 4 revisions, 3 ok, 1 duplicate\n"), done
    assert done.stdout.splitlines()[2].split() == ["1", "step1", "duplicate", "step0", "83112"]
