"""Peak memory of a pass, and reading raw tensors beside from_pretrained, each in a process of its own."""

import json
import os
import subprocess
import sys
from functools import partial

from tests.bench import synthetic, timing

PASS = """
import json, sys, threading, time
import nla
from nla import measures
model, workers, every = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "every"
some = [getattr(measures, n) for n in measures.__all__] if every else [nla.norms, nla.spectrum, nla.power_law]
peak, over = 0, threading.Event()
def watch():
    global peak
    while not over.wait(0.02):
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        peak = max(peak, int(status["RssAnon"].split()[0]))
threading.Thread(target=watch).start()
nla.scan(model, some, workers=workers, progress=False)
over.set()
# Not ru_maxrss, which a process inherits from the one that started it.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([int(status["VmHWM"].split()[0]) * 1024, peak * 1024]))
"""
RAW = """
import sys, time, nla, torch
from nla import Weights
from nla import models
checkpoint = models.checkpoints(sys.argv[1])[0]
start = time.perf_counter()
with Weights(checkpoint) as weights:
    for matrix in weights.matrices():
        matrix.weight.clone()  # every byte is read
print(time.perf_counter() - start)
"""
PRETRAINED = """
import sys, time
from transformers import AutoModelForCausalLM
start = time.perf_counter()
AutoModelForCausalLM.from_pretrained(sys.argv[1] + "/step0", dtype=None if sys.argv[2] == "default" else sys.argv[2])
print(time.perf_counter() - start)
"""


def child(code, *arguments):
    """What that program prints in its last line, run in a process of its own."""
    environment = os.environ | synthetic.fresh()
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, timeout=1200)
    return json.loads(done.stdout.splitlines()[-1])


def rows(size):
    """Small: four layers of pythia-160m."""
    name, workers, layers = {"tiny": "tiny", "small": "160m", "full": "1b"}[size], 2, 4 if size == "small" else None
    model = synthetic.ladder(name, 1, layers)
    entries = [m * n for m, n in synthetic.matrices(name, layers)]
    r = synthetic.config(name)["hidden_size"]
    # Its fp16 and float32 entries, and what blocks and the eigenvalue solver take.
    allowed = (max(entries) * (2 + 4) + 3 * 8 * r**2 + 8 * 2**23) * workers + 1.5e9
    found = []
    for which in ("spectra", "every") if size == "full" else ("spectra",):
        peak, own = child(PASS, model, workers, which)
        note = f"{own / 1e9:.2f} GB are the process's own, the rest mapped files; "
        note += f"the whole model in float32 is {4 * sum(entries) / 1e9:.2f} GB"
        title = f"peak RSS, pythia-{name}, {'all measures' if which == 'every' else 'norms, spectra, alpha'} | allowed"
        row = dict(name=title, unit="GB", ours=peak / 1e9, theirs=allowed / 1e9, ratio=peak / allowed, target="<= 1")
        found.append(row | {"note": note})
    raw = partial(child, RAW, model)
    ways = raw, partial(child, PRETRAINED, model, "float32"), partial(child, PRETRAINED, model, "default")
    ours, seed, kept = timing.in_turn(1 if size == "tiny" else 3, *ways)
    note = "every byte copied once; files in the page cache"
    title = f"reading pythia-{name} | from_pretrained"
    found.append(timing.row(f"{title} in float32, as the seed", ours, seed, ">= 10", note))
    found.append(timing.row(f"{title} in the file's fp16", ours, kept, None, note))
    return found
