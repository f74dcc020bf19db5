"""A measure is known by what it computes: a hash of its code and of all that this refers to."""

import ast
import hashlib
import re
from functools import cache
from threading import Lock
from types import CodeType, FunctionType, MethodType, ModuleType

from nla.models.paths import HERE

_parsing = Lock()  # Python 3.11 cannot in two threads at once: "AST constructor recursion depth mismatch"


def pure(measure):
    """Whether it says that it depends on the weights and the first checkpoint alone, not on the step."""
    return getattr(measure, "pure", False)


def name_of(measure):
    """A measure's name as it stands in file names and messages."""
    return getattr(measure, "__name__", type(measure).__name__).replace("<lambda>", "lambda")


def ours(thing):
    """Whether a measure, or a function, is of this package."""
    return (getattr(thing, "__module__", None) or "").startswith("nla.")


def fingerprint(measure):
    """Name and hash of what a measure computes: its code, defaults, closure, and the code and constants it refers to.

    Known by source, so that a comment counts as a change: its module, if of this package, and `nla.matrices`, with all
    that these import of it but `nla.models`, which reads no tensor. A user's function is known by its compiled code.
    """
    sha, own = hashlib.sha256(), ours(measure)
    _digest_sources(["nla.matrices"] + [measure.__module__] * own, sha)
    if not own:
        _digest(measure, sha, set())
    return f"{name_of(measure)}-{sha.hexdigest()[:12]}"


def _digest_sources(names, sha):
    """Those of the modules of these names and of all that they import from this package, directly or not."""
    found, left = {}, [path for name in names for path in _files(name)]
    while left:
        path = left.pop()
        if path not in found:
            found[path] = path.read_bytes()
            names = _imported(found[path]) if path.suffix == ".py" else ()
            left += [other for name in names for other in _files(name) if other.parent != HERE / "models"]
    for path in sorted(found):
        sha.update(found[path])


@cache
def _imported(source):
    """The dotted names, ``nla.room.module`` or ``nla.room.module.thing``, that a source imports wherever in it."""
    names = set()
    with _parsing:
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            above = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names |= {HERE.name} if getattr(node, "level", 0) else {above + alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == HERE.name}


def _files(name):
    """The file of the module that a dotted name is or is in; of what a room hands on, or a room, all its files."""
    path = HERE.parent.joinpath(*name.split("."))
    if path.is_dir():
        return [file for file in path.rglob("*") if file.suffix in (".py", ".toml")]
    return [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else _files(name.rpartition(".")[0])


def _digest(thing, sha, seen):
    if id(thing) in seen:
        return
    if isinstance(thing, (FunctionType, CodeType)):
        seen.add(id(thing))
    if isinstance(thing, CodeType):
        sha.update(thing.co_code + repr(thing.co_names).encode())
        _digest(thing.co_consts, sha, seen)
    elif isinstance(thing, FunctionType):
        if ours(thing):
            sha.update(thing.__qualname__.encode())
            _digest_sources([thing.__module__], sha)
            return
        _digest(thing.__code__, sha, seen)
        captured = [c.cell_contents for c in thing.__closure__ or ()]
        used = [thing.__globals__[n] for n in sorted(_names(thing.__code__)) if n in thing.__globals__]
        _digest([*captured, thing.__defaults__, thing.__kwdefaults__, *used], sha, seen)
    elif isinstance(thing, ModuleType):
        sha.update(f"{thing.__name__} {getattr(thing, '__version__', '')}".encode())
        if thing.__name__.split(".")[0] == HERE.name:
            _digest_sources([thing.__name__], sha)
    elif hasattr(thing, "func") and hasattr(thing, "keywords"):  # functools.partial
        _digest([thing.func, thing.args, thing.keywords], sha, seen)
    elif isinstance(thing, MethodType):
        _digest([thing.__func__, vars(thing.__self__) if hasattr(thing.__self__, "__dict__") else ()], sha, seen)
    elif hasattr(thing, "detach"):  # a tensor, whose repr is short
        _digest([str(thing.dtype), tuple(thing.shape), thing.detach().cpu().double().numpy()], sha, seen)
    elif hasattr(thing, "to_json"):  # a table too
        sha.update(thing.to_json(double_precision=15).encode())
    elif isinstance(thing, (list, tuple, dict, set, frozenset)):
        parts = list(thing.items() if isinstance(thing, dict) else thing)
        for part in parts if isinstance(thing, (list, tuple)) else sorted(parts, key=repr):
            _digest(part, sha, seen)
    elif hasattr(thing, "tobytes"):
        sha.update(thing.tobytes())
    elif type(thing).__repr__ is not object.__repr__:
        sha.update(re.sub(r" at 0x[0-9a-f]+", "", repr(thing)).encode())
    elif callable(thing):
        _digest([type(thing).__call__, vars(thing)], sha, seen)


def _names(code):
    return set(code.co_names).union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))
