"""Learning rates, decay and noise of the published recipes."""

import numpy as np
import pytest
import torch

import nla
from nla.measures.drift import decayed_rows
from nla.nulls import recipes
from nla.nulls.recipes import Recipe
from nla.numerics import threads
from nla.numerics.changes import compare
from tests.helpers.drift import gaussian, moved


def test_schedule_has_the_marks_of_pythia():
    recipe = recipes.published("pythia-70m")
    rates = recipe.learning_rate(np.arange(143000))
    assert rates[0] == pytest.approx(0)  # the first update is no update: step 1 is step 0
    assert rates.argmax() == 1430 and rates.max() == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4)
    floor = np.flatnonzero(np.isclose(rates, rates[-1], rtol=1e-10, atol=0))
    assert floor[floor > 1430][0] == 115139  # the cosine meets it


@pytest.mark.parametrize(
    "name, expected",
    [
        ("pythia-70m", [0.966, 0.483, 0.0006]),
        ("pythia-410m", [0.990, 0.804, 0.109]),
        ("pythia-12b", [0.996, 0.916, 0.411]),
    ],
)
def test_decay_agrees_with_tabulated_values(name, expected):
    decay = recipes.published(name).decay([1000, 8000, 143000])
    assert decay == pytest.approx(expected, abs=6e-4)


def test_decay_and_noise_agree_with_a_simulated_optimiser():
    import torch

    recipe = recipes.Recipe(peak=0.01, steps=200, warmup=5)
    weight = torch.full((1000, 200), 0.5, requires_grad=True)
    optimizer = torch.optim.SGD([weight])
    generator, kept = torch.Generator().manual_seed(0), 1.0
    for step in range(recipe.steps):
        rate = float(recipe.learning_rate(step))
        kept *= 1 - rate * recipe.weight_decay
        with torch.no_grad():  # decoupled decay, then a step of unit variance
            weight.mul_(1 - rate * recipe.weight_decay)
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    assert recipe.decay(200) == pytest.approx(kept)
    assert recipe.noise_rms(0.5, 200) == pytest.approx(weight.detach().square().mean().sqrt().item(), rel=2e-3)
    assert weight.mean().item() == pytest.approx(0.5 * recipe.decay(200), rel=2e-3)


def test_initial_std():
    pythia = recipes.published("EleutherAI/pythia-70m-deduped")
    assert pythia.initial_std("query", 512, 6) == pytest.approx(0.027951, rel=1e-4)
    assert pythia.initial_std("dense", 512, 6) == pytest.approx(0.014731, rel=1e-4)
    assert recipes.published("pythia-6.9b").initial_std("dense_4h_to_h", 4096, 32) == pytest.approx(0.0025)


def test_unknown_recipes():
    assert recipes.published("pythia-410m-seed3") is recipes.published("pythia-410m")
    assert recipes.published("demo") is None
    assert recipes.published("pythia-3b") is None


@pytest.fixture(autouse=True)
def one_thread():
    """As in a scan: matrices this small only lose by sharing."""
    with threads.one_thread_each(threads.cores()):
        yield


@pytest.mark.parametrize("dtype, decay", [(torch.float16, 0.66), (torch.float16, 6e-4), (torch.float32, 0.66)])
def test_rows_without_gradient_measure_the_decay(dtype, decay):
    master = 0.03 * gaussian(300, 64)
    now = decay * master
    now[20:] += 0.01 * decay * 0.03 * gaussian(280, 64, seed=1)  # the others move by one per cent
    rows, measured = decayed_rows(moved(now.to(dtype)), moved(master.to(dtype)))
    assert np.flatnonzero(rows).tolist() == list(range(20))
    assert measured == pytest.approx(decay, rel=1e-4)


def test_demo_measures_its_own_recipe():
    recipe = nla.recipe("demo")
    steps = [c.step for c in nla.checkpoints("demo")]
    for step in (steps[-1], steps[len(steps) // 2]):
        with nla.load("demo", step) as weights:
            found = nla.drift(weights.matrix("embed_in"))
        assert 3 <= found["decay_rows"] < weights.config.vocab_size
        assert found["decay_measured"] == pytest.approx(recipe.decay(step), rel=1e-4)


def test_noise_drift_is_what_simulated_noise_does():
    recipe, start, step = Recipe(peak=0.02, steps=60, warmup=10), 20, 50
    generator = np.random.default_rng(0)
    W = first = 0.05 * generator.standard_normal((300, 300))
    for t in range(start, step):
        rate = recipe.learning_rate(t)
        W = (1 - recipe.weight_decay * rate) * W + rate * generator.standard_normal(W.shape)
    found = compare(moved(W), moved(first))
    distance, angle = recipe.noise_drift(np.sqrt((first**2).mean()), start, step)
    assert found["distance"] / found["norm"] == pytest.approx(distance, rel=0.01)
    assert found["angle"] == pytest.approx(angle, rel=0.01)


def test_noise_drift_is_what_adam_does_with_white_noise():
    recipe, generator = Recipe(peak=2e-3, steps=1000, warmup=40), torch.Generator().manual_seed(0)
    W = torch.nn.Parameter(0.04 * torch.randn(20000, generator=generator))
    adam = torch.optim.AdamW([W], lr=0.0, betas=(0.9, 0.95), weight_decay=recipe.weight_decay)
    states = {}
    for step in range(recipe.steps + 1):
        if step in (500, 504, 1000):
            states[step] = W.detach().clone()[:, None]
        adam.param_groups[0]["lr"] = float(recipe.learning_rate(step))
        W.grad = torch.randn(W.shape, generator=generator)
        adam.step()
    ratios = []
    for start, step in ((500, 1000), (500, 504)):
        found = compare(moved(states[step]), moved(states[start]))
        expected = recipe.noise_drift(found["norm"] / W.numel() ** 0.5, start, step)
        ratios.append((found["distance"] / found["norm"] / expected[0], found["angle"] / expected[1]))
    assert ratios[0] == pytest.approx((0.98, 0.98), abs=0.03)
    assert ratios[1] == pytest.approx((0.4, 0.4), abs=0.05)


def test_angle_of_one_step_in_equilibrium():
    recipe = Recipe(peak=1e-3, steps=1000, warmup=1, floor=1.0)
    rate = recipe.learning_rate(500)
    _, angle = recipe.noise_drift(np.sqrt(rate / (2 * recipe.weight_decay)), 500, 501)
    assert angle == pytest.approx(np.sqrt(2 * rate * recipe.weight_decay), rel=1e-3)
    distances, _ = recipe.noise_drift(0.1, 0, np.array([0, 1, 2]))  # nothing is learnt at rate 0
    assert distances[:2] == pytest.approx(0) and distances[2] > 0
