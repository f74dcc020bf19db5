"""Pictures of spectra."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import nla
from nla import nulls
from nla.figures import spectra


def test_scan_and_pictures(ladder, tmp_path):
    table = nla.scan(str(ladder), [nla.spectrum, nla.head_products], progress=False)
    assert len(table.loc[0, "singular_values"]) == min(table.loc[0, ["rows", "cols"]])
    assert table.head_stable_rank.notna().equals(table.kind.isin(["query", "dense"]))
    fig = spectra.ridges(table)
    assert [len(ax.patches) + len(ax.collections) for ax in fig.axes] == [8, 8, 8, 8]  # 4 checkpoints, over grey
    spectra.show(spectra.animation(table), "00_spectrum", "tiny")
    path = tmp_path / "figures" / "tiny" / "00_spectrum.gif"
    with Image.open(path) as picture:
        assert 3 <= picture.n_frames <= 4 and path.stat().st_size < 400_000  # a GIF merges equal neighbours
    single = table[table.step == 100]
    assert len(spectra.ridges(single).axes) == 4 and len(spectra.animation(single)) == 1


def test_spectra_in_units_of_the_edge():
    s = 0.2 * nulls.mp_spectrum(80, 50)
    rows = pd.DataFrame([{"rows": 80, "cols": 50, "singular_values": s.astype(np.float32)}])
    assert spectra.in_edges(rows) == pytest.approx(s / (0.2 * (80**0.5 + 50**0.5)), rel=5e-3)
    assert spectra.spaced([0, 1, 2, 4, 8, 512, 1000, 2000, 3000, 4000], 4) == [0, 8, 512, 4000]
