"""Updates between stages, by brute force."""

import json

import numpy as np
import pytest
import torch

import nla
from nla import measures
from nla.figures import parts
from nla.studies.fine_tuning_stages import stage_changes
from tests.helpers.stages import change


@pytest.fixture
def chain(ladder):
    """step0 > step20 > step100 of the tiny ladder, written out."""
    return f"{ladder}/step0>{ladder}/step20>{ladder}/step100"


def test_scan_of_a_chain_measures_updates(chain, ladder):
    table = nla.scan(chain, [nla.update, nla.norms])
    assert list(dict.fromkeys(table.stage)) == ["base", "stage", "stage2"]
    assert table[table.step == 0].delta_norm.isna().all() and table[table.step > 0].delta_norm.notna().all()
    whole = nla.scan(str(ladder), nla.update)
    row = table[(table.step == 2) & (table.kind == "key") & (table.layer == 1)].iloc[0]
    same = whole[(whole.step == 100) & (whole.kind == "key") & (whole.layer == 1)].iloc[0]
    assert row.delta_norm == pytest.approx(same.delta_norm)  # step20 comes before step100 in both


def brute(now, then, earlier=None):
    """`update` by full singular value decompositions."""
    W, D = then.astype(float), now.astype(float) - then.astype(float)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    m, n, r, total = *W.shape, len(s), (D**2).sum()
    parts = np.array_split(np.arange(r), min(10, r))
    out = [(m / len(p)) * ((U[:, p].T @ D) ** 2).sum() / total for p in parts]
    into = [(n / len(p)) * ((D @ Vt[p].T) ** 2).sum() / total for p in parts]
    d = np.linalg.svd(D, compute_uv=False)
    found = {
        "delta_norm": np.linalg.norm(D) / np.linalg.norm(W),
        "delta_changed": np.mean(now != then),
        "delta_along": (W * D).sum() / np.linalg.norm(W) / np.linalg.norm(D),
        "delta_stable_rank": (d**2).sum() / d[0] ** 2,
        "delta_deciles_out": out,
        "delta_deciles_in": into,
        "delta_diagonal": max(m, n) * (np.diag(U.T @ D @ Vt.T) ** 2).sum() / total,
    }
    if earlier is not None:
        last, k = then.astype(float) - earlier.astype(float), max(1, r // 10)
        found["delta_cosine"] = (D * last).sum() / np.linalg.norm(D) / np.linalg.norm(last)
        (Ua, _, Va), (Ub, _, Vb) = (np.linalg.svd(x, full_matrices=False) for x in (D, last))
        found["delta_overlap_out"] = ((Ua[:, :k].T @ Ub[:, :k]) ** 2).sum() / k / (k / m)
        found["delta_overlap_in"] = ((Va[:k] @ Vb[:k].T) ** 2).sum() / k / (k / n)
    return found


@pytest.mark.parametrize("kind", ["query", "dense_h_to_4h", "dense_4h_to_h", "embed_in"])
def test_update_by_brute_force(chain, kind):
    layer = -1 if kind == "embed_in" else 1
    with nla.load(chain, step=2) as weights:
        matrix = weights.matrix(kind, layer)
        now, then, earlier = (m.weight.numpy() for m in (matrix, matrix.previous, matrix.previous.previous))
        found = nla.update(matrix)
    for name, value in brute(now, then, earlier).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


def test_update_of_random_noise_is_random_everywhere(tmp_path):
    """Independent Gaussian updates have every share 1, cosine 0 and ranks of a random matrix."""
    found = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        one, two, three = (torch.randn(300, 120, generator=generator) for _ in range(3))
        found.append(nla.update(series(one, one + two, one + two + three)))
    mean = {k: np.mean([f[k] for f in found], axis=0) for k in found[0]}
    np.testing.assert_allclose(mean["delta_deciles_out"], 1, atol=0.1)
    np.testing.assert_allclose(mean["delta_deciles_in"], 1, atol=0.1)
    assert mean["delta_overlap_out"] == pytest.approx(1, abs=0.25) and mean["delta_overlap_in"] == pytest.approx(
        1, abs=0.25
    )
    assert abs(mean["delta_cosine"]) < 0.02 and mean["delta_diagonal"] == pytest.approx(1, abs=0.3)
    assert mean["delta_stable_rank_relative"] == pytest.approx(1, abs=0.03)
    assert mean["delta_effective_rank_relative"] == pytest.approx(1, abs=0.03)


def series(*values):
    """The last of a series of matrices, each knowing the one before."""
    matrix = None
    for step, value in enumerate(values):
        before, matrix = matrix, nla.Matrix("dense", 0, step, value)
        matrix.__dict__["previous"] = before
    return matrix


def test_update_in_known_places():
    torch.manual_seed(0)
    U, _ = torch.linalg.qr(torch.randn(60, 40, dtype=torch.float64))
    V, _ = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64))
    s = torch.linspace(10, 1, 40, dtype=torch.float64)
    W = U * s @ V.T
    for k, end in ((0, "top"), (39, "bottom")):  # along one pair of singular vectors
        found = nla.update(series(W, W + 0.1 * torch.outer(U[:, k], V[:, k])))
        assert found[f"delta_{end}_out"] == pytest.approx(60 / 4) and found[f"delta_{end}_in"] == pytest.approx(40 / 4)
        assert found["delta_stable_rank"] == pytest.approx(1) and found["delta_diagonal"] == pytest.approx(60)
        assert found["delta_norm"] == pytest.approx(0.1 / float(s.norm()))
    decayed = nla.update(series(W, 0.9 * W))
    assert decayed["delta_along"] == pytest.approx(-1) and decayed["delta_norm"] == pytest.approx(0.1)


def test_update_counts_changed_entries_in_the_coarser_dtype():
    then = torch.ones(8, 8, dtype=torch.float16)
    now = then.float().clone()
    now[0] += 1e-5  # lost in half precision
    now[1] += 0.5
    assert nla.update(series(then, now))["delta_changed"] == pytest.approx(1 / 8)
    assert nla.update(series(then.float(), now))["delta_changed"] == pytest.approx(2 / 8)


def test_no_update_and_odd_shapes():
    zero = nla.update(series(torch.randn(5, 4), torch.zeros(5, 4)))
    assert zero["delta_along"] == pytest.approx(-1) and zero["delta_norm"] == pytest.approx(1)
    same = nla.update(series(torch.ones(5, 4), torch.ones(5, 4)))
    assert (same["delta_norm"], same["delta_changed"]) == pytest.approx((0, 0)) and np.isnan(same["delta_along"])
    row = nla.update(series(torch.ones(1, 4), torch.ones(1, 4) * 2, torch.ones(1, 4) * 3))
    assert (row["delta_norm"], row["delta_cosine"]) == pytest.approx((0.5, 1))
    assert nla.update(series(torch.ones(3, 3))) == {}
    from_zero = nla.update(series(torch.zeros(5, 4), torch.ones(5, 4)))
    assert from_zero["delta_norm"] == np.inf


def test_resized_vocabulary_is_compared_on_common_rows(chain, ladder):
    def shorter(name, tensor):
        return tensor[:90] if name.endswith(("embed_in.weight", "embed_out.weight", "lm_head.weight")) else tensor

    with nla.load(chain, step=1) as weights:
        matrix = weights.matrix("embed_in")
        now, then = matrix.weight[:90].numpy(), matrix.previous.weight[:90].numpy()
    change(ladder / "step20", shorter)
    config = json.loads((ladder / "step20" / "config.json").read_text()) | {"vocab_size": 90}
    (ladder / "step20" / "config.json").write_text(json.dumps(config))
    table = nla.scan(chain, nla.update, kinds=["embed_in"])
    assert list(table.rows) == [97, 90, 97] and list(table.delta_rows[1:]) == [90, 90]
    assert table.delta_norm[1] == pytest.approx(brute(now, then)["delta_norm"], rel=1e-9)
    assert table[table.step == 2].delta_cosine.notna().all()
    every = nla.scan(chain, [getattr(measures, name) for name in measures.__all__])  # none of them stumbles over it
    resized = every[(every.kind == "embed_in") & (every.step == 1)].iloc[0]
    assert np.isnan(resized.distance) and np.isnan(resized.untouched_rows) and resized.l1 > 0


def test_random_changes_are_those_of_updates_of_the_same_norm(ladder):
    """Noise of relative norm d that knows nothing of W makes an RMS larger by the factor sqrt(1 + d^2)."""
    before = nla.scan(str(ladder), [nla.update, nla.norms], steps="log")
    found = stage_changes.random_changes(before, before[:0], [nla.norms], draws=2)
    assert set(found.draw) == {0, 1} and set(found["update"]) == {parts.PRETRAINING}
    last = before[before.step == before.step.max()].set_index(["kind", "layer"])
    sizes = last.delta_norm.reindex(found.index)
    expected = 100 * (np.sqrt(1 + sizes**2) - 1)
    # <W, noise> is not exactly 0: 3 standard deviations of it
    chance = 100 * 3 * sizes / np.sqrt((last.rows * last.cols).reindex(found.index))
    assert (np.abs(found.rms - expected) < chance + 1e-3).all()
