"""`import nla` beside `import torch`: nothing heavy is loaded before it is needed."""

import statistics
import subprocess
import sys

HEAVY = ("torch", "transformers", "pyarrow", "pandas", "scipy", "matplotlib", "huggingface_hub", "distributed")
CODE = "import sys, time; t = time.perf_counter(); import {}; t = time.perf_counter() - t; print(t, *sys.modules)"


def rows(size):
    times, loaded = {"nla": [], "torch": []}, ()
    for _ in range(3 if size == "tiny" else 7):
        for name in times:
            done = subprocess.run([sys.executable, "-c", CODE.format(name)], capture_output=True, text=True, check=True)
            seconds, *modules = done.stdout.split()
            times[name].append(float(seconds))
            loaded = [m for m in HEAVY if m in modules] if name == "nla" else loaded
    ours, theirs = (statistics.median(values) for values in times.values())
    note = f"`import nla` loads {', '.join(loaded) or 'none'} of {', '.join(HEAVY)}"
    return [
        dict(name="import nla | import torch", ours=ours, theirs=theirs, ratio=theirs / ours, target=">= 10", note=note)
    ]
