"""Claims about matrices as random matrices: where spectra and singular vectors leave their null, and where not."""

import numpy as np
from scipy.stats import binomtest

from nla.measures.random_matrix import random_matrix
from nla.measures.vector_statistics import singular_vector_statistics
from nla.nulls import edges
from nla.studies.literature_review.evidence import CannotSay, claim, numbers
from nla.studies.literature_review.trends import over_layers, sloped

GOE_RATIO = 0.5307  # mean ratio of neighbouring gaps of random matrices
SQUARE, MLP = ["query", "key", "value", "dense"], ["dense_h_to_4h", "dense_4h_to_h"]


@claim(
    "At initialisation the spectra agree with random-matrix theory.",
    "staats2025",
    "matrices at step 0 whose distance from the Marchenko-Pastur law is below 1.6 times its random mean (999 of 1000 "
    "random matrices); all but 1 in 100",
    random_matrix,
)
def random_at_the_start(evidence):
    rows = evidence.rows("mp_distance_relative")
    if evidence.steps[0] != 0 or len(evidence.steps) < 2:
        raise CannotSay("no ladder that begins at step 0")
    distance = rows.mp_distance_relative[rows.step == 0]
    inside = (distance < 1.6).mean()
    return f"{(distance < 1.6).sum()} of {len(distance)}, largest {distance.max():.3g}", inside >= 0.99


@claim(
    "Of most singular vectors randomness cannot be rejected; only those of the largest singular values deviate.",
    "thamm2022",
    "share of vectors at the end that the test of Porter and Thomas rejects at 1 %: at most half between the first and "
    "the last tenth of the spectrum, above that in the first tenth but not in the last (matrices with more against "
    "those with fewer, sign test, 5 %)",
    singular_vector_statistics,
)
def most_vectors_are_random(evidence):
    rows = evidence.rows("rejected_middle")
    rows = rows[rows.step == rows.step.max()]
    top, middle, bottom = (100 * rows[f"rejected_{part}"].mean() for part in ("top", "middle", "bottom"))
    value = f"{top:.2g} % of the first tenth, {middle:.2g} % of the middle, {bottom:.2g} % of the last tenth"
    at_top, at_bottom = (_sign(rows[f"rejected_{end}"] - rows.rejected_middle) for end in ("top", "bottom"))
    if middle <= 50 and at_top == 0 and at_bottom <= 0:
        raise CannotSay("a coin might fall so too", value)
    return value, middle <= 50 and at_top > 0 and at_bottom <= 0


def _sign(differences):
    """1 or -1 where more of the differences are above or below 0, 0 where a coin might fall so too (5 %)."""
    more, fewer = (differences > 0).sum(), (differences < 0).sum()
    return np.sign(more - fewer) if binomtest(int(more), max(1, int(more + fewer))).pvalue <= 0.05 else 0


@claim(
    "Outliers above the bulk become fewer with depth.",
    "staats2025",
    "rank correlation at the end of layer and singular values above the Marchenko-Pastur edge, all kinds together; at "
    "most -0.5, or above 0, either at p < 0.05 against layers in random order",
    random_matrix,
)
def outliers_fall_with_depth(evidence):
    total = evidence.by_layer("outliers_right").sum(axis=1)
    if total.nunique() == 1:
        raise CannotSay("the same number in all layers")
    found, falls, rises = over_layers(total.to_frame(), [total.index])
    value = f"{' '.join(f'{x:.0f}' for x in total)} by layer, rank correlation {found:.2f}"
    return sloped(found, falls, rises, value)


@claim(
    "Neighbouring singular values of the bulk repel one another as those of random matrices do, all through training.",
    "ars2026",
    "mean ratio of neighbouring gaps over all matrices, lowest and highest over training; both within 0.02 of "
    "the random 0.531 (0.386 without repulsion)",
    singular_vector_statistics,
)
def levels_repel(evidence):
    course = evidence.rows("spacing_ratio").groupby("step").spacing_ratio.mean()
    low, high = course.min(), course.max()
    return f"{low:.3f} to {high:.3f}", low >= GOE_RATIO - 0.02 and high <= GOE_RATIO + 0.02


@claim(
    "At the small end of the spectrum structure is found in rectangular matrices only.",
    "staats2025",
    "share of the vectors of the smallest tenth at the end that the test of Porter and Thomas rejects at 1 %; at least "
    "5 % in W1 and W2, less in each square kind",
    singular_vector_statistics,
)
def small_end_of_rectangles(evidence):
    rows = evidence.end("rejected_bottom", [*SQUARE, *MLP])
    square = rows[rows.rows == rows.cols].kind.unique()
    if not len(square) or (rows[rows.kind.isin(MLP)].rows == rows[rows.kind.isin(MLP)].cols).any():
        raise CannotSay("no square attention beside a rectangular MLP")
    share = 100 * rows.groupby("kind", sort=False).rejected_bottom.mean()
    return f"{numbers(share, 2)} %", (share[MLP] >= 5).all() and (share[list(square)] < 5).all()


@claim(
    "What leaves the bulk at the small end does so later than what leaves it above.",
    "staats2025",
    "first checkpoint at which half of W1 and W2 have a singular value beyond the upper, and the lower, edge of the "
    "bulk (99 %); the lower one later. The paper shows overlaps with activations: what stands for them here was chosen "
    "after demo had been seen",
    random_matrix,
)
def small_end_leaves_later(evidence):
    evidence.from_start()
    rows = evidence.rows("edge_left", MLP).set_index("step")
    limit = edges.TRACY_WIDOM.ppf(edges.LEVEL)
    beyond = (rows[["edge_right", "edge_left"]] > limit).groupby("step").mean() >= 0.5
    first = beyond.idxmax().where(beyond.any())
    if first.isna().any():
        raise CannotSay("not both edges are left", numbers(first.rename({"edge_right": "above", "edge_left": "below"})))
    value = f"above from step {first.edge_right:.0f}, below from step {first.edge_left:.0f}"
    if np.isclose(*first):
        raise CannotSay("between the same two checkpoints", value)
    return value, first.edge_left > first.edge_right
