"""Claims about what training, and the stages after it, add to the weights, held against a chain of them."""

from nla.measures.update import update
from nla.studies.literature_review.evidence import CannotSay, claim

SFT, PREFERENCE = ("sft", "instruct", "chat"), ("dpo", "kto", "ppo", "grpo", "rlvr", "rlhf")


@claim(
    "The update of supervised fine-tuning has a low rank.",
    "hu2022",
    "stable and effective rank of the update over those of a random matrix, medians over all layers and kinds; both at "
    "most 0.5",
    update,
)
def fine_tuning_is_low_rank(evidence):
    return _low_rank(evidence.stage(SFT))


@claim(
    "What training changes in a weight matrix has low rank.",
    "hu2022",
    "stable and effective rank of W - W_0 at the end over those of a random matrix, where it exceeds ten times the "
    "resolution of the files, medians over all layers and kinds; both at most 0.5",
    update,
)
def change_has_low_rank(evidence):
    evidence.from_start()
    rows = evidence.stage(["base"])
    rows = rows[rows.delta_norm > 10 * rows.delta_floor]
    if rows.empty:
        raise CannotSay("no change that the files resolve")
    return _low_rank(rows)


def _low_rank(rows):
    stable, effective = rows.delta_stable_rank_relative.median(), rows.delta_effective_rank_relative.median()
    return f"stable {stable:.3g}, effective {effective:.3g} of random", max(stable, effective) <= 0.5


@claim(
    "Preference training changes few parameters, 5 to 30 % of them.",
    "mukherjee2025",
    "share of entries whose stored value changes in the first stage of preference or reward training, median over all "
    "layers and kinds; at most 0.3",
    update,
)
def preference_is_sparse(evidence):
    changed = evidence.stage(PREFERENCE).delta_changed.median()
    return f"share {changed:.3g}", changed <= 0.3


@claim(
    "The update of preference training has nearly full rank.",
    "mukherjee2025",
    "effective rank of that update over that of a random matrix, median over all layers and kinds; at least 0.9",
    update,
)
def preference_is_full_rank(evidence):
    effective = evidence.stage(PREFERENCE).delta_effective_rank_relative.median()
    return f"effective rank {effective:.3g} of random", effective >= 0.9
