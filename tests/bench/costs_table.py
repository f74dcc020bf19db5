"""What all 154 checkpoints of each Pythia cost to measure: `python -m tests.bench.costs --table` prints README's table.

Sizes follow from the models' configurations. Times follow from what the measures were seen to take on single matrices
(costs.json, made by `python -m tests.bench.costs`): those of a layer grow as a d^2 + b d^3 with the hidden size d,
those of an embedding of V rows, where all pairs of rows are most of the work, as V^2 (a + b d).
"""

import json
from pathlib import Path

from nla.models.published import PYTHIA as GEOMETRY

CHECKPOINTS, LOGARITHMIC = 154, 20  # all steps, and those of a measure with `steps = "log"`
CONTEXT = 2048  # a causal mask of one byte per entry is stored with every layer
PLACES = 5  # checkpoints on disk: this, the next, the previous, the first and the last
CORES = 4  # of a worker
LINK = 125e6  # bytes per second of a link of 1 Gbit/s, which all workers share
HEADER = (
    "Pythia", "parameters", "a checkpoint", "all 154", "disk", "memory", "core-hours, spectra", "core-hours, all",
    "1 worker", "8", "32",
)  # fmt: skip


def parameters(size):
    """Exact number: weights and biases of four fused matrices and two LayerNorms a layer, a last one, embeddings."""
    d, layers, _, vocabulary = GEOMETRY[size]
    return layers * (12 * d**2 + 13 * d) + 2 * d + 2 * vocabulary * d


def matrices(size):
    """[(rows, columns)] of query, key, value, dense, W1, W2 of every layer, and of both embeddings."""
    d, layers, _, vocabulary = GEOMETRY[size]
    return [(d, d)] * 4 * layers + [(4 * d, d), (d, 4 * d)] * layers + [(vocabulary, d)] * 2


def checkpoint_bytes(size):
    """fp16 parameters and masks, as published."""
    return 2 * parameters(size) + GEOMETRY[size][1] * CONTEXT**2


def spectral_flops(size):
    """Of the Gram matrices and their tridiagonalisation: 2 max(m, n) r^2 + (4/3) r^3, r the short side."""
    return sum(2 * max(m, n) * min(m, n) ** 2 + 4 / 3 * min(m, n) ** 3 for m, n in matrices(size))


def memory(size):
    """Bytes: for each core the largest matrix in fp16 and float32 and what its spectrum takes; 1.5 GB besides."""
    largest, r = max(m * n for m, n in matrices(size)), GEOMETRY[size][0]
    return CORES * (6 * largest + 3 * 8 * r**2 + 8 * 2**23) + 1.5e9


def core_seconds(size, measured):
    """(spectra, every measure) of all checkpoints, in seconds of one core."""
    d, layers, _, vocabulary = GEOMETRY[size]
    spectra = CHECKPOINTS * spectral_flops(size) / (measured["gflops_per_core"] * 1e9) * measured["spectra_over_limit"]
    layer, embedding = (_fit(measured[part], power) for part, power in (("layer", (2, 3)), ("embedding", (0, 1))))
    every = sum(
        count * (layers * layer(d, steps) + 2 * (vocabulary / 50304) ** 2 * embedding(d, steps))
        for steps, count in (("all", CHECKPOINTS), ("log", LOGARITHMIC))
    )
    return spectra, max(every, spectra)


def _fit(seconds, powers):
    """(hidden size, steps) -> seconds, through two measured sizes; one power alone if the other is not positive."""
    (small, first), (large, second) = sorted((int(d), times) for d, times in seconds.items())
    low, high = powers

    def at(d, steps):
        x = first[steps] / small**low, second[steps] / large**low
        slope = (x[1] - x[0]) / (large ** (high - low) - small ** (high - low))
        constant = x[0] - slope * small ** (high - low)
        if slope < 0:
            return x[1] * d**low
        if constant < 0:
            return second[steps] * (d / large) ** high
        return constant * d**low + slope * d**high

    return at


def rows(measured):
    """The table, a list of strings for each size."""
    found = []
    for size in GEOMETRY:
        once = checkpoint_bytes(size)
        spectra, every = core_seconds(size, measured)
        fetching = CHECKPOINTS * once / LINK
        times = [max(every / CORES / workers, fetching) for workers in (1, 8, 32)]
        found.append(
            [
                *(size, f"{parameters(size):,}", *(volume(n * once) for n in (1, CHECKPOINTS, PLACES))),
                *(volume(memory(size)), figures(spectra / 3600), figures(every / 3600), *map(duration, times)),
            ]
        )
    return found


def table(measured=None):
    """README's table, in Markdown."""
    lines = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *rows(measured or committed())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def committed():
    """What was measured, with the machine it was measured on."""
    return json.loads(Path(__file__).with_name("costs.json").read_text(encoding="utf-8"))


def figures(value):
    """Two significant figures."""
    return f"{float(f'{value:.2g}'):,.4g}" if value < 1e4 else f"{float(f'{value:.2g}'):,.0f}"


def volume(size):
    """Bytes in MB, GB or TB, to three figures."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if size >= 0.9995 * scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e6:.3g} MB"


def duration(seconds):
    """Minutes, hours or days, to two figures."""
    for unit, scale in (("d", 86400), ("h", 3600)):
        if seconds >= 2 * scale:
            return f"{figures(seconds / scale)} {unit}"
    return f"{figures(seconds / 60)} min"
