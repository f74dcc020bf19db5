"""What the matrices of a running model read: covariances of their inputs over a text, beside their singular vectors."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from nla.matrices.in_memory import in_memory
from nla.numerics import threads

SAME_INPUT = {"key": "query", "value": "query", "gate": "dense_h_to_4h"}  # reads what the other reads


@dataclass(frozen=True)
class Covariance:
    """Of the input x in R^d of a matrix over the tokens of a text, float64.

    Parameters
    ----------
    tokens : int
    mean : torch.Tensor
        (d,).
    matrix : torch.Tensor
        (d, d): mean of (x - mean)(x - mean)^T. Its rank is at most tokens - 1.
    """

    tokens: int
    mean: torch.Tensor
    matrix: torch.Tensor

    @cached_property
    def eigenvectors(self):
        """(d, k) of the k eigenvalues that are not zero, the largest first."""
        with threads.one_thread():
            values, vectors = torch.linalg.eigh(self.matrix)
        return vectors[:, values > 1e-10 * values[-1].clamp_min(1e-300)].flip(1)

    def along(self, direction):
        """(mean, standard deviation, constant share) of x . v for the unit vector v along `direction`, (d,).

        The share is mean^2 over the mean square, 0 to 1: how much of what v reads is the same for every token, and so
        acts as a bias. Of a direction chosen at random it is about |mean|^2 / (|mean|^2 + tr C).
        """
        v = torch.nn.functional.normalize(direction.to(self.mean), dim=0)
        mean, variance = float(v @ self.mean), max(float(v @ self.matrix @ v), 0.0)
        return mean, variance**0.5, mean**2 / max(mean**2 + variance, 1e-300)


@dataclass(frozen=True)
class Inputs:
    """What a matrix is given, in moments; all float64.

    Parameters
    ----------
    second : torch.Tensor
        E x x^T, (n, n), not centred.
    mean, absolute : torch.Tensor
        E x and E |x|, (n,).
    count : int
        How many inputs.
    """

    second: torch.Tensor
    mean: torch.Tensor
    absolute: torch.Tensor
    count: int

    @classmethod
    def of(cls, x):
        """Of the rows of x, (count, n)."""
        x = x.double()
        return cls(x.T @ x / len(x), x.mean(0), x.abs().mean(0), len(x))

    @property
    def centred(self):
        """Covariance matrix, (n, n)."""
        return self.second - torch.outer(self.mean, self.mean)

    @cached_property
    def root(self):
        """S with S S^T = E x x^T, (n, n)."""
        return _root(self.second)

    @cached_property
    def centred_root(self):
        """S with S S^T the covariance matrix, (n, n)."""
        return _root(self.centred)


def _root(C):
    with threads.one_thread():
        values, vectors = torch.linalg.eigh(C)
    return vectors * values.clamp_min(0).sqrt()


def kinds_of(model):
    """The kinds of matrices that the layers of a running model have, in order."""
    return list(dict.fromkeys(kind for kind, layer in in_memory(model).index if layer >= 0))


@torch.no_grad()
def covariances(model, windows, layers=None, at_once=16, memory=2e9):
    """Yield ((kind, ...), layer, `Covariance`) of the inputs of all matrices within the layers of a running model.

    A hook before each module adds up x and x x^T in float64, batch by batch; kinds that read the same input share one
    sum. If the sums of all layers would need more than `memory` bytes, the text is run through the model once for as
    many of them as fit.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of any family of `nla.matrices.families`.
    windows : torch.Tensor
        (n, length) token ids, no padding.
    layers : iterable of int, optional
    """
    layout, modules = in_memory(model), dict(model.named_modules())
    layers, waiting = range(layout.layers) if layers is None else layers, []
    readers = [k for k in kinds_of(model) if k not in SAME_INPUT]
    for layer in layers:
        for kind in readers:
            size = layout.weight(kind, layer).shape[1]
            waiting.append((kind, layer, modules[layout.tensor_name(kind, layer).removesuffix(".weight")], size))
    while waiting:
        count = max(1, int(np.searchsorted(np.cumsum([8 * size**2 for *_, size in waiting]), memory, side="right")))
        now, waiting = waiting[:count], waiting[count:]
        found = moments(model, windows, [module for _, _, module, _ in now], at_once)
        for (kind, layer, *_), each in zip(now, found, strict=True):
            kinds = (kind, *(k for k in kinds_of(model) if SAME_INPUT.get(k) == kind))
            yield kinds, layer, Covariance(each.count, each.mean, each.centred)


@torch.no_grad()
def moments(model, windows, modules, at_once=16):
    """`Inputs` of each of `modules` of a running model is given on `windows` of token ids, (n, length)."""
    with summing(modules) as found:
        for part in windows.split(at_once):
            model(part.to(model.device), use_cache=False)
    return found()


@contextmanager
def summing(modules, dtype=torch.float64):
    """Sum up what `modules` are given in the block; yields a function that returns their `Inputs`, in order.

    Modules that are given the same tensor, one after the other, share one sum. Products within a batch are of `dtype`.
    """
    modules, sums, source, last = list(modules), {}, {}, {"x": None}

    def hook(module, args):
        if args[0] is not last["x"]:
            last.update(x=args[0], module=module)
            x = args[0].detach().flatten(0, -2).to(dtype)
            if module not in sums:
                sums[module] = x.new_zeros(x.shape[1] + 2, x.shape[1], dtype=torch.float64), [0]
            total, count = sums[module]
            total[:-2] += x.T @ x
            total[-2] += x.sum(0, dtype=torch.float64)
            total[-1] += x.abs().sum(0, dtype=torch.float64)
            count[0] += len(x)
        source[module] = last["module"]

    def found():
        means = {module: (total / count[0], count[0]) for module, (total, count) in sums.items()}
        inputs = {module: Inputs(mean[:-2], mean[-2], mean[-1], count) for module, (mean, count) in means.items()}
        return [inputs[source[module]] for module in modules]

    hooks = [module.register_forward_pre_hook(hook) for module in set(modules)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
