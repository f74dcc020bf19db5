"""The bibliography, and every claim on tables made so that its verdict is known."""

import contextlib
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nla
from nla.nulls import recipes
from nla.studies.literature_review import (
    CLAIMS,
    MEASURES,
    alpha,
    entries,
    evidence,
    low_rank,
    random_matrices,
    references,
    sketches,
    spectra,
    stages,
    trends,
)

KINDS = ["query", "key", "value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
STEPS = [0, 1, 4, 16, 64, 256, 500, 800, 1000, 2000, 4000]
LAYERS = 6
RECIPE = recipes.Recipe(peak=2e-3, steps=4000, warmup=640)


def table(steps=STEPS, layers=LAYERS, **columns):
    """A scan's table; each column is a value or a function of (step, kind, layer)."""
    places = [(s, k, n) for s in steps for n in range(layers) for k in KINDS] + [(s, "embed_out", -1) for s in steps]
    rows = []
    for step, kind, layer in places:
        shape = {"dense_h_to_4h": (256, 64), "dense_4h_to_h": (64, 256), "embed_out": (500, 64)}.get(kind, (64, 64))
        row = dict(step=step, kind=kind, layer=layer, rows=shape[0], cols=shape[1], finite=True)
        rows.append(row | {c: v(step, kind, layer) if callable(v) else v for c, v in columns.items()})
    return pd.DataFrame(rows)


def fall(at, to=0.2, back=0.0, layers=0):
    """A stable rank of 10 that falls to `to` of it at step `at` (by kind if a dict, later by layer) and rises again."""

    def value(step, kind, layer):
        when = at.get(kind, 64) if isinstance(at, dict) else at
        when = when * 4.0 ** (layers * layer)
        return 10.0 if step < when else 10 * (to + (back if step > when * 10 else 0))

    return value


def by_kind(default, **values):
    return lambda step, kind, layer: values.get(kind, default)


def ends(first, last):
    """`first` at step 0, `last` from step 2000 on, between them from there on in a straight line of log(step)."""
    return lambda step, kind, layer: first + (last - first) * np.log1p(step) / np.log1p(4000)


def settles(top, bulk):
    """Overlap with the end over k = 1, 32 that becomes 1 at step `top`, `bulk`, mixed up in some matrices if a list."""
    return lambda step, kind, layer: np.array([float(step >= top), 0.5 + 0.5 * (step >= bulk)])


WIDE = ("dense_h_to_4h", "dense_4h_to_h")


def edges(right, left):
    """Both edges of the bulk as draws of the Tracy-Widom law: beyond from these steps on."""
    return {
        f"edge_{side}": lambda s, k, n, at=at: 9 * (s >= at) - 1.0 for side, at in (("right", right), ("left", left))
    }


S, C, N = evidence.VERDICTS
drifted = dict(relative_distance=1.0, drift_floor=1e-4)
overlap = dict(subspace_k=lambda *_: np.array([1, 32]))


def turns(first, turn, last):
    """`first` at step 0, `turn` at step 256 and `last` at the end, in straight lines of log(step)."""
    known = np.log1p([0, 256, 4000])
    return lambda step, kind, layer: float(np.interp(np.log1p(step), known, [first, turn, last]))


def better(step):
    return 7.0 - np.log1p(step) / 2


def follows(step, kind, layer):
    return wavers(step)


def wavers(step):
    """A loss that the step number does not give away."""
    return 5.0 + np.sin(3 * np.log1p(step))


beside = {c: lambda s, k, n: 1.0 + n for c in ("rand_distance", "log_spectral_norm", "relative_distance")}
moved = {"delta_norm": 0.1, "delta_floor": 1e-4}
still = {"delta_norm": 1e-4, "delta_floor": 1e-4}
ZIGZAG = [4, 1, 3, 2, 5, 0]
vectors = random_matrices.most_vectors_are_random
CASES = [
    (spectra.early_collapse, dict(stable_rank=fall(256)), S),
    (spectra.early_collapse, dict(stable_rank=fall(64)), N),  # between 16 and 64, and the window begins at 57
    (spectra.early_collapse, dict(stable_rank=fall(2000)), C),
    (spectra.early_collapse, dict(stable_rank=10.0), C),
    (spectra.value_later, dict(stable_rank=fall({"value": 1000})), S),
    (spectra.value_later, dict(stable_rank=fall({"query": 1000})), C),
    (spectra.value_later, dict(stable_rank=10.0), N),
    (spectra.value_later, dict(stable_rank=fall(64)), N),
    (spectra.rebound, dict(stable_rank=fall(64, back=0.1)), S),
    (spectra.rebound, dict(stable_rank=fall(64)), C),
    (spectra.rebound, dict(stable_rank=10.0), N),
    (spectra.leaves_bulk, dict(mp_rank=lambda s, k, n: int(s >= 800)), S),
    (spectra.leaves_bulk, dict(mp_rank=lambda s, k, n: int(s >= 500)), N),
    (spectra.leaves_bulk, dict(mp_rank=lambda s, k, n: int(s >= 1000)), N),
    (spectra.leaves_bulk, dict(mp_rank=lambda s, k, n: int(s >= 4)), C),
    (spectra.leaves_bulk, dict(mp_rank=0), C),
    (spectra.output_is_most_random, dict(mp_rank=by_kind(10, dense=2)), S),
    (spectra.output_is_most_random, dict(mp_rank=by_kind(10, dense=12)), C),
    (spectra.output_is_most_random, dict(mp_rank=0), N),
    (spectra.output_is_most_random, dict(mp_rank=10), N),
    (spectra.below_the_bulk, dict(outliers_left=6), S),
    (spectra.below_the_bulk, dict(outliers_left=0), C),
    (spectra.effective_rank_falls, dict(effective_rank=ends(50, 40)), S),
    (spectra.effective_rank_falls, dict(effective_rank=ends(50, 51)), C),
    (spectra.lowest_in_query_and_key, dict(effective_rank_relative=by_kind(0.9, query=0.7, key=0.6)), S),
    (spectra.lowest_in_query_and_key, dict(effective_rank_relative=by_kind(0.9, query=0.7)), N),
    (spectra.lowest_in_query_and_key, dict(effective_rank_relative=by_kind(0.9, value=0.7)), C),
    (spectra.products_are_low_rank, dict(head_effective_rank=9.0, head_effective_rank_mismatched=10.0), N),
    (spectra.depth_in_query_and_key, dict(stable_rank=lambda s, k, n: 5 + n * (k in ("query", "key"))), S),
    (spectra.depth_in_query_and_key, dict(stable_rank=lambda s, k, n: 5 + n * (k in ("value", "dense"))), C),
    (spectra.depth_in_query_and_key, dict(stable_rank=lambda s, k, n: 5.0 + n), N),
    (spectra.wave, dict(stable_rank=fall(1, layers=1)), S),
    (spectra.wave, dict(stable_rank=fall(1000, layers=-1)), C),
    (spectra.wave, dict(stable_rank=fall(64)), N),
    (spectra.wave, dict(stable_rank=lambda s, k, n: 10.0 if s < STEPS[2 + ZIGZAG[n]] else 2.0), N),
    (spectra.head_collapses, dict(effective_rank=lambda s, k, n: 40 if s > 2000 else 60), S),
    (spectra.head_collapses, dict(effective_rank=lambda s, k, n: 40 if s > 16 else 60), C),
    (spectra.proportion_by_size, dict(effective_rank=40), N),
    (entries.memory, dict(projection=0.9), S),
    (entries.memory, dict(projection=0.5), C),
    (entries.output_moves_most, dict(cosine=by_kind(0.5, dense=0.1)), S),
    (entries.output_moves_most, dict(cosine=by_kind(0.5, dense=0.9)), C),
    (entries.output_moves_most, dict(cosine=0.5), N),
    (entries.top_settles_first, dict(left_final=settles(16, 1000), **overlap), S),
    (entries.top_settles_first, dict(left_final=settles(1000, 16), **overlap), C),
    (entries.top_settles_first, dict(left_final=settles(16, 16), **overlap), N),
    (entries.converged_early, dict(left_final=settles(16, 16), **overlap), N),
    (entries.rank_of_change_rises, dict(change_stable_rank=ends(1, 20), **drifted), S),
    (entries.rank_of_change_rises, dict(change_stable_rank=ends(20, 1), **drifted), C),
    (entries.rank_of_change_rises, dict(change_stable_rank=ends(1, 20), relative_distance=1e-4, drift_floor=1e-4), N),
    (entries.norms_grow, dict(rms=ends(0.02, 0.03)), S),
    (entries.norms_grow, dict(rms=ends(0.02, 0.021)), C),
    (entries.size_is_the_optimisers, dict(rms=ends(0.02, float(RECIPE.noise_rms(0.02, 4000)))), S),
    (entries.size_is_the_optimisers, dict(rms=ends(0.02, 0.5)), C),
    (entries.leaves_gaussian, dict(kurtosis=lambda s, k, n: 0.5 * (s >= 256)), S),
    (entries.leaves_gaussian, dict(kurtosis=lambda s, k, n: 0.5 * (s >= 500)), N),
    (entries.leaves_gaussian, dict(kurtosis=lambda s, k, n: 0.5 * (s >= 1000)), C),
    (entries.leaves_gaussian, dict(kurtosis=0.0), C),
    (entries.leaves_gaussian, dict(kurtosis=1.0), N),
    (entries.weibull_shapes, dict(weibull_plot_shape=by_kind(1.2, query=1.1, key=1.1)), S),
    (entries.weibull_shapes, dict(weibull_plot_shape=by_kind(1.1)), C),
    (entries.neurons_by_depth, dict(folded_q50=lambda s, k, n: -0.3 if n == 5 else 0.3), S),
    (entries.neurons_by_depth, dict(folded_q50=0.3), C),
    (entries.cosine_falls_with_depth, dict(folded_q50=lambda s, k, n: -0.1 * n), S),
    (entries.cosine_falls_with_depth, dict(folded_q50=lambda s, k, n: 0.1 * n), C),
    (entries.cosine_falls_with_depth, dict(folded_q50=lambda s, k, n: 0.1 * ZIGZAG[n]), N),
    (alpha.falls_and_rises, dict(valid=0, alpha=turns(7, 3, 5), loss=better), S),
    (alpha.falls_and_rises, dict(valid=0, alpha=turns(7, 4, 3), loss=better), C),
    (alpha.falls_and_rises, dict(valid=0, alpha=turns(7, 3, 5), loss=lambda step: 3.0), C),
    (alpha.falls_and_rises, dict(valid=0, alpha=turns(7, 3, 5)), N),
    (alpha.robust_averages, dict(valid=0, alpha=lambda s, k, n: 20.0 if s > 1000 and k == "key" else 3.0), S),
    (alpha.robust_averages, dict(valid=0, alpha=turns(7, 3, 5)), C),
    (alpha.robust_averages, dict(valid=0, alpha=turns(7, 5, 3)), N),
    (alpha.between_two_and_six, dict(alpha=3.0, rows=400, cols=400), S),
    (alpha.between_two_and_six, dict(alpha=7.0), C),
    (alpha.between_two_and_six, dict(alpha=3.0), N),
    (alpha.agrees_with_others, dict(alpha=lambda s, k, n: 8.0 - n, **beside), S),
    (alpha.agrees_with_others, dict(alpha=lambda s, k, n: 2.0 + n, **beside), C),
    (alpha.agrees_with_others, dict(alpha=lambda s, k, n: 2.0 + ZIGZAG[n], **beside), N),
    (alpha.tail_vectors, dict(entropy_p=0.001), S),
    (alpha.tail_vectors, dict(entropy_p=0.3), C),
    (alpha.weighted_alpha, dict(alpha_hat=follows, loss=wavers), S),
    (alpha.weighted_alpha, dict(alpha_hat=lambda s, k, n: -wavers(s), loss=wavers), C),
    *((alpha.weighted_alpha, dict(alpha_hat=ends(*of), loss=better), N) for of in ((5, 2), (2, 5))),
    (alpha.shape_before_size, dict(rand_distance=follows, alpha=ends(7, 3), spectral=turns(1, 2, 1), loss=wavers), S),
    (alpha.shape_before_size, dict(rand_distance=turns(0, 1, 0), alpha=follows, spectral=ends(1, 2), loss=wavers), C),
    (alpha.shape_before_size, dict(rand_distance=follows, alpha=follows, spectral=ends(1, 2), loss=wavers), N),
    (
        alpha.shape_before_size,
        dict(rand_distance=ends(0, 1), alpha=turns(7, 3, 5), spectral=turns(1, 2, 1), loss=better),
        N,
    ),
    (alpha.inverted_u, dict(alpha=lambda s, k, n: 3.0 + n * (5 - n)), S),
    (alpha.inverted_u, dict(alpha=lambda s, k, n: 9.0 - n * (5 - n)), C),
    (alpha.inverted_u, dict(alpha=lambda s, k, n: 3.0 + n), N),
    *(
        (claim, dict(delta_stable_rank_relative=stable, delta_effective_rank_relative=effective, **moved), verdict)
        for claim in (stages.change_has_low_rank, stages.fine_tuning_is_low_rank)
        for stable, effective, verdict in ((0.1, 0.3, S), (0.1, 0.8, C), (0.8, 0.3, C))
    ),
    (stages.change_has_low_rank, dict(delta_stable_rank_relative=0.1, delta_effective_rank_relative=0.3, **still), N),
    (stages.preference_is_sparse, dict(delta_changed=0.2, **moved), S),
    (stages.preference_is_sparse, dict(delta_changed=0.9, **moved), C),
    (stages.preference_is_full_rank, dict(delta_effective_rank_relative=0.95, **moved), S),
    (stages.preference_is_full_rank, dict(delta_effective_rank_relative=0.5, **moved), C),
    (random_matrices.random_at_the_start, dict(mp_distance_relative=ends(1.1, 9)), S),
    (random_matrices.random_at_the_start, dict(mp_distance_relative=ends(1.7, 9)), C),
    (random_matrices.random_at_the_start, dict(mp_distance_relative=lambda s, k, n: 1 + 2 * (k == "key") * (n < 2)), C),
    (vectors, dict(rejected_top=0.2, rejected_middle=0.01, rejected_bottom=0.01), S),
    (vectors, dict(rejected_top=0.9, rejected_middle=0.6, rejected_bottom=0.6), C),
    (vectors, dict(rejected_top=0.01, rejected_middle=0.2, rejected_bottom=0.01), C),
    (vectors, dict(rejected_top=0.2, rejected_middle=0.01, rejected_bottom=0.05), C),
    (vectors, dict(rejected_top=0.01, rejected_middle=0.01, rejected_bottom=0.05), C),
    (vectors, dict(rejected_top=0.01, rejected_middle=0.01, rejected_bottom=0.01), N),
    (random_matrices.outliers_fall_with_depth, dict(outliers_right=lambda s, k, n: 9 - n), S),
    (random_matrices.outliers_fall_with_depth, dict(outliers_right=lambda s, k, n: 9 + n), C),
    (random_matrices.outliers_fall_with_depth, dict(outliers_right=lambda s, k, n: ZIGZAG[n]), N),
    (random_matrices.outliers_fall_with_depth, dict(outliers_right=3), N),
    (random_matrices.levels_repel, dict(spacing_ratio=ends(0.53, 0.54)), S),
    (random_matrices.levels_repel, dict(spacing_ratio=ends(0.53, 0.5)), C),
    (random_matrices.levels_repel, dict(spacing_ratio=ends(0.53, 0.56)), C),
    (random_matrices.small_end_of_rectangles, dict(rejected_bottom=by_kind(0.02, **dict.fromkeys(WIDE, 0.1))), S),
    (random_matrices.small_end_of_rectangles, dict(rejected_bottom=by_kind(0.02, dense_h_to_4h=0.1)), C),
    (random_matrices.small_end_of_rectangles, dict(rejected_bottom=0.1), C),
    (random_matrices.small_end_leaves_later, edges(64, 1000), S),
    (random_matrices.small_end_leaves_later, edges(1000, 64), C),
    (random_matrices.small_end_leaves_later, edges(64, 64), N),
    (random_matrices.small_end_leaves_later, edges(64, 9999), N),
]


def evidence_of(columns, steps=STEPS, recipe=RECIPE, **assigned):
    """`Evidence` of a table with these columns; those of a chain of stages, and the loss by step, are told by name."""
    chain = {c: v for c, v in columns.items() if c.startswith("delta_")}
    after = pd.concat([table([i]).assign(stage=s, **chain) for i, s in enumerate(("base", "sft", "dpo"))])
    loss = columns.get("loss")
    history = {"saved": [{"step": s, "held_out_loss": loss(s)} for s in steps]} if loss else None
    columns = {c: v for c, v in columns.items() if c not in chain and c != "loss"}
    made = table(steps, **columns).assign(**assigned)
    return evidence.Evidence(made, recipe, history, after.assign(**assigned) if chain else None)


def courses(slope):
    """Stable ranks of gradients that fall or rise by `slope` a step."""
    rows = [(seed, step, 0, "dense", 50 + slope * step) for seed in (0, 1) for step in range(10)]
    return pd.DataFrame(rows, columns=["seed", "step", "layer", "matrix", "stable_rank"])


def beyond(exact, other, spread=0.002):
    """Losses over AdamW's of three seeds."""
    noise = np.array([-spread, 0, spread])
    names = ["GaLore sketched 48/50", "GaLore random 48/50"]
    return pd.DataFrame({"GaLore exact 48/50": exact + 0 * noise} | {name: other + noise for name in names})


def above(**experiments):
    """Losses over the whole model's of three seeds, by experiment; the spread is the second number."""
    noise = np.array([-1, 0, 1])
    return pd.DataFrame({int(name[1:]): mean + spread * noise for name, (mean, spread) in experiments.items()})


def windows(mean):
    return mean + 0.01 * np.tile([-1.0, 0, 1], 10)


ABOVE = "literature_review.low_rank.above"
RUNS = [
    (sketches.gradients_lose_rank, "gradients", courses(-1.0), S),
    (sketches.gradients_lose_rank, "gradients", courses(1.0), C),
    (sketches.projection_keeps_the_loss, "excess", beyond(0.01, 0), S),
    (sketches.projection_keeps_the_loss, "excess", beyond(0.1, 0), C),
    *((c, "excess", beyond(0.1, 0.1), S) for c in (sketches.sketched_is_as_good, sketches.random_is_as_good)),
    *((c, "excess", beyond(0.1, 0.2), C) for c in (sketches.sketched_is_as_good, sketches.random_is_as_good)),
    *((c, "excess", beyond(0, 0.01, 0.1), N) for c in (sketches.sketched_is_as_good, sketches.random_is_as_good)),
    (low_rank.low_rank_in_training_is_free, ABOVE, above(_23=(0.0, 0.002)), S),
    (low_rank.low_rank_in_training_is_free, ABOVE, above(_23=(0.05, 0.002)), C),
    (low_rank.low_rank_in_training_is_free, ABOVE, above(_23=(0.012, 0.05)), N),
    (low_rank.low_rank_in_training_is_free, ABOVE, above(_23=(0.0, 0.002)).iloc[:1], N),
    (low_rank.embeddings_are_needed, ABOVE, above(_25=(0.1, 0.002), _26=(0.03, 0.002)), S),
    (low_rank.embeddings_are_needed, ABOVE, above(_25=(0.1, 0.002), _26=(0.0, 0.002)), C),
    (low_rank.factors_fall_short, ABOVE, above(_5=(0.1, 0.01)), S),
    (low_rank.factors_fall_short, ABOVE, above(_5=(0.01, 0.002)), C),
    (low_rank.truncation_improves, "literature_review.low_rank.rank_16", windows(-0.01), S),
    (low_rank.truncation_improves, "literature_review.low_rank.rank_16", windows(0.01), C),
    (low_rank.truncation_improves, "literature_review.low_rank.rank_16", windows(0.001), N),
]


@pytest.mark.parametrize("claim, name, stored, verdict", RUNS, ids=lambda x: getattr(x, "source", None))
def test_verdict_follows_the_stored_runs(claim, name, stored, verdict, monkeypatch):
    monkeypatch.setattr(f"nla.studies.{name if '.' in name else f'randomised_nla.tables.{name}'}", lambda: stored)
    assert claim.finding(evidence.Evidence(table(model="demo"))).verdict == verdict
    assert claim.finding(evidence.Evidence(table(model="pythia-1b"))).verdict == N


def test_claims_on_low_rank_read_the_stored_runs():
    found = low_rank.above()
    assert {1, 5, 23, 25, 26} <= set(found) and (found[1] == 0).all() and len(found) > 1
    rise = low_rank.rank_16()
    assert len(rise) > 20 and np.isfinite(rise).all() and rise.any()


@pytest.mark.parametrize("claim, columns, verdict", CASES, ids=lambda x: getattr(x, "source", None))
def test_verdict_follows_the_data(claim, columns, verdict):
    found = claim.finding(evidence_of(columns))
    assert found.verdict == verdict, found
    assert bool(found.reason) == (verdict == N)


def test_every_claim_is_tried_both_ways_or_never_decides():
    assert len(CLAIMS) >= 14 and len({c.text for c in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        seen = {verdict for c, *_, verdict in [*CASES, *RUNS] if c is claim}
        assert {S, C} <= seen or (seen == {N} and "no verdict" in claim.measured), claim.text


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.judge.__name__)
def test_what_is_missing_is_said(claim):
    columns = {c: v for each, columns, _ in CASES if each is claim for c, v in columns.items()}
    alone = claim.finding(evidence_of(columns, steps=[4000]))
    damaged = claim.finding(evidence_of(columns, finite=False))
    empty = claim.finding(evidence.Evidence(table(), RECIPE))
    assert alone.verdict in evidence.VERDICTS
    assert damaged.verdict == empty.verdict == N and damaged.reason and empty.reason


@pytest.mark.parametrize("claim", [spectra.early_collapse, spectra.leaves_bulk, entries.memory])
def test_unknown_recipe(claim):
    found = claim.finding(evidence.Evidence(table(stable_rank=fall(64), mp_rank=1, projection=0.5)))
    assert found.verdict == N and "not known" in found.reason


def test_halfway():
    course = pd.Series([8.0, 7.0, 4.0, 2.0, 5.0], [0, 1, 2, 4, 8])
    assert evidence.halfway(course) == 2  # 4 is the geometric mean of 8 and 2
    assert np.isnan(evidence.halfway(pd.Series([8.0, 7.5, 9.0], [0, 1, 2])))


def test_when():
    assert trends.seen_in([0, 1, 4, 16], 4) == (1, 4) and trends.seen_in([0, 1], 0) == (0, 0)
    assert trends.timed([(4, 16)], (4, 16), "") == ("", True)
    assert trends.timed([(4, 16)], (17, 64), "") == ("", False)
    assert trends.timed([(4, 16)], (1, 4), "") == ("", False)  # after 4
    assert trends.timed([(4, 16), None], (1, 64), "") == ("", False)
    with pytest.raises(evidence.CannotSay):
        trends.timed([(4, 16), (16, 64)], (4, 32), "")


def test_rank_correlation():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (2, 20)).astype(float)
    assert np.isclose(trends.rank_correlation(x, y), stats.spearmanr(x, y).statistic)
    assert np.isnan(trends.rank_correlation(x, np.ones(20))) and np.isnan(trends.rank_correlation(x[:3], y[:3]))
    x[:4] = np.nan
    assert np.isclose(trends.rank_correlation(x, y), stats.spearmanr(x[4:], y[4:]).statistic)


def test_layers_in_random_order():
    layers = np.arange(6)
    alone = trends.over_layers(pd.DataFrame({"query": -layers}), [layers])
    assert np.allclose(alone, (-1, 1 / 720, 1))
    alike = pd.DataFrame({"query": -layers, "key": -layers, "value": -layers})
    assert trends.over_layers(alike, [layers]) == pytest.approx(alone)  # three copies are no more than one
    y = np.array([2.0, 0, 4, 1, 5, 3, 8, 6, 9, 7])
    rho, _, rises = trends.over_layers(pd.DataFrame({"query": y}), [np.arange(10)])
    known = stats.spearmanr(y, np.arange(10), alternative="greater")
    assert np.isclose(rho, known.statistic) and abs(rises - known.pvalue) < 0.005
    with pytest.raises(evidence.CannotSay):
        trends.over_layers(pd.DataFrame({"query": np.ones(6)}), [layers])


def test_layers_in_random_order_with_gaps_and_ties():
    """Order by order beside scipy's own rank correlation of the places where both are known."""
    rng = np.random.default_rng(1)
    grid, other = rng.integers(0, 5, (2, 6, 2)).astype(float)
    grid[2, 0] = other[4, 1] = other[0, 0] = np.nan
    medians = []
    for order in itertools.permutations(range(6)):
        pairs = zip(grid.T, other[list(order)].T, strict=True)
        medians.append(np.median([stats.spearmanr(x, y, nan_policy="omit").statistic for x, y in pairs]))
    rho, falls, rises = trends.over_layers(pd.DataFrame(grid), [other])
    assert np.isclose(rho, medians[0])
    assert np.isclose(falls, np.mean(np.array(medians) <= medians[0] + 1e-9))
    assert np.isclose(rises, np.mean(np.array(medians) >= medians[0] - 1e-9))


def test_few_layers_contradict_nothing():
    """Of columns without any trend one in twenty is called a rise and one in twenty a fall, the rest neither."""
    rng, seen = np.random.default_rng(0), []
    for _ in range(60):
        grid = pd.DataFrame({"query": rng.standard_normal(5)})
        with contextlib.suppress(evidence.CannotSay):
            seen.append(trends.sloped(*trends.over_layers(grid, [np.arange(5)]), "")[1])
    assert len(seen) <= 12


def test_embeddings_are_said_beside():
    found = entries.norms_grow.finding(evidence_of(dict(rms=by_kind(1.0, embed_out=2.0))))
    assert found.value.endswith("; outside the layers embed_out 1") and "embed_out" not in found.value.split(";")[0]


def test_claims_on_a_real_ladder(ladder):
    scanned = nla.scan(str(ladder), MEASURES)
    found = evidence.table_of(CLAIMS, evidence.Evidence(scanned))
    assert set(found.verdict) <= set(evidence.VERDICTS) and len(found) == len(CLAIMS)
    shown = evidence.as_markdown(found, references.cited).splitlines()
    assert len(shown) == len(CLAIMS) + 2 and len({len(re.findall(r"(?<!\\)\|", line)) for line in shown}) == 1


def test_every_reference_is_complete():
    found = references.references()
    assert len(found) >= 30
    for key, entry in found.items():
        assert re.fullmatch(r"[a-z]+\d{4}[a-z]*", key) and str(entry.year) in key
        assert entry.authors and entry.title and entry.venue and entry.topic, key
        assert 1900 < entry.year < 2030
        assert len(re.findall(r"[.?!](?:\s|$)", entry.notes)) == 2 and entry.notes.endswith("."), key
        if "arxiv" in entry.link:
            assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", entry.link), key
        else:
            assert not entry.link or re.match(r"https://(doi\.org/10\.\d{4,}/|github\.com/|[\w.-]+/)\S+$", entry.link)


def test_keys_and_links_are_unique():
    text = Path(references.__file__).with_name("references.bib").read_text()
    assert len(re.findall(r"^@", text, re.M)) == len(references.references())
    links = [r.link for r in references.references().values() if r.link]
    assert len(set(links)) == len(links)


def test_claims_cite_what_is_in_the_list():
    assert {c.source for c in CLAIMS} <= set(references.references())


def test_citations():
    assert references.short("gavish2014") == "Gavish & Donoho 2014"
    assert references.short("boix2023") == "Boix-Adserà et al. 2023"
    assert references.short("ars2026") == "ErnestG4 2026"
    assert references.cited("meng2023") == "[Meng & Yao 2023](https://arxiv.org/abs/2111.13331)"
    assert references.as_markdown().count("\n- ") == len(references.references())


def test_a_kind_that_ends_in_nan_is_not_compared():
    """Its rows at the end are left out of the table: the course ends before, and of the end nothing is said."""
    rows = table(stable_rank=fall(64), weibull_plot_shape=1.2)
    rows.loc[(rows.kind == "dense_h_to_4h") & (rows.step == STEPS[-1]), "finite"] = False
    known = evidence.Evidence(rows)
    assert known.course("stable_rank").index.tolist() == STEPS[:-1] and known.steps == STEPS
    found = entries.weibull_shapes.finding(known)
    assert found.verdict == "cannot say" and "no dense_h_to_4h without NaN" in found.reason
