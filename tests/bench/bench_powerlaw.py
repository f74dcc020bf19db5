"""The exact search for xmin beside the package `powerlaw` 2.0, on the same samples; all fits beside the spectrum."""

import json
from functools import partial

import numpy as np

from tests.bench import environment, synthetic, timing

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
    for n in {"tiny": (64,), "small": (512, 1024), "full": (512, 1024, 2048)}[size]:
        yield f"Pareto, n = {n}", np.sort(1 + rng.pareto(2.5, n))
        yield f"random spectrum, n = {n}", np.linalg.svd(rng.standard_normal((n, n)), compute_uv=False)[::-1] ** 2


def rows(size):
    from nla.numerics import tails

    kept, found = dict(samples(size)), []
    path = synthetic.place("samples.npz")
    np.savez(path, **kept)
    ours, theirs = {name: [] for name in kept}, {name: [] for name in kept}
    for _ in range(1 if size == "tiny" else 3):
        fits = json.loads(environment.run(THEIRS, path))
        for name, x in kept.items():
            theirs[name].append(fits[name][-1])
            ours[name] += timing.in_turn(5, timing.timed(partial(tails.fit, x)))[0]
    for name, x in kept.items():
        fit, (alpha, distance, xmin, _) = tails.fit(x), fits[name]
        own = [float(v[0]) for v in (fit.alpha, fit.ks, fit.xmin)]
        same = "the same" if np.isclose(own[2], xmin, rtol=1e-9) else "ANOTHER"
        note = f"{same} xmin; alpha {own[0]:.6g} and {alpha:.6g}, D {own[1]:.6g} and {distance:.6g}"
        found.append(timing.row(name, ours[name], theirs[name], ">= 100", note))
        assert np.allclose(own, (alpha, distance, xmin), rtol=1e-6), (name, own, fits[name])
    return [*found, beside_the_spectrum(64 if size == "tiny" else 512)]


def beside_the_spectrum(n):
    """All fits of a matrix that has its spectrum, and the spectrum; the null is drawn before, once per shape."""
    import torch

    import nla

    matrix = nla.Matrix("dense", 0, 0, torch.randn(n, n, generator=torch.Generator().manual_seed(0)))
    matrix.singular_values, nla.measures.random_alpha(n, n)
    spectrum = timing.timed(lambda: nla.numerics.spectra.singular_values(nla.numerics.spectra.gram(matrix.values)))
    times = timing.in_turn(3, timing.timed(partial(nla.power_law, matrix)), spectrum)
    return timing.row(f"fits of {n} x {n}, and its spectrum", *times, ">= 1", "")
