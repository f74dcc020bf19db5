"""What can be wrong with a checkpoint, or with a name of one: said in one line, never guessed around."""

from nla.numerics.quantities import unknown  # noqa: F401


class CheckpointError(OSError):
    """This checkpoint cannot be used; the message is one line that says which and why."""

    def __init__(self, message=""):
        super().__init__(" ".join(str(message).splitlines()))


class NotThere(CheckpointError):
    """This repository, revision or file does not exist, or the Hub says: not for us."""


class NoWeights(CheckpointError):
    """Its tables and spectra are here, but not its weights."""


class Unavailable(CheckpointError):
    """It could not be had this time; another run may."""


class Missed(Unavailable):
    """What a matrix is compared with could not be had this time."""


class Mismatch(OSError):
    """What arrived is not what was announced."""


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]
