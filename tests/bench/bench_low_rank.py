"""Time ratios of low-rank factors: the closed form against Adam on the shapes of seed 004, and replaced models.

    python tests/bench/bench_low_rank.py [THREADS]

Inputs are drawn with a spectrum that decays as activations' does (an exponent fitted to no model: it changes no time).
A step of Adam is timed over a few steps and multiplied by the seed's number of steps.
"""

import sys
import time

import torch

from nla import language, low_rank, models
from nla.activations import Inputs
from nla.low_rank import budgets, calibration, factorisation, regression
from nla.low_rank.models import break_even

HIDDEN, INNER = (regression.MISTRAL[name] for name in ("hidden_size", "intermediate_size"))


def seconds(work, times=1):
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def drawn(count):
    generator = torch.Generator().manual_seed(0)
    decay = torch.arange(1, HIDDEN + 1).pow(-0.7)
    X = torch.randn(count, HIDDEN, generator=generator) * decay * 10
    return X, torch.randn(INNER, HIDDEN, generator=generator) * 0.0033


def step_of_adam(X, Y, rank, steps=3):
    fit = lambda n: regression.trained(X[None], Y[None], rank, n)  # noqa: E731
    fit(1)
    return seconds(lambda: fit(steps)) / steps


def experiment_1(rank=64, steps=10_000):
    X, W = drawn(82)
    Y = X @ W.T
    closed = seconds(lambda: factorisation.regression(X, Y, 2 * rank))
    adam = step_of_adam(X, Y, rank) * steps
    left = factorisation.regression(X, Y, 2 * rank)[1] / float(Y.double().square().sum())
    print(f"Experiment 1, 82 x {HIDDEN} -> {INNER}, rank {2 * rank}", end=": ")
    print(f"{steps:,} steps of Adam take {adam / closed:,.0f} times as long as the closed form")
    print(f"  residual of the closed form over the sum of squares {left:.1e}")


def experiment_2(rank=1024, prompts=100, length=250, epochs=4629):
    X, W = drawn(prompts * length)

    def work():
        factorisation.affine(W, 2 * rank, Inputs.of(X))

    closed = seconds(work)
    part = X[:length]
    adam = step_of_adam(part, part @ W.T, rank) * prompts * epochs
    print(f"Experiment 2, {prompts} prompts of {length}, rank {2 * rank}", end=": ")
    print(f"{epochs:,} epochs of Adam take {adam / closed:,.0f} times as long as the closed form")


def speed(rounds=5):
    """A forward pass of demo, whole over compressed; and of one wide matrix at fractions of its parameters."""
    checkpoint, model = calibration.sound(models.checkpoints("demo"))
    _, held_out = calibration.text(checkpoint, model)
    forward = lambda m: lambda: language.loss(m, held_out[:8])  # noqa: E731
    forward(model)()
    whole = seconds(forward(model), rounds)
    shapes = {key: tuple(W.shape) for key, W in calibration.matrices(model).items()}
    for fraction in (0.5, 0.25):
        small = low_rank.replace(
            calibration.sound(models.checkpoints("demo"))[1],
            {key: budgets.rank_for(shape, fraction) for key, shape in shapes.items()},
        )
        forward(small)()
        print(f"demo, {fraction:.0%} of every matrix: {whole / seconds(forward(small), rounds):.2f} times as fast")
    x, dense = torch.randn(256, HIDDEN), torch.nn.Linear(HIDDEN, INNER, bias=False)
    with torch.no_grad():
        dense(x)
        whole = seconds(lambda: dense(x), rounds)
        for fraction in (1.0, 0.5, 0.25):
            rank = int(fraction * break_even((INNER, HIDDEN)))
            factors = low_rank.LowRank(HIDDEN, INNER, rank, bias=False)
            factors(x)
            ratio = whole / seconds(lambda factors=factors: factors(x), rounds)
            print(f"{HIDDEN} -> {INNER} at rank {rank}, {fraction:.0%} of the parameters: {ratio:.2f} times as fast")


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    experiment_1()
    speed()
    experiment_2()
