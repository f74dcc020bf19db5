"""Time over the number of checkpoints, and over the size of a matrix."""

import os
import time

from tests.bench import synthetic
from tests.bench.bench_limit import best, flops


def rows(size):
    import nla
    from nla import measuring

    name, counts = {"tiny": ("14m", (1, 2, 4)), "small": ("14m", (3, 6, 12)), "full": ("70m", (3, 6, 12))}[size]
    measures, times = [nla.norms, nla.spectrum, nla.power_law], []
    models = [synthetic.ladder(name, count, 2) for count in counts]
    nla.scan(str(models[0]), measures, progress=False)  # what is remembered by shape is computed here
    for model in models:
        os.environ |= synthetic.fresh()
        start = time.perf_counter()
        nla.scan(str(model), measures, progress=False)
        times.append(time.perf_counter() - start)
    each = [t / count for t, count in zip(times, counts, strict=True)]
    note = "seconds per checkpoint: " + ", ".join(f"{e:.3g} of {c}" for e, c in zip(each, counts, strict=True))
    title = f"per checkpoint, {counts[-1]} | {counts[0]} of them"
    found = [dict(name=title, ours=each[-1], theirs=each[0], ratio=each[-1] / each[0], target="<= 1.2", note=note)]
    import torch

    from nla import spectra

    sides = {"tiny": (128, 256), "small": (512, 1024), "full": (512, 1024, 2048)}[size]
    with measuring.one_thread_each(1, 1):
        for shape in ((1, 1), (4, 1)):
            seconds = {}
            for n in sides:
                w = (0.02 * torch.randn(shape[0] * n, shape[1] * n)).half()
                seconds[n] = best(lambda w=w: spectra.singular_values(spectra.gram(w)), 5)
            grown, more = (
                seconds[sides[-1]] / seconds[sides[0]],
                flops(shape[0] * sides[-1], sides[-1]) / flops(shape[0] * sides[0], sides[0]),
            )
            title = f"spectrum, {shape[0]}:1, sides {sides[0]} to {sides[-1]}"
            note = f"time grew {grown:.3g} times, flops {more:.3g} times, one thread"
            found.append(dict(name=title, ours=seconds[sides[-1]], ratio=grown / more, target="<= 1.3", note=note))
    return found
