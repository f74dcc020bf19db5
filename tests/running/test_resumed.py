"""Runs that begin at a layer are those of the whole model, in every family."""

import numpy as np
import pytest
import torch

from nla import low_rank
from nla.matrices import in_memory
from nla.running import losses, surgery
from nla.running.resumed import Resumed
from nla.studies.low_rank_compression import calibration
from tests.helpers.families import CONFIGS, build

CAUSAL = [name for name in CONFIGS if not name.startswith("bert")]
WINDOWS = torch.randint(0, 53, (5, 13), generator=torch.Generator().manual_seed(0))


def built(name):
    torch.manual_seed(0)
    return build(name.split()[0], **CONFIGS[name]).float().eval()


@pytest.mark.parametrize("name", CAUSAL)
def test_losses_with_a_layer_changed(name):
    model = built(name)
    above = Resumed(model, WINDOWS, at_once=2)
    for layer in (1, 2, 1):
        W = calibration.matrices(model, [("dense", layer)])["dense", layer]
        above.reach(layer)
        for factor in (0.0, 3.0):
            with surgery.replaced(model, {("dense", layer): factor * W}):
                np.testing.assert_allclose(above.losses(), losses.losses(model, WINDOWS), rtol=1e-5)
    np.testing.assert_allclose(above.losses(), losses.losses(model, WINDOWS), rtol=1e-5)
    assert all("forward" not in vars(layer) for layer in above.layers)


def test_the_layers_below_do_not_run_and_those_above_are_not_reached(model):
    windows, ran = torch.randint(0, 97, (3, 9)), []
    above = Resumed(model, windows).reach(1)
    hooks = [low_rank.place(in_memory.in_memory(model), "dense", layer)[0] for layer in range(len(above.layers))]
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda *args, layer=layer: ran.append(layer))
        for layer, path in enumerate(hooks)
    ]
    try:
        above.losses()
        assert ran == [1]
        Resumed(model, windows).until(1)
        assert ran == [1, 0]
    finally:
        for hook in hooks:
            hook.remove()


def test_an_error_leaves_the_model_as_it_was(model):
    above = Resumed(model, torch.randint(0, 97, (3, 9))).reach(1)
    with pytest.raises(ZeroDivisionError):
        above.each(lambda part: 1 / 0)
    assert all("forward" not in vars(layer) for layer in above.layers)
