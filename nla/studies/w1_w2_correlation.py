"""What the cosines of neurons would be if it meant nothing which of them reads what and writes what: all pairs."""

import numpy as np
import torch

from nla import nulls
from nla.measures.neurons import READERS, blocks, cosines, in_out, shuffled_cosines

BINS = np.linspace(-1, 1, 501)  # of cosines; random ones spread by 0.01 in 10,000 dimensions


def unpaired(matrix):
    """Cosines of every w_in_i with every w_out_j, which is what shuffling the neurons of W2 leaves of `correlation`.

    Neurons that read or write nothing are left out; empty if W2 is not finite.

    Returns
    -------
    dict
        ``unpaired_mean, unpaired_mean_sd``: of the mean cosine over all shuffles, exact. For independent random
        directions 0 and 1/sqrt(neurons d). ``unpaired_beyond``: share of all pairs above the 99.9 % quantile of |cos|
        of random directions, 0.001 for them. ``unpaired_density``: the density of all pairs between `BINS`, (500,).
    """
    w_in, w_out = in_out(matrix)
    if not torch.isfinite(w_out).all():
        return {}
    alive = torch.isfinite(cosines(w_in, w_out))
    if alive.sum() < 2:
        return {}
    w_in, w_out = (torch.nn.functional.normalize(w[alive]) for w in (w_in, w_out))
    signed, _, _ = shuffled_cosines(w_in, w_out, count=1)
    limit, beyond, counts = nulls.cosine_quantile(1 - 0.001 / 2, w_in.shape[1]), 0, np.zeros(len(BINS) - 1)
    for (block,) in blocks(w_in):
        found = (block @ w_out.T).cpu().clamp(-1, 1)
        beyond += int((found.abs() > limit).sum())
        counts += torch.histc(found, len(counts), -1, 1).numpy()
    return {
        "unpaired_mean": float(signed.mean),
        "unpaired_mean_sd": float(signed.sd),
        "unpaired_beyond": beyond / len(w_in) ** 2,
        "unpaired_density": counts / len(w_in) ** 2 / np.diff(BINS),
    }


unpaired.kinds, unpaired.pure = READERS, True


def removers(matrix):
    """``removers``: share of the neurons whose cosine is negative, 0 to 1; 1/2 for random ones."""
    rho = cosines(*in_out(matrix))
    return {"removers": (rho[rho.isfinite()] < 0).double().mean()}


removers.kinds = READERS
COMMON_PASS = [removers]
