"""README's table of what a Pythia costs is what the package computes, and what it computes is right."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from nla.models import paths
from tests.bench import costs as measuring, costs_table, synthetic

MEASURED = {
    "gflops_per_core": 20.0,
    "spectra_over_limit": 1.5,
    "layer": {"512": {"all": 2.0, "log": 1.0}, "1024": {"all": 12.0, "log": 8.0}},
    "embedding": {"256": {"all": 20.0, "log": 30.0}, "512": {"all": 30.0, "log": 30.0}},
}


def test_readme_has_the_table_that_the_command_prints():
    assert costs_table.table() in (paths.root() / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("size", ["14m", "70m", "410m"])
def test_parameters_are_those_of_the_model(size):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**{k: v for k, v in synthetic.config(size).items() if k != "architectures"})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert costs_table.parameters(size) == sum(p.numel() for p in model.parameters())
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert sum(m * n for m, n in costs_table.matrices(size)) == sum(m * n for m, n in shapes)


def test_published_sizes():
    """Parameters as in the README of EleutherAI/pythia, bytes as in the file lists of its models on the Hub."""
    published = {"1b": 1_011_781_632, "1.4b": 1_414_647_808, "2.8b": 2_775_208_960, "12b": 11_846_072_320}
    assert {size: costs_table.parameters(size) for size in published} == published
    files = {"14m": "53.3 MB", "160m": "375 MB", "410m": "911 MB", "1b": "2.09 GB", "2.8b": "5.68 GB"}
    assert {size: costs_table.volume(costs_table.checkpoint_bytes(size)) for size in files} == files


def test_times_go_through_what_was_measured_and_grow_as_said():
    layer = costs_table._fit(MEASURED["layer"], (2, 3))
    assert layer(512, "all") == pytest.approx(2.0) and layer(1024, "all") == pytest.approx(12.0)
    a, b = np.linalg.solve([[512**2, 512**3], [1024**2, 1024**3]], [2.0, 12.0])
    assert layer(5120, "all") == pytest.approx(a * 5120**2 + b * 5120**3)
    assert layer(2048, "log") == pytest.approx(64)  # d^3 alone
    embedding = costs_table._fit(MEASURED["embedding"], (0, 1))
    assert embedding(1024, "all") == pytest.approx(50) and embedding(5120, "log") == pytest.approx(30)
    noisy = {"512": {"all": 2.0}, "1024": {"all": 6.0}}
    assert costs_table._fit(noisy, (2, 3))(2048, "all") == pytest.approx(24)  # d^2 alone


def test_core_hours_of_one_size_by_hand():
    flops = 6 * (4 * 10 / 3 * 512**3 + 2 * (8 + 4 / 3) * 512**3) + 2 * (2 * 50304 * 512**2 + 4 / 3 * 512**3)
    assert costs_table.spectral_flops("70m") == pytest.approx(flops)
    spectra, every = costs_table.core_seconds("70m", MEASURED)
    assert spectra == pytest.approx(154 * flops / 20e9 * 1.5)
    assert every == pytest.approx(154 * (6 * 2 + 2 * 30) + 20 * (6 * 1 + 2 * 30))


def test_more_workers_take_less_until_the_link_is_full():
    for size, row in zip(costs_table.GEOMETRY, costs_table.rows(MEASURED), strict=True):
        assert row[0] == size and len(row) == len(costs_table.HEADER)
    quick = {"layer": {d: {"all": 1e-3, "log": 1e-3} for d in ("512", "1024")}}
    row = costs_table.rows(MEASURED | quick)[0]
    each = (154 * (6 * 1e-3 * (128 / 1024) ** 2 + 2 * 15) + 20 * (6 * 1e-3 * (128 / 1024) ** 2 + 2 * 30)) / 4
    fetching = 154 * costs_table.checkpoint_bytes("14m") / 125e6
    assert each / 8 > fetching > each / 32
    assert row[-3:] == [costs_table.duration(seconds) for seconds in (each, each / 8, fetching)]


def test_units():
    assert [costs_table.volume(b) for b in (53.3e6, 999.6e6, 2.09e9, 3.672e12)] == [
        "53.3 MB",
        "1 GB",
        "2.09 GB",
        "3.67 TB",
    ]
    assert [costs_table.duration(s) for s in (90, 7000, 7300, 90000, 400000)] == [
        "1.5 min",
        "120 min",
        "2 h",
        "25 h",
        "4.6 d",
    ]


def test_what_is_measured_is_of_the_measures_that_a_scan_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "BUILD", tmp_path)
    threads = torch.get_num_threads()
    with threadpool_limits():  # puts the threads of BLAS back
        for embedding in (False, True):
            found = measuring.measured("tiny", embedding)
            assert found["all"] > found["spectra"] >= 0 and found["log"] > 0
    torch.set_num_threads(threads)
