"""Spectra and singular vectors against random-matrix theory: closed forms, false alarms counted, planted structure."""

import numpy as np
import pytest
import torch

import nla
from nla.nulls import edges, spikes
from nla.studies.random_matrix_theory import beside_nulls, onset
from tests.helpers.families import CONFIGS
from tests.helpers.random_matrix import gaussian, matrix_of, planted


def test_an_entry_a_mean_and_a_row_are_told_from_a_direction():
    m = n = 200
    least, cases = spikes.visible(m, n), {}
    cases["spread"] = planted(m, n, 4 * least, 0)[0]
    cases["mean"] = gaussian(m, n, 1) + 4 * least / n
    cases["entry"], cases["row"], cases["column"] = gaussian(m, n, 2), gaussian(m, n, 3), gaussian(m, n, 4)
    cases["entry"][7, 9] += 4 * least
    cases["row"][5] *= 5
    cases["column"][:, 5] *= 5
    for name, W in cases.items():
        matrix = matrix_of(W)
        found, origin = nla.random_matrix(matrix), nla.singular_vector_statistics(matrix)
        assert found["outliers_right"] == 1, name
        assert {k: v for k, v in origin.items() if k.startswith("spikes_") and v} == {f"spikes_{name}": 1}
        assert (found["largest_entry"] > 1) == (name == "entry" or found["largest_entry"] > 1.0)
        assert (found["mean_entry"] > 1) == (name == "mean")
    assert nla.random_matrix(matrix_of(cases["entry"]))["largest_entry"] == pytest.approx(4, abs=0.3)
    assert nla.random_matrix(matrix_of(cases["mean"]))["mean_entry"] == pytest.approx(4, abs=0.2)
    assert nla.random_matrix(matrix_of(cases["spread"]))["largest_entry"] < 0.6


def test_scale_free_and_transposed():
    W = planted(150, 60, 40, 5)[0]
    found, scaled = nla.random_matrix(matrix_of(W)), nla.random_matrix(matrix_of(1e-3 * W.T))
    for name, value in found.items():
        factor = 1e-3 if name.startswith("sigma") else 1
        np.testing.assert_allclose(scaled[name], value * factor, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("values", [np.zeros((5, 4)), np.ones((30, 20)), np.eye(12), np.ones((1, 7)), np.ones((6, 1))])
def test_degenerate_matrices(values):
    matrix = matrix_of(values)
    found, vectors = nla.random_matrix(matrix), nla.singular_vector_statistics(matrix)
    assert all(np.ndim(v) <= 1 for v in [*found.values(), *vectors.values()])
    assert len(beside_nulls.beside_nulls(matrix)) == 3 * (1 + 3 + 3)
    assert not values.any() or found["sigma_trace"] == pytest.approx(np.sqrt((values**2).mean()))


def test_measures_that_share_a_scan(ladder):
    from nla import measures

    every = [getattr(measures, name) for name in measures.__all__]
    table = nla.scan(str(ladder), every, steps=[0, 100], layers=[0])
    assert {"mp_distance", "outliers_right", "outliers_left", "rejected_top", "mp_rank"} <= set(table)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_initialised_model_of_every_family_passes_as_random(name, tmp_path):
    """As transformers initialises it: nothing beyond 1 false alarm in 100 tables, distances those of noise."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    sizes = {"hidden_size": 108, "vocab_size": 301}
    sizes |= {k: 156 for k in ("intermediate_size", "n_inner", "ffn_dim") if k in CONFIGS[name]}
    sizes |= {"head_dim": 12} if "head_dim" in CONFIGS[name] else {}
    settings = CONFIGS[name] | sizes
    if "word_embed_proj_dim" in settings:
        settings["word_embed_proj_dim"] = 108 if settings["word_embed_proj_dim"] == 36 else 60
    AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split()[0], **settings)).save_pretrained(tmp_path / "m")
    table = nla.scan(str(tmp_path / "m"), [nla.random_matrix, nla.singular_vector_statistics])
    inner = table[table.layer >= 0]
    assert len(inner) >= 18
    limit = edges.TRACY_WIDOM.isf(0.01 / len(inner))
    assert (inner.edge_right < limit).all() and not (inner.edge_left > limit).any()
    assert inner.mp_distance_relative.mean() == pytest.approx(1, abs=0.15) and inner.mp_distance_relative.max() < 1.9
    assert inner[["rejected_top", "rejected_middle", "rejected_bottom"]].mean().max() < 0.04
    assert (
        inner[[c for c in inner if c.startswith("entropy_") and c[8:] in ("top", "middle", "bottom")]]
        .mean()
        .abs()
        .max()
        < 0.3
    )
    assert inner.spacing_ratio.mean() == pytest.approx(0.5307, abs=0.04)
    found = onset.departures(inner)
    assert not (found[["distance", "right", "left"]] >= 0).any(axis=None)
