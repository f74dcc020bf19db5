"""Writes costs.json, which costs_table.py computes times from: `python -m tests.bench.costs`, some minutes on a core.

All measures on one layer and one embedding of two sizes, one thread each, in seconds of the processor (not of the
clock, so that other work on the machine costs little): the second of two checkpoints, because the first one pays for
what is remembered by shape. Of an embedding, one checkpoint is enough: there that is little beside the matrix.
"""

import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

from nla.models.published import PYTHIA_STEPS
from tests.bench import costs_table, synthetic

LAYERS, EMBEDDINGS = ("70m", "410m"), ("70m", "410m")
OUT = Path(__file__).with_name("costs.json")


def main():
    with ProcessPoolExecutor(int(sys.argv[1]) if len(sys.argv) > 1 else 1, get_context("spawn")) as pool:
        rate = pool.submit(gflops)
        layers = {name: pool.submit(measured, name, False) for name in LAYERS}
        embeddings = {name: pool.submit(measured, name, True) for name in EMBEDDINGS}
        spectra = {name: future.result()["spectra"] for name, future in layers.items()}
        side = str(synthetic.config(LAYERS[-1])["hidden_size"])
        found = {
            "command": "python -m tests.bench.costs",
            "machine": f"one core of {os.cpu_count()} of a shared {platform.machine()} server, one thread",
            "gflops_per_core": rate.result(),
            "spectra_over_limit": None,
            "layer": {str(synthetic.config(n)["hidden_size"]): f.result() for n, f in layers.items()},
            "embedding": {str(synthetic.config(n)["hidden_size"]): f.result() for n, f in embeddings.items()},
        }
    flops = sum(2 * max(m, n) * min(m, n) ** 2 + 4 / 3 * min(m, n) ** 3 for m, n in layer(int(side)))
    found["spectra_over_limit"] = three(spectra[LAYERS[-1]] * found["gflops_per_core"] * 1e9 / flops)
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(OUT.read_text())


def layer(d):
    return [(d, d)] * 4 + [(4 * d, d), (d, 4 * d)]


def three(value):
    return float(f"{value:.3g}")


def used(function):
    """Seconds of the processor."""
    start = time.process_time()
    function()
    return time.process_time() - start


def alone():
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def gflops():
    """float64 GEMM, best of five."""
    import torch

    alone()
    a = torch.randn(1536, 1536, dtype=torch.float64)
    return three(2e-9 * 1536**3 / min(used(lambda: a @ a) for _ in range(5)))


def measured(name, embedding):
    """{"all", "log": seconds of the measures of all steps and of logarithmic ones, "spectra": of these alone}.

    Of what is taken at fewer steps than the 20 logarithmic ones, its share.
    """
    import nla
    from nla.commands.bundle import every

    alone()
    ladder = [SimpleNamespace(step=step) for step in PYTHIA_STEPS]
    model = synthetic.ladder(name, 3, 1)
    kinds = ["embed_in"] if embedding else nla.KINDS[:6]
    for step in (2000,) if embedding else (2000, 1000):
        times = {"all": 0.0, "log": 0.0, "spectra": 0.0}
        with nla.load(str(model), step=step) as weights:
            for kind in kinds:
                matrix = weights.matrix(kind, -1 if embedding else 0)
                times["spectra"] += used(lambda matrix=matrix: matrix.singular_values)
                for measure in every():
                    if kind in getattr(measure, "kinds", (kind,)):
                        count = len(nla.models.choose(ladder, getattr(measure, "steps", "all")))
                        taken = used(lambda measure=measure, matrix=matrix: measure(matrix))
                        times["all" if count > 20 else "log"] += taken * min(count / 20, 1)
    times["all"] += times["spectra"]
    return {key: three(value) for key, value in times.items()}


if __name__ == "__main__":
    print(costs_table.table()) if sys.argv[1:] == ["--table"] else main()
