"""What matrices read in running models of every family, and what models lose with parts of their singular values."""

import numpy as np
import pytest
import torch

import nla
from nla.matrices import in_memory
from nla.running import activations
from nla.studies.fine_tuning_stages import fine_tuning
from nla.studies.random_matrix_theory import overlaps
from tests.helpers.activations import family
from tests.helpers.families import CONFIGS

TOKENS = torch.randint(0, 50, (6, 14), generator=torch.Generator().manual_seed(0))


def inputs(model, tokens):
    """{module name: inputs (n, d)} of all modules that hold one matrix, by hooks of this test's own."""
    found = {}

    def keep(name):
        return lambda module, args: found.setdefault(name, []).append(args[0].reshape(-1, args[0].shape[-1]))

    modules = {n: m for n, m in model.named_modules() if isinstance(getattr(m, "weight", None), torch.nn.Parameter)}
    hooks = [m.register_forward_pre_hook(keep(n)) for n, m in modules.items()]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_covariances_of_every_family_are_numpys(name):
    model = family(name)
    seen, layout = inputs(model, TOKENS), in_memory.in_memory(model)
    kinds = set()
    for group, layer, found in activations.covariances(model, TOKENS, at_once=4):
        for kind in group:
            x = seen[layout.tensor_name(kind, layer).removesuffix(".weight")].double().numpy()
            assert found.tokens == len(x) == TOKENS.numel() and found.matrix.dtype == torch.float64
            scale = np.abs(x).max() ** 2
            np.testing.assert_allclose(found.mean.numpy(), x.mean(0), atol=1e-6 * scale**0.5)
            np.testing.assert_allclose(found.matrix.numpy(), np.cov(x.T, bias=True), atol=1e-6 * scale)
            assert layout.matrix(kind, layer).shape[1] == len(found.mean)
            kinds.add((kind, layer))
    assert kinds == {key for key in layout.index if key[1] >= 0}


def test_bounded_memory_changes_nothing(model):
    whole = list(activations.covariances(model, TOKENS))
    little = list(activations.covariances(model, TOKENS, memory=1))
    assert len(whole) == len(little) == 8
    for (kinds, layer, one), (same, place, other) in zip(whole, little, strict=True):
        assert (kinds, layer) == (same, place)
        torch.testing.assert_close(one.matrix, other.matrix, rtol=1e-6, atol=1e-9)
    assert [layer for _, layer, _ in activations.covariances(model, TOKENS, layers=[1])] == [1] * 4
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_rank_of_a_short_text(model):
    *_, found = next(activations.covariances(model, TOKENS[:1, :5]))
    assert found.eigenvectors.shape[1] <= 4
    none = activations.Covariance(3, torch.zeros(4), torch.zeros(4, 4, dtype=torch.float64))
    assert np.isnan(overlaps.overlap(nla.Matrix("dense", 0, 0, torch.eye(4)), none)["overlap"]).all()


def test_losses_on_answers_are_in_the_order_of_the_answers(model):
    """However long they are: of each alone, over the mean number of tokens of all."""
    examples = [([5] * (1 + i % 3), [7] * (1 + 7 * i % 11)) for i in range(40)]
    alone = np.array([fine_tuning.answer_losses(model, [each])[0] * len(each[1]) for each in examples])
    mean = np.mean([len(answer) for _, answer in examples])
    np.testing.assert_allclose(fine_tuning.answer_losses(model, examples), alone / mean, rtol=1e-5)


def test_along_a_direction_are_the_moments_of_the_projections():
    x = torch.randn(4000, 6, generator=torch.Generator().manual_seed(1)).double() * torch.arange(1, 7) + 2
    inputs, v = activations.Inputs.of(x), torch.tensor([3.0, 0, 0, 4, 0, 0])  # float32, and not of length 1
    found = activations.Covariance(len(x), inputs.mean, inputs.centred).along(v)
    read = (x @ v.double() / 5).numpy()
    assert found == pytest.approx((read.mean(), read.std(), read.mean() ** 2 / (read**2).mean()))


def test_a_constant_is_constant_and_noise_is_not():
    mean, zero = torch.tensor([1.0, 2.0]).double(), torch.zeros(2, 2).double()
    assert activations.Covariance(3, mean, zero).along(mean) == pytest.approx((5**0.5, 0, 1))
    assert activations.Covariance(3, 0 * mean, zero + torch.eye(2)).along(mean) == pytest.approx((0, 1, 0))
    assert activations.Covariance(3, 0 * mean, zero).along(0 * mean)[2] == pytest.approx(0)
