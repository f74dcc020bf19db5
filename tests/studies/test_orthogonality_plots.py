"""Figures of angles take the side of the residual stream."""

import numpy as np
import pytest

import nla
from nla import nulls
from nla.studies.orthogonality import plots
from nla.studies.orthogonality.residual_stream import in_residual_stream


def test_figures_take_the_side_of_the_residual_stream(ladder):
    table = nla.scan(str(ladder), [nla.orthogonality, nla.angles], progress=False)
    seen = in_residual_stream(table).groupby("kind").first()
    for kind, side in {"query": "rows", "dense": "columns", "dense_4h_to_h": "columns", "embed_out": "rows"}.items():
        row = seen.loc[kind]
        assert row.mean_angle == row[f"mean_angle_{side}"] and row.max_abs_cosine == row[f"max_abs_cosine_{side}"]
        d, count = (row.cols, row[f"pairs_{side}"]) if side == "rows" else (row.rows, row[f"pairs_{side}"])
        assert row.max_abs_cosine_random == pytest.approx(nulls.cosine_max_abs(d, count))
    fig = plots.histograms(table)
    curves = [p.get_data() for ax in fig.axes for p in ax.patches]
    assert len(curves) == 2 * 2 * table.step.nunique()  # W1 rows and W2 columns of two layers
    assert all((c.values * np.diff(c.edges)).sum() == pytest.approx(1) for c in curves)
