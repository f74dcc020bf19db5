"""Heads by the norms of their vectors, and which heads of queries meet which of keys."""

import numpy as np
import pandas as pd

from nla.matrices import Matrix
from nla.measures import weight_histogram
from nla.measures.drift import decayed_rows


def by_head(matrices, rotary):
    """The norms of the vectors of each head, in their order within it.

    Parameters
    ----------
    matrices : iterable of nla.Matrix
        Query, key, value, dense; those that are not finite are left out.
    rotary : float
        Share of the dimensions of a head that rotary embeddings turn, the first.

    Returns
    -------
    pandas.DataFrame
        A row a head: ``kind, layer``; ``place``, from 0 to 1 among the heads of its matrix, so that heads of queries
        that share one of keys have it within theirs; ``index`` of its longest vector; ``rotary``, whether that is
        turned; ``ratio``: norm of the head over the median head of its matrix; ``norms``: of its vectors over their
        median in the matrix, (d_head,); ``width``: their length.
    """
    found, columns = [], ["kind", "layer", "place", "index", "rotary", "ratio", "norms", "width"]
    for matrix in (m for m in matrices if m.finite):
        norms = matrix.per_head.norm(dim=2)  # (heads, d_head)
        whole, place = norms.norm(dim=1), np.arange(len(norms)) / len(norms)
        table = pd.DataFrame({"kind": matrix.kind, "layer": matrix.layer, "place": place, "index": norms.argmax(1)})
        table = table.assign(rotary=table["index"] < rotary * norms.shape[1], ratio=whole / whole.median())
        found.append(table.assign(norms=list((norms / norms.median()).numpy()), width=matrix.per_head.shape[2]))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns, dtype=float)


def met(heads):
    """The heads of queries of `by_head`, ``index_key`` beside ``index``: that of the keys which they meet."""
    query, key = (heads[heads.kind == kind].sort_values("place") for kind in ("query", "key"))
    return pd.merge_asof(
        query, key[["place", "layer", "index"]], on="place", by="layer", suffixes=("", "_key")
    ).dropna()


def top_percent(matrix):
    """``top_percent``: share of the energy in the largest hundredth of the entries, 0.01 to 1."""
    squares = matrix.values.square().flatten().sort(descending=True).values
    return {"top_percent": squares[: len(squares) // 100].sum() / squares.sum()}


def untouched(matrix):
    """Rows and columns that are a number times their initial selves, up to rounding, and that number for the rows."""
    if (first := matrix.at("initial", same_shape=True)) is None:
        return dict.fromkeys(("rows_alone", "columns_alone", "norm_ratio"), np.nan)
    columns = decayed_rows(*(Matrix(m.kind, m.layer, m.step, m.weight.T) for m in (matrix, first)))[0]
    rows, kept = decayed_rows(matrix, first)
    return {"rows_alone": rows.sum(), "columns_alone": columns.sum(), "norm_ratio": kept}


def untouched_tokens(matrix):
    """``token_rows_alone``, ``token_norm_ratio``: the same of the rows of embed_in, at every step."""
    first = matrix.at("initial", same_shape=True)
    rows, kept = (np.full(1, np.nan), np.nan) if first is None else decayed_rows(matrix, first)
    return {"token_rows_alone": rows.sum(), "token_norm_ratio": kept}


untouched.steps, untouched_tokens.kinds = (lambda ladder: ladder[-1:]), ("embed_in",)
COMMON_PASS = [top_percent, untouched, untouched_tokens, weight_histogram]
