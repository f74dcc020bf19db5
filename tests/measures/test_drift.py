"""Drift and subspaces against closed forms, NumPy, SciPy and simulated noise, and on ladders with a fault."""

import os
import tracemalloc
from zlib import crc32

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file, save_file

import nla
from nla.measures.drift import decayed_rows, random_rand_distance
from nla.models.errors import Unavailable
from nla.numerics import spectra, threads
from nla.numerics.changes import compare
from tests.helpers.drift import gaussian, moved


@pytest.fixture(autouse=True)
def one_thread():
    """As in a scan: matrices this small only lose by sharing."""
    with threads.one_thread_each(threads.cores()):
        yield


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(50, 50), (90, 20), (20, 90)])
def test_drift_agrees_with_numpy(shape, dtype):
    weights = [(gaussian(*shape) + 0.3 * gaussian(*shape, seed=k)).to(dtype) for k in (1, 2, 3)]
    W, first, before = (w.double().numpy() for w in weights)
    found = nla.drift(moved(*weights))
    inner = (W * first).sum() / (first**2).sum()
    s, s_0 = (scipy.linalg.svdvals(x) for x in (W, first))
    s_rms, s_0_rms = (x / np.sqrt((x**2).mean()) for x in (s, s_0))
    expected = {
        "distance": np.linalg.norm(W - first),
        "relative_distance": np.linalg.norm(W - first) / np.linalg.norm(first),
        "cosine": (W * first).sum() / np.linalg.norm(W) / np.linalg.norm(first),
        "projection": inner,
        "residual": np.linalg.norm(W - inner * first) / np.linalg.norm(first),
        "initial_norm": np.linalg.norm(first),
        "update_norm": np.linalg.norm(W - before) / np.linalg.norm(before),
        "update_angle": np.arccos((W * before).sum() / np.linalg.norm(W) / np.linalg.norm(before)),
        "update_steps": 19,
        "previous_norm": np.linalg.norm(before),
        "spectrum_change": np.linalg.norm(s - s_0) / np.linalg.norm(s_0),
        "spectrum_wasserstein": scipy.stats.wasserstein_distance(s_rms, s_0_rms),
    }
    assert {k: found[k] for k in expected} == pytest.approx(expected, rel=1e-7)
    assert found["spectrum_change"] <= found["relative_distance"]
    assert found["relative_distance"] ** 2 == pytest.approx((1 - inner) ** 2 + found["residual"] ** 2)


def test_blocks_of_rows_add_up():
    weights = [gaussian(7000, 700, seed=k, dtype=torch.float32) for k in (0, 1)]  # three blocks
    W, first = (w.double().numpy() for w in weights)
    assert compare(*map(moved, weights))["distance"] == pytest.approx(np.linalg.norm(W - first), rel=1e-12)
    weights[0][[5, 4000]] = weights[1][[5, 4000]]
    rows, measured = decayed_rows(*map(moved, weights))
    assert np.flatnonzero(rows).tolist() == [5, 4000] and measured == pytest.approx(1)


def test_decay_turns_nothing():
    first = gaussian(30, 40)
    found = nla.drift(moved(0.7 * first, first, first))
    expected = {"cosine": 1, "projection": 0.7, "relative_distance": 0.3, "update_norm": 0.3, "spectrum_change": 0.3}
    assert {k: found[k] for k in expected} == pytest.approx(expected)
    assert found["residual"] < 1e-7 and found["update_angle"] < 1e-7 and found["spectrum_wasserstein"] < 1e-6


def test_rotation_changes_no_spectrum():
    first = gaussian(40, 40)
    Q = torch.linalg.qr(gaussian(40, 40, seed=1)).Q
    found = nla.drift(moved(Q @ first, first))
    assert found["spectrum_change"] < 1e-6 and found["relative_distance"] == pytest.approx(2**0.5, rel=0.1)


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_small_angles_do_not_cancel(size):
    first = gaussian(30, 30)
    across = gaussian(30, 30, seed=1)
    across -= (across * first).sum() / (first**2).sum() * first
    across *= first.norm() / across.norm()
    found = compare(moved(first + size * across), moved(first))
    assert found["angle"] == pytest.approx(np.arctan(size), rel=1e-5)
    assert found["residual"] / found["norm"] == pytest.approx(size, rel=1e-5)


@pytest.mark.parametrize("dtype, floor", [(torch.float16, 2.07e-4), (torch.bfloat16, 1.66e-3), (torch.float32, 2.5e-8)])
@pytest.mark.parametrize("sigma", [1.0, 0.02, 1e-6])
def test_rounding_is_what_rounding_does(dtype, floor, sigma):
    exact = sigma * gaussian(300, 300)
    rounded = exact.to(dtype)
    error = float((rounded.double() - exact).norm())
    assert float(spectra.rounding_variance(rounded).sum()) ** 0.5 == pytest.approx(error, rel=0.02)
    if sigma == 0.02:
        assert error / float(exact.norm()) == pytest.approx(floor, rel=0.02)


def test_floor_is_the_drift_that_rounding_alone_gives():
    exact = 0.02 * gaussian(200, 200)
    shaken = exact * (1 + 1e-2 * gaussian(200, 200, seed=1))  # enough for the two roundings to be independent
    weights = [w.half() for w in (shaken, exact)]
    error = (weights[0].double() - shaken) - (weights[1].double() - exact)
    found = nla.drift(moved(*weights, previous=weights[1]))
    assert found["drift_floor"] == pytest.approx(float(error.norm() / exact.norm()), rel=0.02)
    assert [found["update_floor"], found["drift_floor"]] == pytest.approx([2**0.5 * 2.07e-4] * 2, rel=0.02)


def test_rand_distance_is_the_divergence_written_out():
    W = gaussian(40, 25) + 3 * torch.outer(gaussian(40, seed=1).sign(), gaussian(25, seed=2).sign())
    found = nla.measures.rand_distance(moved(W))
    entries = W.float().flatten().numpy().copy()
    np.random.default_rng(crc32(b"dense 0")).shuffle(entries)
    p, q = (np.sort(np.linalg.svd(x, compute_uv=False) ** 2)[::-1] for x in (W.numpy(), entries.reshape(40, 25)))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    assert found == pytest.approx(np.sqrt((p @ np.log(p / middle) + q @ np.log(q / middle)) / 2), rel=1e-4)
    assert found == pytest.approx(nla.measures.rand_distance(moved(W))) and found > 8 * random_rand_distance(40, 25)


@pytest.mark.parametrize("shape, draws", [((60, 60), 40), ((120, 30), 40), ((30, 120), 40), ((400, 400), 12)])
def test_rand_distance_of_a_random_matrix(shape, draws):
    mean = np.mean([nla.measures.rand_distance(moved(gaussian(*shape, seed=k))) for k in range(draws)])
    assert mean == pytest.approx(random_rand_distance(*shape), rel=0.1)


def test_a_turn_by_less_than_a_thousandth_is_no_decay():
    """As at the first steps of training: the fixed tolerance of nla.sparsity takes such rows for untouched."""
    first = 0.03 * gaussian(200, 192)
    turned = first.clone()
    turned[50:] += 8e-4 * 0.03 * gaussian(150, 192, seed=1)
    now = moved(turned.half(), first.half(), kind="embed_in")
    rows, _ = decayed_rows(now, now.initial)
    assert np.flatnonzero(rows).tolist() == list(range(50))
    assert nla.sparsity(now)["untouched_rows"] > 190 and nla.measures.departure(now)[0][50:].min() > 6e-4


def test_rows_that_turn_are_not_taken_for_decayed():
    first = gaussian(100, 64, dtype=torch.float16)
    first[0] = 0  # has no direction
    rows, measured = decayed_rows(moved(gaussian(100, 64, seed=1, dtype=torch.float16)), moved(first))
    assert not rows.any() and np.isnan(measured)


def test_scan_of_a_ladder(ladder):
    table = nla.scan(str(ladder), [nla.drift, nla.subspaces])
    steps = table.groupby("step")
    assert np.allclose(table[table.step <= 1].distance, 0) and np.allclose(table[table.step <= 1].cosine, 1)
    assert steps.update_steps.first().to_dict() == {0: 0, 1: 1, 20: 19, 100: 80}
    assert steps.update_norm.apply(lambda c: c.isna().all()).to_dict() == {0: True, 1: False, 20: False, 100: False}
    assert np.allclose(table[table.step == 1].update_norm, 0)
    assert table[table.step == 1].duplicate_of.eq("step0").all()
    row = table[(table.step == 100) & (table.kind == "key") & (table.layer == 1)].iloc[0]
    with nla.load(str(ladder), 20) as before, nla.load(str(ladder), 100) as now:
        W, before = (w.matrix("key", 1).values.double().numpy() for w in (now, before))
    assert row.update_norm == pytest.approx(np.linalg.norm(W - before) / np.linalg.norm(before))
    assert row.left_final.min() > 0.999 and 0 < row.left_first.max() < 0.9
    assert table[table.kind == "embed_in"].decay_rows.notna().all()
    assert table[table.kind != "embed_in"].decay_rows.isna().all()


def test_ends_are_factorised_once(ladder, monkeypatch):
    calls, short_side = [], spectra.short_side
    monkeypatch.setattr(spectra, "short_side", lambda gram: calls.append(1) or short_side(gram))
    nla.scan(str(ladder), nla.subspaces, kinds=["key", "value"], layers=[0, 1])
    # Of four matrices: W and its noise at each of the four checkpoints, and the ends as seen from them.
    assert len(calls) == 4 * (2 * 4 + 2)


def spoil(ladder, step, value=float("nan")):
    path = ladder / f"step{step}" / "model.safetensors"
    state = load_file(path)
    state["gpt_neox.layers.0.attention.dense.weight"][0, 0] = value
    save_file(state, path)


@pytest.mark.parametrize("step", [0, 20, 100])
def test_nan_in_one_matrix_costs_only_what_is_compared_with_it(ladder, step):
    spoil(ladder, step)
    table = nla.scan(str(ladder), [nla.drift, nla.subspaces])
    spoilt = (table.kind == "dense") & (table.layer == 0)
    hit, others = table[spoilt].set_index("step"), table[~spoilt]
    assert hit.index[~hit.finite].tolist() == [step]
    assert others.relative_distance.notna().all() and others.finite.all()
    assert np.isfinite(np.concatenate([*others.left_first, *others.right_final])).all()
    known = hit.relative_distance.notna()
    assert known.tolist() == [False] * 4 if step == 0 else known.tolist() == [s != step for s in (0, 1, 20, 100)]
    if step == 20:
        assert np.isnan(hit.update_norm[100]) and hit.rand_distance[100] > 0
    if step == 100:
        assert np.isnan(hit.left_final[20]).all() and np.isfinite(hit.left_first[20]).all()


def test_damaged_neighbour_costs_only_what_is_compared_with_it(ladder):
    os.truncate(ladder / "step20" / "model.safetensors", 4000)
    with pytest.warns(UserWarning, match="step20 left out"):
        table = nla.scan(str(ladder), [nla.drift, nla.subspaces])
    assert list(table.attrs["summary"]["failed"]) == ["step20"]
    last = table[table.step == 100]
    assert (last.update_steps == 99).all()  # from the one before the damaged one
    assert last.update_norm.notna().all() and last.relative_distance.notna().all()


def test_drift_counts_from_the_first_checkpoint_that_can_be_read(ladder):
    os.truncate(ladder / "step0" / "model.safetensors", 4000)
    with pytest.warns(UserWarning, match="step0 left out"):
        table = nla.scan(str(ladder), nla.drift)
    assert set(table.step) == {1, 20, 100} and (table.initial_step == 1).all()
    assert np.allclose(table[table.step == 1].distance, 0) and (table[table.step == 20].distance > 0).all()


def test_what_cannot_be_fetched_this_time_is_nan_and_an_error_to_who_asks_for_it(ladder, monkeypatch):
    with nla.load(str(ladder), 100) as weights:
        matrix = weights.matrix("key", 0)

        def refuse(which):
            raise Unavailable("not now")

        monkeypatch.setattr(weights, "neighbour", refuse)
        found = nla.drift(matrix)
        assert np.isnan([found[name] for name in ("distance", "update_norm", "update_steps")]).all()
        with pytest.raises(Unavailable, match="not now"):
            assert matrix.initial is None


def test_matrix_of_another_shape_is_not_compared():
    found = moved(gaussian(20, 8), gaussian(24, 8), gaussian(20, 8, seed=1), gaussian(24, 8), kind="embed_in")
    drifted, turned = nla.drift(found), nla.subspaces(found)
    assert np.isnan(drifted["distance"]) and drifted["update_norm"] > 0 and "decay_rows" not in drifted
    assert np.isnan(turned["left_first"]).all() and np.isnan(turned["right_final"]).all()


def test_one_checkpoint_has_no_drift_and_a_bare_matrix_nothing_to_drift_from(ladder):
    table = nla.scan(str(ladder / "step100"), [nla.drift, nla.subspaces])
    assert np.allclose(table.distance, 0) and (table.update_steps == 0).all()
    assert np.concatenate(table.left_first.tolist()) == pytest.approx(1)
    bare = nla.Matrix("embed_in", -1, 0, gaussian(20, 30))
    found = nla.drift(bare) | nla.subspaces(bare)
    assert np.isnan(found["distance"]) and np.isnan(found["left_first"]).all() and found["rand_distance"] > 0


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1), (6, 5)])
def test_degenerate_matrices(shape):
    for now in (torch.zeros(shape), gaussian(*shape), torch.ones(shape)):
        for first in (torch.zeros(shape), gaussian(*shape, seed=1)):
            matrix = moved(now, first, first, first, kind="embed_in")
            for measure in (nla.drift, nla.subspaces):
                assert isinstance(measure(matrix), dict)


@pytest.mark.parametrize("shape", [(400, 64), (30, 700)])
def test_the_null_of_rand_distance_is_drawn_in_pieces(shape, monkeypatch):
    simulate = random_rand_distance.__wrapped__
    whole = simulate(*shape)
    monkeypatch.setitem(simulate.__globals__, "DRAWN", 2**20)
    tracemalloc.start()
    assert simulate(*shape) == pytest.approx(whole, rel=1e-12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2**20  # all at once would be 33 MB or more
