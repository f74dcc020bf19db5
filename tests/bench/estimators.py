"""Each estimator of sketch and quadrature against the exact value at Pythia's geometries: error and time.

`python -m tests.bench.estimators` writes nla/studies/randomised_nla/sketch_estimators.json, matrix by matrix, and goes
on where it was stopped; one BLAS thread. The matrices are those of `tests.bench.bench_sketch`: Gaussian entries, and
the same with 20 directions above the random edge.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from nla import nulls
from nla.numerics import quadrature, sketch, spectra
from tests.bench import bench_sketch

LEADING, VECTORS, ROWS = 8, 36, 64
RESULTS = bench_sketch.RESULTS.with_name("sketch_estimators.json")
ALL_PAIRS = 2e11  # m m n above which not all pairs of rows are taken
GAUSSIAN = 2e11  # m n min(m, n) above which only the spiked matrix is measured


def timed(function, *arguments, **options):
    """(result, seconds): best of three if they are few."""
    times = []
    while len(times) < 3 and sum(times) < 2:
        began = time.perf_counter()
        result = function(*arguments, **options)
        times.append(time.perf_counter() - began)
    return result, min(times)


def all_pairs(X):
    """Mean |cos| over all pairs of rows of unit length, in blocks."""
    total = sum(float((rows @ X.T).abs().double().sum()) for rows in X.split(1024))
    return (total - len(X)) / (len(X) * (len(X) - 1))


def compared(m, n, spiked):
    """[{quantity, exact, exact_seconds, estimate, error, seconds}] of one matrix; a count's error is a number."""
    W = bench_sketch.drawn(m, n, spiked).float()
    r = min(m, n)
    gram, gram_seconds = timed(spectra.gram, W)
    s, seconds = timed(spectra.singular_values, gram)
    spectrum_seconds, rows = gram_seconds + seconds, []

    def add(quantity, exact, exact_seconds, estimate, seconds):
        numbers = dict(exact=exact, exact_seconds=exact_seconds, estimate=estimate.value, error=estimate.error)
        numbers["seconds"] = seconds
        rows.append({"quantity": quantity} | {k: float(f"{v:.5g}") for k, v in numbers.items()})

    product, z = sketch.squared_gram(W), sketch.signs(r, VECTORS, like=W)
    fourth = float((gram**2).sum())  # sum s^4 takes no eigenvalues
    for name in ("hutchinson", "hutch_pp"):
        add(f"sum of s^4, {name}", fourth, gram_seconds, *timed(getattr(sketch, name), product, z))
    for name in ("range_finder", "block_krylov"):
        found, seconds = timed(getattr(sketch, name), W, LEADING)
        worst = np.argmax(np.abs(found.s / s[:LEADING] - 1))
        estimate = sketch.Estimate(found.s[worst], found.error[worst])
        add(f"8 leading s (worst), {name}", s[worst], spectrum_seconds, estimate, seconds)
    density, seconds = timed(quadrature.quadrature, W)
    lower, upper = nulls.mp_edges(m, n, n**-0.5)
    counts = {"above the edge": ((s > 1.02 * upper).sum(), density.count_above(1.02 * upper))}
    if lower > 0:
        found = density.count_above(0.98 * lower)
        counts["below the edge"] = ((s <= 0.98 * lower).sum(), sketch.Estimate(r - found.value, found.error))
    for name, (exact, estimate) in (counts | {"nuclear norm": (s.sum(), density.trace(np.abs))}).items():
        add(name, exact, spectrum_seconds, estimate, seconds)
    if m * m * n <= ALL_PAIRS:
        X = W / W.norm(dim=1, keepdim=True)
        exact, seconds = timed(all_pairs, X)
        add("mean |cos| of rows", exact, seconds, *timed(sketch.row_pairs, X, torch.abs, ROWS))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=RESULTS, type=Path)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    how = {"command": "python -m tests.bench.estimators", "threads": 1, "versions": versions}
    done = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.is_file() else []
    known = {(row["size"], row["kind"], row["spiked"]) for row in done}
    for size, kind, m, n in bench_sketch.geometries():
        for spiked in (False, True):
            if (size, kind, spiked) in known or (m * n * min(m, n) > GAUSSIAN and not spiked):
                continue
            same = dict(size=size, kind=kind, rows=m, cols=n, spiked=spiked)
            done += [same | row for row in compared(m, n, spiked)]
            lines = ",\n".join(json.dumps(each) for each in done)
            partial = out.with_suffix(".partial")
            partial.write_text(f'{{"how": {json.dumps(how)},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")
            os.replace(partial, out)
            print(size, kind, spiked, flush=True)


if __name__ == "__main__":
    main()
