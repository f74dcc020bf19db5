"""Sparsity: is a matrix carried by few of its entries, rows or columns, or only larger than it was?"""

import numpy as np
import torch
from scipy.special import erf
from scipy.stats import norm

from nla.nulls import gaussian
from nla.nulls.entries import half_normal_weibull, random_gini, random_hoyer
from nla.numerics.distributions import fold, gini, hoyer, kurtosis, weibull, weibull_plot
from nla.numerics.scaling import balanced

THRESHOLDS = (0.01, 0.1, 1)  # times the RMS, now or at the first checkpoint
QUANTILES = (0.1, 0.5, 0.9, 0.99, 0.999)
WEIGHT_BINS = np.linspace(-10, 10, 101)  # of w/RMS
TOLERANCE = 1e-3  # sine of an angle; rounding to fp16 at both ends turns a row by 2.9e-4


def sparsity(matrix):
    """How unevenly a matrix W, m x n, is spread over its entries, rows and columns.

    All are free of the scale of W but the expected zeros and what is relative to the first checkpoint. Numbers about
    entries are exact sums over the histogram. `random_sparsity` has the values for Gaussian entries.

    Returns
    -------
    dict
        ``exact_zeros, expected_zeros``: entries equal to +-0; how many of N(0, RMS^2) round to 0 in the file's dtype.
        ``below_T_rms, below_T_initial, below_0.01_max``: share of |w| below T times the RMS, T times the RMS of the
        first checkpoint, and max|w| / 100. ``rms_growth``: RMS over that of the first checkpoint.
        ``hoyer, gini``: in [0, 1], 1 for a single entry. ``quantile_Q``: of |w|/RMS.
        ``weibull_shape, weibull_scale`` by maximum likelihood and ``weibull_plot_shape, weibull_plot_scale`` by the
        published method, scales over the RMS.
        ``kurtosis``: excess, of all entries; ``kurtosis_within_rows, kurtosis_within_columns``: mean over rows or
        columns of each one's own; ``kurtosis_balanced``: with rows and columns scaled to one norm.
        ``row_hoyer, row_gini, column_hoyer, column_gini``: of the vector of norms.
        ``dead_rows, dead_columns``: norm below a tenth of the median.
        ``untouched_rows, untouched_columns``: turned from the initial self by an angle whose sine is below 1e-3 (or the
        epsilon of the file's dtype, if larger), as where no gradient ever came and weight decay alone acts.
        ``untouched_ratio``: median, over those rows, of the norm over the initial norm: the decay itself.
    """
    values, counts = matrix.histogram
    total, rms = counts.sum(), _rms(values, counts)
    first = matrix.at("initial", same_shape=True)
    initial = _rms(*first.histogram) if first else np.nan
    magnitudes, folded = fold(values, counts)
    shapes = {"weibull": weibull(magnitudes, folded), "weibull_plot": weibull_plot(magnitudes, folded)}
    with np.errstate(divide="ignore", invalid="ignore"):
        quantiles = np.quantile(magnitudes, QUANTILES, weights=folded, method="inverted_cdf") / rms
        found = {
            "exact_zeros": int(folded[magnitudes == 0].sum()),
            "expected_zeros": float(total * _rounded_to_zero(rms, matrix.weight.dtype)),
            "rms_growth": float(np.divide(rms, initial)),
            **{f"below_{t}_rms": _below(t * rms, magnitudes, folded) for t in THRESHOLDS},
            **{f"below_{t}_initial": _below(t * initial, magnitudes, folded) for t in THRESHOLDS},
            "below_0.01_max": _below(0.01 * magnitudes[-1], magnitudes, folded),
            "hoyer": hoyer(magnitudes, folded),
            "gini": gini(magnitudes, folded),
            **{f"quantile_{q}": float(x) for q, x in zip(QUANTILES, quantiles, strict=True)},
            **{f"{fit}_shape": shape for fit, (shape, _) in shapes.items()},
            **{f"{fit}_scale": float(np.divide(scale, rms)) for fit, (_, scale) in shapes.items()},
            "kurtosis": float(kurtosis([counts @ x for x in _powers(values)], int(total))),
            "kurtosis_balanced": balanced_kurtosis(matrix.values),
        }
    return found | _rows_and_columns(matrix)


sparsity.pure = True


def random_sparsity(m, n, growth=1.0):
    """Expected `sparsity` of an m x n Gaussian matrix whose RMS is `growth` times its initial one, by the same names.

    Shares and quantiles are those of |z|: erf(T / sqrt 2), and its inverse.
    """
    found = {f"below_{t}_rms": float(erf(t / 2**0.5)) for t in THRESHOLDS}
    found |= {f"below_{t}_initial": float(erf(t / growth / 2**0.5)) for t in THRESHOLDS}
    found |= {"below_0.01_max": float(erf(0.01 * gaussian.normal_max(m * n, True) / 2**0.5))}
    found |= {f"quantile_{q}": float(norm.ppf((1 + q) / 2)) for q in QUANTILES}
    for fit, (shape, scale) in half_normal_weibull().items():
        found |= {f"{fit}_shape": shape, f"{fit}_scale": scale}
    for prefix, count, size in (("", m * n, 1), ("row_", m, n), ("column_", n, m)):
        found |= {f"{prefix}hoyer": random_hoyer(count, size), f"{prefix}gini": random_gini(count, size)}
    zero = ("kurtosis", "kurtosis_within_rows", "kurtosis_within_columns", "kurtosis_balanced")
    return found | dict.fromkeys(zero, 0.0) | {"dead_rows": 0, "dead_columns": 0}


def departure(matrix, axis=1):
    """(sine, ratio) per row (axis 1) or column (0): of the angle to its initial self; of its norm to its initial norm.

    1 - cos^2 is accurate to 1e-8, so that the sine of a row that only shrank is at the rounding of the file.
    """
    now, then = matrix.values, matrix.at("initial", same_shape=True).values
    inner, square, initial = ((a * b).sum(axis, dtype=float) for a, b in ((now, then), (now, now), (then, then)))
    sine = (1 - inner**2 / (square * initial)).clamp(min=0).sqrt()
    return sine.cpu().numpy(), (square / initial).sqrt().cpu().numpy()


def balanced_kurtosis(values):
    """Excess kurtosis left when rows and columns of `values` are scaled until each has RMS 1; about 0 for a Gaussian.

    Rows and columns of different norm make the pooled entries heavy-tailed by themselves; what is left is not their
    doing. They are `balanced` by w^2, zero ones left out. After it a Gaussian has E w^4 = 3 mn / ((m + 2) (n + 2)): an
    entry of a unit vector of length n has E u^4 = 3 / (n (n + 2)).
    """
    square = values.square()
    square = square[square.sum(1) > 0][:, square.sum(0) > 0]
    m, n = square.shape
    if not m * n:
        return np.nan
    square /= square.mean()
    rows, columns = balanced(square)
    scaled = square * rows[:, None] * columns  # (m, n)
    fourth = (scaled.square().mean(dtype=float) / scaled.mean(dtype=float) ** 2).item()
    return fourth * (m + 2) * (n + 2) / (m * n) - 3


def weight_histogram(matrix):
    """Density of w/RMS in each of the 0.2 wide `WEIGHT_BINS` from -10 to 10, and the share of entries outside them."""
    values, counts = matrix.histogram
    with np.errstate(invalid="ignore"):
        inside = np.histogram(values / _rms(values, counts), WEIGHT_BINS, weights=counts)[0] / counts.sum()
    return {"weight_density": inside / np.diff(WEIGHT_BINS), "weight_outside": float(1 - inside.sum())}


weight_histogram.pure = True


def _rms(values, counts):
    return float((counts @ values**2 / counts.sum()) ** 0.5)


def _below(limit, magnitudes, counts):
    """Share of the entries below `limit`; NaN where that is not known."""
    return float(counts[magnitudes < limit].sum() / counts.sum()) if np.isfinite(limit) else np.nan


def _rounded_to_zero(rms, dtype):
    """Share of N(0, rms^2) that is 0 in a dtype: below half of its smallest number."""
    precision = torch.finfo(dtype)
    return erf(np.divide(precision.smallest_normal * precision.eps, rms) / 8**0.5)


def _rows_and_columns(matrix):
    """The part of `sparsity` that looks at rows and columns."""
    found = {"untouched_ratio": np.nan}
    tolerance = max(TOLERANCE, torch.finfo(matrix.weight.dtype).eps)
    for name, axis, sums in zip(("row", "column"), (1, 0), _power_sums(matrix.values), strict=True):
        norms, inner = sums[1] ** 0.5, kurtosis(sums, matrix.shape[axis])
        found |= {
            f"kurtosis_within_{name}s": float(inner[np.isfinite(inner)].mean()) if np.isfinite(inner).any() else np.nan,
            f"{name}_hoyer": hoyer(norms),
            f"{name}_gini": gini(norms),
            f"dead_{name}s": int((norms < 0.1 * np.median(norms)).sum()),
            f"untouched_{name}s": np.nan,
        }
        if matrix.at("initial", same_shape=True):
            sine, ratio = departure(matrix, axis)
            found[f"untouched_{name}s"] = int((sine < tolerance).sum())
            if name == "row" and found["untouched_rows"]:
                found["untouched_ratio"] = float(np.median(ratio[sine < tolerance]))
    return found


def _powers(x):
    return [x, x * x, x * x * x, (x * x) ** 2]


def _power_sums(values):
    """Sums of the powers 1 to 4 along rows, (4, m), and along columns, (4, n), float64, a block of rows at a time."""
    rows, columns = [], 0
    for block in values.split(256):
        powers = torch.stack(_powers(block.double()))  # (4, 256, n)
        rows.append(powers.sum(2))
        columns = columns + powers.sum(1)
    return torch.cat(rows, 1).cpu().numpy(), columns.cpu().numpy()
