"""Ways of doing one thing timed in turn, and the row of the table that compares the fastest runs of two of them."""

import time
from statistics import median

NOISY = 1.25  # median over fastest


def timed(function):
    """`function`, made to return its seconds."""

    def run():
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return run


def in_turn(rounds, *ways):
    """[seconds of each round] of every way, a function that returns its seconds; each is run once in each round.

    Run after one another, two ways meet a machine of two speeds: other work comes and goes, and clocks change.
    """
    times = [[] for _ in ways]
    for _ in range(rounds):
        for kept, way in zip(times, ways, strict=True):
            kept.append(way())
    return times


def row(name, ours, theirs, target, note, grows=True):
    """A row from the times of two ways; `grows` says that the ratio is theirs over ours. Noise is said in the note."""
    least, other = min(ours), min(theirs)
    for who, times in (("ours", ours), ("theirs", theirs)):
        if median(times) > NOISY * min(times):
            note += f"; noisy, {who} took {min(times):.3g} to {max(times):.3g} s"
    ratio = other / least if grows else least / other
    return dict(name=name, ours=least, theirs=other, ratio=ratio, target=target, note=note)
