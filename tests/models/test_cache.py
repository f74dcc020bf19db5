"""Models on the Hub: which checkpoints they have, what is fetched, what stays on this disk; all over a real client."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save, save_file

import nla
from nla.models import cache, hub_listing, published
from nla.models.errors import NotThere, Unavailable
from nla.numerics import quantities
from nla.running import language
from tests.helpers.ladders import branches, moving, on_disk, whole
from tests.helpers.processes import start

EMPTY = {"config.json": b"{}"}
GET = "GET /lfs/acme/tiny/"


def steps(model):
    return [c.step for c in nla.checkpoints(model)]


def test_import_is_light():
    code = "import sys, nla; print([m for m in ('huggingface_hub', 'transformers', 'httpx2') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_pythia_has_154_steps_in_order(hub):
    names = [f"step{s}" for s in published.PYTHIA_STEPS]
    hub.add("EleutherAI/pythia-70m", {name: EMPTY for name in sorted(names, reverse=True)} | {"main": EMPTY})
    ladder = nla.checkpoints("pythia-70m")
    assert [c.revision for c in ladder] == names and len(names) == 154
    assert {c.repo for c in ladder} == {"EleutherAI/pythia-70m"} and ladder[-1].step == 143000
    assert hub.count() == 1  # one question, nothing fetched
    assert nla.recipe("pythia-70m").peak == 1e-3


def test_olmo_2_goes_on_with_stage_2(hub):
    names = ["stage1-step0-tokens0B", "stage1-step2000-tokens9B", "step1000-tokens5B", "stage1-step1000-tokens5B"]
    names += ["stage2-ingredient2-step500-tokens3B", "stage2-ingredient1-step1000-tokens5B", "main"]
    names += ["stage2-ingredient1-step0-tokens0B", "stage2-ingredient1-step500-tokens3B"]
    hub.add("allenai/OLMo-2", {name: EMPTY for name in names})
    ladder = nla.checkpoints("allenai/OLMo-2")
    assert [c.step for c in ladder] == [0, 1000, 2000, 2500, 3000]
    assert [c.stage for c in ladder] == ["pretraining"] * 3 + ["stage2"] * 2
    assert ladder[1].revision == "stage1-step1000-tokens5B"
    assert ladder[3].revision == "stage2-ingredient1-step500-tokens3B"


def test_steps_in_repositories_of_their_own(hub):
    hub.page = 3  # so that the list of repositories comes in pages
    for k in (2000, 0, 20, 40, 100):
        hub.add(f"google/multiberts-seed_1-step_{k}k", {"main": EMPTY})
    hub.add("google/multiberts-seed_1", {"main": EMPTY})
    hub.add("google/multiberts-seed_10", {"main": EMPTY})
    ladder = nla.checkpoints("google/multiberts-seed_1")
    assert [c.step for c in ladder] == [0, 20_000, 40_000, 100_000, 2_000_000]
    assert ladder[1].repo == "google/multiberts-seed_1-step_20k"
    assert ladder[1].commit == hub.repositories[ladder[1].repo].refs["branches"]["main"]
    assert steps("google/multiberts-seed_10") == [0]


def test_one_revision(hub):
    made = hub.add("acme/one", {"main": EMPTY, "step7": EMPTY, "step9": EMPTY}, tags={"v1": EMPTY})
    assert steps("acme/one") == [7, 9]
    for name, step in (("main", 0), ("step7", 7), ("v1", 0), (made.refs["branches"]["step9"], 0)):
        (only,) = nla.checkpoints(f"acme/one@{name}")
        assert (only.revision, only.step) == (name, step)
    hub.add("acme/plain", {"main": EMPTY, "wip": EMPTY})
    (only,) = nla.checkpoints("acme/plain")
    assert (only.revision, only.step) == ("main", 0)


@pytest.mark.parametrize(
    "model, message",
    [
        ("pythia-70mm", "did you mean pythia-70m"),
        ("ptyhia-1b-deduped", "did you mean pythia-1b-deduped"),
        ("opt-13", "did you mean opt-13b"),
        ("EleutherAI/pythia-1.4", "no such repository.*did you mean pythia-1.4b"),
        ("acme/one@step77", "revision of acme/one 'step77': did you mean step7"),
        ("acme/nothing", "no folder here, and on the Hub.*no such repository"),
        ("acme/gated", "gated; accept its terms"),
        ("/no/such/folder", "neither demo nor a folder here"),
        ("acme/empty", "no revisions"),
    ],
)
def test_a_misspelt_name(hub, model, message):
    hub.add("acme/one", {"main": EMPTY, "step7": EMPTY})
    hub.add("acme/gated", {"main": EMPTY}, gated=True)
    hub.add("acme/empty", {})
    with pytest.raises(ValueError, match=message) as caught:
        nla.checkpoints(model)
    assert "\n" not in str(caught.value)


def test_the_table_is_that_of_the_same_files_in_a_folder(acme, same, tmp_path):
    table = nla.scan("acme/tiny", moving)
    same(table)
    assert table.attrs["summary"] == {"done": 4, "reused": 0, "duplicates": 1, "failed": {}, "notes": []}
    whole(acme, tmp_path)


def test_only_what_is_needed_is_fetched(hub, ladder):
    for step in ladder.glob("step*"):
        torch.save(load_file(step / "model.safetensors"), step / "pytorch_model.bin")
        for name in ("optimizer.pt", "tokenizer.json", "training_args.bin", "flax_model.msgpack"):
            (step / name).write_bytes(b"large")
    hub.add("acme/tiny", branches(ladder))
    nla.scan("acme/tiny", moving)
    assert {path.rsplit("/", 1)[-1] for method, path, _ in hub.requests if method == "GET" and "/api/" not in path} == {
        "config.json",
        "model.safetensors",
    }
    assert hub.count("HEAD .*(bin|optimizer|tokenizer)") == 0


def test_sharded_bin(hub, ladder, same):
    from tests.helpers.files import rewrite

    for step in ladder.glob("step*"):
        rewrite(step, "sharded bin")
    hub.add("acme/tiny", branches(ladder))
    assert nla.audit("acme/tiny").status.tolist() == ["ok", "duplicate", "ok", "ok"]
    same(nla.scan("acme/tiny", moving))
    assert hub.count(GET + ".*-00002-of-00002.bin") == 3  # not again for step1, a copy


def watch(tmp_path, seen):
    """A measure that notes how many checkpoints are on this disk."""

    def watching(matrix):
        seen.setdefault(matrix.step, set()).add(len(on_disk(tmp_path)[0]))
        time.sleep(0.02)
        return {"x": 0.0}

    return watching


@pytest.fixture
def long(hub, original_ladder):
    """acme/tiny with ten different steps, on the straight line from the first model of the ladder to the last."""
    start, end = (load_file(original_ladder / f"step{s}" / "model.safetensors") for s in (0, 100))
    config, made = (original_ladder / "step0" / "config.json").read_bytes(), {}
    for step in range(10):
        state = {k: torch.lerp(start[k].float(), end[k].float(), step / 9).half() for k in start}
        made[f"step{step}"] = {"config.json": config, "model.safetensors": save(state)}
    hub.add("acme/tiny", made | {"main": made["step9"]})
    return hub


def test_bounded_disk_and_fetching_ahead(long, tmp_path):
    seen = {}
    watching = watch(tmp_path, seen)
    watching.pure = True
    table = nla.scan("acme/tiny", watching)
    assert len(table) == 140
    assert max(max(counts) for counts in seen.values()) == 3  # the first, this one and the next one
    assert set(on_disk(tmp_path)[0]) == {nla.checkpoints("acme/tiny")[place].commit for place in (0, -1)}
    assert long.count(GET + ".*safetensors") == 10


def test_the_previous_one_stays_where_it_is_needed(long, tmp_path):
    counts = {}

    def measure(matrix):
        counts.setdefault(matrix.step, set()).add(len(on_disk(tmp_path)[0]))
        return moving(matrix)

    nla.scan("acme/tiny", measure)
    assert max(max(c) for c in counts.values()) <= 4  # the first, the previous, this one and the next one
    assert long.count(GET + ".*safetensors") == 10  # none of them twice


def test_keep_all(long, tmp_path, monkeypatch):
    monkeypatch.setenv("KEEP", "all")
    nla.scan("acme/tiny", watch(tmp_path, {}))
    assert len(on_disk(tmp_path)[0]) == 10
    monkeypatch.delenv("KEEP")
    nla.scan("acme/tiny", moving)  # what was kept on purpose stays
    assert len([files for files in on_disk(tmp_path)[0].values() if "model.safetensors" in files]) == 10
    assert long.count(GET + ".*safetensors") == 10


@pytest.mark.parametrize(
    "count, said", [(0, "0 bytes"), (999, "999 bytes"), (83112, "83.1 kB"), (999_999, "1 MB"), (3672e9, "3,672 GB")]
)
def test_sizes_as_people_say_them(count, said):
    assert quantities.size(count) == said


@pytest.mark.parametrize("said, count", [("20GB", 20e9), ("1.5 g", 1.5e9), ("250000", 250_000), ("7 kB", 7000)])
def test_allowance(monkeypatch, said, count):
    monkeypatch.setenv("NLA_DISK", said)
    assert cache.allowance() == count


def test_no_fetching_ahead_beyond_the_allowance(long, tmp_path, monkeypatch):
    monkeypatch.setenv("NLA_DISK", "200kB")  # two checkpoints
    seen = {}
    nla.scan("acme/tiny", watch(tmp_path, seen))
    assert max(max(counts) for counts in seen.values()) == 2
    monkeypatch.setenv("NLA_DISK", "much")
    with pytest.raises(ValueError, match="NLA_DISK is 'much'"):
        nla.scan("acme/tiny", moving)


def test_what_a_process_left_behind_is_evicted(long, tmp_path):
    ladder = nla.checkpoints("acme/tiny")
    ladder[4].fetch()
    hub_listing.HUB.ours.clear()  # as if by another process, an hour ago
    os.utime(ladder[4].folder, (0, time.time() - 3600))
    assert nla.scan("acme/tiny", moving, steps=[0, 9]).step.nunique() == 2
    assert not ladder[4].folder.exists()


def test_copies_are_fetched_once(acme, tmp_path):
    nla.scan("acme/tiny", moving)
    assert acme.count(GET + ".*safetensors") == 3

    def pure(matrix):
        return {"x": matrix.step}

    pure.pure = True
    assert nla.scan("acme/tiny", pure).groupby("step").x.first().to_dict() == {0: 0, 1: 0, 20: 20, 100: 100}


def test_the_plan_is_said_before(acme, capsys):
    nla.scan("acme/tiny", moving)
    said = capsys.readouterr().err
    assert "acme/tiny: 4 checkpoints to measure, 250 kB to fetch, up to 250 kB of disk; after the first" in said
    nla.scan("acme/tiny", moving)
    assert "to fetch" not in capsys.readouterr().err


def test_the_plan_counts_what_is_only_compared_with(long, capsys):
    nla.scan("acme/tiny", moving, steps=[3, 5])
    assert (
        "2 checkpoints to measure, 167 kB to fetch, up to 332 kB to compare with, up to 419 kB of"
        in capsys.readouterr().err
    )
    assert long.count(GET + ".*safetensors") == 4  # 3 and 5, and 2 and 4 before them; not the ends


def test_what_the_clients_cache_has_is_used(acme, tmp_path, same):
    from huggingface_hub import constants, hf_hub_download

    for name in ("config.json", "model.safetensors"):
        cached = hf_hub_download("acme/tiny", name, revision="step20", endpoint=acme.endpoint)
    assert cached.startswith(constants.HF_HUB_CACHE)
    acme.requests.clear()
    checkpoint = nla.checkpoints("acme/tiny")[2]
    assert checkpoint.fetch() == checkpoint.folder and acme.count("resolve|lfs") == 0
    with pytest.warns(FutureWarning, match=r"Checkpoint\.path is Checkpoint\.fetch\(\) now"):
        assert checkpoint.path == checkpoint.folder
    same(nla.scan("acme/tiny", moving))
    assert not checkpoint.folder.exists() and Path(cached).is_file()  # evicting is of ours alone
    with open(cached, "r+b") as file:  # spoilt since
        file.seek(5000)
        file.write(b"spoilt")
    assert acme.count(GET + ".*safetensors") == 2
    nla.scan("acme/tiny", moving, steps=[20], refresh=True)
    assert acme.count(GET + ".*safetensors") == 3
    same(nla.scan("acme/tiny", moving))


def test_what_was_scanned_needs_no_network_again(acme, same, monkeypatch):
    nla.scan("acme/tiny", moving)
    acme.requests.clear()
    nla.scan("acme/tiny", moving)
    assert acme.count() == acme.count("GET .*/refs") == 1
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    same(nla.scan("acme/tiny", moving))
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE is set; MODEL=demo or a folder needs no network"):
        nla.checkpoints("acme/other")


def test_another_upload_is_measured_again(acme, original_ladder, ladder):
    before = nla.scan("acme/tiny", moving)
    os.replace(ladder / "step100" / "model.safetensors", ladder / "step20" / "model.safetensors")
    acme.add("acme/tiny", branches(original_ladder) | {"step20": ladder / "step20"})
    after = nla.scan("acme/tiny", moving)
    assert after.attrs["summary"]["done"] == 2  # step20, and step100 that was compared with it
    same = pd.Series(np.isclose(before.l1, after.l1)).groupby(after.step).all()
    assert same.to_dict() == {0: True, 1: True, 20: False, 100: True}
    assert np.allclose(after[after.step == 100].moved, 0) and (before[before.step == 100].moved > 0).all()


def test_a_token_goes_to_the_hub_alone(acme, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", "hf_averysecrettoken")
    acme.fault("status", "HEAD .*model", code=401, times=2)
    acme.fault("status", "GET /api/.*tree", code=503, times=2)
    with pytest.warns(UserWarning, match="left out") as caught:
        nla.scan("acme/tiny", moving)
    assert any("averysecret" in str(headers) for _, path, headers in acme.requests if path.startswith("/api/"))
    assert not any("averysecret" in str(headers) for _, path, headers in acme.requests if path.startswith("/lfs/"))
    assert "averysecret" not in "".join([*capfd.readouterr(), *(str(w.message) for w in caught)])
    acme.add("acme/gated", {"main": EMPTY}, gated=True)
    assert steps("acme/gated") == [0]  # with a token


def test_names_from_the_hub_cannot_leave_the_folder(hub, ladder, tmp_path):
    from tests.helpers.files import rewrite

    evil = {"../../evil.safetensors": b"x", "config.json": (ladder / "step20" / "config.json").read_bytes()}
    data = (ladder / "step20" / "model.safetensors").read_bytes()
    hub.add("acme/tiny", {"step1": evil | {"model.safetensors": data}})
    assert nla.scan("acme/tiny", moving).step.unique().tolist() == [1]
    rewrite(ladder / "step20", "sharded safetensors")
    index = b'{"weight_map": {"w": "../../../model.safetensors"}}'
    (ladder / "step20" / "model.safetensors.index.json").write_bytes(index)
    hub.add("acme/tiny", {"step20": ladder / "step20", "step1": evil | {"model.safetensors": data}})
    with pytest.warns(UserWarning, match="step20 left out: acme/tiny@step20/.* points outside its folder"):
        nla.scan("acme/tiny", moving)
    hub.repositories["acme/tiny"].refs["branches"]["step20"] = "../../../../evil"
    with pytest.raises(nla.CheckpointError, match="where a commit should stand"):
        nla.checkpoints("acme/tiny")
    hub.add("acme/branch", {"../../step5": EMPTY, "a/b": EMPTY, "step3": evil | {"model.safetensors": data}})
    assert steps("acme/branch") == [3]
    assert not [p for p in tmp_path.rglob("evil*")]


def test_a_revision_named_with_a_slash(hub, original_ladder):
    hub.add("acme/tiny", {"refs/pr/1": original_ladder / "step20", "main": original_ladder / "step100"})
    assert len(nla.scan("acme/tiny@refs/pr/1", moving)) == 14


def test_load_and_transformers_read_what_was_fetched(acme, tmp_path):
    with nla.load("acme/tiny", 20) as weights:
        W = weights.matrix("dense", 1)
        assert (W.initial.values - W.values).norm() > 1 and W.initial.step == 0
        assert W.final.step == 100 and W.previous.step == 1
    last = nla.checkpoints("acme/tiny")[-1]
    model = language.language_model(last)
    with nla.load("acme/tiny") as weights:
        assert torch.equal(model.gpt_neox.layers[1].attention.dense.weight, weights.matrix("dense", 1).values)
    assert len(on_disk(tmp_path)[0]) <= 3


def test_a_model_is_not_evicted_before_it_is_read(acme, monkeypatch):
    from transformers import AutoModelForCausalLM

    last, read = nla.checkpoints("acme/tiny")[-1], AutoModelForCausalLM.from_pretrained

    def evicted(folder, **options):
        cache.evict([last], [])
        return read(folder, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", evicted)
    assert language.language_model(last).config.vocab_size == 97


def test_a_revision_without_weights_is_reported_and_passed_over(acme, original_ladder, same):
    acme.add("acme/tiny", branches(original_ladder) | {"step50": EMPTY, "step60": {}})
    ladder = nla.checkpoints("acme/tiny")
    with pytest.raises(NotThere, match=r"acme/tiny@step60 holds no weights \(its files: none\)"):
        ladder[-2].source.weight_files()
    with pytest.warns(UserWarning, match="step50 left out: acme/tiny@step50 holds no weights"):
        table = nla.scan("acme/tiny", moving)
    same(table)  # step100 is compared with step20
    assert set(table.attrs["summary"]["failed"]) == {"step50", "step60"}


def test_two_runs_at_once_share_the_work(long, tmp_path):
    results = [p.communicate() for p in [start(long, tmp_path) for _ in range(2)]]
    expected = f"140 {14 * 45.0 + 126} {{}}\n"
    assert [out for out, _ in results] == [expected] * 2, results
    assert len((tmp_path / "log").read_text().splitlines()) == 140  # nothing was measured twice
    whole(long, tmp_path)


def test_make_asks_again_for_what_could_not_be_had(long, tmp_path):
    from tests.helpers.make import make

    home = [f"HF_ENDPOINT={long.endpoint}", f"HF_HOME={tmp_path / 'hf'}", "HF_HUB_OFFLINE=0", "STEPS=0,4,9"]
    long.fault("status", f"HEAD .*{nla.checkpoints('acme/tiny')[4].commit}/model", code=404, times=100)
    first = make("scan", "MODEL=acme/tiny", *home)
    assert first.returncode == 0 and "2 done, 0 reused, 0 duplicates, 1 failed" in first.stdout, first.stderr
    assert "acme/tiny step4 left out: acme/tiny@step4: model.safetensors: not on the Hub" in first.stderr
    long.heal()
    second = make("scan", "MODEL=acme/tiny", *home)
    assert "1 done, 2 reused, 0 duplicates, 0 failed" in second.stdout, second.stderr
    assert "Nothing to be done" in make("scan", "MODEL=acme/tiny", *home).stdout


def in_two_shards(folder, write, suffix):
    """Store the checkpoint in `folder` as two files, the first layer in one and the second in the other."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shard = {name: 1 + any(part in name for part in ("layers.1.", "final", "embed_out")) for name in state}
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    files = {i: f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)}
    for i, name in files.items():
        write({k: v.clone() for k, v in state.items() if shard[k] == i}, folder / name)
    index = {"weight_map": {name: files[i] for name, i in shard.items()}}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def test_shards_one_by_one_where_a_checkpoint_is_larger_than_the_allowance(hub, ladder, same, tmp_path, monkeypatch):
    for step in ladder.glob("step*"):
        in_two_shards(step, *((torch.save, "bin") if step.name == "step20" else (save_file, "safetensors")))
    hub.add("acme/tiny", branches(ladder))
    monkeypatch.setenv("NLA_DISK", "80000")  # of 83 kB
    shards = set()

    def pure(matrix):
        shards.update(name for files in on_disk(tmp_path)[0].values() for name in files if "-of-" in name)
        return {"norm": matrix.norm.gain.sum() if matrix.norm else 0.0, "x": matrix.values.sum()}

    pure.pure = True
    table = nla.scan("acme/tiny", pure, workers=1)
    assert hub.count(GET + ".*-of-") == 3 * 2  # nothing was fetched twice, nor for the copy
    assert not shards  # what is open has no name any more
    monkeypatch.delenv("NLA_DISK")
    assert table.x.tolist() == pytest.approx(nla.scan(str(ladder), pure).x.tolist(), rel=1e-5)
    monkeypatch.setenv("NLA_DISK", "80000")
    same(nla.scan("acme/tiny", moving))
    assert not any("-of-" in name for files in whole(hub, tmp_path).values() for name in files)
