"""The distinct entries of a matrix, counted by their codes where it has 16 bits."""

import numpy as np
import torch


def histogram(weight):
    """(values, counts): the distinct entries, ascending, float64, and how often each occurs; exact.

    Every entrywise statistic is a sum over these. A 16-bit matrix has at most 65,536 of them, so counting its codes
    once replaces a pass, or a sort, of the matrix for each statistic.
    """
    if weight.dtype not in (torch.float16, torch.bfloat16):
        values, counts = np.unique(weight.cpu().numpy(), return_counts=True)
        return values.astype(np.float64), counts
    codes = weight.contiguous().view(torch.int16).flatten().to(torch.int32) + 32768
    counts = torch.bincount(codes, minlength=65536).cpu().numpy()
    values = torch.arange(-32768, 32768, dtype=torch.int16).view(weight.dtype).double().numpy()
    occurring = np.flatnonzero(counts)
    order = occurring[np.argsort(values[occurring], kind="stable")]
    return values[order], counts[order]
