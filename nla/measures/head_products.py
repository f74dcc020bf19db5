"""What one attention head computes: the spectra of its products W_Q^T W_K and W_O W_V, of rank d_head at most."""

import numpy as np
import torch

from nla.numerics.spectra import ranks
from nla.numerics.threads import computed_once


def head_products(matrix):
    """Ranks of W_Q^T W_K (rows of kind query) and of W_O W_V (kind dense) of every head; d_model x d_model each.

    W_Q^T W_K is the form by which two residual streams attend to one another, before rotary embeddings turn it
    according to their distance; W_O W_V is what a head then moves. Both have rank d_head at most, however they were
    trained: they compare with a product of two Gaussian factors of the same shape, not with a Gaussian matrix.

    Returns
    -------
    dict
        ``head_stable_rank`` and ``head_effective_rank`` (see `ranks`): mean over heads. With ``_min`` and ``_max``:
        the extremes. With ``_relative``: the mean over `random_product_ranks`, 1 where nothing was learnt. With
        ``_mismatched``: the mean when each head gets the key or value of the next; the difference to the mean is what
        the two factors of a head have learnt together (nothing differs if they share one key-value head). The curves
        ``head_stable_ranks`` and ``head_effective_ranks`` (heads,), and ``head_singular_values``, float32
        (heads * d_head,), descending within each head. Empty where the other factor is missing or not finite.
    """
    left = matrix.per_head  # (heads, d_head, d_model)
    other = matrix.sibling("key" if matrix.kind == "query" else "value", needed=False)
    if other is None or not other.finite:
        return {}
    right = other.values.reshape(-1, *left.shape[1:])  # (key-value heads, d_head, d_model)
    s = product_singular_values(left, right)
    by_head, mismatched = [[ranks(x) for x in y] for y in (s, product_singular_values(left, right.roll(1, 0)))]
    expected = random_product_ranks(*left.shape[1:])
    found = {"head_singular_values": s.astype(np.float32).ravel()}
    for name in ("stable_rank", "effective_rank"):
        values, others = (np.array([head[name] for head in heads]) for heads in (by_head, mismatched))
        found |= {f"head_{name}": values.mean(), f"head_{name}_min": values.min(), f"head_{name}_max": values.max()}
        found |= {f"head_{name}_relative": values.mean() / expected[name], f"head_{name}_mismatched": others.mean()}
        found[f"head_{name}s"] = values
    return found


head_products.kinds = ("query", "dense")
head_products.pure = True


def product_singular_values(left, right):
    """Singular values, descending, of left[h]^T right[g] for every head h; no d_model x d_model matrix is formed.

    With QR factorisations left^T = Q R and right^T = P S the product is Q (R S^T) P^T, whose singular values are those
    of the d_head x d_head matrix R S^T.

    Parameters
    ----------
    left : torch.Tensor
        (heads, d_head, d_model).
    right : torch.Tensor
        (key-value heads, d_head, d_model); each serves heads / (key-value heads) neighbouring heads of `left`.

    Returns
    -------
    numpy.ndarray
        (heads, d_head), float64; the error is 1e-16 of the product of the factors' spectral norms.
    """
    R, S = (torch.linalg.qr(factor.double().mT, mode="r").R for factor in (left, right))  # (heads, d_head, d_head)
    S = S.repeat_interleave(len(R) // len(S), 0)
    return torch.linalg.svdvals(R @ S.mT).cpu().numpy()


def random_product_ranks(d_head, d_model):
    """Mean `ranks` of A^T B with independent Gaussian A and B, d_head x d_model."""
    drawn = [ranks(s) for s in random_product_spectra(d_head, d_model)]
    return {name: float(np.mean([r[name] for r in drawn])) for name in drawn[0]}


@computed_once
def random_product_spectra(d_head, d_model, draws=100):
    """Seeded draws, (draws, d_head), of the singular values of A^T B with standard Gaussian A and B, d_head x d_model.

    The limit of large factors is known from free probability: with c = d_head / d_model the edge of s^2 / d_model^2 is
    (1 + z)(1 + c z)^2 / z at 2c z^2 + c z = 1, and the participation ratio d_head / (1 + 2c). Monte Carlo instead,
    because a head is far from that limit and the entropy has no closed form. The triangular factor of a Gaussian
    matrix is drawn as it is distributed (Bartlett 1933): independent chi on the diagonal, normal above it.
    """
    rng = np.random.default_rng(0)
    side = min(d_head, d_model)

    def factor():
        R = np.triu(rng.standard_normal((draws, side, d_head)), 1)
        R[:, range(side), range(side)] = np.sqrt(rng.chisquare(d_model - np.arange(side), (draws, side)))
        return R

    spectra = np.linalg.svd(factor() @ factor().swapaxes(1, 2), compute_uv=False)
    spectra.setflags(write=False)
    return spectra
