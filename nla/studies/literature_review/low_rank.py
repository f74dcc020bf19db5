"""Claims about layers of low rank, from earlier projects and from the literature. They are held against the committed
training runs of notebook 11 and against the embedded model's own losses: weights alone cannot tell.
"""

from functools import cache

import numpy as np

from nla.studies.literature_review.evidence import CannotSay, claim
from nla.studies.literature_review.sketches import NATS, embedded

FULL_WITH_LOW = 23  # of llm_lora's experiments; see nla.studies.low_rank_training.experiments
QUARTER = 5  # query, key and value as one matrix of a quarter of the width
EMBEDDINGS = {25: "frozen", 26: "factored"}


@cache
def above():
    """Last held-out loss of llm_lora's experiments over that of the whole model, DataFrame (seeds, experiments)."""
    from nla.studies.low_rank_training import variants
    from nla.studies.low_rank_training.runs import results  # which need what trains models, and claims do not

    runs = results()[1]
    last = variants.last_losses(runs)
    numbers = runs.drop_duplicates("experiment").set_index("experiment").number.loc[last.index]
    last = last[numbers.to_numpy() > 0].T.set_axis(numbers[numbers > 0].to_numpy(), axis=1)
    return last.sub(last[1], axis=0)


@cache
def rank_16():
    """Loss of each held-out window with a middle MLP of the embedded model at llm_lora's rank, over whole, (n,)."""
    from nla import low_rank
    from nla.models import checkpoints
    from nla.running import surgery
    from nla.running.losses import losses
    from nla.studies.low_rank_compression import budgets, calibration, controls, regression

    checkpoint, model = calibration.sound(checkpoints("demo"))
    _, windows = calibration.text(checkpoint, model)
    factors = budgets.all_factors(model, keys=low_rank.linears(model, regression.MLP, [controls.middle(model)]))
    rank = max(1, round(controls.RANK * model.config.hidden_size))
    with surgery.replaced(model, {key: budgets.product(f, rank) for key, f in factors.items()}):
        replaced = losses(model, windows)
    return replaced - losses(model, windows)


def _more(number):
    """(mean over the seeds, its standard error, as text) of an experiment's loss over the whole model's."""
    more = above()[number].dropna()
    if len(more) < 2:
        raise CannotSay("trained from one seed")
    return more.mean(), more.std() / len(more) ** 0.5, f"{more.mean():+.3f} nats"


def _judged(mean, error, value, limit, at_most):
    if abs(mean - limit) <= 2 * error:
        raise CannotSay("the seeds differ by as much", value)
    return value, bool(mean <= limit) == at_most


@claim(
    "Trained from scratch, a model matches the whole one with attention of rank 8 of 1,024 and no output projection, "
    "the first quarter of its layers apart, and with seven of its 24 MLPs at rank 16.",
    "dmitrymailk2023",
    "held-out loss of this model, in proportion, over the whole one's, mean over seeds; at most 0.01 nats",
)
def low_rank_in_training_is_free(evidence):
    embedded(evidence)
    return _judged(*_more(FULL_WITH_LOW), NATS, True)


@claim(
    "Embeddings are better left alone: frozen or factored, they train to a higher loss.",
    "dmitrymailk2023",
    "held-out loss with frozen and with factored input embeddings over the whole model's, mean over seeds; both more "
    "than 0.01 nats",
)
def embeddings_are_needed(evidence):
    embedded(evidence)
    found = {how: _more(number) for number, how in EMBEDDINGS.items()}
    value = ", ".join(f"{text} {how}" for how, (_, _, text) in found.items())
    mean, error, _ = min(found.values())
    return _judged(mean, error, value, NATS, False)


@claim(
    "Training factors in place of weights does not reach the loss of full training.",
    "zhao2024",
    "held-out loss with query, key and value as one matrix of a quarter of the width over the whole model's, mean over "
    "seeds; more than 0.03 nats, which is what projected gradients may lose",
)
def factors_fall_short(evidence):
    embedded(evidence)
    return _judged(*_more(QUARTER), 0.03, False)


@claim(
    "Rank 16 of 4,096 in the MLP of a layer just below the middle even improves the loss.",
    "dmitrymailk2023",
    "held-out loss with that MLP truncated to the same share of the width over the whole model's, paired by window; at "
    "most 0, and the interval of 1.96 standard errors decides",
)
def truncation_improves(evidence):
    embedded(evidence)
    rise = rank_16()
    mean, error = rise.mean(), rise.std(ddof=1) / np.sqrt(len(rise))
    value = f"{mean:+.3f} nats, {mean - 1.96 * error:+.3f} to {mean + 1.96 * error:+.3f}"
    if abs(mean) <= 1.96 * error:
        raise CannotSay("the windows differ by as much", value)
    return value, bool(mean <= 0)
