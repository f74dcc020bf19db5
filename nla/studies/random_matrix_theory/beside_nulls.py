"""Outliers of a matrix beside those of matrices that are random but for one thing."""

import numpy as np
import torch

from nla.matrices import Matrix
from nla.nulls import draws as nulls_draws
from nla.nulls.edges import refitted
from nla.nulls.spikes import spiked

ROUNDS = {"all": 0, "rest once": 1, "rest to the end": None}  # sigma from all values, or from those `refitted` leaves


def beside_nulls(matrix, draws=3, seed=0):
    """Outliers of a matrix by three estimates of sigma, beside those of matrices that are random but for one thing.

    Parameters
    ----------
    matrix : nla.Matrix
    draws : int
        Of each null.

    Returns
    -------
    list of dict
        Per draw and sigma. ``of``: trained; directions, `spiked`; scales, `draws.draw`. ``sigma``: of `ROUNDS`.
        ``right``, ``left``: percent of the singular values above and below; ``distance``: ``mp_distance_relative`` of
        `refitted`.
    """
    s, (m, n) = matrix.singular_values, matrix.shape
    rng = np.random.default_rng([seed, matrix.layer + 1, m, n])
    nulls_of = {
        "trained": lambda: s,
        "directions": lambda: _spectrum(spiked(s, m, n, rng)),
        "scales": lambda: _spectrum(nulls_draws.draw(matrix.values, rng)),
    }
    rows = []
    for of, draw in nulls_of.items():
        for _ in range(1 if of == "trained" else draws):
            spectrum = draw()
            for sigma, rounds in ROUNDS.items():
                found = refitted(spectrum, m, n, rounds)
                percent = {side: 100 * found[side] / min(m, n) for side in ("right", "left")}
                percent["distance"] = found["mp_distance_relative"]
                rows.append({"kind": matrix.kind, "of": of, "sigma": sigma} | percent)
    return rows


def _spectrum(weight):
    return Matrix("drawn", 0, 0, torch.from_numpy(weight)).singular_values
