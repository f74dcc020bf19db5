"""The seed's way, each question with a model of its own and numpy.linalg, beside one scan."""

import os
from functools import partial

import numpy as np

from tests.bench import synthetic, timing


def angles(W):
    """Angles in degrees between every 13th rows, as the seed sampled them; without its Python loop over pairs."""
    rows = W[::13] / np.linalg.norm(W[::13], axis=1, keepdims=True)
    return np.degrees(np.arccos(np.clip(rows @ rows.T, -1, 1)))[np.triu_indices(len(rows), 1)]


QUESTIONS = {
    "Frobenius": lambda W: np.linalg.norm(W),
    "l1": lambda W: np.abs(W).sum(),
    "l-infinity": lambda W: np.abs(W).max(),
    "spectral": lambda W: np.linalg.norm(W, 2),
    "nuclear": lambda W: np.linalg.norm(W, "nuc"),
    "rank": lambda W: np.linalg.matrix_rank(W),
    "singular values": lambda W: np.linalg.svd(W, compute_uv=False),
    "quantiles": lambda W: np.sort(np.abs(W), axis=None)[:: max(1, W.size // 100)],
    "angles": angles,
}


def asked(matrix):
    """The same questions of one `nla.Matrix`; angles of matrices within the layers, as the seed did."""
    s, (values, counts) = matrix.singular_values, matrix.histogram
    sizes = np.abs(values)
    order = np.argsort(sizes)
    places = np.cumsum(counts[order]).searchsorted(np.arange(0, counts.sum(), max(1, counts.sum() // 100)), "right")
    found = {"frobenius": np.sqrt(counts @ sizes**2), "l1": counts @ sizes, "l_infinity": sizes.max(), "spectral": s[0]}
    found |= {"nuclear": s.sum(), "rank": np.sum(s > s[0] * max(matrix.shape) * np.finfo("float32").eps)}
    found |= {"singular_values": s, "quantiles": sizes[order][places]}
    if matrix.layer >= 0:
        sample = matrix.values[::13]
        sample = sample / sample.norm(dim=1, keepdim=True)
        found["angles"] = np.degrees(np.arccos(np.clip((sample @ sample.T).numpy(), -1, 1)))[
            np.triu_indices(len(sample), 1)
        ]
    return found


def rows(size):
    """Small: two layers of pythia-70m, with both embeddings."""
    import nla
    from nla import measures

    name, layers = {"tiny": ("tiny", None), "small": ("70m", 2), "full": ("70m", None)}[size]
    model = synthetic.ladder(name, 1, layers)
    every = [getattr(measures, name) for name in measures.__all__]

    def angles_of_layers(matrix):
        return nla.angles(matrix) if matrix.layer >= 0 else {}

    four = [nla.norms, nla.spectrum, nla.sparsity, angles_of_layers]

    def scan(some):
        os.environ |= synthetic.fresh()
        nla.scan(str(model), some, progress=False)

    ways = [timing.timed(partial(*way)) for way in ((scan, [asked]), (theirs, model), (scan, four), (scan, every))]
    times = timing.in_turn(1 if size == "tiny" else 2, *ways[:3])
    times += timing.in_turn(1, ways[3])
    note = f"{len(QUESTIONS)} questions, each with a model of its own; Q, K, V unsplit in theirs"
    found = [timing.row("the same questions", times[0], times[1], ">= 10", note)]
    note = (
        "of the seed's embeddings no angles, so neither here; eight l_p norms, seven ranks, tails, angles of all pairs"
    )
    found.append(timing.row("norms, spectrum, sparsity, angles", times[2], times[1], None, note))
    note = (
        f"{len(every)} measures for their {len(QUESTIONS)} questions: singular vectors, bootstraps, regressions, and "
    )
    note += "angles of all pairs of rows, of embeddings too, which take most of the time"
    found.append(timing.row("all measures", times[3], times[1], ">= 10", note))
    return found


def theirs(model):
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    for question in QUESTIONS.values():
        loaded = AutoModelForCausalLM.from_pretrained(model / "step0", dtype="float32")
        for name, weight in loaded.named_parameters():
            if weight.ndim == 2 and not (question is angles and "embed" in name):  # the seed left embeddings out there
                assert np.all(np.isfinite(question(weight.detach().numpy()))), name
