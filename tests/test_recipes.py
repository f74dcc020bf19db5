"""Learning rates, decay and noise of the published recipes."""

import numpy as np
import pytest

from nla.models import recipes


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
