"""AdamW whose moments live in a low-rank projection of the gradient: GaLore, with exact, sketched or random projectors.

The published package, galore-torch 1.0 of 2024, knows only the exact projector and asks for bitsandbytes, which this
series does not need; hence this page. Zhao et al. 2024 (arXiv:2403.03507), algorithm 2; the random projector is that of
Hao et al. 2024 (arXiv:2402.03293) with orthonormal columns.
"""

import time

import torch

from nla.numerics import spectra


def exact(gradient, rank):
    """The `rank` leading singular vectors of the shorter side, (short, rank), by a full SVD, as published."""
    U, _, Vt = torch.linalg.svd(gradient, full_matrices=False)
    return U[:, :rank] if gradient.shape[0] <= gradient.shape[1] else Vt[:rank].T


def gram(gradient, rank):
    """The same vectors from the eigenvectors of the short-side Gram matrix in float64."""
    return spectra.short_side(spectra.gram(gradient))[1][:, :rank].to(gradient.dtype)


def sketched(gradient, rank, oversampling=8, iterations=1):
    """Nearly the same by a randomised range finder with power iterations (Halko, Martinsson & Tropp 2011)."""
    wide = gradient if gradient.shape[0] <= gradient.shape[1] else gradient.T
    width = min(rank + oversampling, wide.shape[0])
    return torch.svd_lowrank(wide, width, niter=iterations)[0][:, :rank]


def random(gradient, rank):
    """`rank` random orthonormal vectors that do not look at the gradient: what any projector must beat."""
    short = min(gradient.shape)
    return torch.linalg.qr(torch.randn(short, rank, dtype=gradient.dtype, device=gradient.device))[0]


PROJECTORS = {"exact": exact, "gram": gram, "sketched": sketched, "random": random}


class GaLore(torch.optim.Optimizer):
    """AdamW; in groups that have a ``rank`` the moments are those of the gradient projected onto so many directions.

    With P (short, rank) the projector of the shorter side, the m x n gradient G, m <= n, becomes R = P^T G, Adam turns
    R into N, and the weight moves by -lr scale P N; moments stay as they are when P is renewed, as published. Weight
    decay is decoupled and not projected. If P is the identity this is AdamW.

    Parameters
    ----------
    groups : list of dict
        Parameter groups; those with ``rank`` hold matrices only and may have ``refresh`` (steps between projectors),
        ``projector`` (a function of gradient and rank) and ``scale``.
    """

    def __init__(self, groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0):
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(groups, defaults | dict(rank=None, refresh=200, projector=exact, scale=1.0))
        self.projector_seconds = []  # for each step at which projectors were renewed

    @torch.no_grad()
    def step(self):
        renewing = 0.0
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state, gradient = self.state[p], p.grad
                state["step"] = state.get("step", 0) + 1
                if group["rank"]:
                    if (state["step"] - 1) % group["refresh"] == 0:
                        began = time.perf_counter()
                        rank = min(group["rank"], *gradient.shape)
                        state["P"] = group["projector"](gradient, rank).contiguous()
                        renewing += time.perf_counter() - began
                    gradient = project(state["P"], gradient)
                update = adam(state, gradient, *group["betas"], group["eps"])
                if group["rank"]:
                    update = group["scale"] * project_back(state["P"], update, p.shape)
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])
        if renewing:
            self.projector_seconds.append(renewing)


def project(P, gradient):
    """P^T G of a wide or square G, G P of a tall one."""
    return P.T @ gradient if gradient.shape[0] <= gradient.shape[1] else gradient @ P


def project_back(P, update, shape):
    """P N or N P^T, of `shape`."""
    return P @ update if shape[0] <= shape[1] else update @ P.T


def adam(state, gradient, beta1, beta2, eps):
    """Adam's direction, bias corrected; its two moments are kept in `state`."""
    if "mean" not in state:
        state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    mean = state["mean"].lerp_(gradient, 1 - beta1)
    square = state["square"].lerp_(gradient**2, 1 - beta2)
    count = state["step"]
    return mean / (1 - beta1**count) / ((square / (1 - beta2**count)).sqrt() + eps)


def groups_of(model, recipe, rank=None, **options):
    """Parameter groups: matrices of attention and MLP (projected if there is a `rank`), embeddings, and the rest."""
    named = list(model.named_parameters())
    inner = [p for name, p in named if p.ndim == 2 and ".layers." in name]
    outer = [p for name, p in named if p.ndim == 2 and ".layers." not in name]
    low = dict(rank=rank, **options) if rank else {}
    return [
        {"params": inner, "weight_decay": recipe.weight_decay, **low},
        {"params": outer, "weight_decay": recipe.weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]


def state_bytes(optimizer):
    """Bytes of all tensors the optimiser keeps."""
    return sum(v.nbytes for state in optimizer.state.values() for v in state.values() if torch.is_tensor(v))
