"""Sketches against exact spectra: time, error, memory, and the size from which a sketch pays.

`python -m tests.bench.bench_sketch` writes nla/studies/randomised_nla/sketch_geometries.json: the geometries of Pythia
from 70m to 12b, random and spiked, one BLAS thread, a process of its own for each so that its peak of memory can be
told. It goes on where it was stopped; a quarter of an hour on one core. `rows("full")` measures a layer's W1 of
pythia-12b anew.
"""

import argparse
import json
import os
import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from nla import nulls
from nla.matrices import Matrix
from nla.measures.sketched import ERRORS, sketched_spectrum
from nla.measures.spectrum import spectrum

HIDDEN = {"70m": 512, "160m": 768, "410m": 1024, "1b": 2048, "2.8b": 2560, "6.9b": 4096, "12b": 5120}
ROWS = {"query": 1, "dense_h_to_4h": 4}  # times the hidden size
VOCABULARY = {"6.9b": 50432, "12b": 50688}  # else 50304
SPIKES = 20  # singular values from 1.2 to 4 times the random edge
RESULTS = Path(__file__).parents[2] / "nla" / "studies" / "randomised_nla" / "sketch_geometries.json"
TIMES = RESULTS.with_name("galore_times.json")


def drawn(m, n, spiked, seed=0):
    """A float16 Gaussian matrix of unit variance over sqrt(n), with `SPIKES` directions above the edge if `spiked`.

    It is drawn in blocks of rows: drawing must not take more memory than what is then measured.
    """
    generator = torch.Generator().manual_seed(seed)
    W = torch.empty(m, n, dtype=torch.float16)
    U, V = (torch.linalg.qr(torch.randn(side, SPIKES, generator=generator))[0] for side in (m, n))
    U = U * torch.linspace(4, 1.2, SPIKES) * nulls.mp_edges(m, n)[1]
    for block, rows in zip(W.split(1024), U.split(1024), strict=True):
        noise = torch.randn(block.shape, generator=generator)
        block.copy_((noise + rows @ V.T if spiked else noise) / n**0.5)
    return W


def peak():
    """Most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(m, n, spiked, how):
    """Seconds (best of three if they are few), megabytes above what holds the matrix in float32, and values of one way
    to measure one matrix."""
    torch.set_num_threads(1)
    weight, times, memory = drawn(m, n, spiked), [], []
    nulls.mp_spectrum(m, n)
    while len(times) < 3 and sum(times) < 5:
        matrix = Matrix("dense_h_to_4h", 0, 0, weight)
        matrix.values  # noqa: B018 - both ways need it
        before, began = peak(), time.perf_counter()
        found = (spectrum if how == "exact" else sketched_spectrum)(matrix)
        times.append(time.perf_counter() - began)
        memory.append(peak() - before)  # the first tells
    kept = {k: float(f"{found[k]:.6g}") for k in [*ERRORS, *(f"{k}_error" for k in ERRORS)] if k in found}
    return {"seconds": float(f"{min(times):.3g}"), "megabytes": round(memory[0]), **kept}


def alone(*arguments):
    """`measured` in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measured, *arguments).result()


def geometries():
    """[(size, kind, m, n)] of Pythia, smallest first."""
    found = [(size, kind, times * h, h) for size, h in HIDDEN.items() for kind, times in ROWS.items()]
    found += [(size, "embed_in", VOCABULARY.get(size, 50304), h) for size, h in HIDDEN.items()]
    return sorted(found, key=lambda each: (each[2] * each[3] ** 2, each))


def crossover(n_from=128, n_to=2048, least=3):
    """(side of the smallest square matrix from which the sketch is faster, or None; the last ratio exact / sketch)."""
    n, ratio, first = n_from, 0.0, None
    while n <= n_to:
        matrix = drawn(n, n, False)
        seconds = {}
        for how, measure in (("exact", spectrum), ("sketch", sketched_spectrum)):
            times = []
            for _ in range(least):
                fresh = Matrix("query", 0, 0, matrix)
                nulls.mp_spectrum(n, n)
                began = time.perf_counter()
                measure(fresh)
                times.append(time.perf_counter() - began)
            seconds[how] = min(times)
        ratio = seconds["exact"] / seconds["sketch"]
        first = (first or n) if ratio > 1 else None
        n *= 2
    return first, ratio


def rows(size="small"):
    """Rows for the table of benchmarks: seconds unless the name says otherwise; theirs is the exact way."""
    first, ratio = crossover(n_to=1024 if size == "small" else 4096)
    largest = 1024 if size == "small" else 4096
    note = "side of the smallest square matrix for which a sketched spectrum is faster than an exact one"
    found = [dict(name="crossover", unit="side", ours=first, theirs=None, ratio=None, target=None, note=note)]
    note = "time of an exact spectrum over that of a sketched one"
    found.append(
        dict(name=f"square of side {largest}", ours=None, theirs=None, ratio=round(ratio, 2), target=None, note=note)
    )
    gradient = drawn(192, 768, True).float()
    seconds = {name: _projector_seconds(name, gradient) for name in ("exact", "sketched")}
    note = "projector of rank 48 of one 192 x 768 gradient: SVD against randomised range finder"
    found.append(_row("GaLore projector", seconds["sketched"], seconds["exact"], note))
    if size == "full":
        n = HIDDEN["12b"]
        exact, sketched = (alone(4 * n, n, True, how) for how in ("exact", "sketched"))
        note = f"W1 of one layer of pythia-12b, {4 * n} x {n}, one thread, a process of its own"
        found.append(_row("12b, W1 of a layer", sketched["seconds"], exact["seconds"], note))
        found.append(_row("12b, memory", sketched["megabytes"], exact["megabytes"], note, "MB"))
    return found


def _row(name, ours, theirs, note, unit="s"):
    ratio = theirs / max(ours, 1e-9)
    return dict(name=name, unit=unit, ours=ours, theirs=theirs, ratio=ratio, target=">= 1", note=note)


def _projector_seconds(name, gradient, repeats=20):
    from nla.studies.randomised_nla.galore import PROJECTORS

    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        PROJECTORS[name](gradient, 48)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def training_times(steps=15):
    """[{configuration, step_seconds, projector_seconds}] of the embedded model, one thread, steps taken in turn.

    The step is one without a new projector; medians.
    """
    from nla.demo import train
    from nla.running import training
    from nla.studies.randomised_nla import galore, runs

    torch.set_num_threads(1)
    windows = torch.randint(0, train.SHAPE["vocab_size"], (runs.BATCH, train.CONTEXT + 1))
    found = []
    for configuration in runs.CONFIGURATIONS:
        torch.manual_seed(0)
        model = train.new_model(0)
        if rank := configuration.get("factors"):
            for module in runs.inner(model).values():
                runs.parametrize.register_parametrization(module, "weight", runs.Product(rank))
        optimizer = runs.optimizer_of(model, **configuration)
        found.append((configuration, model, optimizer, []))
    for _ in range(steps):
        for _, model, optimizer, seconds in found:
            began = time.perf_counter()
            optimizer.zero_grad()
            training.token_loss(model, windows).backward()
            optimizer.step()
            seconds.append(time.perf_counter() - began)
    rows = []
    for configuration, model, _, seconds in found:
        row = {"configuration": configuration, "step_seconds": float(f"{np.median(seconds[1:]):.3g}")}
        if "projector" in configuration:  # all matrices of the model at the last gradient, thrice
            gradients = [module.weight.grad for module in runs.inner(model).values()]
            project, times = galore.PROJECTORS[configuration["projector"]], []
            for _ in range(3):
                began = time.perf_counter()
                for gradient in gradients:
                    project(gradient, configuration["rank"])
                times.append(time.perf_counter() - began)
            row["projector_seconds"] = float(f"{np.median(times):.3g}")
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=RESULTS, type=Path)
    parser.add_argument("--most", default=3e11, type=float, help="of what takes m n min(m, n) or more, spiked only")
    parser.add_argument("--training", action="store_true", help="write galore_times.json beside it instead")
    options = parser.parse_args()
    how = {
        "command": "python -m tests.bench.bench_sketch",
        "threads": 1,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    if options.training:
        record = {"how": how | {"command": f"{how['command']} --training"}, "rows": training_times()}
        options.out.with_name(TIMES.name).write_text(json.dumps(record) + "\n", encoding="utf-8")
        return
    done = json.loads(options.out.read_text(encoding="utf-8"))["rows"] if options.out.is_file() else []
    known = {(row["size"], row["kind"], row["spiked"]) for row in done}
    for size, kind, m, n in geometries():
        for spiked in (False, True):
            if (size, kind, spiked) in known or (m * n * min(m, n) > options.most and not spiked):
                continue
            row = dict(size=size, kind=kind, rows=m, cols=n, spiked=spiked)
            done.append(row | {way: alone(m, n, spiked, way) for way in ("sketched", "exact")})
            lines = ",\n".join(json.dumps(each) for each in done)
            partial = options.out.with_suffix(".partial")
            partial.write_text(f'{{"how": {json.dumps(how)},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")
            os.replace(partial, options.out)
            print(size, kind, spiked, done[-1]["exact"]["seconds"], done[-1]["sketched"]["seconds"], flush=True)


if __name__ == "__main__":
    main()
