"""Losses are those of the model itself."""

import copy
import math

import numpy as np
import pytest
import torch

from nla.running import losses
from tests.helpers.activations import family


def test_masked_loss_is_that_of_the_model_itself():
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_config(family("bert").config).eval()
    tokens = torch.randint(4, 50, (4, 13), generator=torch.Generator().manual_seed(2))
    seen = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()))
    found = losses.masked_losses(model, tokens, mask=3, at_once=3)
    hook.remove()
    given = torch.cat(seen)
    hidden = given != tokens
    assert (given[hidden] == 3).all() and (hidden.sum(1) == 2).all()
    with torch.no_grad():
        expected = model(given, labels=tokens.masked_fill(~hidden, -100)).loss
    assert found.mean() == pytest.approx(float(expected), rel=1e-5)


def test_loss_is_that_of_the_model_itself(model):
    windows = torch.randint(0, 97, (5, 33), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(windows[:, :-1]).logits.double().log_softmax(-1)
    expected = -np.mean([logits[i, t, windows[i, t + 1]].item() for i in range(5) for t in range(32)])
    assert losses.loss(model, windows) == pytest.approx(expected, rel=1e-5)
    assert losses.loss(model, windows, at_once=2) == pytest.approx(expected, rel=1e-5)


def test_loss_of_a_model_that_knows_nothing(model):
    blank = copy.deepcopy(model)
    with torch.no_grad():
        blank.get_output_embeddings().weight.zero_()
    assert losses.loss(blank, torch.randint(0, 97, (3, 17))) == pytest.approx(math.log(97))
