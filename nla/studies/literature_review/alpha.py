"""Claims about the exponent alpha of a power law fitted to the largest eigenvalues, and about what is to replace it."""

import numpy as np

from nla.measures.drift import drift
from nla.measures.norms import norms
from nla.measures.power_law import power_law, power_law_checks, random_alpha
from nla.studies.literature_review.evidence import CannotSay, claim, numbers
from nla.studies.literature_review.trends import over_layers, rank_correlation, sloped
from nla.studies.power_law_alpha import averages as power_law_alpha_averages

RISE = 1.1  # least late rise of an average that counts as one
TIME = 0.9  # rank correlation of loss and step from which on anything that moves steadily follows the loss


def averages(evidence):
    """The averages of `averages.averages`, DataFrame (steps, names); needs at least three checkpoints."""
    evidence.rows("alpha")
    if len(evidence.steps) < 3:
        raise CannotSay("fewer than three checkpoints")
    return power_law_alpha_averages.averages(evidence.table.dropna(subset=["alpha"]))


@claim(
    "Alpha falls early and rises again later, while the model still improves.",
    "weightwatcher2024",
    f"mean alpha at the end over its least value, at least {RISE}, where the held-out loss is lower at the end",
    power_law,
)
def falls_and_rises(evidence):
    mean, loss = averages(evidence)["mean"], evidence.loss
    least = mean.idxmin()
    value = f"{numbers(mean[[mean.index[0], least, mean.index[-1]]])}; loss {loss[least]:.3g} to {loss.iloc[-1]:.3g}"
    return f"by step {value}", mean.iloc[-1] >= RISE * mean[least] and loss.iloc[-1] < loss[least]


@claim(
    "The late rise is an artefact of bad fits: robust averages do not have it.",
    "weightwatcher2024",
    f"average at the end over its least value; below {RISE} for the median and the mean of alpha below 8, where the "
    "plain mean has more",
    power_law,
)
def robust_averages(evidence):
    means = averages(evidence)[["mean", "median", "alpha<8"]]
    rise = means.iloc[-1] / means.min()
    if not rise["mean"] >= RISE:
        raise CannotSay("the plain mean does not rise", numbers(rise))
    return numbers(rise), (rise[["median", "alpha<8"]] < RISE).all()


@claim(
    "A well-trained layer has an alpha between 2 and 6.",
    "martin2021",
    "share of matrices with such an alpha at the end; at least 0.8, where at most 0.4 of random matrices have one",
    power_law,
)
def between_two_and_six(evidence):
    rows = evidence.rows("alpha")
    rows = rows[rows.step == evidence.steps[-1]]
    if len(evidence.steps) < 2:
        raise CannotSay("one checkpoint: whether it is well trained is not known")
    random = np.mean([_usual(random_alpha(row.rows, row.cols).alpha) for row in rows.itertuples()])
    share = _usual(rows.alpha)
    value = f"{share:.3g}, of random matrices {random:.3g}"
    if share >= 0.8 and random > 0.4:
        raise CannotSay("so do random matrices of this size", value)
    return value, share >= 0.8


def _usual(alpha):
    return np.mean((alpha >= 2) & (alpha <= 6))


@claim(
    "Where alpha can be trusted it falls with what else grows in training.",
    "weightwatcher2024",
    "rank correlation of alpha over layers, at the end, with rand_distance, spectral norm and distance from the first "
    "checkpoint, median of these and of all kinds; -0.5 or less, or above 0, either at p < 0.05 against layers in "
    "random order",
    power_law,
    norms,
    drift,
)
def agrees_with_others(evidence):
    rows = evidence.rows("alpha")
    absent = [c for c in power_law_alpha_averages.BESIDE if c not in rows or rows[c].isna().all()]
    if absent:
        raise CannotSay(f"{absent[0]} could not be measured")
    grid = evidence.by_layer("alpha")
    others = [evidence.by_layer(column).reindex_like(grid) for column in power_law_alpha_averages.BESIDE]
    found, falls, rises = over_layers(grid, others)
    return sloped(found, falls, rises, f"rank correlation {found:.2f}")


@claim(
    "Singular vectors of the tail have a lower entropy than those of the bulk.",
    "weightwatcher2024",
    "share of matrices at the end where they do: p of the rank test at most 0.01; at least half",
    power_law_checks,
)
def tail_vectors(evidence):
    rows = evidence.rows("entropy_p")
    share = (rows.entropy_p[rows.step == rows.step.max()] <= 0.01).mean()
    return f"share {share:.2g}", share >= 0.5


@claim(
    "The smaller alpha log10(largest eigenvalue), averaged over layers, the better the model.",
    "martinpeng2021",
    "published of different models; here over the steps of one, rank correlation of the mean with the held-out loss: "
    "at least 0.5; no verdict where that of the step itself is 0.9 or more in size, as any trend would do",
    power_law,
)
def weighted_alpha(evidence):
    rho = _with_loss(evidence, "alpha_hat")
    return _beyond_time(evidence, f"rank correlation {rho:.2f}"), rho >= 0.5


@claim(
    "The shape of spectra follows the quality of a language model better than their size, and better than alpha does.",
    "yang2023kdd",
    "published of different models; here over the steps of one, size of the rank correlation with the held-out loss; "
    "rand_distance above both alpha and spectral norm, by 0.02 or more; no verdict where the step itself has 0.9 or "
    "more",
    power_law,
    norms,
    drift,
)
def shape_before_size(evidence):
    rho = {name: abs(_with_loss(evidence, name)) for name in ("rand_distance", "alpha", "spectral")}
    value = _beyond_time(evidence, ", ".join(f"{name} {size:.2f}" for name, size in rho.items()))
    margin = rho["rand_distance"] - max(rho["alpha"], rho["spectral"])
    if abs(margin) < 0.02:
        raise CannotSay("the nearest two differ by less than 0.02", value)
    return value, margin > 0


def _with_loss(evidence, column):
    """Rank correlation over steps of the mean over all matrices with the held-out loss."""
    evidence.rows(column)
    mean = evidence.table.dropna(subset=[column]).groupby("step")[column].mean()
    loss = evidence.loss.reindex(mean.index)
    if loss.notna().sum() < 5:
        raise CannotSay("fewer than five checkpoints with a known loss")
    return mean.corr(loss, "spearman")


def _beyond_time(evidence, value):
    """`value` with the rank correlation of the loss and the step; raises where that leaves nothing to be told by it."""
    time = rank_correlation(evidence.loss.index.to_numpy(float), evidence.loss.to_numpy(float))
    value = f"{value}, the step {abs(time):.2f} in size"
    if abs(time) >= TIME:
        raise CannotSay("the step number follows the loss as well, and so does any trend", value)
    return value


@claim(
    "Alpha is largest in the middle layers.",
    "liu2026",
    "rank correlation at the end of alpha and the distance from the middle layer, median over kinds; -0.5 or less, or "
    "above 0, either at p < 0.05 against layers in random order",
    power_law,
)
def inverted_u(evidence):
    grid = evidence.by_layer("alpha", least=6)
    found, falls, rises = over_layers(grid, [np.abs(grid.index - grid.index.to_numpy().mean())])
    return sloped(found, falls, rises, f"rank correlation {found:.2f}")
