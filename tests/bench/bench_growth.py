"""Time over the number of checkpoints, and over the size of a matrix."""

import os
from functools import partial

from tests.bench import synthetic, timing
from tests.bench.bench_limit import flops


def rows(size):
    """Small: two layers of pythia-14m and 70m; matrices of side 512 and 1024."""
    return [checkpoints(size), *matrices(size)]


def checkpoints(size):
    import nla

    name, counts = {"tiny": ("tiny", (1, 2, 3)), "small": ("14m", (3, 6, 12)), "full": ("70m", (3, 6, 12))}[size]
    measures, models = [nla.norms, nla.spectrum, nla.power_law], [synthetic.ladder(name, count, 2) for count in counts]

    def scan(model):
        os.environ |= synthetic.fresh()
        nla.scan(str(model), measures, progress=False)

    scan(models[0])  # what is remembered by shape is computed here
    ways = [timing.timed(partial(scan, model)) for model in models]
    times = timing.in_turn(1 if size == "tiny" else 2, *ways)
    each = [[t / count for t in some] for some, count in zip(times, counts, strict=True)]
    said = ", ".join(f"{min(e):.3g} of {c}" for e, c in zip(each, counts, strict=True))
    title = f"a checkpoint of {counts[-1]} | of {counts[0]}"
    return timing.row(title, each[-1], each[0], "<= 1.2", f"seconds per checkpoint: {said}", grows=False)


def matrices(size):
    import torch

    from nla.numerics import spectra, threads

    sides, found = {"tiny": (64, 128), "small": (512, 1024), "full": (512, 1024, 2048)}[size], []
    with threads.one_thread_each(1, 1):
        for tall in (1, 4):
            weights = [(0.02 * torch.randn(tall * n, n)).half() for n in sides]
            ways = [timing.timed(lambda w=w: spectra.singular_values(spectra.gram(w))) for w in weights]
            times = timing.in_turn(1 if size == "tiny" else 5, *ways)
            first, last = (flops(tall * n, n) for n in (sides[0], sides[-1]))
            expected = [t * last / first for t in times[0]]
            title = f"spectrum, {tall}:1, side {sides[-1]} | {sides[0]} by flops"
            note = f"time grew {min(times[-1]) / min(times[0]):.3g} times, flops {last / first:.3g} times, one thread"
            found.append(timing.row(title, times[-1], expected, "<= 1.3", note, grows=False))
    return found
