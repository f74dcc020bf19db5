"""Why the rows of a matrix lean together: against the bias of the LayerNorm before it, or the mean of all it reads."""

import numpy as np
import torch
from torch.nn.functional import normalize

from nla.numerics import pairs
from nla.running.activations import Covariance


def leaning(matrix, covariance=None):
    """The mean row direction of a matrix, m x n, beside the LayerNorm's bias beta and the mean mu of what it reads.

    Parameters
    ----------
    matrix : nla.Matrix
        beta is 0 where its normalisation has none.
    covariance : nla.running.activations.Covariance, optional
        Of what it reads; without it everything of mu is NaN.

    Returns
    -------
    dict
        ``cos beta, cos mu``: of the mean unit row with each; random rows: 0, sd 1/sqrt(n). ``against beta, against
        mu``: share of rows at more than a right angle to it; random 0.5. ``angle, - beta, - mu``: mean angle of all
        pairs of rows, in degrees, as it is and with beta or mu projected out of every row; random 90. ``sd, sd - mu``:
        of these angles. The mean row itself must not be projected out for this: it leaves rows that add up to 0.
    """
    unit = pairs.normalised(matrix.values)
    beta = _beta(matrix)
    mu = torch.full_like(beta, np.nan) if covariance is None else covariance.mean.to(beta)
    mean, found = unit.mean(0), {}
    for name, vector in (("beta", beta), ("mu", mu)):
        known = bool(torch.isfinite(vector).all())
        found[f"cos {name}"] = float(torch.cosine_similarity(mean, vector, dim=0))
        found[f"against {name}"] = float((unit @ vector < 0).float().mean()) if known else np.nan
    now, *left = (pairs.all_pairs(_without(unit, v)) for v in (torch.zeros_like(beta), beta, mu))
    found |= {"angle": now.mean_angle, "- beta": left[0].mean_angle, "- mu": left[1].mean_angle}
    return found | {"sd": now.sd_angle, "sd - mu": left[1].sd_angle}


def constant(matrix, covariance=None):
    """How much of what the leading right singular vector v_1 of a matrix reads is the same for every token.

    Returns
    -------
    dict
        ``cos row``: |cosine| of v_1 and the mean unit row. Shares of E(v . x)^2 that are (v . E x)^2, in [0, 1]:
        ``isotropic``, of v_1 if x = gain * z + beta with z of mean 0 and covariance 1; ``text`` and ``v_2``, of v_1 and
        v_2 with the mean and covariance measured; ``random``, |mu|^2 / (|mu|^2 + tr C), of a random direction.
        ``beta/mean``: part of v_1 . E x that is v_1 . beta, which is 1 if z has mean 0. NaN where not known.
    """
    _, _, Vt = matrix.singular_vectors
    beta, norm, found = _beta(matrix), matrix.norm, {}
    found["cos row"] = abs(
        float(torch.cosine_similarity(pairs.normalised(matrix.values).mean(0), Vt[0].to(beta), dim=0))
    )
    isotropic = norm and Covariance(0, beta.double(), norm.gain.double().square().diag())
    found["isotropic"] = isotropic.along(Vt[0])[2] if norm else np.nan
    if covariance is None or len(Vt) < 2:
        return found | dict.fromkeys(("text", "v_2", "random", "beta/mean"), np.nan)
    (mean, _, text), (_, _, second) = (covariance.along(v) for v in Vt[:2])
    energy = float(covariance.mean @ covariance.mean)
    rand = energy / (energy + float(covariance.matrix.trace()))
    part = float(Vt[0].to(covariance.mean) @ beta.to(covariance.mean)) / mean if mean else np.nan
    return found | {"text": text, "v_2": second, "random": rand, "beta/mean": part}


def _beta(matrix):
    norm = matrix.norm
    return norm.bias if norm and norm.bias is not None else torch.zeros_like(matrix.values[0])


def _without(unit, vector):
    """The rows without their parts along `vector`."""
    direction = normalize(vector, dim=0)
    return unit - torch.outer(unit @ direction, direction)


def shared(matrix):
    """``with_beta``: cosine of the mean direction of the rows with the bias of the norm that they read."""
    mean, norm = pairs.normalised(matrix.values).mean(0), matrix.norm
    beta = norm.bias if norm and norm.bias is not None else torch.zeros_like(mean)
    return {"with_beta": torch.cosine_similarity(mean, beta, dim=0)}


shared.kinds = ("query", "key", "value", "dense_h_to_4h")
COMMON_PASS = [shared]
