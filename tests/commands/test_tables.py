"""Tables for people without Python: whole, readable, and each column explained."""

import numpy as np
import pandas as pd

import nla
from nla import measures
from nla.commands import tables
from nla.scanning import KEYS


def test_tables_of_a_ladder(ladder):
    folder = tables.write(str(ladder))
    scalars, explained = pd.read_csv(folder / "scalars.csv"), pd.read_csv(folder / "dictionary.csv")
    assert list(scalars) == list(pd.read_parquet(folder / "scalars.parquet")) == list(explained.column)
    assert len(scalars) == 4 * 14 and explained.meaning.str.len().gt(10).all()
    norms = nla.scan(str(ladder), nla.norms)
    assert np.array_equal(scalars.spectral, norms.spectral)  # written in full
    curves_alone = {"angles", "neuron_cosines"}
    assert set(explained.measure.dropna()) == set(measures.__all__) - curves_alone
    assert set(explained.column[explained.measure.isna()]) == set(KEYS)
    assert "singular_values" not in scalars  # a curve


def test_a_column_is_explained_by_its_own_sentence():
    assert "Marchenko" in tables.meaning("mp_departure", nla.power_law)
    assert tables.meaning("relative_distance", nla.drift).startswith("that over ||W_0||")
    assert tables.meaning("energy_rank_90_relative", nla.spectrum) == tables.meaning("stable_rank", nla.spectrum)
