"""Low-rank factors: the closed form against Adam on the shapes of Mistral-7B, and how fast replaced models run.

Inputs are drawn; that changes no time. A step of Adam is timed over a few steps and multiplied by llm_lora's number.
"""

import torch

from tests.bench import timing

STEPS, EPOCHS = 10_000, 4629  # of llm_lora's Experiments 1 and 2


def seconds(work, times=5):
    """The best of `times`, after one that is not counted."""
    work()
    return min(timing.in_turn(times, timing.timed(work))[0])


def rows(size="small"):
    """Rows for the table of benchmarks."""
    from nla.studies.low_rank_compression import regression

    hidden, inner = (
        regression.MISTRAL[name] // (64 if size == "tiny" else 1) for name in ("hidden_size", "intermediate_size")
    )
    closed, step, left = experiment_1(hidden, inner)
    note = f"82 x {hidden} to {inner}, rank 128: closed form against {STEPS:,} steps of Adam; it leaves {left:.0e}"
    found = [_row("Experiment 1", closed, step * STEPS, note, ">= 1000")]
    if size == "full":
        found.append(experiment_2(hidden, inner))
    return [*found, *model_speeds(), *matrix_speeds(hidden, inner)]


def _row(name, ours, theirs, note, target=None):
    return dict(name=name, ours=ours, theirs=theirs, ratio=theirs / ours, target=target, note=note)


def experiment_1(hidden, inner, length=82, rank=64):
    """(seconds of the closed form, seconds of a step of Adam, what the former leaves of the sum of squares)."""
    from nla.low_rank import factorisation
    from nla.studies.low_rank_compression import regression

    generator = torch.Generator().manual_seed(0)
    X, Y = (torch.randn(length, size, generator=generator) for size in (hidden, inner))
    closed = seconds(lambda: factorisation.regression(X, Y, 2 * rank), 3)
    one, six = (seconds(lambda n=n: regression.trained(X[None], Y[None], rank, n), 3) for n in (1, 6))
    return (
        closed,
        max(six - one, 1e-9) / 5,
        factorisation.regression(X, Y, 2 * rank)[-1] / float(Y.double().square().sum()),
    )


def experiment_2(hidden, inner, rank=1024, prompts=100, length=250):
    """The closed form for inputs of many prompts against llm_lora's epochs of Adam."""
    from nla.low_rank import factorisation
    from nla.running.activations import Inputs
    from nla.studies.low_rank_compression import regression

    generator = torch.Generator().manual_seed(0)
    X = torch.randn(prompts * length, hidden, generator=generator)
    W = torch.randn(inner, hidden, generator=generator) / hidden**0.5
    closed = seconds(lambda: factorisation.affine(W, 2 * rank, Inputs.of(X)), 1)
    part = X[None, :length]
    one, three = (seconds(lambda n=n: regression.trained(part, part @ W.T, rank, n), 1) for n in (1, 3))
    note = f"{prompts} prompts of {length} tokens, rank {2 * rank}: closed form against {EPOCHS:,} epochs of Adam"
    return _row("Experiment 2", closed, (three - one) / 2 * prompts * EPOCHS, note, ">= 1000")


def model_speeds():
    """A forward pass of the embedded model with half and a quarter of every matrix; theirs is the whole model."""
    from nla import low_rank
    from nla.models import checkpoints
    from nla.running import losses
    from nla.studies.low_rank_compression import budgets, calibration

    checkpoint, model = calibration.sound(checkpoints("demo"))
    _, held_out = calibration.text(checkpoint, model)
    whole = seconds(lambda: losses.loss(model, held_out[:8]))
    shapes = {key: tuple(W.shape) for key, W in calibration.matrices(model).items()}
    found = []
    for fraction in (0.5, 0.25):
        _, small = calibration.sound([checkpoint])
        low_rank.replace(small, {key: budgets.rank_for(shape, fraction) for key, shape in shapes.items()})
        ours = seconds(lambda small=small: losses.loss(small, held_out[:8]))
        note = "forward pass of demo, 8 windows of 256 tokens; narrow factors gain little where a layer is small"
        found.append(_row(f"demo, {fraction:.0%} of every matrix", ours, whole, note))
    return found


@torch.no_grad()
def matrix_speeds(hidden, inner):
    """One wide matrix and its factors at fractions of its parameters."""
    from nla import low_rank
    from nla.low_rank.counts import break_even

    x, dense = torch.randn(256, hidden), torch.nn.Linear(hidden, inner, bias=False)
    whole, found = seconds(lambda: dense(x)), []
    for fraction in (1.0, 0.5, 0.25):
        rank = int(fraction * break_even((inner, hidden)))
        factors = low_rank.LowRank(hidden, inner, rank, bias=False)
        note = f"256 tokens, {hidden} to {inner} at rank {rank}"
        found.append(_row(f"one matrix, {fraction:.0%} of it", seconds(lambda f=factors: f(x)), whole, note))
    return found
