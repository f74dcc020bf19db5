"""The vectors beside a matrix: its bias, and gain and bias of the LayerNorm it reads, alone and folded into it."""

import zlib

import numpy as np
import torch

from nla.models.errors import CheckpointError
from nla.numerics import spectra


def vectors(matrix):
    """Size and drift of the vectors that belong to a matrix W: y = W (gain * x + shift) + bias, x normalised.

    Returns
    -------
    dict
        For v of ``bias`` (out,), and ``gain`` and ``shift`` (in,) of the LayerNorm or RMSNorm whose output W reads,
        each only where the model has it: ``v_l2``: ||v||; ``v_rms``: ||v|| / sqrt(len v); ``v_mean``; ``v_sd``: spread
        about that mean; ``v_smallest``, ``v_largest``: least and greatest entry; ``v_drift``, ``v_update``: ||v - v_0||
        and ||v - v_p||, to the first and to the previous checkpoint, NaN where that cannot be compared with.
        ``bias_negative``: share of its entries below 0. Of query and key ``bias_rotated``: share of ||bias||^2 in the
        part of each head that rotary embeddings turn, and ``bias_rotated_random``: the share of dimensions that is,
        where config.json gives one.
        Query, key and value read one norm, so that its numbers stand in the rows of all three.
    """
    parts = _parts(matrix)
    others = {"drift": _parts(matrix.at("initial")), "update": _parts(matrix.at("previous"))}
    found = {}
    for name, v in parts.items():
        sizes = {
            "l2": np.linalg.norm(v),
            "rms": np.sqrt(np.mean(v**2)),
            "mean": v.mean(),
            "sd": v.std(),
            "smallest": v.min(),
            "largest": v.max(),
        }
        for what, other in others.items():
            sizes[what] = np.linalg.norm(v - other[name]) if np.shape(other.get(name)) == v.shape else np.nan
        found |= {f"{name}_{what}": float(size) for what, size in sizes.items()}
    if "bias" in parts:
        found["bias_negative"] = float((parts["bias"] < 0).mean())
    turned = rotary_dimensions(matrix)
    if "bias" in parts and turned:
        energy = (parts["bias"].reshape(matrix.heads, -1) ** 2).sum(0)  # (d_head,)
        with np.errstate(invalid="ignore"):
            found["bias_rotated"] = float(energy[:turned].sum() / energy.sum())
        found["bias_rotated_random"] = turned / len(energy)
    return found


def rotary_dimensions(matrix):
    """How many dimensions of each head of a query or key rotary embeddings turn, the first; None where not said."""
    config = matrix.config
    rope = getattr(config, "rope_parameters", None) or {}
    given = rope.get("partial_rotary_factor") if isinstance(rope, dict) else rope
    factor = getattr(config, "rotary_pct", getattr(config, "partial_rotary_factor", None)) if given is None else given
    if matrix.kind not in ("query", "key") or not factor:
        return None
    if type(factor) not in (int, float) or not 0 < factor <= 1:
        raise CheckpointError(f"config.json gives {str(factor)[:40]!r} as the part of each head that is rotated")
    return int(factor * (matrix.shape[0] // matrix.heads))


def _parts(matrix):
    """{"bias", "gain", "shift": float64 array} of those that the model has beside this matrix."""
    if matrix is None:
        return {}
    norm = matrix.norm
    held = {"bias": matrix.bias, "gain": norm and norm.gain, "shift": norm and norm.bias}
    return {name: v.double().cpu().numpy() for name, v in held.items() if v is not None}


def fold(matrix, gain=None):
    """W with the LayerNorm it reads folded in: W diag(gain), and without what no normalised input can reach.

    A LayerNorm's normalised input is orthogonal to the vector of ones, so that W diag(gain) and its rows minus their
    means, W diag(gain) (I - 11^T/n), are the same map; an RMSNorm's is not, and nothing is taken away. The bias that
    goes with it is bias + W shift. Float32 (out, in); `gain` replaces the norm's own.
    """
    norm = matrix.norm
    product = matrix.values * (norm.gain if gain is None else gain)
    return product - product.mean(1, keepdim=True) if norm.centred else product


def folded(matrix):
    """Norms and spectrum of W with and without the LayerNorm it reads folded in; nothing if that is none or holds NaN.

    Returns
    -------
    dict
        For q of ``frobenius, spectral, stable_rank, effective_rank``: ``folded_q``, that of `fold` (W), and
        ``folded_q_ratio``, that over the same of W; ``folded_q_shuffled``: the ratio where the entries of the gain are
        permuted, which is what a gain that knows nothing of W's columns would do. Frobenius and spectral norm are
        divided by the RMS of the gain in these ratios, so that 1 is no effect beyond a common factor.
        ``folded_columns``: correlation of the gain with the norms of W's columns, 0 +- 1/sqrt(in) by chance.
        ``folded_mean_share``: share of ||W diag(gain)||^2 in the direction of ones, which centring takes away; 1/in for
        a random matrix. ``folded_bias_l2``: ||bias + W shift||, where the model has either.
        The curves ``plain_singular_values``, ``folded_singular_values``, float32 (r,).

    References
    ----------
    Elhage et al. 2021, A Mathematical Framework for Transformer Circuits, for folding.
    """
    norm = matrix.norm
    if norm is None or not norm.gain.isfinite().all():
        return {}
    gain, plain = norm.gain, matrix.singular_values
    order = np.random.default_rng(zlib.crc32(f"{matrix.kind} {matrix.layer}".encode())).permutation(len(gain))
    own, shuffled = (_spectrum(fold(matrix, g)) for g in (gain, gain[torch.from_numpy(order).to(gain.device)]))
    size = float(gain.double().square().mean().sqrt())
    found, before = {}, _summary(plain)
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, value in _summary(own).items():
            unit = before[name] * (size if name in ("frobenius", "spectral") else 1)
            found[f"folded_{name}"] = value
            found[f"folded_{name}_ratio"] = float(np.divide(value, unit))
            found[f"folded_{name}_shuffled"] = float(np.divide(_summary(shuffled)[name], unit))
        product = matrix.values.double() * gain.double()
        mean = product.sum(1).square().sum() / len(gain) / product.square().sum()
    found["folded_columns"] = _correlation(gain, matrix.values.double().norm(dim=0))
    found["folded_mean_share"] = float(mean)
    parts = _parts(matrix)
    if "bias" in parts or "shift" in parts:
        through = matrix.values.double().cpu().numpy() @ parts["shift"] if "shift" in parts else 0.0
        found["folded_bias_l2"] = float(np.linalg.norm(parts.get("bias", 0.0) + through))
    curves = {"plain_singular_values": plain, "folded_singular_values": own}
    return found | {name: s.astype(np.float32) for name, s in curves.items()}


folded.kinds = ("query", "key", "value", "dense_h_to_4h", "gate", "embed_out")
folded.steps = "log"
folded.pure = True


def _spectrum(values):
    return spectra.singular_values(spectra.gram(values))


def _summary(s):
    ranks = spectra.ranks(s)
    sizes = {"frobenius": float(np.sqrt(s @ s)), "spectral": float(s[0])}
    return sizes | {name: ranks[name] for name in ("stable_rank", "effective_rank")}


def _correlation(a, b):
    """Pearson's, 0 where one of the two is constant."""
    a, b = (np.asarray(v.double().cpu()) for v in (a, b))
    a, b = a - a.mean(), b - b.mean()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / size) if size > 0 else 0.0
