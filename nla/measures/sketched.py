"""The spectrum of a large matrix from sketches, each number with its error, and when a scan is to take them."""

import zlib
from dataclasses import dataclass

import numpy as np

from nla.measures.spectrum import random_ranks, spectrum
from nla.nulls import gaussian, marchenko_pastur
from nla.numerics import quadrature, sketch

AUTO = 4096  # shorter side: the matrices of pythia-6.9b and larger; below, an exact spectrum takes seconds
ERRORS = ("stable_rank", "effective_rank", "participation_ratio", "mp_rank")


def sketched_spectrum(matrix, probes=24, steps=30):
    """Of what `nla.spectrum` returns, that which sketches can tell, without the Gram matrix.

    Returns
    -------
    dict
        ``sketched``: True. ``stable_rank``: ||W||_F^2 exactly, over s_1^2 of a block Krylov space. ``effective_rank``,
        ``participation_ratio``, ``mp_rank``: by stochastic Lanczos quadrature, the last with the edge for the variance
        that the estimated median gives. ``NAME_error``: half-width of the 95 % interval. ``NAME_relative``: over the
        value for a random matrix, as in `nla.spectrum`. Numerical, energy and Gavish-Donoho ranks and the curve of
        singular values are left out: they take the whole spectrum.
    """
    W, (m, n) = matrix.values, matrix.shape
    seed = zlib.crc32(f"{matrix.kind} {matrix.layer}".encode())
    frobenius2 = sum(float(rows.double().square().sum()) for rows in W.split(256))
    leading = sketch.block_krylov(W, 1, depth=6, seed=seed)
    density = quadrature.quadrature(W, probes, steps, seed)
    found = {
        "stable_rank": _stable_rank(frobenius2, leading.s[0], leading.error[0]),
        "effective_rank": density.effective_rank(),
        "participation_ratio": density.functional(lambda fourth: np.divide(frobenius2**2, fourth), _fourth),
        "mp_rank": _above_edge(density, m, n),
    }
    expected = random_ranks(m, n, (frobenius2 / (m * n)) ** 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = {f"{k}_relative": float(np.divide(v.value, expected[k])) for k, v in found.items() if k in expected}
    errors = {f"{k}_error": v.error for k, v in found.items()}
    return {k: v.value for k, v in found.items()} | relative | errors | {"sketched": True}


def _stable_rank(frobenius2, s, error):
    with np.errstate(divide="ignore", invalid="ignore"):
        highest, lowest = np.divide(frobenius2, s**2), np.divide(frobenius2, (s + error) ** 2)
    return sketch.Estimate(float(highest), float(highest - lowest))


def _fourth(s):
    return s**4


def _above_edge(density, m, n):
    """Number of s_i above the edge of `nla.spectrum`'s mp_rank; its error holds that of the edge."""
    median = density.quantile(0.5)
    typical = float(np.median(marchenko_pastur.mp_spectrum(m, n)))

    def count(middle):
        return density.count_above(gaussian.spectral_norm(m, n, middle / typical, gaussian.TRACY_WIDOM_Q99))

    found, other = count(median.value), [count(median.value + side * median.error).value for side in (-1, 1)]
    return sketch.Estimate(found.value, found.error + abs(other[0] - other[1]) / 2)


@dataclass(frozen=True)
class Sketched:
    """`nla.spectrum`, from sketches where the shorter side is `side` or more; its tables are its own."""

    side: int
    pure = True

    @property
    def __name__(self):
        return f"spectrum_sketched_from_{self.side}"

    def __call__(self, matrix):
        if min(matrix.shape) >= self.side:
            return sketched_spectrum(matrix)
        return spectrum(matrix) | {f"{k}_error": 0.0 for k in ERRORS} | {"sketched": False}


def sketched(choice):
    """What takes the place of `nla.spectrum` in a scan with sketches; `choice` is "auto" or a shorter side."""
    if choice != "auto" and not (isinstance(choice, int) and choice >= 0):
        raise ValueError(f'sketch is "auto" or a shorter side, not {choice!r}')
    return Sketched(AUTO if choice == "auto" else choice)


spectrum.sketched = sketched  # which `nla.scan` asks for; `nla.measures` imports this module
