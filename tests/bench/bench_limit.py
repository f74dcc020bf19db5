"""Spectra beside the machine's limit: the flops of Gram matrix and tridiagonalisation at its own float64 GEMM rate.

The limit counts 2 max(m, n) r^2 + (4/3) r^3 flops for a matrix of short side r. The Gram matrix is symmetric, so that
it can be had for half of its part; half of the tridiagonalisation is matrix-vector products, which run at the speed of
memory, so that its part cannot be reached.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench import synthetic

SIZES = {"tiny": ("14m",), "small": ("70m", "160m"), "full": ("70m", "160m", "410m", "1b")}


def gemm_rate(cores):
    """float64 flops per second of the whole machine: best of one large product on all cores, and of one on each."""
    import torch

    from nla import measuring

    a = torch.randn(2048, 2048, dtype=torch.float64)
    together = 2 * 2048**3 / best(lambda: a @ a, 5)
    with measuring.one_thread_each(cores, cores), ThreadPoolExecutor(cores) as pool:
        each = cores * 2 * 2048**3 / best(lambda: list(pool.map(lambda _: a @ a, range(cores))), 5)
    return max(together, each)


def best(function, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def flops(m, n):
    return 2 * max(m, n) * min(m, n) ** 2 + 4 / 3 * min(m, n) ** 3


def rows(size):
    import nla
    from nla import measuring

    cores, found = measuring.cores(), []
    for name in SIZES[size]:
        with nla.load(str(synthetic.ladder(name, 1, 2))) as weights:
            rate = gemm_rate(cores)
            layer = [weights.matrix(kind, 0) for kind in ("query", "dense_h_to_4h")]
            for m in [*layer, weights.matrix("embed_in")]:
                count = cores * (2 if m.layer >= 0 else 1)
                found.append(row(f"{m.shape[0]} x {m.shape[1]}", [m.weight] * count, rate, cores))
                found[-1]["note"] = tried(m.weight, cores) if m.layer >= 0 else None
        whole = synthetic.ladder(name, 1)
        with nla.load(str(whole)) as weights:
            seconds = best(lambda weights=weights: measuring.rows(weights, [top], None, None, cores, cores), 2)
        limit = sum(flops(*shape) for shape in synthetic.matrices(name)) / rate
        note = f"{rate / 1e9:.0f} Gflop/s on {cores} cores; with reading, hashing and looking for NaN"
        whole = dict(name=f"all of pythia-{name}", ours=seconds, theirs=limit, ratio=seconds / limit, target="<= 1.5")
        found.append(whole | {"note": note})
    return found


def top(matrix):
    return {"top": matrix.singular_values[0]}


def row(name, weights, rate, cores):
    """Time of these matrices, one thread each, beside the limit."""
    from nla import measuring, spectra

    with measuring.one_thread_each(cores, cores), ThreadPoolExecutor(cores) as pool:
        seconds = best(lambda: list(pool.map(lambda w: spectra.singular_values(spectra.gram(w)), weights)), 3)
    limit = sum(flops(*w.shape) for w in weights) / rate
    return dict(name=name, ours=seconds, theirs=limit, ratio=seconds / limit, target=None)


def tried(weight, cores):
    """What each way of doing a part takes for one matrix per core, in words."""
    import numpy as np
    import torch

    from nla import measuring, spectra

    tall = weight.double() if weight.shape[0] > weight.shape[1] else weight.double().T.contiguous()
    array, gram = tall.numpy(), spectra.gram(weight)
    ways = {
        "Gram by GEMM": lambda _: tall.T @ tall,
        "by symmetric update": lambda _: array.T @ array,
        "eigenvalues by torch": lambda _: torch.linalg.eigvalsh(gram),
        "by NumPy": lambda _: np.linalg.eigvalsh(gram.numpy()),
        "float32 Gram": lambda _: tall.float().T @ tall.float(),
    }
    with measuring.one_thread_each(cores, cores), ThreadPoolExecutor(cores) as pool:
        times = {k: best(lambda f=f: list(pool.map(f, range(cores))), 3) for k, f in ways.items()}
    stack = gram.expand(cores, *gram.shape).contiguous()
    times["by one stack on all cores"] = best(lambda: torch.linalg.eigvalsh(stack), 3)
    return f"{cores} of them: " + ", ".join(f"{way} {1e3 * seconds:.3g} ms" for way, seconds in times.items())
