"""Matrices whose tail is known because it was put there, to try a monitor on before it is believed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch

from nla import nulls
from nla.matrices import Matrix
from nla.measures.verdicts import verdicts
from nla.nulls.draws import haar
from nla.numerics import threads

PLANTED = ("noise", "spikes", "entries", "trap", "tail")
ALPHA = 3.0  # exponent of the planted tail
SHARE = 0.4  # of the spectrum that belongs to it
BLOCKS = 8  # its vectors live on one of so many parts of the rows, and of the columns
SPIKES = 10
TRAPS = 8  # huge entries
FREEDOM = 2.5  # of Student's t for heavy-tailed entries


def planted(kind, width=768, step=100, seed=0, drawn=False, spread=False):
    """A square matrix on its way from noise, `step` 0, to what `kind` names, step 100: (1-t) noise + t structure.

    Parameters
    ----------
    kind : str
        ``noise``: independent Gaussian entries, also at the end. ``spikes``: Gaussian, and ten dense directions of
        well-separated strength, as a few learnt features would be. ``entries``: independent entries of Student's t
        distribution, of infinite fourth moment: the spectrum is heavy-tailed because the entries are, and stays so in
        whatever order they stand. ``tail``: 40 % of the eigenvalues follow a power law of alpha = 3, the rest a
        Marchenko-Pastur law below it; each singular vector of the tail lives on one eighth of the places. ``trap``:
        the same with eight huge entries, each of which adds an eigenvalue to the tail.
    width : int
        Rows and columns.
    seed : int
        Becomes the layer of the matrix.
    drawn, spread : bool
        Make the tail harder to see. Its eigenvalues are the quantiles of the power law, which fit it better than any
        sample could; or ``drawn`` from it independently. Its vectors live on one eighth of the places, which is what
        the check of their entropy asks for; or are ``spread`` over all of them at random (Haar).

    Returns
    -------
    nla.Matrix
        float32, entries of variance about 1/width.
    """
    if kind not in PLANTED:
        raise ValueError(f"no planted {kind!r}: choose from {', '.join(PLANTED)}")
    rng, t = np.random.default_rng([PLANTED.index(kind), width, seed]), step / 100
    noise, structure = rng.standard_normal((width, width)), rng.standard_normal((width, width))
    if kind == "spikes":
        left, right = (np.linalg.qr(rng.standard_normal((width, SPIKES)))[0] for _ in range(2))
        structure += (left * np.sqrt(width) * np.linspace(3, 8, SPIKES)) @ right.T
    elif kind == "entries":
        structure = rng.standard_t(FREEDOM, (width, width))
    elif kind != "noise":
        structure = _tail(width, rng, drawn, spread)
        if kind == "trap":
            places = rng.choice(width**2, TRAPS, replace=False)
            structure.flat[places] = np.sqrt(width) * rng.uniform(3, 4, TRAPS)
    weight = ((1 - t) * noise + t * structure) / np.sqrt(width)
    return Matrix(kind, seed, step, torch.from_numpy(weight).float())


def planted_table(measures, width=768, steps=(0, 20, 40, 60, 80, 100), kinds=PLANTED, seeds=(0,), **how):
    """What `nla.scan` returns, for a ladder of planted matrices of each of `kinds` that are only in memory.

    Each of `seeds` is a layer; `how` are further arguments of `planted`.
    """

    def row(place):
        matrix = planted(*place, **how)
        found = {"kind": matrix.kind, "layer": matrix.layer, "step": matrix.step, "rows": width, "cols": width}
        for measure in measures:
            found |= measure(matrix)
        return found

    places = [(kind, width, step, seed) for kind in kinds for seed in seeds for step in steps]
    workers = min(threads.cores(), len(places))
    with threads.one_thread_each(workers), ThreadPoolExecutor(workers) as pool:
        return pd.DataFrame(list(pool.map(row, places)))


def power(measures, widths=(192, 384), seeds=20):
    """How often a power law is taken for one, and at the least width what is none: `nla.verdicts` on planted matrices.

    Returns
    -------
    pandas.DataFrame
        Of `planted_table` at step 100, with the verdicts and ``planted``: the kind, for a tail with its eigenvalues
        (quantiles or drawn) and its vectors (on an eighth of the places or on all).
    """
    tables = []
    for width in widths:
        plans = {
            f"tail, {values}, on {places}": {"kinds": ("tail",), "drawn": values == "drawn", "spread": places == "all"}
            for values in ("quantiles", "drawn")
            for places in ("an eighth", "all")
        }
        others = ("noise", "spikes", "entries") if width == min(widths) else ()
        for name, how in (plans | {kind: {"kinds": (kind,)} for kind in others}).items():
            table = planted_table(measures, width, (100,), seeds=range(seeds), **how)
            tables.append(verdicts(table).assign(planted=name))
    return pd.concat(tables, ignore_index=True)


def _tail(width, rng, drawn=False, spread=False):
    """U diag(s) V^T, entries of variance 1, with the spectrum and the vectors of the planted tail."""
    count = int(SHARE * width)
    levels = np.sort(rng.uniform(size=count)) if drawn else (np.arange(count) + 0.5) / count
    tail = levels ** (1 / (1 - ALPHA))  # of the power law, from xmin = 1 up
    bulk = nulls.mp_spectrum(width - count, width)
    s = np.sqrt(np.concatenate([tail, (bulk / bulk[0]) ** 2]))
    U, V = (_orthogonal(width, rng) if spread else _concentrated(width, count, rng) for _ in range(2))
    return (U * s * width / np.linalg.norm(s)) @ V.T


def _concentrated(width, count, rng):
    """An orthogonal matrix whose first `count` columns each live on one of `BLOCKS` blocks of rows, the rest on all."""
    Q = np.zeros((width, width))
    for block in np.array_split(np.arange(width), BLOCKS):
        Q[np.ix_(block, block)] = _orthogonal(len(block), rng)
    Q = Q[:, rng.permutation(width)]
    Q[:, count:] = Q[:, count:] @ _orthogonal(width - count, rng)
    return Q[rng.permutation(width)]


def _orthogonal(n, rng):
    return haar(torch.from_numpy(rng.standard_normal((n, n)))).numpy()
