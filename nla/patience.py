"""Trying again where that may help, and one line where it cannot: what the Hub's client leaves to its caller.

The client retries dropped connections and 429 within one download, but not an answer 503 to it nor anything about the
list of revisions, and it takes any bytes of the right number.
"""

import errno
import itertools
import re
import time

from nla.weights import CheckpointError

DELAYS = (1, 2, 4, 8, 16, 32)  # seconds
BRIEF = 2  # how many of them where little hope is left
LONGEST = 300  # seconds to wait if the Hub asks for it: its limits count over five minutes
LOCAL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_contact = {"made": False, "lost": False}  # whether the Hub ever answered; whether all tries of the last call failed


class NotThere(CheckpointError):
    """The Hub answered that this repository, revision or file does not exist, or not for us."""


class Unavailable(CheckpointError):
    """It could not be had this time; another run may."""


class Mismatch(OSError):
    """What arrived is not what was announced."""


def patiently(what, call):
    """`call()`, again after each of `DELAYS` while it fails in a way that may pass.

    Raises
    ------
    NotThere, Unavailable
        In one line, `what` could not be had and why.
    OSError
        This machine is the trouble (disk full, no permission): the next checkpoint would meet the same.
    """
    from huggingface_hub.errors import HTTPError

    for attempt in itertools.count():
        try:
            result = call()
            _contact.update(made=True, lost=False)
            return result
        except (HTTPError, OSError, RuntimeError) as error:  # RuntimeError: hf_xet
            known = _contact["made"] or _status(error) is not None
            brief = isinstance(error, Mismatch) or not known
            tries = 0 if _contact["lost"] else BRIEF if brief else len(DELAYS)
            if attempt >= tries or not _may_pass(error):
                explain(what, error)
            time.sleep(max(DELAYS[attempt], min(_asked(error), LONGEST)))


def lost():
    """Whether the Hub did not answer when it was last asked, again and again."""
    return _contact["lost"]


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


def explain(what, error, place=None):
    """Raise what `error` means for `what`, in one line that holds no address and no token."""
    from huggingface_hub import errors

    error = _cause(error)
    if getattr(error, "errno", None) in LOCAL:
        line = f"{what}: {error.strerror}; finished checkpoints are kept, so mend this and run again"
        raise OSError(error.errno, line, place and str(place)) from None
    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        raise NotThere(f"{what}: gated; accept its terms on its page and set HF_TOKEN") from None
    if isinstance(error, errors.RepositoryNotFoundError):
        raise NotThere(f"{what}: there is no such repository, or HF_TOKEN does not open it") from None
    if status in (401, 403):
        raise NotThere(f"{what}: refused (HTTP {status}); see HF_TOKEN") from None
    if status in (404, 410):
        raise NotThere(f"{what}: not on the Hub") from None
    if isinstance(error, Mismatch):
        raise Unavailable(f"{what} cannot be had: {error}") from None
    _contact["lost"] = True
    text = re.sub(r"https?://\S+", "the Hub", (str(error).splitlines() or [""])[0]) or type(error).__name__
    if status:
        text = f"the Hub answers HTTP {status}"
    elif isinstance(error, errors.OfflineModeIsEnabled):
        text = "HF_HUB_OFFLINE is set"
    elif isinstance(error, (errors.HTTPError, ConnectionError)):
        text = f"no connection to the Hub ({text})"
    raise Unavailable(f"{what} cannot be had: {text}; MODEL=demo or a folder needs no network") from None
