"""The seed's way, each question with a model of its own and numpy.linalg, beside one scan."""

import os
import time

import numpy as np

from tests.bench import synthetic

QUESTIONS = {
    "Frobenius": lambda W: np.linalg.norm(W),
    "l1": lambda W: np.abs(W).sum(),
    "l-infinity": lambda W: np.abs(W).max(),
    "spectral": lambda W: np.linalg.norm(W, 2),
    "nuclear": lambda W: np.linalg.norm(W, "nuc"),
    "rank": lambda W: np.linalg.matrix_rank(W),
    "singular values": lambda W: np.linalg.svd(W, compute_uv=False),
    "quantiles": lambda W: np.sort(np.abs(W), axis=None)[:: W.size // 100],
}


def rows(size):
    import nla
    from nla import measures

    layers = {"tiny": 1, "small": 2, "full": None}[size]
    model = synthetic.ladder({"tiny": "14m", "small": "70m", "full": "70m"}[size], 1, layers)
    asked = time_theirs(model)
    found = []
    every = [getattr(measures, name) for name in measures.__all__]
    for name, some in (("the same questions", [nla.norms, nla.spectrum, nla.sparsity]), ("all measures", every)):
        os.environ |= synthetic.fresh()
        start = time.perf_counter()
        table = nla.scan(str(model), some, progress=False)
        ours = time.perf_counter() - start
        note = f"{len(QUESTIONS)} questions, each with a model of its own, Q, K, V unsplit | {table.shape[1]} columns"
        if some is every:
            note += ", among them angles of all 1.3e9 pairs of embedding rows, bootstraps, singular vectors"
        found.append(dict(name=name, ours=ours, theirs=asked, ratio=asked / ours, target=">= 10", note=note))
    return found


def time_theirs(model):
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    start = time.perf_counter()
    for question in QUESTIONS.values():
        loaded = AutoModelForCausalLM.from_pretrained(model / "step0", dtype="float32")
        for name, weight in loaded.named_parameters():
            if weight.ndim == 2:
                assert np.all(np.isfinite(question(weight.detach().numpy()))), name
    return time.perf_counter() - start
