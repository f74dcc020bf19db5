"""Claims about singular values: how many matter, when they leave the random bulk, in which kinds and at which depth."""

import numpy as np

from nla.measures.head_products import head_products
from nla.measures.random_matrix import random_matrix
from nla.measures.spectrum import spectrum
from nla.studies.literature_review.evidence import PYTHIA_WARMUP, CannotSay, claim, halfway, lowest, numbers
from nla.studies.literature_review.trends import over_layers, rank_correlation, seen_in, sloped, timed

QK, VO, MLP = ["query", "key"], ["value", "dense"], ["dense_h_to_4h", "dense_4h_to_h"]


@claim(
    "The stable rank of query and key collapses between steps 128 and 2000.",
    "ars2026",
    "checkpoints between which half of the fall (log scale, at least 10 %) is done, in warm-ups; both from 128/1430 to "
    "2000/1430",
    spectrum,
)
def early_collapse(evidence):
    course = evidence.course("stable_rank", QK)
    half, warmup = course.apply(halfway), evidence.warmup
    spans = [None if np.isnan(step) else seen_in(course.index, step) for step in half]
    said = [f"{k} {_warmups(span, warmup)}" for k, span in zip(half.index, spans, strict=True)]
    return timed(spans, _as_in_pythia(128, 2000, warmup), f"{', '.join(said)} warm-ups")


def _warmups(span, warmup):
    return "never" if span is None else f"{span[0] / warmup:.2g} to {span[1] / warmup:.2g}"


def _as_in_pythia(first, last, warmup):
    """These two steps of Pythia at the same share of a warm-up of so many updates."""
    return first / PYTHIA_WARMUP * warmup, last / PYTHIA_WARMUP * warmup


@claim(
    "Value collapses later than query and key.",
    "ars2026",
    "step at which half of the fall of the stable rank is done; that of value is the largest",
    spectrum,
)
def value_later(evidence):
    half = evidence.course("stable_rank", [*QK, "value"]).apply(halfway)
    if half.isna().any():
        raise CannotSay("not all three fall by 10 %", numbers(half))
    if half["value"] == half[QK].max():
        raise CannotSay("between the same two checkpoints", f"steps {numbers(half)}")
    return f"steps {numbers(half)}", half["value"] > half[QK].max()


@claim(
    "After the collapse the stable rank of O and W2 rebounds.",
    "ars2026",
    "stable rank at the end over its lowest; at least 1.1 in both",
    spectrum,
)
def rebound(evidence):
    course = evidence.course("stable_rank", ["dense", "dense_4h_to_h"])
    if (course.min() > 0.9 * course.iloc[0]).all():
        raise CannotSay("no collapse to rebound from", numbers(course.min() / course.iloc[0]))
    ratio = course.iloc[-1] / course.min()
    return numbers(ratio), (ratio >= 1.1).all()


@claim(
    "Matrices leave the random bulk at steps 1000 to 2000, at the end of the warm-up, whatever the size.",
    "ars2026",
    "checkpoints between which half of the matrices within the layers come to have a singular value above the "
    "Marchenko-Pastur edge; from 1000/1430 to 2000/1430 warm-ups",
    spectrum,
)
def leaves_bulk(evidence):
    evidence.from_start()
    half = (evidence.rows("mp_rank").set_index("step").mp_rank > 0).groupby("step").mean() >= 0.5
    if not half.any():
        return "never", False
    span, warmup = seen_in(half.index, half.idxmax()), evidence.warmup
    value = f"steps {span[0]} to {span[1]}, {_warmups(span, warmup)} warm-ups"
    return timed([span], _as_in_pythia(1000, 2000, warmup), value)


@claim(
    "O has the fewest singular values above the random bulk.",
    "staats2025",
    "number above the Marchenko-Pastur edge at the end; least, by 2 % or more, in dense",
    spectrum,
)
def output_is_most_random(evidence):
    above = evidence.last("mp_rank")
    evidence.rows("mp_rank", "dense")
    if above.max() < 1:
        raise CannotSay("no singular value above the bulk in any kind", numbers(above))
    return numbers(above), lowest(above, ["dense"])


@claim(
    "W1 and W2 have singular values below the random bulk: 5.9 % and 6.5 % of them in Pythia-410m.",
    "staats2025",
    "share below the lower edge of the bulk, by a margin that 1 random matrix of 100 exceeds, at the end, mean over "
    "layers; at least 1 % in both",
    random_matrix,
)
def below_the_bulk(evidence):
    shapes = evidence.rows("rows", MLP)
    if (shapes.rows == shapes.cols).any():
        raise CannotSay("a square matrix has no lower edge")
    rows = evidence.rows("outliers_left", MLP)
    rows = rows[rows.step == evidence.steps[-1]]
    share = (rows.outliers_left / rows[["rows", "cols"]].min(axis=1)).groupby(rows.kind, sort=False).mean()
    return numbers(share), (share >= 0.01).all()


@claim(
    "The effective rank falls through training, in every network looked at.",
    "yunis2024",
    "effective rank at the end over the first; below 0.98 in every kind within the layers",
    spectrum,
)
def effective_rank_falls(evidence):
    course = evidence.course("effective_rank")
    ratio = course.iloc[-1] / course.iloc[0]
    beside = evidence.outside("effective_rank", lambda x: x.iloc[-1] / x.iloc[0])
    return numbers(ratio) + beside, (ratio < 0.98).all()


@claim(
    "Low rank emerges unevenly: most in query and key.",
    "jaiswal2024",
    "effective rank over its random value at the end; lowest, by 2 % or more, in query and key",
    spectrum,
)
def lowest_in_query_and_key(evidence):
    rank = evidence.last("effective_rank_relative", [*QK, *VO, *MLP])
    return numbers(rank), lowest(rank, QK)


@claim(
    "Weight decay on two factors gives their product, W_Q'W_K and W_O W_V of a head, low rank.",
    "kobayashi2024",
    "effective rank of a head's product over that of factors from different heads at the end; no verdict without a run "
    "without decay",
    head_products,
)
def products_are_low_rank(evidence):
    ranks = [evidence.last(f"head_effective_rank{x}", ["query", "dense"]) for x in ("", "_mismatched")]
    ratio = (ranks[0] / ranks[1]).rename({"query": "QK", "dense": "OV"})
    raise CannotSay("needs a run without weight decay beside this one", numbers(ratio))


@claim(
    "Query and key carry the dependence on depth; value and output compress evenly.",
    "liu2026",
    "sd over mean of the stable rank over layers at the end, mean of two kinds; in query and key 1.25 times that of "
    "value and dense, or the reverse",
    spectrum,
)
def depth_in_query_and_key(evidence):
    grid = evidence.by_layer("stable_rank", QK + VO)
    spread = grid.std() / grid.mean()
    attention, rest = spread[QK].mean(), spread[VO].mean()
    if 0.8 * rest < attention < 1.25 * rest:
        raise CannotSay("the two differ by less than 25 %", numbers(spread))
    return numbers(spread), attention > rest


@claim(
    "The compression of stable rank travels from early to late layers.",
    "liu2026",
    "rank correlation of layer and step at which half of the fall is done, median over kinds; at least 0.5, or below "
    "0, either at p < 0.05 against layers in random order",
    spectrum,
)
def wave(evidence):
    evidence.by_layer("stable_rank")
    rows = evidence.rows("stable_rank")
    half = rows.pivot(index="step", columns=["layer", "kind"], values="stable_rank").apply(halfway).unstack("kind")
    found = half.apply(lambda steps: rank_correlation(half.index, steps))[rows.kind.unique()].dropna()
    if found.empty:
        raise CannotSay("no fall whose time differs between layers")
    rho, falls, rises = over_layers(half, [-half.index.to_numpy()])
    value = ", ".join(f"{kind} {each:.2f}" for kind, each in found.items())
    return sloped(rho, falls, rises, f"{value}; median {-rho:.2f}")


@claim(
    "In models of width below about 1000 the spectrum of the output head collapses late in training.",
    "godey2024",
    "ln r minus spectral entropy of embed_out, the end over the middle of training; 1.1 or more if and only if the "
    "width is below 1000",
    spectrum,
)
def head_collapses(evidence):
    course = evidence.course("effective_rank", "embed_out").iloc[:, 0]
    width = int(evidence.rows("effective_rank", "embed_out").cols.iloc[0])
    lost = np.log(width) - np.log(course)
    earlier = lost[lost.index <= lost.index[-1] / 2]
    if earlier.empty or earlier.index[-1] < lost.index[-1] / 4:
        raise CannotSay("no checkpoint in the middle of training")
    ratio = lost.iloc[-1] / earlier.iloc[-1]
    return f"{earlier.iloc[-1]:.3g} to {lost.iloc[-1]:.3g} at width {width}", (ratio >= 1.1) == (width < 1000)


@claim(
    "The parameters of smaller models have lower effective rank in proportion to their size.",
    "diehl2024",
    "effective rank over r at the end; no verdict from one model",
    spectrum,
)
def proportion_by_size(evidence):
    rows = evidence.rows("effective_rank", ["dense_4h_to_h", "dense"])
    rows = rows[rows.step == evidence.steps[-1]]
    share = (rows.effective_rank / rows[["rows", "cols"]].min(axis=1)).groupby(rows.kind, sort=False).median()
    raise CannotSay("needs several sizes", numbers(share))
