"""Many spectra in one call are those of one matrix at a time, on any device."""

import numpy as np
import pandas as pd
import pytest
import torch

import nla
from nla.numerics import spectra, stacks
from tests.helpers.files import spoil

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]


def plain(weight):
    """The definition, by the SVD of the whole matrix in float64."""
    return np.linalg.svd(weight.double().cpu().numpy(), compute_uv=False)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(40, 40), (150, 40), (40, 150), (1, 30), (30, 1), (20_000, 30)])
def test_blocks_of_a_gram_matrix(shape, dtype, device, monkeypatch):
    monkeypatch.setattr(spectra, "BLOCK", 1000)
    torch.manual_seed(0)
    weight = torch.randn(shape).to(dtype).to(device)
    tall = weight.double() if shape[0] > shape[1] else weight.double().T
    gram = spectra.gram(weight)
    assert torch.equal(gram, gram.T)
    torch.testing.assert_close(gram, tall.T @ tall, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(spectra.singular_values(gram), plain(weight), rtol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("room", [0, 200_000, 10**9])
def test_stacks_are_the_single_spectra(ladder, device, room, monkeypatch):
    spoil(ladder, 100, "gpt_neox.layers.0.attention.dense.weight", float("nan"))
    sizes = []
    monkeypatch.setattr(
        spectra, "singular_values", lambda g, of=spectra.singular_values: sizes.append(g.shape) or of(g)
    )
    with nla.load(str(ladder)) as weights:
        weights.device = device
        tasks = weights.index()
        weights.batch(tasks, room)
        for kind, layer in reversed(tasks):
            matrix = weights.matrix(kind, layer)
            if matrix.finite:
                np.testing.assert_allclose(matrix.singular_values, plain(matrix.weight), rtol=1e-10)
        assert weights.stacks.singular_values(("dense", 0)) is None and not weights.stacks.left
    assert sum(size[0] for size in sizes) == len(tasks) - 1  # each once, and not the one with a NaN
    assert max(size[0] for size in sizes) * stacks.COPIES * 8 * 42**2 <= max(room, stacks.COPIES * 8 * 42**2)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_scan_gives_the_plain_spectra(ladder, workers):
    """All of reading, blocks, symmetric update, threads and storing, against the SVD of what the file holds."""
    table = nla.scan(str(ladder), [nla.norms, nla.spectrum], workers=workers)
    assert len(table) == 4 * 14
    for step, rows in table.groupby("step"):
        with nla.load(str(ladder), step=step) as weights:
            for row in rows.itertuples():
                s = plain(weights.matrix(row.kind, row.layer).weight)
                found = [row.spectral, row.nuclear, row.stable_rank, row.participation_ratio]
                expected = [s[0], s.sum(), (s**2).sum() / s[0] ** 2, (s**2).sum() ** 2 / (s**4).sum()]
                np.testing.assert_allclose(found, expected, rtol=1e-10)
                kappa = s[0] / s[-1]
                assert row.condition_number == pytest.approx(kappa, rel=max(1e-10, 1e-15 * kappa**2))
                np.testing.assert_allclose(row.singular_values, s, rtol=1e-6)  # the curve is kept in float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_every_measure_gives_the_same_on_cuda(ladder, tmp_path, monkeypatch):
    every = [getattr(nla.measures, name) for name in nla.measures.__all__]
    there = nla.scan(str(ladder), every, device="cuda")
    monkeypatch.setenv("NLA_BUILD", str(tmp_path / "other"))
    here = nla.scan(str(ladder), every, device="cpu")
    pd.testing.assert_frame_equal(there, here, rtol=1e-6, atol=1e-9)
