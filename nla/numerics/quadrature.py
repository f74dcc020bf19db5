"""Stochastic Lanczos quadrature: sums over a spectrum, its counts and quantiles, from products with few vectors.

The whole spectral density of W, m x n, r = min(m, n), is known as a few nodes and weights per random vector.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import xlogy
from scipy.stats import t as student

from nla.numerics.sketch import LEVEL, Estimate, mean, signs, upright


@dataclass(frozen=True, eq=False)
class Quadrature:
    """What stochastic Lanczos quadrature knows of a spectrum: nodes and weights, (probes, steps) each, of two rules.

    The rules are Gauss's and, with a node at 0, that of Gauss and Radau. For sum s they bound the value of each probe
    from above and below (Golub & Meurant 2010), for sums of s^2 and s^4 they agree; for other functions their
    difference is an estimate of the error of quadrature, which does not shrink with more probes.
    """

    gauss: tuple
    radau: tuple
    rank: int

    def functional(self, combine, *functions):
        """`Estimate` of combine(sum_i f(s_i) for f in functions), by jackknife over probes, and half the difference."""
        rules = [self._sums(rule, functions) for rule in (self.gauss, self.radau)]  # (probes, functions) each
        middle, probes = sum(rules) / 2, len(rules[0])
        with np.errstate(divide="ignore", invalid="ignore"):  # of the zero matrix most numbers are NaN
            left_out = np.array([combine(*row) for row in (middle.sum(0) - middle) / (probes - 1)])
            value, one, other = (combine(*part.mean(0)) for part in (middle, *rules))
        spread = np.sqrt((probes - 1) / probes * ((left_out - left_out.mean()) ** 2).sum())
        return Estimate(float(value), float(student.ppf((1 + LEVEL) / 2, probes - 1) * spread + abs(one - other) / 2))

    def _sums(self, rule, functions):
        nodes, weights = rule
        return self.rank * np.stack([(weights * f(nodes)).sum(1) for f in functions], 1)

    def trace(self, function):
        """Sum of function(s_i)."""
        return self.functional(lambda total: total, function)

    def effective_rank(self):
        """exp(-sum p ln p), p = s / sum s; the logarithm's curvature biases it by far less than its error."""
        return self.functional(
            lambda total, logs: np.exp(np.log(total) - logs / total), _identity, lambda s: xlogy(s, s)
        )

    def count_above(self, edge):
        """How many s_i are above `edge`.

        The error holds, beside that of the probes, the larger weight of the two nodes next to the edge: a step may be
        off by so much (Chebyshev, Markov and Stieltjes), which is little where the spectrum is thin.
        """
        nodes, weights = self.gauss
        found = mean(self.rank * (weights * (nodes > edge)).sum(1))
        padded = np.pad(np.take_along_axis(weights, np.argsort(nodes, 1), 1), ((0, 0), (1, 1)))
        below = (nodes <= edge).sum(1)
        beside = np.stack([padded[np.arange(len(nodes)), below + i] for i in (0, 1)])
        return Estimate(found.value, found.error + float(self.rank * beside.max(0).mean()))

    def quantile(self, q):
        """The s below which a share q of the spectrum lies, and the half-width from quarters of the probes."""
        quarters = [_quantile(*(part[i::4] for part in self.gauss), q) for i in range(min(4, len(self.gauss[0])))]
        return Estimate(_quantile(*self.gauss, q), mean(quarters).error)


def _identity(s):
    return s


def _quantile(nodes, weights, q):
    order = np.argsort(nodes, None)
    heights = weights.ravel()[order] / len(nodes)
    return float(np.interp(q, np.cumsum(heights) - heights / 2, nodes.ravel()[order]))


def quadrature(W, probes=24, steps=30, seed=0):
    """`Quadrature` of the spectrum of W: Golub-Kahan bidiagonalisation from random signs, reorthogonalised in full.

    No singular value is squared, so that float32 will do. Costs 2 x steps products of W with `probes` vectors, and
    memory for steps x probes of the shorter side. Ubaru, Chen & Saad 2017 (doi:10.1137/16M1104974); reorthogonalising
    one side is enough (Simon & Zha 2000, doi:10.1137/S1064827597327309).
    """
    W = upright(W)
    rank, tiny = W.shape[1], 10 * torch.finfo(W.dtype).eps
    steps = min(steps, rank)
    v = signs(probes, rank, seed=seed, like=W) / rank**0.5
    V, alphas, betas = v.new_zeros(probes, steps + 1, rank), [], []
    u = v.new_zeros(probes, W.shape[0])
    beta = v.new_zeros(probes, 1)
    largest = beta
    for j in range(steps):
        V[:, j] = v
        u, alpha = _unit(v @ W.T - beta * u, tiny * largest)
        largest = torch.maximum(largest, alpha)
        w = u @ W - alpha * v
        for _ in range(2):
            w = w - torch.einsum("pk,pkr->pr", torch.einsum("pkr,pr->pk", V[:, : j + 1], w), V[:, : j + 1])
        v, beta = _unit(w, tiny * largest)
        alphas.append(alpha)
        betas.append(beta)
    on, beside = torch.cat(alphas, 1).double().cpu(), torch.cat(betas, 1).double().cpu()
    B = torch.diag_embed(on) + torch.diag_embed(beside[:, :-1], 1)
    wide = torch.cat([B, torch.nn.functional.pad(beside[:, -1:, None], (0, 0, steps - 1, 0))], 2)
    return Quadrature(_rule(B), _rule(wide), rank)


def _unit(x, least):
    norm = x.norm(dim=1, keepdim=True)
    kept = norm > least
    return torch.where(kept, x / torch.where(kept, norm, 1.0), 0.0), torch.where(kept, norm, 0.0)


def _rule(B):
    _, s, Vt = torch.linalg.svd(B)  # Vt is square: Radau's node at 0 is where s has no entry
    nodes = torch.nn.functional.pad(s, (0, Vt.shape[1] - s.shape[1]))
    return nodes.numpy(), (Vt[:, :, 0] ** 2).numpy()
