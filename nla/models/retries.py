"""Trying again where that may help, and one line where it cannot, which the Hub's client leaves to its caller.

Nor does that retry an answer 503, or anything about the list of revisions. And no wait is silent, or lasts for ever.
"""

import errno
import itertools
import os
import re
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout

from nla.models.errors import Mismatch, NotThere, Unavailable
from nla.numerics.quantities import seconds_of

DELAYS = (1, 2, 4, 8, 16, 32)  # seconds
BRIEF = 2  # how many of them where little hope is left
MOST = 2 * len(DELAYS)  # tries after trouble of all kinds together
LONGEST = 300  # seconds to wait if the Hub asks for it: its limits count over five minutes
LOCAL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
SAID = 5  # seconds after which it is said what is waited for; again after twice that time, and so on


class Unreachable(Unavailable):
    """There was no answer, or none that helps."""


class Waited(Unavailable):
    """Nothing came of a wait, and no sign of life, for as long as `limit` says."""


class Wait:
    """A wait for what may never come: it says so, and ends `most` seconds after a sign of life, as `setting` says."""

    def __init__(self, most=None, setting="NLA_WAIT"):
        self.most, self.setting = limit() if most is None else most, setting
        self.over()

    def over(self):
        """It came; the next wait begins here."""
        self.seen, self.saying = time.time(), SAID

    def goes_on(self, what, seen=0.0):
        """Once for each look that found nothing; raises `Waited` if since `seen`, a sign of life, it was too long."""
        from tqdm import tqdm

        if seen > self.seen:
            self.over()
            self.seen = seen
        passed = time.time() - self.seen
        if passed >= self.most:
            raise Waited(f"waited {self.most:g} s for {what}, in vain; {self.setting} sets how long")
        if passed >= self.saying:
            self.saying = 2 * passed
            tqdm.write(f"waiting for {what}: {passed:.0f} s, at most {self.most:g} ({self.setting})", file=sys.stderr)


def limit():
    """Seconds without a sign of life after which nothing is waited for any more: NLA_WAIT, or an hour."""
    said = os.environ.get("NLA_WAIT") or "1h"
    if (seconds := seconds_of(said)) is None:
        raise ValueError(f"NLA_WAIT is {said!r}, not a time such as 600, 90s, 20m, 12h or 2d")
    return seconds


@contextmanager
def locked(path, what, seen=lambda: 0.0):
    """Hold the lock at `path`, waiting for whoever has it; `seen()` is when there was a sign of life of them."""
    lock, wait = FileLock(path), Wait()
    while not lock.is_locked:
        try:
            lock.acquire(timeout=min(SAID, wait.most))
        except Timeout:
            wait.goes_on(what, seen())
    try:
        yield
    finally:
        lock.release()


def stats(*places):
    """What the system says of each file in these folders."""
    for folder, _, names in itertools.chain.from_iterable(map(os.walk, places)):
        for name in names:
            with suppress(OSError):  # gone meanwhile
                yield os.lstat(os.path.join(folder, name))


def newest(*places):
    """When a file was last written in these folders; 0 if there is none."""
    return max((stat.st_mtime for stat in stats(*places)), default=0.0)


class Contact:
    """With the Hub: whether it was ever `made`; whether it is `lost`, all tries of the last call having failed."""

    def __init__(self):
        self.made = self.lost = False

    def patiently(self, what, call):
        """`call()`, again after each of `DELAYS` while it fails in a way that may pass; then raises `explained`."""
        from huggingface_hub.errors import HTTPError

        troubles = Counter()  # of each way
        while True:
            try:
                result = call()
                self.made, self.lost = True, False
                return result
            except (HTTPError, OSError, RuntimeError) as error:  # RuntimeError: hf_xet
                known = self.made or _status(error) is not None
                kind = "an answer" if _status(error) else type(_cause(error))
                tries = 0 if self.lost else BRIEF if kind is Mismatch or not known else len(DELAYS)
                if troubles[kind] >= tries or troubles.total() >= MOST or not _may_pass(error):
                    why = explained(what, error)
                    self.lost |= isinstance(why, Unreachable)
                    raise why from None
                time.sleep(max(DELAYS[troubles[kind]], min(_asked(error), LONGEST)))
                troubles[kind] += 1


def _cause(error):
    """What lies behind the client's "not found in the local cache"."""
    return error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error


def _may_pass(error):
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

    error = _cause(error)
    if isinstance(error, (OfflineModeIsEnabled, RepositoryNotFoundError)) or getattr(error, "errno", None) in LOCAL:
        return False
    status = _status(error)
    return status is None or status in (408, 429) or status >= 500


def _status(error):
    """HTTP status of the answer behind an error of the client; None where there was no answer."""
    return getattr(getattr(_cause(error), "response", None), "status_code", None)


def _asked(error):
    """Seconds that the Hub asked to wait."""
    headers = getattr(getattr(_cause(error), "response", None), "headers", {})
    found = re.search(r"r=0;t=(\d+)", headers.get("ratelimit", "").replace(" ", ""))
    found = found or re.fullmatch(r"(\d+)", headers.get("retry-after", ""))
    return int(found[1]) if found else 0


def explained(what, error, place=None):
    """What `error` means for `what`, an exception of one line that holds no address and no token."""
    from huggingface_hub import errors

    error = _cause(error)
    if getattr(error, "errno", None) in LOCAL:
        line = f"{what}: {error.strerror}; finished checkpoints are kept, so mend this and run again"
        return OSError(error.errno, line, place and str(place))
    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        return NotThere(f"{what}: gated; accept its terms on its page and set HF_TOKEN")
    if isinstance(error, errors.RepositoryNotFoundError):
        return NotThere(f"{what}: there is no such repository, or HF_TOKEN does not open it")
    if status in (401, 403):
        return NotThere(f"{what}: refused (HTTP {status}); see HF_TOKEN")
    if status in (404, 410):
        return NotThere(f"{what}: not on the Hub")
    if isinstance(error, Mismatch):
        return Unavailable(f"{what} cannot be had: {error}")
    text = re.sub(r"https?://\S+", "the Hub", (str(error).splitlines() or [""])[0]) or type(error).__name__
    if status:
        text = f"the Hub answers HTTP {status}"
    elif isinstance(error, errors.OfflineModeIsEnabled):
        text = "HF_HUB_OFFLINE is set"
    elif isinstance(error, (errors.HTTPError, ConnectionError)):
        text = f"no connection to the Hub ({text})"
    return Unreachable(f"{what} cannot be had: {text}; MODEL=demo or a folder needs no network")
