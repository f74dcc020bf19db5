"""Planted laws are told apart; averages and agreement by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nla
from nla.studies.power_law_alpha import averages
from nla.studies.power_law_alpha.planted import SHARE, planted, planted_table, power
from tests.helpers.power_law import pareto, spectrum_of


def test_planted_matrices_are_told_apart():
    measures = [nla.power_law, nla.power_law_checks, nla.drift]
    table = nla.verdicts(planted_table(measures, 512, steps=(100,)))
    verdicts = table.pivot(index="kind", columns="step", values="verdict")
    assert verdicts[100].to_dict() == {"noise": 0, "spikes": 0, "entries": 0, "trap": 1, "tail": 2}
    end = table.set_index("kind")
    assert end.alpha["tail"] == pytest.approx(3, abs=0.02) and end.alpha["trap"] < end.alpha["tail"] - 0.1
    assert end.traps["trap"] == 8 and end.reasons["trap"].startswith("trap_z") and end.reasons["tail"] == ""
    assert end.trap_z["entries"] > 50 and end.ks_distance["entries"] < 0.07, "entries fit well, and are no correlation"
    assert end.tail_entropy["tail"] < -10 and abs(end.bulk_entropy["tail"]) < 2


def test_a_drawn_tail_is_a_sample_and_a_planted_one_is_not():
    """ln(x / xmin) has mean and standard deviation 1/(alpha - 1) in a sample; quantiles have the mean exactly."""
    count, logs = int(SHARE * 100), {}
    for drawn in (False, True):
        x = [planted("tail", 100, seed=seed, drawn=drawn).singular_values ** 2 for seed in range(30)]
        logs[drawn] = np.array([np.log(values[:count] / values[count]) for values in x])  # the bulk ends at xmin
    assert logs[True].mean() == pytest.approx(0.5, abs=3 * 0.5 / (30 * count) ** 0.5)
    assert logs[True].mean(1).std() == pytest.approx(0.5 / count**0.5, rel=0.4)
    assert logs[False].mean() == pytest.approx(0.5, rel=0.02) and logs[False].mean(1).std() < 1e-4


def test_random_vectors_keep_a_power_law_from_being_valid():
    table = power([nla.power_law, nla.power_law_checks, nla.drift], widths=(256,), seeds=2)
    found = table.groupby("planted")[["verdict", "tail_entropy"]].max()
    assert len(table) == 2 * (4 + 3) and (found.verdict[["noise", "spikes", "entries"]] == 0).all()
    assert found.verdict["tail, quantiles, on an eighth"] == 2 and found.verdict["tail, quantiles, on all"] == 1
    assert found.tail_entropy["tail, quantiles, on an eighth"] < -5 < -1 < found.tail_entropy["tail, quantiles, on all"]
    same = table[table.planted.str.startswith("tail, drawn")].pivot(index="layer", columns="planted", values="alpha")
    np.testing.assert_allclose(*same.T.to_numpy(), rtol=1e-3)  # the vectors change nothing of the fit


def test_power_against_a_random_sample():
    """Eigenvalues drawn independently from a power law, which is harder than a planted tail."""
    rng = np.random.default_rng(18)
    for alpha, least in ((2.5, 0.6), (3.5, 0.4)):
        samples = np.sqrt(pareto(alpha, (20, 512), rng))
        valid = [nla.power_law(spectrum_of(s, (512, 512)))["valid"] for s in samples]
        assert np.mean(valid) > least


def test_averages():
    table = pd.DataFrame({"step": [0] * 4 + [1] * 4, "alpha": [2, 3, 4, 31, 2, 2, 3, 3], "valid": [0] * 5 + [1, 1, 0]})
    found = averages.averages(table)
    assert found.columns.tolist() == ["mean", "median", "alpha<8", "valid"]
    assert found.to_numpy() == pytest.approx(np.array([[10, 3.5, 3, np.nan], [2.5] * 4]), nan_ok=True)


def test_spearman_agrees_with_scipy():
    rng = np.random.default_rng(23)
    for n in (4, 6, 30):
        x, y = rng.standard_normal((2, n))
        rho, p = averages.spearman(x, y)
        assert rho == pytest.approx(stats.spearmanr(x, y).statistic)
        if n == 6:
            exact = stats.permutation_test(
                (x,), lambda v, y=y: stats.spearmanr(v, y).statistic, permutation_type="pairings", alternative="less"
            )
            assert p == pytest.approx(exact.pvalue, abs=1e-9)
    assert averages.spearman(np.arange(5), -np.arange(5)) == pytest.approx((-1, 1 / 120))
    assert np.isnan(averages.spearman(np.ones(5), np.arange(5))).all()
    assert np.isnan(averages.spearman(np.arange(5), [1, 2, np.nan, 3, 4])).all()


def test_agreement():
    layers, noise = np.arange(6), np.array([3, 1, 5, 0, 2, 4])
    rows = [{"kind": "query", "step": 8, "layer": i, "alpha": 5 - i} for i in layers]
    rows += [{"kind": "key", "step": 8, "layer": i, "alpha": noise[i]} for i in layers]
    table = pd.DataFrame([*rows, {"kind": "embed_in", "step": 8, "layer": -1, "alpha": 3.0}])
    table = table.assign(**dict.fromkeys(averages.BESIDE, table.layer))
    found = averages.agreement(table).set_index("kind")
    assert found.agrees.to_dict() == {"query": 1, "key": 0} and (found.over == "layers").all()
    assert found.rho_rand_distance["query"] == pytest.approx(-1)
    assert averages.agreement(table.assign(relative_distance=np.nan)).set_index("kind").agrees["query"] == 1
    steps = pd.concat([table[:1].assign(step=s, alpha=-s, **dict.fromkeys(averages.BESIDE, s)) for s in range(5)])
    assert averages.agreement(steps)[["over", "agrees"]].to_numpy().tolist() == [["steps", 1]]
