"""What a scan is about to fetch, said in one line before it begins."""

import sys
from contextlib import suppress

from nla.models import cache, ladder
from nla.models.errors import CheckpointError
from nla.scanning.fingerprint import _pure

WITH = ((), ("previous", "final"))  # what a measure may look at beside the first checkpoint, if it is not pure


def announce(job, left):
    """Say what is to come, if anything has to be fetched."""
    remote = [c for c in left if c.source.remote]
    fetched = {f.digest: f.size for c in remote for f in c.source.to_fetch()}
    if not fetched:
        return
    pure = all(_pure(m) for c in left for m in job.wanted[c])
    others = {}
    for which in ("initial", *WITH[not pure]):
        with suppress(CheckpointError):  # it will be said where it matters
            beside = {next(ladder.neighbours(job.ladder, c, which), c) for c in remote}
            others |= {f.digest: f.size for c in beside for f in c.source.to_fetch() if f.digest not in fetched}
    # The first, this and the next checkpoint; the previous and the last where a measure compares with them.
    # Or of each of them but the next one file, where checkpoints are larger than the disk allowed.
    sizes, places = [[f.size for f in c.source.files()] for c in remote], 3 if pure else 5
    pieces = any(c.source.too_large() for c in remote)
    room = max(map(max, sizes)) * (places - 1) if pieces else max(map(sum, sizes)) * places
    room = sum(fetched.values()) if cache.keeping() else min(room, sum(fetched.values()) + sum(others.values()))
    more = f", up to {cache.size(sum(others.values()))} to compare with" if others else ""
    print(
        f"{job.model}: {len(left)} checkpoints to measure, {cache.size(sum(fetched.values()))} to fetch{more}, "
        f"up to {cache.size(room)} of disk; after the first one the bar tells the time",
        file=sys.stderr,
    )
