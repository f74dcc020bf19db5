"""Peak memory of a pass, and reading raw tensors beside from_pretrained, each in a process of its own."""

import json
import os
import subprocess
import sys

from tests.bench import synthetic

PASS = """
import json, resource, sys, threading, time
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
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, peak * 1024]))
"""
RAW = """
import sys, time, nla, torch
from nla import models, Weights
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
    environment = os.environ | synthetic.fresh()
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env=environment, check=True, stdout=-1)
    return json.loads(done.stdout.splitlines()[-1])


def rows(size):
    name = {"tiny": "14m", "small": "160m", "full": "1b"}[size]
    model, workers, found = synthetic.ladder(name, 1), 2, []
    entries = max(m * n for m, n in synthetic.matrices(name))
    r = synthetic.config(name)["hidden_size"]
    # Its fp16 and float32 entries, and what blocks and the eigenvalue solver take.
    working = entries * (2 + 4) + 3 * 8 * r**2 + 8 * 2**23
    for which in ("spectra",) if size != "full" else ("spectra", "every"):
        peak, own = child(PASS, model, workers, which)
        allowed = working * workers + 1.5e9
        note = f"of these {own / 1e9:.2f} GB are the process's own, the rest mapped files; the model in float32 has "
        note += f"{4 * sum(m * n for m, n in synthetic.matrices(name)) / 1e9:.2f} GB"
        title = f"peak of a pass over pythia-{name}, {'all measures' if which == 'every' else 'norms, spectra, alpha'}"
        row = dict(name=title, unit="GB", ours=peak / 1e9, theirs=allowed / 1e9, ratio=peak / allowed, target="<= 1")
        found.append(row | {"note": note})
    times = {"ours": [], "float32": [], "default": []}
    for _ in range(3):
        times["ours"].append(child(RAW, model))
        times["float32"].append(child(PRETRAINED, model, "float32"))
        times["default"].append(child(PRETRAINED, model, "default"))
    ours, *theirs = (min(values) for values in times.values())
    for kind, seconds in zip(("in float32, as the seed did", "in the file's fp16"), theirs, strict=True):
        title = f"reading pythia-{name} | from_pretrained {kind}"
        row = dict(
            name=title, ours=ours, theirs=seconds, ratio=seconds / ours, target=">= 10" if "seed" in kind else None
        )
        found.append(row | {"note": "every byte copied once; best of three, files in the page cache"})
    return found
