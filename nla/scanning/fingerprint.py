"""A measure is known by what it computes: a hash of its code and of all that this refers to."""

import ast
import hashlib
import re
from functools import cache
from types import CodeType, FunctionType, ModuleType

from nla.models.paths import HERE

ALWAYS = "nla.matrices"  # what hands every measure its Matrix


def _pure(measure):
    return getattr(measure, "pure", False)


def name_of(measure):
    """A measure's name as it stands in file names and messages."""
    return getattr(measure, "__name__", type(measure).__name__).replace("<lambda>", "lambda")


def ours(thing):
    """Whether a measure, or a function, is of this package."""
    return (getattr(thing, "__module__", None) or "").startswith("nla.")


def fingerprint(measure):
    """Hash of what a measure computes: its code, defaults and closure, and of the code and constants it refers to.

    A measure of this package is known by the source of its module and of all that this imports from the package, so
    that a comment also counts as a change; a user's own function by its compiled code, so that it does not.
    `nla.matrices`, and what it imports, is under every measure.
    """
    sha = hashlib.sha256()
    if ours(measure):
        _digest_sources([ALWAYS, measure.__module__], sha)
        sha.update(name_of(measure).encode())
    else:
        _digest_sources([ALWAYS], sha)
        _digest(measure, sha, set())
    return sha.hexdigest()[:12]


def _digest_sources(names, sha):
    """Those of the modules of these names and of all that they import from this package, directly or not."""
    found, left = {}, [path for name in names for path in _files(name)]
    while left:
        path = left.pop()
        if path not in found:
            found[path] = path.read_bytes()
            left += [other for name in _imported(found[path]) for other in _files(name)]
    for path in sorted(found):
        sha.update(found[path])


@cache
def _imported(source):
    """The dotted names, ``nla.room.module`` or ``nla.room.module.thing``, that a source imports wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            above = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names |= {above + alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == HERE.name}


def _files(name):
    """The file of the module that a dotted name is or is in; of what a room hands on, or a room, all its files."""
    path = HERE.parent.joinpath(*name.split("."))
    if path.is_dir():
        return list(path.rglob("*.py"))
    return [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else _files(name.rpartition(".")[0])


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
        if ours(thing):
            _digest_sources([thing.__module__], sha)
            return
        _digest(thing.__code__, sha, seen)
        captured = [c.cell_contents for c in thing.__closure__ or ()]
        names = _names(thing.__code__)
        used = [thing.__globals__[n] for n in sorted(names) if n in thing.__globals__]
        for other in [*captured, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values(), *used]:
            _digest(other, sha, seen)
    elif isinstance(thing, ModuleType):
        sha.update(f"{thing.__name__} {getattr(thing, '__version__', '')}".encode())
        if thing.__name__.split(".")[0] == HERE.name:
            _digest_sources([thing.__name__], sha)
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
