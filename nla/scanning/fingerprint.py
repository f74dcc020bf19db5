"""A measure is known by what it computes: a hash of its code and of all that this refers to."""

import hashlib
import inspect
import re
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from nla.models.paths import HERE

CORE = ("matrices/*.py", "numerics/spectra.py", "numerics/pairs.py")  # under every measure


def _pure(measure):
    return getattr(measure, "pure", False)


def name_of(measure):
    """A measure's name as it stands in file names and messages."""
    return getattr(measure, "__name__", type(measure).__name__).replace("<lambda>", "lambda")


def fingerprint(measure):
    """Hash of what a measure computes: its code, defaults and closure, and of the code and constants it refers to.

    A measure of this package is known by the source of its module, of those it imports from and of those under every
    measure, so that a comment also counts as a change; a user's own function by its compiled code, so that it does not.
    """
    sha = hashlib.sha256()
    module = sys.modules.get(getattr(measure, "__module__", None))
    if getattr(module, "__name__", "").startswith("nla."):
        for source in _sources(module):
            sha.update(source.read_bytes())
        sha.update(name_of(measure).encode())
    else:
        _digest(measure, sha, set())
    return sha.hexdigest()[:12]


def _sources(module):
    """The files of `module`, of the modules of this package that it imports from, directly or not, and of `CORE`."""
    found, left = {path for pattern in CORE for path in HERE.glob(pattern)}, [module]
    while left:
        module = left.pop()
        if module and (module.__name__.startswith("nla.")) and (path := Path(module.__file__)) not in found:
            found.add(path)
            owners = (v if isinstance(v, ModuleType) else _owner(v) for v in vars(module).values())
            left += [owner for owner in owners if owner]
    return sorted(found)


def _owner(thing):
    return sys.modules.get(getattr(thing, "__module__", None) or "")


def _digest(thing, sha, seen):
    if id(thing) in seen:
        return
    if isinstance(thing, (FunctionType, CodeType)):
        seen.add(id(thing))
    if isinstance(thing, CodeType):
        sha.update(thing.co_code + repr(thing.co_names).encode())
        for constant in thing.co_consts:
            _digest(constant, sha, seen)
    elif isinstance(thing, FunctionType):
        if (thing.__module__ or "").startswith("nla."):
            sha.update(Path(inspect.getfile(thing)).read_bytes())
            return
        _digest(thing.__code__, sha, seen)
        captured = [c.cell_contents for c in thing.__closure__ or ()]
        names = _names(thing.__code__)
        used = [thing.__globals__[n] for n in sorted(names) if n in thing.__globals__]
        for other in [*captured, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values(), *used]:
            _digest(other, sha, seen)
    elif isinstance(thing, ModuleType):
        sha.update(f"{thing.__name__} {getattr(thing, '__version__', '')}".encode())
    elif isinstance(thing, (frozenset, set)):
        sha.update(repr(sorted(map(repr, thing))).encode())
    elif hasattr(thing, "func") and hasattr(thing, "keywords"):  # functools.partial
        for part in (thing.func, thing.args, sorted(thing.keywords.items())):
            _digest(part, sha, seen)
    elif isinstance(thing, dict):
        _digest(sorted(thing.items(), key=repr), sha, seen)
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            _digest(part, sha, seen)
    elif hasattr(thing, "tobytes"):
        sha.update(thing.tobytes())
    elif type(thing).__repr__ is not object.__repr__:
        sha.update(re.sub(r" at 0x[0-9a-f]+", "", repr(thing)).encode())
    elif callable(thing):
        _digest(type(thing).__call__, sha, seen)
        _digest(sorted(vars(thing).items()), sha, seen)


def _names(code):
    inner = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*inner)
