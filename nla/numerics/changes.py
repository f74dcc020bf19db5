"""Two matrices of one shape compared: distance, projection and residual."""

import numpy as np
import torch


def compare(now, then):
    """Norms, inner product and angle of two matrices of one shape, exact also where they hardly differ.

    Returns
    -------
    dict
        ``norm``: ||then||; ``distance``: ||now - then||; ``projection``: <now, then> / ||then||^2; ``residual``: norm
        of what of `now` is orthogonal to `then`; ``cosine``, ``angle`` (radians) between them. NaN if `then` is None.
    """
    if then is None:
        return dict.fromkeys(("norm", "distance", "projection", "residual", "cosine", "angle"), np.nan)
    norm2, along, distance2 = _row_sums(now, then).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        norm = np.sqrt(norm2)
        parallel = norm + along / norm  # <now, then> / norm
        residual = np.sqrt(max(distance2 - along**2 / norm2, 0) if norm2 else distance2)
        angle = np.arctan2(residual, parallel)
        found = dict(norm=norm, distance=np.sqrt(distance2), projection=parallel / norm, residual=residual)
    return found | dict(cosine=np.cos(angle), angle=angle)


def _row_sums(now, then):
    """Per row, float64 (3, rows): ||then||^2, <now - then, then>, ||now - then||^2; no float64 copy of the whole."""
    parts, rows = [], max(1, 2**21 // now.shape[1])
    for a, b in zip(now.weight.split(rows), then.weight.split(rows), strict=True):
        b = b.double()
        change = a.double() - b  # first, because 1 - cosine would cancel
        parts.append(torch.stack([(b * b).sum(1), (change * b).sum(1), (change * change).sum(1)]))
    return torch.cat(parts, 1).cpu().numpy()
