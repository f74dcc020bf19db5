"""Spectra beside the machine's limit: the flops of Gram matrix and tridiagonalisation at its own float64 GEMM rate.

The limit counts 2 max(m, n) r^2 + (4/3) r^3 flops for a matrix of short side r. The Gram matrix is symmetric, so that
it can be had for half of its part; half of the tridiagonalisation is matrix-vector products, which run at the speed of
memory, so that its part cannot be reached.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.bench import synthetic, timing

SIZES = {"tiny": ("tiny",), "small": ("70m", "160m"), "full": ("70m", "160m", "410m", "1b")}


def gemms(cores, pool, side=2048):
    """(flops, two ways to do them): float64 products of the whole machine, one on all cores and one on each."""
    import torch

    from nla.numerics import threads

    a = torch.randn(side, side, dtype=torch.float64)
    several = [a.clone() for _ in range(cores)]

    def each():
        with threads.one_thread_each(cores, cores):
            return timing.timed(lambda: list(pool.map(lambda b: b @ b, several)))()

    def together():
        with threads.one_thread_each(1, cores):
            return timing.timed(lambda: [b @ b for b in several])()

    return cores * 2 * side**3, (each, together)


def flops(m, n):
    return 2 * max(m, n) * min(m, n) ** 2 + 4 / 3 * min(m, n) ** 3


def rows(size):
    import nla
    from nla.numerics import threads
    from nla.scanning import rows as scanning_rows

    cores, found, every = threads.cores(), [], scanning_rows.Selection(None, None)
    rounds = 1 if size == "tiny" else 3
    with ThreadPoolExecutor(cores) as pool:
        work, ways = gemms(cores, pool, 256 if size == "tiny" else 1536)
        for name in SIZES[size]:
            with nla.load(str(synthetic.ladder(name, 1))) as weights:

                def whole(weights=weights):
                    return timing.timed(lambda: scanning_rows.rows(weights, [top], every, cores, cores))()

                note = "spectra with reading, hashing and looking for NaN; the limit was measured in turn"
                title = f"all of pythia-{name} | limit"
                found.append(beside(title, whole, synthetic.matrices(name), work, ways, rounds, "<= 1.5", note))
                for kind, layer in (("query", 0), ("dense_h_to_4h", 0), ("embed_in", -1)):
                    several = [weights.matrix(kind, layer).weight] * cores
                    shapes = [w.shape for w in several]
                    way = partial(spectra_of, several, cores, pool)
                    title = f"{cores} of {shapes[0][0]} x {shapes[0][1]} | limit"
                    found.append(beside(title, way, shapes, work, ways, rounds, None, "one thread each"))
                found += tried(weights.matrix("dense_h_to_4h", 0).weight, cores, pool, rounds)
    return found


def top(matrix):
    return {"top": matrix.singular_values[0]}


def spectra_of(weights, cores, pool):
    """Seconds for the spectra of these matrices, one thread each."""
    from nla.numerics import spectra, threads

    with threads.one_thread_each(cores, cores):
        return timing.timed(lambda: list(pool.map(lambda w: spectra.singular_values(spectra.gram(w)), weights)))()


def beside(title, way, shapes, work, products, rounds, target, note):
    """The row of a way to the spectra of these shapes beside the time of their flops at the rate of the products."""
    ours, *rates = timing.in_turn(rounds, way, *products)
    rate = work / min(min(times) for times in rates)
    share = sum(flops(*shape) for shape in shapes) / rate
    note = f"{rate / 1e9:.0f} Gflop/s; {note}"
    fastest = min(rates, key=min)
    scaled = [share * seconds / min(fastest) for seconds in fastest]  # so that noise of the rate is seen as well
    return timing.row(title, ours, scaled, target, note, grows=False)


def tried(weight, cores, pool, rounds):
    """A row for each other way to do a part: `theirs` over `ours`, for one matrix per core."""
    import numpy as np
    import torch

    from nla.numerics import spectra, threads

    tall = (weight if weight.shape[0] > weight.shape[1] else weight.T).double().contiguous()
    array, gram, narrow = tall.numpy(), spectra.gram(weight), tall.float()
    stack, shape = gram.expand(cores, *gram.shape).contiguous(), f"{weight.shape[0]} x {weight.shape[1]}"

    def each(function):
        def run():
            with threads.one_thread_each(cores, cores):
                return timing.timed(lambda: list(pool.map(lambda _: function(), range(cores))))()

        return run

    def stacked():
        with threads.one_thread_each(1, cores):
            return timing.timed(lambda: torch.linalg.eigvalsh(stack))()

    s = spectra.singular_values(gram)
    rough = np.sqrt(np.maximum(torch.linalg.eigvalsh(narrow.T @ narrow).numpy()[::-1], 0))
    worst = f"singular values off by up to {np.abs(rough / s - 1).max():.1e} of themselves"
    eigenvalues = each(lambda: torch.linalg.eigvalsh(gram))
    pairs = (
        ("Gram, symmetric update | GEMM", each(lambda: array.T @ array), each(lambda: tall.T @ tall), ""),
        ("eigenvalues, a thread each | one stack, all cores", eigenvalues, stacked, ""),
        ("eigenvalues, torch | NumPy", eigenvalues, each(lambda: np.linalg.eigvalsh(gram.numpy())), ""),
        ("eigenvalues, torch | two-stage", eigenvalues, each(lambda: two_stage(gram.numpy())), ""),
        ("eigenvalues, float64 | float32", eigenvalues, each(lambda: torch.linalg.eigvalsh(gram.float())), worst),
        ("Gram, float64 | float32", each(lambda: array.T @ array), each(lambda: narrow.T @ narrow), worst),
    )
    assert np.allclose(two_stage(gram.numpy()), torch.linalg.eigvalsh(gram).numpy(), atol=1e-12 * float(gram.trace()))
    found = []
    for title, ours, theirs, note in pairs:
        times = timing.in_turn(rounds, ours, theirs)
        found.append(timing.row(f"{shape}: {title}", *times, None, note))
        found[-1]["note"] = found[-1]["note"].removeprefix("; ")
    return found


def two_stage(gram):
    """Eigenvalues by the two-stage driver of the OpenBLAS that comes with NumPy, which NumPy itself does not call."""
    import ctypes

    import numpy as np
    from threadpoolctl import threadpool_info

    paths = [
        i["filepath"] for i in threadpool_info() if i["prefix"] == "libscipy_openblas" and "numpy" in i["filepath"]
    ]
    driver = ctypes.CDLL(paths[0]).scipy_dsyevd_2stage_64_
    n = len(gram)
    a, w, integer = np.array(gram, order="F"), np.empty(n), lambda k: ctypes.byref(ctypes.c_int64(k))
    pointer = lambda x: x.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
    info, lwork = ctypes.c_int64(), -1
    for _ in range(2):  # first for the size of its workspace
        room, places = np.empty(max(lwork, 1)), np.empty(max(n, 1), np.int64)
        driver(b"N", b"L", integer(n), pointer(a), integer(n), pointer(w), pointer(room), integer(lwork),
               pointer(places), integer(1 if lwork > 0 else -1), ctypes.byref(info), 1, 1)  # fmt: skip
        assert info.value == 0, info
        lwork = int(room[0])
    return w
