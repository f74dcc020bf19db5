"""Claims about low-rank gradients and updates, held against the committed training runs of the embedded model's
architecture: a ladder of checkpoints holds no gradients.
"""

from scipy.stats import spearmanr

from nla.studies.literature_review.evidence import CannotSay, claim
from nla.studies.randomised_nla import tables

NATS = 0.01  # a difference of loss that would be worth a percent of perplexity


def embedded(evidence):
    """Raise unless the evidence is about the embedded model."""
    if set(evidence.table.get("model", ())) != {"demo"}:
        raise CannotSay("needs training; runs are stored for the embedded model alone")


@claim(
    "Gradients become low-rank in the course of training.",
    "zhao2024",
    "rank correlation of a gradient's stable rank with the step under AdamW, median over matrices and seeds; -0.5 or "
    "less",
)
def gradients_lose_rank(evidence):
    embedded(evidence)
    rows = tables.gradients()
    rho = rows.groupby(["seed", "layer", "matrix"])[["step", "stable_rank"]].apply(
        lambda m: spearmanr(m.step, m.stable_rank).statistic
    )
    return f"rank correlation {rho.median():.2f}", rho.median() <= -0.5


@claim(
    "Training with projected gradients reaches the loss of full training.",
    "zhao2024",
    "held-out loss of exact projectors at a quarter of the width over AdamW's, mean over seeds; at most 0.03 nats "
    "(published for 60 million parameters: 0.024)",
)
def projection_keeps_the_loss(evidence):
    embedded(evidence)
    beyond = tables.excess()["GaLore exact 48/50"].mean()
    return f"{beyond:+.3f} nats", beyond <= 0.03


@claim(
    "A randomised SVD for the projector costs no accuracy.",
    "su2025",
    "held-out loss with sketched over that with exact projectors, same rank and refresh; at most 0.01 nats, mean over "
    "seeds",
)
def sketched_is_as_good(evidence):
    embedded(evidence)
    return _against_exact("GaLore sketched 48/50")


@claim(
    "Random projections that are renewed compress gradients well enough.",
    "hao2024",
    "held-out loss with random over that with exact projectors, same rank and refresh; at most 0.01 nats, mean over "
    "seeds",
)
def random_is_as_good(evidence):
    embedded(evidence)
    return _against_exact("GaLore random 48/50")


def _against_exact(name):
    beyond = tables.excess()
    more = beyond[name] - beyond["GaLore exact 48/50"]
    value, doubt = f"{more.mean():+.3f} nats, {more.min():+.3f} to {more.max():+.3f}", more.std() / len(more) ** 0.5
    if abs(more.mean() - NATS) <= 2 * doubt:
        raise CannotSay("the seeds differ by as much", value)
    return value, more.mean() <= NATS
