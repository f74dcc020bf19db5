"""`import nla` beside `import torch`: nothing heavy is loaded before it is needed."""

import subprocess
import sys

from tests.bench import timing

HEAVY = ("torch", "transformers", "pyarrow", "pandas", "scipy", "matplotlib", "huggingface_hub", "distributed")
CODE = "import sys, time; t = time.perf_counter(); import {}; t = time.perf_counter() - t; print(t, *sys.modules)"


def rows(size):
    times, loaded = {"nla": [], "torch": []}, ()
    for _ in range(1 if size == "tiny" else 5):
        for name in times:
            done = subprocess.run([sys.executable, "-c", CODE.format(name)], capture_output=True, text=True, check=True)
            seconds, *modules = done.stdout.split()
            times[name].append(float(seconds))
            loaded = [m for m in HEAVY if m in modules] if name == "nla" else loaded
    note = f"`import nla` loads {', '.join(loaded) or 'none'} of {', '.join(HEAVY)}"
    return [timing.row("import nla | import torch", times["nla"], times["torch"], ">= 10", note)]
