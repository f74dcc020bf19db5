"""Claims about the entries and directions of matrices: their size, their shape, what is left of the first and when the
last are reached, and how the two matrices of an MLP fit each other.
"""

import numpy as np
from scipy.stats import binomtest, spearmanr

from nla.measures.correlation import correlation
from nla.measures.drift import drift
from nla.measures.norms import norms
from nla.measures.sparsity import sparsity
from nla.measures.subspaces import subspaces
from nla.studies.literature_review.evidence import CannotSay, claim, lowest, numbers
from nla.studies.literature_review.trends import over_layers, seen_in, sloped, timed


@claim(
    "More of the initial weights is left at the end than weight decay alone would leave.",
    "ars2026",
    "projection <W, W_0>/||W_0||^2 over the decay of the recipe, median over all layers and kinds; above 1.1",
    drift,
)
def memory(evidence):
    evidence.from_start()
    if not evidence.recipe:
        raise CannotSay("the decay of this model is not known")
    left, decay = evidence.last("projection").median(), float(evidence.recipe.decay(evidence.steps[-1]))
    return f"{left:.3g} where decay alone leaves {decay:.3g}", left > 1.1 * decay


@claim(
    "O keeps least of its initial direction.",
    "ars2026",
    "cosine of W and W_0 at the end; lowest, by 2 % or more, in dense",
    drift,
)
def output_moves_most(evidence):
    evidence.from_start()
    cosine = evidence.last("cosine")
    evidence.rows("cosine", "dense")
    return numbers(cosine), lowest(cosine, ["dense"])


@claim(
    "The top singular vectors settle before the others.",
    "yunis2024",
    "first checkpoint at which half of the possible excess of the overlap with the end over its random value is "
    "reached, 1 leading left vector against r/2 of them; earlier for the one in more matrices than later (sign test, "
    "5 %)",
    subspaces,
)
def top_settles_first(evidence):
    rows = evidence.rows("left_final")
    if len(rows.step.unique()) < 3:
        raise CannotSay("fewer than three checkpoints with singular vectors")
    earlier = later = 0
    for _, matrix in rows.sort_values("step").groupby(["kind", "layer"]):
        overlap, k = np.stack(matrix.left_final), matrix.subspace_k.iloc[0]
        random = k / matrix.rows.iloc[0]
        top, bulk = ((overlap - random) / (1 - random) >= 0.5)[:, [0, -1]].argmax(0)  # true at the last step
        earlier, later = earlier + (top < bulk), later + (top > bulk)
    value = f"earlier in {earlier}, later in {later} of {len(rows.groupby(['kind', 'layer']))} matrices"
    if earlier == later or binomtest(earlier, earlier + later).pvalue > 0.05:
        raise CannotSay("a coin might fall so too", value)
    return value, earlier > later


@claim(
    "In larger models nearly all layers have converged after a fifth of training.",
    "diehl2024",
    "overlap of the leading left vectors (k = 16 or the largest) with the end, after a fifth of training; no verdict",
    subspaces,
)
def converged_early(evidence):
    rows = evidence.rows("left_final")
    early = rows[rows.step <= evidence.steps[-1] / 5]
    if early.empty or len(evidence.steps) < 2:
        raise CannotSay("needs activations, several sizes and a checkpoint in the first fifth")
    early = early[early.step == early.step.max()]
    overlap = np.median([row.left_final[min(4, len(row.left_final) - 1)] for row in early.itertuples()])
    raise CannotSay("needs activations and several sizes", f"overlap {overlap:.2f} at step {early.step.iloc[0]}")


@claim(
    "The change W - W_0 gains rank gradually.",
    "boix2023",
    "rank correlation of its stable rank with the step, where it exceeds ten times the resolution of the files, median "
    "over matrices; at least 0.5",
    subspaces,
    drift,
)
def rank_of_change_rises(evidence):
    evidence.from_start()
    rows = evidence.rows("change_stable_rank")
    rows = rows[rows.relative_distance > 10 * rows.drift_floor]
    matrices = [m for _, m in rows.groupby(["kind", "layer"]) if len(m) >= 5 and m.change_stable_rank.nunique() > 1]
    if not matrices:
        raise CannotSay("fewer than five checkpoints with a change that the files resolve")
    rho = np.median([spearmanr(m.step, m.change_stable_rank).statistic for m in matrices])
    return f"rank correlation {rho:.2f}", rho >= 0.5


@claim(
    "The norm of the weights grows through training.",
    "merrill2021",
    "RMS at the end over the first; above 1.1 in every kind within the layers",
    norms,
)
def norms_grow(evidence):
    course = evidence.course("rms")
    ratio = course.iloc[-1] / course.iloc[0]
    return numbers(ratio) + evidence.outside("rms", lambda x: x.iloc[-1] / x.iloc[0]), (ratio > 1.1).all()


@claim(
    "Learning rate and weight decay set the size of a matrix, whatever the gradients say.",
    "kosson2024",
    "RMS at the end over that of the recipe with noise for gradients; within 20 % of 1 in every kind within the layers",
    norms,
)
def size_is_the_optimisers(evidence):
    evidence.from_start()
    if not evidence.recipe:
        raise CannotSay("the recipe of this model is not known")
    course = evidence.course("rms")

    def over_noise(rms):
        return rms.iloc[-1] / float(evidence.recipe.noise_rms(rms.iloc[0], evidence.steps[-1]))

    ratio = course.apply(over_noise)
    return numbers(ratio) + evidence.outside("rms", over_noise), ratio.between(0.8, 1.2).all()


@claim(
    "The distribution of the weights leaves the Gaussian early.",
    "millidge2023",
    "checkpoints between which |excess kurtosis| comes to exceed 0.1 in half of the matrices within the layers; in the "
    "first tenth of training",
    sparsity,
)
def leaves_gaussian(evidence):
    evidence.from_start()
    rows = evidence.rows("kurtosis").set_index("step")
    half = (rows["kurtosis"].abs() > 0.1).groupby("step").mean() >= 0.5
    if half.iloc[0]:
        raise CannotSay("not Gaussian at the start")
    if not half.any():
        return "never", False
    span = seen_in(half.index, half.idxmax())
    return timed([span], (0, evidence.steps[-1] / 10), f"steps {span[0]} to {span[1]} of {evidence.steps[-1]}")


@claim(
    "Trained |w| follows a Weibull law whose shape stays near the half-normal 1.205 in O, W1, W2, and is below in QKV.",
    "npmweibull2026",
    "shape of the published fit at the end; O, W1, W2 within 2 % of 1.2054 and the median of QKV below all three",
    sparsity,
)
def weibull_shapes(evidence):
    fused, others = ["query", "key", "value"], ["dense", "dense_h_to_4h", "dense_4h_to_h"]
    shape = evidence.last("weibull_plot_shape", fused + others)
    near = (shape[others] / 1.2054 - 1).abs() <= 0.02
    return numbers(shape, 4), near.all() and shape[fused].median() < shape[others].min()


@claim(
    "Neurons read and write along related directions: with positive cosine in most layers, negative in the last.",
    "gurnee2024",
    "median cosine of rows of W1 and columns of W2 by layer at the end, LayerNorm folded in; above 0 in more than half "
    "of the layers and below 0 in the last, each by three standard errors of the random value",
    correlation,
)
def neurons_by_depth(evidence):
    rho = evidence.by_layer("folded_q50", "dense_h_to_4h").iloc[:, 0]
    shape = evidence.rows("folded_q50", "dense_h_to_4h").iloc[0]
    error = 3 * np.sqrt(np.pi / 2 / (shape.rows * shape.cols))  # of a median of `rows` cosines of variance 1/cols
    values = " ".join(f"{x:.3f}" for x in rho)
    return f"{values} by layer", (rho > error).mean() > 0.5 and rho.iloc[-1] < -error


@claim(
    "The cosine falls with depth: enrichment early, depletion late.",
    "gerstner2025",
    "rank correlation of layer and median cosine at the end; -0.5 or less, or above 0, either at p < 0.05 against "
    "layers in random order",
    correlation,
)
def cosine_falls_with_depth(evidence):
    grid = evidence.by_layer("folded_q50", "dense_h_to_4h")
    found, falls, rises = over_layers(grid, [grid.index])
    return sloped(found, falls, rises, f"rank correlation {found:.2f}")
