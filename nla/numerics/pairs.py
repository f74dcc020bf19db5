"""All pairs of a set of vectors: their cosines and angles, every pair counted, block by block in bounded memory.

The cosines of a block are one float32 matrix product of normalised vectors; all that follows is float64. In float32 a
cosine of 1,000 terms is off by about 1e-8 where it is small and by less than 1e-6 where it is near 1 (where the angle
is then off by up to 0.08 degrees). Rounding the weights to fp16, as they are stored, has already moved it by
3e-4/sqrt(d), a thousand times 1e-8. A float64 product would take twice as long, and where vectors are long the product
is most of the time: the 1.3e9 pairs of an embedding of 50,304 x 1,024 take about 40 s on one core, in 160 MB beyond
the embedding itself.
"""

from collections import namedtuple

import numpy as np
import torch

BLOCK = 512  # vectors: a block of cosines then fits into a processor's cache
EDGES = np.linspace(0, 180, 721)  # degrees; random vectors of 20,000 entries spread by 0.4 degrees

Pairs = namedtuple(
    "Pairs", "vectors count mean_cosine mean_abs_cosine rms_cosine max_abs_cosine mean_angle sd_angle histogram"
)


def normalised(vectors):
    """The rows of `vectors`, float32 (N, d), divided by their lengths; zero rows, which have no direction, left out."""
    parts = []
    for block in vectors.split(BLOCK):  # a float64 copy of the whole would be three times its size
        lengths = torch.linalg.vector_norm(block.double(), dim=1).float()
        parts.append(block[lengths != 0] / lengths[lengths != 0, None])
    return torch.cat(parts)


def all_pairs(vectors):
    """Cosines and angles of all pairs i < j of the rows of `vectors`.

    Parameters
    ----------
    vectors : torch.Tensor
        (N, d), float32. Zero vectors are left out.

    Returns
    -------
    Pairs
        ``vectors``: those that are not zero. ``count``: their pairs. Mean, mean absolute, RMS and largest absolute
        cosine; mean and standard deviation of the angle in degrees; NaN if there is no pair. ``histogram``: int64
        (720,), pairs per quarter of a degree, an angle on one of the `EDGES` in the bin above it.
    """
    unit = normalised(vectors)
    blocks, bins = unit.split(BLOCK), len(EDGES) - 1
    count, largest = 0, unit.new_zeros((), dtype=torch.float64)
    sums = torch.zeros(5, dtype=torch.float64, device=unit.device)
    histogram = torch.zeros(bins, dtype=torch.int64, device=unit.device)
    for i, rows in enumerate(blocks):
        for columns in blocks[i:]:
            cosine = (rows @ columns.T).double().clamp_(-1, 1)
            if columns is rows:
                cosine = cosine[torch.triu(torch.ones_like(cosine, dtype=torch.bool), 1)]
            cosine = cosine.flatten()
            magnitude = torch.linalg.vector_norm(cosine, 1)
            largest = torch.maximum(largest, torch.linalg.vector_norm(cosine, np.inf)) if len(cosine) else largest
            moments = [cosine.sum(), magnitude, cosine @ cosine]
            tilt = cosine.arcsin_()  # a right angle minus the angle; in place, as memory is slower than arithmetic
            sums += torch.stack([*moments, tilt.sum(), tilt @ tilt])
            place = tilt.mul_(-bins / np.pi).add_(bins / 2).int().clamp_(0, bins - 1)
            histogram += torch.bincount(place, minlength=bins)
            count += len(cosine)
    if not count:
        return Pairs(len(unit), 0, *[np.nan] * 6, histogram.cpu().numpy())
    cosine, magnitude, square, tilt, tilt_square = (sums / count).tolist()
    angles = 90 - np.degrees(tilt), np.degrees(max(tilt_square - tilt**2, 0) ** 0.5)
    return Pairs(len(unit), count, cosine, magnitude, square**0.5, float(largest), *angles, histogram.cpu().numpy())


def welch_bound(count, d):
    """Least possible largest |cos| of `count` vectors in R^d, 0 up to d of them: sqrt((N-d) / (d (N-1))).

    Even the RMS |cos| cannot be below it; it is there if and only if the vectors form a tight frame. Welch 1974,
    doi:10.1109/TIT.1974.1055219.
    """
    return ((count - d) / (d * (count - 1))) ** 0.5 if count > d else 0.0


def lengths(w):
    """Euclidean norms of the rows, float64."""
    return torch.linalg.vector_norm(w, dim=1, dtype=torch.float64)
