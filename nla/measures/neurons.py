"""The neurons of an MLP: what each reads (w_in) and writes (w_out), and shuffles of who does which.

Neuron i reads the residual stream through row i of W1, in a gated MLP also through row i of the gate, and writes to it
along column i of W2: two vectors of the same d-dimensional space. Shuffling the w_out keeps everything the two sets are
by themselves, their lengths and the directions all members share, and removes only who goes with whom. Means and
variances over all n! shuffles are sums, and exact; samples of shuffles show the tails.
"""

from collections import namedtuple

import numpy as np
import torch

from nla.numerics.pairs import lengths

READERS = ("dense_h_to_4h", "gate")  # kinds whose rows are w_in
SHUFFLES = 1000
BLOCK = 2**24  # entries of an n x n matrix in memory at once

Shuffled = namedtuple("Shuffled", "mean sd samples")  # of a statistic: over all shuffles, exact, and of some of them


def in_out(matrix):
    """(w_in, w_out): rows of `matrix` and columns of W2 of the same layer, NaN if none, each (neurons, d) float32."""
    w_in, W2 = matrix.values, matrix.sibling("dense_4h_to_h", needed=False)
    return w_in, torch.full_like(w_in, np.nan) if W2 is None else W2.values.T


def fold(w_in, w_out, norm):
    """Both with the normalisation before the MLP folded in: the vectors that the residual stream itself meets.

    A LayerNorm hands on gain * (x - mean x) / sd x + bias, so what acts on x is (I - 11'/d) diag(gain) w_in; and as
    every reader of the stream removes its mean, w_out counts without its own. An RMSNorm removes no mean.
    """
    w_in = w_in * norm.gain
    if not norm.centred:
        return w_in, w_out
    return tuple(w - w.mean(1, dtype=torch.float64, keepdim=True).float() for w in (w_in, w_out))


def cosines(w_in, w_out):
    """rho_i = cos(w_in_i, w_out_i) in [-1, 1], float64 (neurons,); NaN for a neuron that reads or writes nothing.

    Random: 0 on average, standard deviation 1/sqrt(d), distribution `nulls.cosine_density`.

    References
    ----------
    Elhage et al. 2021 read a negative rho as erasing what is read; Gurnee et al. 2024 (arXiv:2401.12181) and Gerstner
    & Schuetze 2025 (arXiv:2505.17936) show its distribution by layer in trained models.
    """
    products = torch.cat([(a.double() * b.double()).sum(1) for a, b in blocks(w_in, w_out)])
    return products / (lengths(w_in) * lengths(w_out))


def blocks(*sets):
    """The same few neurons of each of `sets` at a time, so that their float64 copies stay small."""
    rows = max(1, BLOCK // 4 // sets[0].shape[1])
    return zip(*(w.split(rows) for w in sets), strict=True)


def product(a, b):
    """a' b, the sum over neurons of their outer products, (d, d) float64."""
    return sum(x.double().T @ y.double() for x, y in blocks(a, b))


def shuffled_cosines(w_in, w_out, count=SHUFFLES, seed=0):
    """Mean cosine and mean |cosine| over the neurons when their w_out are shuffled; no row may be zero.

    Every shuffle is a generalised diagonal of C_ij = cos(w_in_i, w_out_j), which is formed once, block by block.

    Returns
    -------
    (Shuffled, Shuffled, float)
        Of the mean cosine; of the mean |cosine|; the standard deviation of all entries of C.

    References
    ----------
    Hoeffding 1951 (doi:10.1214/aoms/1177729545): the mean over i of C_i,p(i) has mean C.. and variance
    sum (C_ij - C_i. - C_.j + C..)^2 / (n^2 (n - 1)) over uniform p, and is nearly normal for large n.
    """
    n, rows = len(w_in), max(1, BLOCK // len(w_in))
    first, second = (w / lengths(w).float()[:, None] for w in (w_in, w_out))
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(n, dtype=np.int32), (count, 1)), axis=1)
    samples, by_row, by_column, squares = np.zeros((2, count)), [], np.zeros((2, n)), 0.0
    for start in range(0, n, rows):
        block = first[start : start + rows] @ second.T  # (rows, n)
        columns = torch.as_tensor(orders[:, start : start + rows], dtype=torch.int64, device=block.device)
        drawn = block[torch.arange(len(block), device=block.device), columns]  # (count, rows)
        samples += _signed_and_absolute(drawn, 1)
        by_row.append(_signed_and_absolute(block, 1))
        by_column += _signed_and_absolute(block, 0)
        squares += float(torch.linalg.vector_norm(block, dtype=torch.float64)) ** 2
    by_row = np.concatenate(by_row, axis=1)
    mean = by_row.sum(1) / n**2
    interaction = squares - ((by_row**2).sum(1) + (by_column**2).sum(1)) / n + n**2 * mean**2
    sd = np.sqrt(np.maximum(interaction, 0) / max(n - 1, 1)) / n
    spread = np.sqrt(max(squares / n**2 - mean[0] ** 2, 0))
    return Shuffled(mean[0], sd[0], samples[0] / n), Shuffled(mean[1], sd[1], samples[1] / n), float(spread)


def _signed_and_absolute(values, axis):
    """Sums of the values and of their absolute values, (2, ...) float64 NumPy."""
    return np.stack([v.sum(axis, dtype=torch.float64).cpu().numpy() for v in (values, values.abs())])


def significance(observed, shuffled):
    """(z, p): distance from the mean of all shuffles in their standard deviations; two-sided rank among the sampled.

    p is (1 + how many samples are as far from that mean) / (1 + samples), a valid p-value whatever the distribution; z
    goes on where p has reached its least value. NaN if all shuffles give the same.
    """
    if not shuffled.sd > 0:
        return np.nan, np.nan
    as_far = np.abs(shuffled.samples - shuffled.mean) >= abs(observed - shuffled.mean)
    return float((observed - shuffled.mean) / shuffled.sd), float((1 + as_far.sum()) / (1 + len(as_far)))


def mantel_moments(a, b, n):
    """Mean and standard deviation over all shuffles p of the sum over i != j of A_ij B_p(i)p(j).

    Parameters
    ----------
    a, b : (float, float, float)
        Of a symmetric n x n matrix with zero diagonal, n > 3: the sum of the entries, of their squares, and of the
        squares of the row sums.

    References
    ----------
    Mantel 1967. The square of the sum splits by how many indices two of its terms share: both, one, or none.
    """
    (a1, a2, a3), (b1, b2, b3) = a, b
    pairs = n * (n - 1)
    both, one = 2 * a2 * b2 / pairs, 4 * (a3 - a2) * (b3 - b2) / (pairs * (n - 2))
    none = (a1**2 + 2 * a2 - 4 * a3) * (b1**2 + 2 * b2 - 4 * b3) / (pairs * (n - 2) * (n - 3))
    mean = a1 * b1 / pairs
    return mean, max(both + one + none - mean**2, 0) ** 0.5
