"""Sketches against exact spectra: analytic matrices, bias and coverage over hundreds of seeds, and scans with them."""

import zlib

import numpy as np
import pytest
import scipy.linalg
import torch

import nla
from nla.measures.sketched import AUTO, ERRORS, Sketched, sketched_spectrum
from nla.numerics import quadrature, sketch
from nla.studies.randomised_nla.sketch_errors import sketch_errors

SEEDS = 200


def gaussian(m, n, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spiked(m, n, spikes=6, seed=1):
    """Gaussian, and `spikes` directions 2 to 4 times the edge."""
    U, V = (torch.linalg.qr(gaussian(side, spikes, seed + i))[0] for i, side in enumerate((m, n)))
    return gaussian(m, n, seed + 2) + U * torch.linspace(4, 2, spikes) * nla.nulls.mp_edges(m, n)[1] @ V.T


def singular_values(W):
    return np.linalg.svd(W.double().numpy(), compute_uv=False)


MATRICES = {"square": gaussian(80, 80), "tall": gaussian(240, 60), "wide": gaussian(60, 240), "spiked": spiked(200, 80)}


def coverage(truth, estimates):
    """(share of the intervals that hold the truth, mean over truth)."""
    values, errors = np.array(estimates).T
    return (np.abs(values - truth) <= errors).mean(), values.mean() / truth


def unbiased(truth, estimates):
    values = np.array([e.value for e in estimates])
    return abs(values.mean() - truth) <= 4 * values.std() / len(values) ** 0.5


@pytest.mark.parametrize("name", MATRICES)
def test_trace_of_the_squared_gram_is_unbiased_and_covered(name):
    W = MATRICES[name]
    truth, product, rank = (singular_values(W) ** 4).sum(), sketch.squared_gram(W), min(W.shape)
    for estimator, count in ((sketch.hutchinson, 12), (sketch.hutch_pp, 36)):
        found = [estimator(product, sketch.signs(rank, count, seed=i)) for i in range(SEEDS)]
        assert unbiased(truth, found), (estimator, np.mean([e.value for e in found]) / truth)
        assert 0.88 <= coverage(truth, found)[0] <= 1, estimator


def test_hutch_pp_pays_on_a_falling_spectrum_only():
    errors = {}
    for name in ("square", "spiked"):
        W = MATRICES[name]
        truth, product = (singular_values(W) ** 4).sum(), sketch.squared_gram(W)
        for estimator in (sketch.hutchinson, sketch.hutch_pp):
            z = [sketch.signs(80, 36, seed=i) for i in range(60)]
            errors[name, estimator] = np.std([estimator(product, each).value for each in z]) / truth
    assert errors["spiked", sketch.hutch_pp] < 0.3 * errors["spiked", sketch.hutchinson]
    assert errors["square", sketch.hutch_pp] > 0.7 * errors["square", sketch.hutchinson]


def test_hutchinson_is_exact_on_a_diagonal():
    d = torch.arange(1.0, 31.0).double()
    assert sketch.hutchinson(lambda z: d[:, None] * z, sketch.signs(30, 4)) == pytest.approx((465, 0))
    with pytest.raises(ValueError, match="at least 6"):
        sketch.hutch_pp(lambda z: z, sketch.signs(30, 5))


@pytest.mark.parametrize("name", MATRICES)
def test_quadrature_of_all_steps_is_exact_per_probe(name):
    W = MATRICES[name]
    full = quadrature.quadrature(W, probes=2, steps=min(W.shape))
    s = singular_values(W)
    for nodes, weights in (full.gauss, full.radau):
        assert weights.sum(1) == pytest.approx([1, 1])
        assert np.sort(nodes, 1)[:, -1] == pytest.approx(s[0])
    assert full._sums(full.gauss, [np.abs]) == pytest.approx(full._sums(full.radau, [np.abs]), rel=1e-6)
    z = sketch.signs(2, min(W.shape), seed=0).double()
    tall = W if W.shape[0] >= W.shape[1] else W.T
    Vt = torch.linalg.svd(tall, full_matrices=False).Vh
    direct = ((z @ Vt.T) ** 2 @ torch.from_numpy(s)).numpy()  # z^T (W^T W)^(1/2) z
    assert full._sums(full.gauss, [np.abs])[:, 0] == pytest.approx(direct)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("what", ["nuclear", "fourth", "effective_rank"])
def test_quadrature_is_covered_at_its_rate(name, what):
    W = MATRICES[name]
    s = singular_values(W)
    truth = {"nuclear": s.sum(), "fourth": (s**4).sum(), "effective_rank": nla.ranks(s)["effective_rank"]}[what]
    measure = {
        "nuclear": lambda d: d.trace(np.abs),
        "fourth": lambda d: d.trace(lambda x: x**4),
        "effective_rank": lambda d: d.effective_rank(),
    }[what]
    found = [measure(quadrature.quadrature(W, 8, 16, seed)) for seed in range(SEEDS)]
    share, ratio = coverage(truth, found)
    assert 0.88 <= share <= 1, share
    assert ratio == pytest.approx(1, abs=0.02)


def test_gauss_and_radau_bound_the_nuclear_norm_of_each_probe():
    W = MATRICES["square"]  # singular values down to 0: the hardest case
    full = quadrature.quadrature(W, 8, 80)
    exact = full._sums(full.gauss, [np.abs])
    for steps in (4, 8, 16, 32):
        few = quadrature.quadrature(W, 8, steps)
        assert (few._sums(few.gauss, [np.abs]) >= exact * (1 - 1e-9)).all()
        assert (few._sums(few.radau, [np.abs]) <= exact * (1 + 1e-9)).all()


def test_counts_and_quantiles():
    W = MATRICES["spiked"]
    s = singular_values(W)
    edge = 1.4 * np.sort(s)[-7]
    counts = [quadrature.quadrature(W, 8, 30, seed).count_above(edge) for seed in range(100)]
    assert (s > edge).sum() == 6 and unbiased(6, counts) and coverage(6, counts)[0] >= 0.9
    low = np.median(s)
    inside = [quadrature.quadrature(W, 8, 30, seed).count_above(low) for seed in range(100)]
    assert coverage(40, inside)[0] >= 0.9
    medians = [quadrature.quadrature(W, 12, 30, seed).quantile(0.5).value for seed in range(30)]
    assert np.mean(medians) == pytest.approx(np.median(s), rel=0.03)


@pytest.mark.parametrize("name", ["spiked", "tall"])
def test_block_krylov_is_below_and_within_its_error(name):
    W = MATRICES[name].float()
    s, hits = singular_values(W), []
    for seed in range(SEEDS):
        found = sketch.block_krylov(W, 6, depth=3, seed=seed)
        assert (found.s <= s[:6] * (1 + 1e-5)).all()
        hits.append(s[:6] - found.s <= found.error)
    assert np.mean(hits) >= (0.99 if name == "spiked" else 0.8)  # in a bulk a residual shows some s, not which
    assert np.mean([h[0] for h in hits]) >= 0.95


def test_block_krylov_finds_the_subspace():
    W = MATRICES["spiked"]
    found = sketch.block_krylov(W, 6, depth=4)
    Vt = torch.linalg.svd(W, full_matrices=False).Vh
    sine = (found.short - Vt[:6].T @ (Vt[:6] @ found.short)).norm()
    assert sine <= found.sine < 1e-2
    assert found.s == pytest.approx(singular_values(W)[:6], rel=1e-6)
    assert W @ found.short == pytest.approx((found.long * torch.from_numpy(found.s)).numpy(), abs=1e-3 * found.s[0])
    assert sketch.block_krylov(W.T, 6, depth=4).s == pytest.approx(found.s)
    library = torch.svd_lowrank(W, 14, niter=3)[1][:6].numpy()
    assert found.s == pytest.approx(library, rel=1e-2)


@pytest.mark.parametrize("name", ["spiked", "wide"])
def test_range_finder_is_below_within_its_error_and_no_better_than_krylov(name):
    W = MATRICES[name]
    s, worse, library = singular_values(W), [], []
    for seed in range(40):
        found = sketch.range_finder(W, 6, seed=seed)
        assert (found.s <= s[:6] * (1 + 1e-9)).all() and s[0] - found.s[0] <= found.error[0]
        long_side = W.T if name == "spiked" else W
        assert long_side @ found.long == pytest.approx((found.short * torch.from_numpy(found.s)).numpy(), abs=1e-9)
        worse.append(s[:6] - found.s >= s[:6] - sketch.block_krylov(W, 6, seed=seed).s - 1e-9)
        torch.manual_seed(seed)
        library.append([found.s, torch.svd_lowrank(W, 14, niter=2)[1][:6].numpy()])
    assert np.mean(worse) > 0.9
    ours, theirs = np.mean(library, 0)
    assert ours == pytest.approx(theirs, rel=0.01)
    assert sketch.range_finder(W, 6, iterations=20).s == pytest.approx(s[:6], rel=1e-3)


def test_sketch_errors_are_errors_and_are_covered():
    inside = {}
    for seed in range(30):
        W = spiked(150, 60) if seed % 2 else gaussian(100, 150)
        found = sketch_errors(nla.Matrix("dense", seed, 0, W.float()))
        assert found["block_krylov_off"] <= 1e-6 and found["range_finder_off"] <= 1e-6
        assert found["block_krylov_sine"] <= found["block_krylov_sine_bound"] * 1.001
        for name in [k.removesuffix("_off") for k in found if k.endswith("_off")]:
            inside.setdefault(name, []).append(abs(found[f"{name}_off"]) <= found[f"{name}_error"])
    assert len(inside) == 8 and all(np.mean(hits) >= 0.85 for hits in inside.values()), inside


def test_directions_of_spikes_are_found_in_every_shape():
    for W in (spiked(150, 60, 8), spiked(60, 150, 8), spiked(80, 80, 8)):
        found = sketch_errors(nla.Matrix("dense", 0, 0, W.float()))
        assert found["block_krylov_sine"] <= 0.3 and found["block_krylov_sine"] <= found["block_krylov_sine_bound"]


def test_sketch_errors_against_numpy():
    W = spiked(150, 60).float()
    found, s = sketch_errors(nla.Matrix("dense", 3, 0, W)), singular_values(W)
    seed = zlib.crc32(b"dense 3 0")
    Vt = np.linalg.svd(W.double().numpy())[2]
    krylov = sketch.block_krylov(W, 8, seed=seed)
    angles = scipy.linalg.subspace_angles(Vt[:8].T, krylov.short.double().numpy())
    assert found["block_krylov_sine"] == pytest.approx(np.linalg.norm(np.sin(angles)), rel=1e-3)
    upper = nla.nulls.mp_edges(150, 60, nla.bulk_sigma(s, 150, 60))[1]
    count = quadrature.quadrature(W, seed=seed).count_above(upper).value
    assert found["above_off"] == pytest.approx((count - (s > upper).sum()) / 60)
    rows = (W / W.norm(dim=1, keepdim=True)).double().numpy()
    truth = np.abs(rows @ rows.T)[~np.eye(150, dtype=bool)].mean()
    estimate = sketch.row_pairs(torch.from_numpy(rows), torch.abs, 64, seed).value
    assert found["cosine_off"] == pytest.approx(estimate / truth - 1, abs=1e-5)


def test_sketch_errors_of_degenerate_matrices():
    for W in (torch.zeros(9, 5), torch.ones(9, 5), torch.ones(1, 7), torch.eye(60)):
        found = sketch_errors(nla.Matrix("dense", 0, 0, W))
        assert all(isinstance(v, float) for v in found.values())
        if W.any():
            assert abs(found["nuclear_off"]) <= found["nuclear_error"] + 1e-4
    assert np.isnan(found["below_off"])  # square: no lower edge


def test_row_pairs_unbiased_covered_and_exact_with_all_rows():
    rows = spiked(300, 40)
    for X, kernel in ((rows / rows.norm(dim=1, keepdim=True), torch.abs), (rows, torch.square)):
        gram = kernel(X @ X.T).numpy()
        truth = gram[~np.eye(300, dtype=bool)].mean()
        found = [sketch.row_pairs(X, kernel, 40, seed) for seed in range(SEEDS)]
        assert unbiased(truth, found) and coverage(truth, found)[0] >= 0.88
        assert sketch.row_pairs(X, kernel, 1000) == pytest.approx((truth, 0))


def test_degenerate_matrices():
    for W in (torch.zeros(9, 5), torch.ones(9, 5), torch.ones(1, 7), torch.eye(6)):
        s = singular_values(W)
        density = quadrature.quadrature(W, 4, 30)
        found = density.trace(np.abs)
        assert abs(found.value - s.sum()) <= found.error + 1e-4
        measured = sketched_spectrum(nla.Matrix("dense", 0, 0, W))
        if s[0]:
            assert measured["stable_rank"] == pytest.approx((s @ s) / s[0] ** 2, rel=1e-4)


@pytest.mark.parametrize("shape", [(500, 120), (150, 150)])
def test_sketched_spectrum_agrees_with_the_exact_one(shape):
    for seed, W in enumerate((gaussian(*shape), spiked(*shape))):
        for kind in ("query", "value", "dense"):  # other seeds of the sketch
            matrix = nla.Matrix(kind, seed, 0, W.float())
            exact, found = nla.spectrum(matrix), sketched_spectrum(matrix)
            assert found["sketched"] is True
            for name in ERRORS:
                assert abs(found[name] - exact[name]) <= 2 * found[f"{name}_error"] + 1e-4 * exact[name], name
            for name in ERRORS[:3]:
                assert found[f"{name}_relative"] / found[name] == pytest.approx(exact[f"{name}_relative"] / exact[name])


def test_scan_marks_what_is_sketched_and_keeps_tables_apart(ladder):
    options = dict(steps=[0, 100], workers=4)  # every shorter side of this ladder is 42
    exact = nla.scan(str(ladder), nla.spectrum, **options)
    found = nla.scan(str(ladder), [nla.norms, nla.spectrum], sketch=42, **options)
    again = nla.scan(str(ladder), [nla.norms, nla.spectrum], sketch=42, **options)
    none = nla.scan(str(ladder), nla.spectrum, sketch=43, **options)
    assert "sketched" not in exact and again.attrs["summary"]["reused"] == 2
    assert found.sketched.all() and not none.sketched.any() and none.attrs["summary"]["done"] == 2
    columns = ["stable_rank", "numerical_rank", "condition_number"]
    assert np.allclose(none[columns].to_numpy(float), exact[columns].to_numpy(float), rtol=1e-9)
    assert np.allclose(none.effective_rank_error, 0) and (found.effective_rank_error > 0).all()
    assert "spectral" in found and "numerical_rank" not in found
    assert np.allclose(found.stable_rank, exact.stable_rank, rtol=0.05)
    assert "sketched" not in nla.scan(str(ladder), nla.spectrum, **options)


def test_the_shorter_side_decides():
    measure = Sketched(60)
    large, small = (measure(nla.Matrix("dense", 0, 0, torch.randn(90, n))) for n in (60, 59))
    assert (large["sketched"], small["sketched"]) == (True, False) and "singular_values" in small


def test_scan_says_what_cannot_be_sketched(ladder):
    with pytest.raises(ValueError, match="auto"):
        nla.scan(str(ladder), nla.spectrum, sketch="large")
    with pytest.raises(ValueError, match=r"nla\.spectrum alone"):
        nla.scan(str(ladder), nla.norms, sketch="auto")
    auto = nla.scan(str(ladder), nla.spectrum, steps=[0], sketch="auto", workers=4)
    assert not auto.sketched.astype(bool).any() and Sketched(AUTO).pure
