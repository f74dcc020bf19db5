"""WeightWatcher 0.7.7 beside our spectrum and power law, on the same matrices: Q, K and V apart, no embeddings."""

import json
import os
import time

import numpy as np

from tests.bench import environment, synthetic

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
    import nla
    from nla import measuring

    model = synthetic.ladder({"tiny": "14m", "small": "70m", "full": "410m"}[size], 1, 1 if size == "tiny" else None)
    path = synthetic.place("split.safetensors")
    with nla.load(str(model)) as weights:
        split(weights, path)

    def randomised(matrix):
        return {"rand_distance": nla.rand_distance(matrix)}

    found = []
    for name, options, measures, target in (
        ("analyze()", {}, [nla.spectrum, nla.power_law], ">= 4"),
        (
            "analyze(randomize, mp_fit)",
            {"randomize": True, "mp_fit": True},
            [nla.spectrum, nla.power_law, randomised],
            ">= 50",
        ),
    ):
        theirs, alphas = json.loads(environment.run(THEIRS, path, json.dumps(options)))
        times = []
        for _ in range(3):
            os.environ |= synthetic.fresh()
            start = time.perf_counter()
            table = nla.scan(str(model), measures, kinds=KINDS, progress=False)
            times.append(time.perf_counter() - start)
        own = {f"{row.kind}_{row.layer}": row.alpha for row in table.itertuples()}
        worst = max(abs(own[k] - alphas[k]) for k in own) if own.keys() == alphas.keys() else np.inf
        ours, note = (
            min(times),
            f"{len(own)} matrices, {measuring.cores()} cores; the first of three runs took {times[0]:.3g} s",
        )
        found.append(
            dict(name=f"WeightWatcher {name}", ours=ours, theirs=theirs, ratio=theirs / ours, target=target, note=note)
        )
        if not options:
            same = dict(name="largest difference of alpha", ratio=worst, target="<= 0.001")
            found.append(same | {"note": "theirs is computed from float32 copies of the same fp16 weights"})
    return found


def split(weights, path):
    """Write the matrices one by one, for the other environment."""
    from safetensors.torch import save_file

    save_file({f"{m.kind}_{m.layer}": m.weight.contiguous().clone() for m in weights.matrices(KINDS)}, path)
