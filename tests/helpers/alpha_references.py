"""What other packages say of seeded matrices and samples: python tests/helpers/alpha_references.py.

Writes alpha_references.json beside this file. Needs weightwatcher 0.7.7, powerlaw 2.0.0 and diptest 0.12.0, with torch,
in an environment of their own; the project itself does not.
"""

import json
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_suffix(".json")


def matrices():
    """{name: matrix} of float32, from the generator of NumPy whose stream never changes."""
    made = {}
    for i, (m, n) in enumerate([(200, 200), (400, 100), (100, 300)]):
        rng = np.random.RandomState(i)
        noise = rng.standard_normal((m, n)) / max(m, n) ** 0.5
        made[f"noise {m}x{n}"] = noise
        U, V = (np.linalg.qr(rng.standard_normal((side, 12)))[0] for side in (m, n))
        made[f"spikes {m}x{n}"] = noise + (U * np.linspace(2, 6, 12)) @ V.T
        made[f"entries {m}x{n}"] = rng.standard_t(2.5, (m, n)) / max(m, n) ** 0.5
        U, V = (np.linalg.qr(rng.standard_normal((side, min(m, n))))[0] for side in (m, n))
        made[f"tail {m}x{n}"] = (U * rng.random_sample(min(m, n)) ** -0.25) @ V.T  # alpha = 3
    return {name: matrix.astype(np.float32) for name, matrix in made.items()}


def samples():
    """{name: ascending sample}."""
    rng = np.random.RandomState(10)
    pareto = [(f"pareto {a}", rng.random_sample(300) ** (1 / (1 - a))) for a in (1.8, 2.5, 3.5, 5.0)]
    others = [("lognormal", np.exp(rng.standard_normal(300))), ("exponential", 1 + rng.exponential(1.0, 300))]
    two = np.concatenate([rng.standard_normal(150), rng.standard_normal(100) + 4])
    return {name: np.sort(x) for name, x in [*pareto, *others, ("two modes", two)]}


def weightwatcher_says():
    import torch
    import weightwatcher

    names, columns = list(matrices()), ["alpha", "D", "xmin", "sigma", "num_pl_spikes", "alpha_weighted"]
    columns += ["log_alpha_norm", "log_spectral_norm", "detX_num", "ERG_gap"]
    layers = torch.nn.ModuleList(torch.nn.Linear(*w.shape[::-1], bias=False) for w in matrices().values())
    with torch.no_grad():
        for layer, weight in zip(layers, matrices().values(), strict=True):
            layer.weight.copy_(torch.from_numpy(weight))
    found = weightwatcher.WeightWatcher(model=layers).analyze(detX=True, min_evals=50)
    assert len(found) == len(names)
    return {n: {c: float(found[c].iloc[i]) for c in columns} for i, n in enumerate(names)}


def powerlaw_says():
    import powerlaw

    found = {}
    for name, x in samples().items():
        if name == "two modes":
            continue
        free = powerlaw.Fit(x, parameter_ranges={"alpha": [1, None]}, verbose=False)
        fixed = powerlaw.Fit(x, xmin=x[0], parameter_ranges={"alpha": [1, None]}, verbose=False)
        gains = [-fixed.distribution_compare("power_law", other)[0] for other in ("lognormal", "truncated_power_law")]
        found[name] = {
            "alpha": free.alpha,
            "xmin": free.xmin,
            "D": free.D,
            "lognormal": gains[0],
            "truncated": gains[1],
        }
    return {name: {k: float(v) for k, v in row.items()} for name, row in found.items()}


def diptest_says():
    import diptest

    return {name: float(diptest.dipstat(x)) for name, x in samples().items()}


if __name__ == "__main__":
    said = {"weightwatcher": weightwatcher_says(), "powerlaw": powerlaw_says(), "diptest": diptest_says()}
    PATH.write_text(json.dumps(said, indent=1) + "\n")
