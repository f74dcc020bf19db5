"""What several test modules share of sketch."""

import numpy as np
import torch

import nla


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
