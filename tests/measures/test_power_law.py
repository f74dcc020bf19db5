"""Power-law fits against a naive scan, other packages, and spectra whose tail is known."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import nla
from nla import nulls
from nla.measures.power_law import _random_alpha, entropy_z, erg_rank, mp_departure
from nla.numerics import tails
from nla.studies.power_law_alpha import averages
from nla.studies.power_law_alpha.planted import planted
from tests.helpers.power_law import everything, gaussian_spectrum, matrix_of, spectrum_of


@pytest.mark.parametrize("shape", [(40, 40), (120, 30), (30, 120)])
def test_bidiagonal_draws_have_the_law_of_dense_ones(shape):
    rng = np.random.default_rng(13)
    fast = np.stack([nulls.gaussian_eigenvalues(*shape, rng) for _ in range(800)])
    dense = np.linalg.svd(rng.standard_normal((800, *shape)), compute_uv=False)[:, ::-1] ** 2
    for i in (0, len(fast[0]) // 2, -2, -1):
        assert stats.ks_2samp(fast[:, i], dense[:, i]).pvalue > 1e-3
    assert fast.sum(1).mean() == pytest.approx(dense.sum(1).mean(), rel=0.01)
    together = [np.corrcoef(x[:, -1], x[:, -2])[0, 1] for x in (fast, dense)]
    assert together[0] == pytest.approx(together[1], abs=0.1)
    assert nulls.gaussian_eigenvalues(1, 9, rng).shape == (1,) and (fast >= 0).all()


def test_random_alpha_is_that_of_dense_draws_and_is_seeded():
    rng = np.random.default_rng(14)
    dense = np.linalg.svd(rng.standard_normal((200, 80, 80)), compute_uv=False)[:, ::-1] ** 2
    null, fits = nla.measures.random_alpha(80, 80), tails.fit(dense)
    assert stats.ks_2samp(null.alpha, fits.alpha).pvalue > 1e-3 and stats.ks_2samp(null.ks, fits.ks).pvalue > 1e-3
    assert nla.measures.random_alpha(50, 70) is nla.measures.random_alpha(70, 50)
    again = _random_alpha.__wrapped__(80, 80)
    assert np.allclose(again.alpha, null.alpha)


def test_the_known_band_for_512():
    """100 dense draws of 512 x 512 had 4.9, 8.9 and 24.5 at 5, 50 and 95 %, by WeightWatcher's own fit."""
    low, middle, high = np.percentile(nla.measures.random_alpha(512, 512).alpha, [5, 50, 95])
    assert low == pytest.approx(4.9, rel=0.1) and middle == pytest.approx(8.9, rel=0.15)
    assert high == pytest.approx(24.5, rel=0.2)


def test_mp_departure_and_entropies_of_noise():
    rng = np.random.default_rng(15)
    draws = [gaussian_spectrum(200, 100, rng) for _ in range(60)]
    assert np.mean([mp_departure(d.singular_values, 200, 100) for d in draws]) == pytest.approx(1, abs=0.25)
    for d in (2, 5, 300):
        vectors = rng.standard_normal((d, 20000))
        z = entropy_z(torch.from_numpy(vectors / np.linalg.norm(vectors, axis=0)))
        assert float(z.mean()) == pytest.approx(0, abs=0.03) and float(z.std()) == pytest.approx(1, abs=0.03)
    assert float(entropy_z(torch.eye(50, dtype=torch.float64))[0]) < -20


def test_erg_rank():
    rng = np.random.default_rng(16)
    s = gaussian_spectrum(400, 400, rng).singular_values
    assert erg_rank(s) / 400 == pytest.approx(0.731, abs=0.01)
    x = s**2 / np.mean(s**2)
    k = erg_rank(s)
    assert np.prod(x[:k]) < 1 <= np.prod(x[: k - 1])
    assert erg_rank(np.ones(7)) == 7


@pytest.mark.parametrize("shape", [(96, 96), (192, 192), (768, 192), (96, 960), (512, 512)])
def test_noise_is_never_valid(shape):
    rng = np.random.default_rng(shape)
    draws = pd.DataFrame([nla.power_law(gaussian_spectrum(*shape, rng)) for _ in range(60)])
    assert not draws.valid.any()
    assert (draws.alpha.between(2, 6)).mean() > 0.05, "the usual range alone would have let some pass"
    assert draws.ks_distance.min() > 0.07 and draws.mp_departure.max() < 3
    inside = draws.alpha.between(draws.alpha_random_05[0], draws.alpha_random_95[0]).mean()
    assert 0.78 < inside < 0.99
    assert draws.mp_softrank.median() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("pattern", ["equal", "linear", "geometric", "scattered"])
def test_a_bulk_with_spikes_is_not_a_heavy_tail(pattern):
    rng, usual = np.random.default_rng(17), 0
    for count in (1, 3, 10, 20, 40, 80):
        for top in (2, 5, 15):
            strength = {
                "equal": np.full(count, 1.0 * top),
                "linear": np.linspace(1.5, top, count),
                "geometric": np.geomspace(1.5, top, count),
                "scattered": rng.uniform(1.2, top, count),
            }[pattern]
            U, V = (np.linalg.qr(rng.standard_normal((side, count)))[0] for side in (300, 200))
            weight = rng.standard_normal((300, 200)) / 300**0.5 + (U * strength * 1.8) @ V.T
            found = nla.power_law(spectrum_of(np.linalg.svd(weight, compute_uv=False), (300, 200)))
            assert not found["valid"], (pattern, count, top)
            usual += 2 <= found["alpha"] <= 6
    assert usual >= 3, "alpha alone would have let none of them pass either"


def test_traps_are_counted():
    rng = np.random.default_rng(19)
    weight = rng.standard_normal((200, 150))
    assert nla.power_law_checks(matrix_of(weight))["traps"] == 0
    places = rng.choice(weight.size, 5, replace=False)
    weight.flat[places] = 40 + np.arange(5)
    found = nla.power_law_checks(matrix_of(weight))
    assert found["traps"] == 5 and found["trap_z"] > 20
    found = nla.power_law_checks(matrix_of(rng.standard_normal((200, 150)) + 0.5))
    assert found["traps"] == 1, "a mean is an eigenvalue that no permutation removes"


def test_localised_vectors_are_seen_only_where_they_are():
    rng = np.random.default_rng(20)
    weight = planted("tail", 256).values.numpy()
    found = nla.power_law_checks(matrix_of(weight))
    turn, back = (np.linalg.qr(rng.standard_normal((256, 256)))[0] for _ in range(2))
    turned = nla.power_law_checks(matrix_of(turn @ weight @ back))  # same spectrum, random vectors
    assert found["tail_entropy"] < -5 and found["entropy_p"] < 1e-6
    assert turned["tail_entropy"] > -2 and turned["entropy_p"] > 1e-3


def test_columns_by_their_definitions():
    weight = planted("tail", 200, 80).values.double().numpy()
    found, s = (
        nla.power_law(matrix_of(weight)),
        np.linalg.svd(weight.astype(np.float32), compute_uv=False).astype(float),
    )
    x = s**2
    assert found["tail_size"] == (x >= found["xmin"] * (1 - 1e-6)).sum()
    assert found["tail_share"] == pytest.approx(found["tail_size"] / 200)
    assert found["tail_range"] == pytest.approx(x[0] / found["xmin"], rel=1e-5)
    assert found["alpha_error"] == pytest.approx((found["alpha"] - 1) / found["tail_size"] ** 0.5)
    assert found["log_spectral_norm"] == pytest.approx(np.log10(x[0]), abs=1e-5)
    assert found["alpha_hat"] == pytest.approx(found["alpha"] * np.log10(x[0]), abs=1e-4)
    assert found["log_alpha_norm"] == pytest.approx(np.log10((x ** found["alpha"]).sum()), abs=1e-4)
    edge = nla.nulls.bulk_sigma(s, 200, 200) * 2 * 200**0.5
    assert found["mp_softrank"] == pytest.approx(edge**2 / x[0], rel=1e-4)
    lowered = [tails.fit(np.minimum(x, x[c])[::-1]).alpha[0] for c in (1, 2, 3, 5, 10)]
    assert found["finger_shift"] == pytest.approx(np.abs(np.array(lowered) - found["alpha"]).max(), rel=1e-3)
    alpha, ks = (v[0] for v in tails.scan(x[::-1], np.inf))
    assert found["plateau"] == pytest.approx(alpha[ks <= 1.1 * ks.min()].std() / found["alpha"], abs=1e-4)


@pytest.mark.parametrize(
    "weight", [torch.zeros(6, 4), torch.ones(5, 5), torch.eye(12), torch.randn(1, 7), torch.ones(1, 1)]
)
def test_degenerate_matrices_give_no_exception(weight):
    found = everything(matrix_of(weight))
    assert found["valid"] == 0
    table = nla.verdicts(pd.DataFrame([{"kind": "dense", "layer": 0, "step": 0, **found}]))
    assert table.verdict[0] == 0 and "tail_size" in table.reasons[0]


def test_a_low_rank_matrix_is_seen():
    rng = np.random.default_rng(21)
    weight = torch.from_numpy(rng.standard_normal((120, 60)) @ rng.standard_normal((60, 120))).half()
    found = nla.power_law_checks(nla.Matrix("dense", 0, 0, weight))
    assert found["unresolved"] == pytest.approx(0.5, abs=0.05)
    table = nla.verdicts(pd.DataFrame([{"kind": "dense", "layer": 0, "step": 0, "alpha": 3.0, **found}]))
    assert table.check_rank[0] == 0


@pytest.fixture
def tables():
    return [nla.power_law, nla.power_law_checks, nla.drift]


def test_the_measures_scan_together_and_are_seeded(ladder, tables):
    some = {"kinds": ["query", "dense_h_to_4h", "embed_in"], "progress": False}
    one = nla.scan(str(ladder), tables, **some).drop(columns="duplicate_of")
    two = nla.scan(str(ladder), tables, steps=[100], workers=1, refresh=True, **some).drop(columns="duplicate_of")
    pd.testing.assert_frame_equal(one[one.step == 100].reset_index(drop=True), two)
    judged = nla.verdicts(one)
    assert (judged.verdict == 0).all() and (judged.reasons.str.len() > 0).all()
    shares = averages.shares(judged, averages.agreement(judged))
    assert list(shares.columns) == [0, 1, 20, 100] and shares.loc["VALID"].eq(0).all() and len(shares) == 9
    pairs = averages.neighbours(judged)
    assert len(pairs) == len(judged) * 3 // 4 and (pairs.step_before < pairs.step).all()


def test_no_column_is_another_measures(ladder, tables):
    table = nla.scan(str(ladder), [*tables, nla.norms, nla.spectrum], steps=[100], progress=False)
    assert {"alpha", "stable_rank", "rand_distance", "goodness_p"} <= set(table)


def test_monitoring_a_growing_folder(ladder, monkeypatch):
    """A run under way: what is new is measured, what was there is not measured again."""
    run = ladder.parent / "run"
    shutil.copytree(ladder / "step0", run / "step0")
    shutil.copytree(ladder / "step20", run / "step20")
    first = nla.scan(str(run), nla.power_law, progress=False)
    assert first.attrs["summary"]["done"] == 2
    measured = []
    scan = tails.scan
    monkeypatch.setattr(tails, "scan", lambda *a, **k: measured.append(1) or scan(*a, **k))
    again = nla.scan(str(run), nla.power_law, progress=False)
    assert not measured and again.attrs["summary"]["reused"] == 2
    shutil.copytree(ladder / "step100", run / "step100")
    grown = nla.scan(str(run), nla.power_law, progress=False)
    assert (grown.attrs["summary"]["done"], grown.attrs["summary"]["reused"]) == (1, 2)
    assert (
        0 < len(measured) <= 2 * (grown.step == 100).sum() + 8
    )  # one fit and its fingers each; once per shape the null
    pd.testing.assert_frame_equal(grown[grown.step < 100], first, check_like=True)
    assert set(grown.step) == {0, 20, 100}
