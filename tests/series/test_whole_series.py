"""The whole series as its user runs it: make all over the network, on a ladder on which nothing is even."""

import shutil
import threading

import pytest

from tests.helpers.crooked import crooked_ladder
from tests.helpers.ladders import branches, on_disk, whole
from tests.helpers.make import ROOT, make

STEPS = (0, 1, 2, 4, 8, 16, 24, 40, 70, 100)
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def crooked(hub, tmp_path):
    """The Hub with ten checkpoints of acme/crooked: grouped heads, a growing vocabulary, NaN in the last."""
    ladder = crooked_ladder(tmp_path / "crooked", STEPS)
    for step in ladder.glob("step*"):
        shutil.copy(ladder / "tokenizer.json", step)
    hub.add("acme/crooked", branches(ladder))
    return hub


def test_the_whole_series_from_the_hub(crooked, tmp_path):
    """With a Hub that is not at its best, in bounded disk, two notebooks at once; audit too."""
    files = "GET /lfs/acme/crooked/"
    crooked.fault("status", "GET .*/refs", code=503)
    crooked.fault("drop", files, after=20_000, times=2)
    crooked.fault("wrong", files + ".*safetensors")
    home = [f"HF_ENDPOINT={crooked.endpoint}", f"HF_HOME={tmp_path / 'hf'}", "HF_HUB_OFFLINE=0", "MODEL=acme/crooked"]
    counts, ended = [], threading.Event()

    def count():
        while not ended.wait(0.02):
            counts.append(len(on_disk(tmp_path)[0]))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        done = make("-j2", "all", *home)
    finally:
        ended.set()
        counting.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("acme/crooked: 10 checkpoints, steps 0 to 100\n")
    out, names = tmp_path / "build" / "acme--crooked", {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert {p.stem for p in out.glob("*.ipynb")} == names
    assert f"{len(names)} notebooks on acme/crooked" in done.stdout
    index = (out / "report" / "index.html").read_text()
    assert all(f'href="{name}.html"' in index and (out / "report" / f"{name}.html").is_file() for name in names)
    assert list((tmp_path / "figures" / "acme--crooked").glob("01_*.png"))
    # The first, the last and the last without NaN; the previous, the present and the next of the ten.
    assert max(counts) <= 3 + 3 and all(fault["hits"] for fault in crooked.faults)
    # Every byte of the weights comes once, but for what the faults spoilt.
    commits = crooked.repositories["acme/crooked"].commits.values()
    ladder = {e.sha256: e.size for files in commits for e in files.values() if e.sha256}
    assert sum(crooked.sent.values()) <= 1.02 * sum(ladder.values()) + 3 * max(ladder.values()), crooked.sent
    whole(crooked, tmp_path, "acme/crooked")
    asked = crooked.count("GET /lfs/")
    again = make("all", *home)
    assert again.returncode == 0 and "notebooks on" not in again.stdout and crooked.count("GET /lfs/") == asked
    for other, runs in ((), False), (("STEPS=0,1",), True), (("PDF=1",), True):
        assert ("nla series" in make("all", "-n", *other, *home).stdout) == runs, other
    (out / "05_orthogonality.ipynb").unlink()
    assert "--jobs 3" in make("all", "-n", "-j3", *home).stdout
    audit = make("audit", *home)
    assert audit.returncode == 0 and "10 revisions, 10 ok" in audit.stdout, audit.stderr
    wrong = make("all", *home[:3], "MODEL=acme/crooked@step33")
    assert wrong.returncode and wrong.stdout == "" and wrong.stderr.count("\n") == 1 and "did you mean" in wrong.stderr
