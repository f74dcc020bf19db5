"""One matrix as the product of two thin ones: W (m x n) ~ B A, by what W is and by what it is given to multiply.

The output error of any W' follows from the second moments of the inputs: E |(W - W') x|^2 = tr (W - W') C (W - W')^T,
so neither the optimum nor the error needs the inputs themselves.
"""

import numpy as np
import torch

from nla.nulls.draws import haar
from nla.numerics import spectra


def truncated(W, rank, inputs=None):
    """B A = the best approximation of W (m, n) itself: its first `rank` singular triplets; B (m, rank), A (rank, n).

    ||W - B A||_F^2 = s_{rank+1}^2 + ..., the least of all (Eckart & Young 1936, doi:10.1007/BF02288367). Factors of a
    lower rank are the first columns of B and rows of A, here and in `whitened`.
    """
    _, vectors = spectra.short_side(spectra.gram(W))
    vectors = vectors[:, :rank]
    wide = W.shape[0] <= W.shape[1]
    return (vectors, vectors.T @ W.double()) if wide else (W.double() @ vectors, vectors.T)


def randomised(W, rank, inputs=None, passes=2, seed=0):
    """`truncated` from random combinations of the columns: O(mn rank) instead of O(mn min(m, n)).

    References
    ----------
    Halko, Martinsson & Tropp 2011 (doi:10.1137/090771806), algorithms 4.4 and 5.1, as torch.svd_lowrank has them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        U, s, V = torch.svd_lowrank(W.double(), q=min(rank + 10, *W.shape), niter=passes)
    return U[:, :rank] * s[:rank], V[:, :rank].T


def scaled(W, rank, inputs, power=0.5):
    """Truncation of W diag(d), d = (E |x_j|)^power, and d divided out again: inputs that are large count for more.

    References
    ----------
    Yuan et al. 2023, ASVD (arXiv:2312.05821), whose default is power 0.5.
    """
    d = inputs.absolute.clamp_min(inputs.absolute.max() * 1e-6) ** power
    B, A = truncated(W.double() * d, rank)
    return B, A / d


def whitened(W, rank, inputs, centred=False):
    """The rank-`rank` map nearest to W in its outputs: the least of E |(W - B A) x|^2; B (m, rank), A (rank, n).

    With C = S S^T, B A = U U^T W, U (m, rank) the leading left singular vectors of W S; the least is the sum of the
    squares of the other singular values of W S. Nothing is inverted, so C may be singular. With `centred`, C is the
    covariance, which is right where the bias takes up the mean (see `affine`).

    References
    ----------
    Chen et al. 2021, DRONE (NeurIPS); Wang et al. 2025, SVD-LLM (arXiv:2403.07378), who divide by S.
    """
    left = whitened_spectrum(W, inputs, centred)[1][:, :rank]
    return left, left.T @ W.double()


def whitened_spectrum(W, inputs, centred=False):
    """(s, U) of W S: singular values, descending, (r,), and left singular vectors (m, r); r = min(m, n); float64."""
    W = W.double()
    if W.shape[0] <= W.shape[1]:
        return spectra.short_side(W @ (inputs.centred if centred else inputs.second) @ W.T)
    product = W @ (inputs.centred_root if centred else inputs.root)  # (m, n)
    s, short = spectra.short_side(spectra.gram(product))
    return s, spectra.long_side(product, s, short)


def affine(W, rank, inputs, bias=None):
    """`whitened` with a bias of its own: B, A and what the new bias must be so that the mean output stays as it was."""
    B, A = whitened(W, rank, inputs, centred=True)
    lost = (W.double() - B @ A) @ inputs.mean
    return B, A, lost if bias is None else bias.double() + lost


METHODS = {
    "truncated SVD": truncated,
    "randomised SVD": randomised,
    "scaled (ASVD)": scaled,
    "whitened": whitened,
    "whitened, with bias": affine,
}


def errors(W, factors, inputs):
    """||W - B A||_F / ||W||_F, and the root of E |W x - B A x|^2 / E |W x|^2 with the moments of `inputs`.

    `factors` may hold a third, what is added to the bias.

    Returns
    -------
    dict
        ``weights``, ``outputs``: 0 for W itself, 1 for nothing at all.
    """
    B, A, *shift = (f.double() for f in factors)
    W = W.double()
    D = W - B @ A
    lost = torch.sum((D @ inputs.second) * D)
    if shift:
        lost = lost - 2 * shift[0] @ (D @ inputs.mean) + shift[0] @ shift[0]
    whole = torch.sum((W @ inputs.second) * W)
    return {
        "weights": float(torch.linalg.norm(D) / torch.linalg.norm(W)),
        "outputs": float((lost.clamp_min(0) / whole).sqrt()),
    }


def compare(W, ranks, inputs, held_out, methods=METHODS):
    """`errors` of each method at each rank on `held_out`, fitted to `inputs`: a list of dicts with method and rank."""
    return [
        {"method": name, "rank": rank} | errors(W, factors, held_out)
        for name, method in methods.items()
        for rank, factors in zip(ranks, at_ranks(method, W, ranks, inputs), strict=True)
    ]


def at_ranks(method, W, ranks, inputs):
    """[factors of `method` at each rank], cut from those of full rank where lower ranks are their beginning."""
    if method is randomised:
        return [method(W, rank, inputs) for rank in ranks]
    B, A, *shift = method(W, None, inputs)
    cut = [(B[:, :rank], A[:rank]) for rank in ranks]
    return [(b, a, (W.double() - b @ a) @ inputs.mean) for b, a in cut] if shift else cut


def turned(factors, generator):
    """A matrix (m, n) with random right singular vectors, float64: what it would be if it knew nothing of its inputs.

    `factors` are those of `truncated` at full rank. Singular values and left vectors stay; the right vectors are
    orthonormal and uniformly distributed (Haar), so that E W' C W'^T = W W^T tr(C) / n for inputs of second moments C.
    """
    B, A = factors  # (m, r), (r, n): rows of A are orthogonal, of norm 1 or s_i
    normal = torch.randn(A.shape[1], len(A), generator=generator, dtype=torch.float64).to(A.device)
    return B * A.norm(dim=1) @ haar(normal).T


def without_alignment(W, ranks, inputs, held_out, draws=5):
    """Output errors of `whitened` at `ranks` for matrices that do not know their inputs, means over draws.

    Returns
    -------
    dict
        ``turned``: list, by rank, for `turned` W; ``gaussian``: for matrices of W's shape with independent entries.
        For white inputs either is the error in the weights.
    """
    generator, found = torch.Generator().manual_seed(0), {"turned": [], "gaussian": []}
    factors = truncated(W, None)
    for _ in range(draws):
        gaussian = torch.randn(W.shape, generator=generator, dtype=torch.float64).to(W.device)
        for name, other in (("turned", turned(factors, generator)), ("gaussian", gaussian)):
            _, A = whitened(other, None, inputs)
            kept = torch.sum((A @ held_out.second) * A, 1).cumsum(0) / torch.sum((other @ held_out.second) * other)
            found[name].append([float((1 - kept[r - 1]).clamp_min(0).sqrt()) for r in ranks])
    return {name: np.mean(values, 0).tolist() for name, values in found.items()}


def regression(X, Y, rank):
    """(B, A, lost): the map of at most `rank` that makes sum |y - B A x|^2 least, and what that sum is then.

    Y is projected on what X can make, and what is left truncated: exact, two decompositions, no steps.

    Parameters
    ----------
    X, Y : torch.Tensor
        Inputs and outputs in rows, (N, n) and (N, m).

    Returns
    -------
    B, A : torch.Tensor
        (m, r) and (r, n), r <= `rank`; float64.
    float
        The sum of squares that is left.

    References
    ----------
    Izenman 1975 (doi:10.1016/0047-259X(75)90042-1), reduced-rank regression.
    """
    X, Y = X.double(), Y.double()
    U, s, Vt = torch.linalg.svd(X, full_matrices=False)
    kept = s > s[0] * 1e-12 * np.sqrt(max(X.shape))
    U, s, Vt = U[:, kept], s[kept], Vt[kept]
    left, singular, right = torch.linalg.svd(U.T @ Y, full_matrices=False)
    B, A = right[:rank].T, ((left[:, :rank] * singular[:rank]).T / s) @ Vt
    return B, A, float((X @ A.T @ B.T - Y).square().sum())
