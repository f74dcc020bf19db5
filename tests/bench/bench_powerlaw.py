"""The exact search for xmin beside the package `powerlaw` 2.0, on the same samples."""

import json
import time

import numpy as np

from tests.bench import environment, synthetic

THEIRS = """
import json, sys, time, warnings
import numpy as np, powerlaw
warnings.simplefilter("ignore")
found = {}
for name, x in np.load(sys.argv[1]).items():
    start = time.perf_counter()
    fit = powerlaw.Fit(x, parameter_ranges={"alpha": [1, None]}, verbose=False)  # by default alpha ends at 3
    found[name] = [fit.alpha, fit.D, fit.xmin, time.perf_counter() - start]
print(json.dumps(found))
"""


def samples(size):
    """Ascending samples: from a power law, and the eigenvalues of a random matrix."""
    rng = np.random.default_rng(0)
    for n in {"tiny": (128,), "small": (512, 1024), "full": (512, 1024, 2048)}[size]:
        yield f"Pareto, n = {n}", np.sort(1 + rng.pareto(2.5, n))
        yield f"random spectrum, n = {n}", np.linalg.svd(rng.standard_normal((n, n)), compute_uv=False)[::-1] ** 2


def rows(size):
    from nla import tails

    kept, found = dict(samples(size)), []
    path = synthetic.place("samples.npz")
    np.savez(path, **kept)
    theirs = json.loads(environment.run(THEIRS, path))
    for name, x in kept.items():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            fit = tails.fit(x)
            times.append(time.perf_counter() - start)
        alpha, distance, xmin, seconds = theirs[name]
        ours = [float(v[0]) for v in (fit.alpha, fit.ks, fit.xmin)]
        same = "the same" if np.isclose(ours[2], xmin, rtol=1e-9) else "ANOTHER"
        note = f"{same} xmin; alpha {ours[0]:.6g} and {alpha:.6g}, D {ours[1]:.6g} and {distance:.6g}"
        least = min(times)
        found.append(dict(name=name, ours=least, theirs=seconds, ratio=seconds / least, target=">= 100", note=note))
    return found
