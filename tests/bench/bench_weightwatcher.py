"""WeightWatcher 0.7.7 beside our spectrum and power law, on the same matrices: Q, K and V apart, no embeddings."""

import json
import os
import time

from tests.bench import environment, synthetic, timing

THEIRS = """
import json, logging, sys, time, warnings
warnings.simplefilter("ignore")
import torch, weightwatcher
from safetensors.torch import load_file
logging.getLogger("weightwatcher").setLevel(logging.CRITICAL)
class Holder(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        for name, weight in weights.items():
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            layer.weight.data = weight.float()
            setattr(self, name, layer)
watcher = weightwatcher.WeightWatcher(model=Holder(load_file(sys.argv[1])))
start = time.perf_counter()
details = watcher.analyze(**json.loads(sys.argv[2]))
seconds = time.perf_counter() - start
print(json.dumps([seconds, dict(zip(details.longname, details.alpha))]))
"""
KINDS = ("query", "key", "value", "dense", "dense_h_to_4h", "dense_4h_to_h")


def rows(size):
    """Small: pythia-70m."""
    name, layers = {"tiny": ("tiny", None), "small": ("70m", None), "full": ("410m", None)}[size]
    model = synthetic.ladder(name, 1, layers)
    import nla

    path = synthetic.place("split.safetensors")
    with nla.load(str(model)) as weights:
        split(weights, path)

    def randomised(matrix):
        return {"rand_distance": nla.measures.rand_distance(matrix)}

    ours = [nla.spectrum, nla.power_law]
    found = both("analyze()", {}, ours, ">= 4", model, path, 3 if size == "small" else 1)
    options = {"randomize": True, "mp_fit": True}
    found += both("analyze(randomize, mp_fit)", options, [*ours, randomised], ">= 50", model, path, 1)
    return found


def both(name, options, measures, target, model, path, rounds):
    """The row of one way to call theirs, and one for the difference of alpha."""
    import nla
    from nla.numerics import threads

    results = {}

    def own():
        os.environ |= synthetic.fresh()
        start = time.perf_counter()
        results["ours"] = nla.scan(str(model), measures, kinds=KINDS, progress=False)
        return time.perf_counter() - start

    def other():
        seconds, results["theirs"] = json.loads(environment.run(THEIRS, path, json.dumps(options)))
        return seconds

    first = own()  # pays for what is remembered by shape
    *ours, theirs = timing.in_turn(rounds, own, own, own, other)
    alphas = {f"{row.kind}_{row.layer}": row.alpha for row in results["ours"].itertuples()}
    assert alphas.keys() == results["theirs"].keys(), "both measure the same matrices"
    worst = max(abs(alpha - results["theirs"][k]) for k, alpha in alphas.items())
    note = f"{len(alphas)} matrices, {threads.cores()} cores; our first run took {first:.3g} s"
    found = [timing.row(f"WeightWatcher {name}", [t for times in ours for t in times], theirs, target, note)]
    if not options:
        note = "theirs is computed from float32 copies of the same fp16 weights"
        found.append(dict(name="largest difference of alpha", ratio=worst, target="<= 0.001", note=note))
        assert worst <= 1e-3, f"alpha differs by {worst}"
    return found


def split(weights, path):
    """Write the matrices one by one, for the other environment."""
    from safetensors.torch import save_file

    save_file({f"{m.kind}_{m.layer}": m.weight.contiguous().clone() for m in weights.matrices(KINDS)}, path)
