"""The public names are few; the older ones say where they are now."""

import ast
import pkgutil
import re
import warnings
from pathlib import Path

import pytest

import nla
from tests.helpers import shape
from tests.helpers.notebooks import committed

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", nla.__all__)
def test_public_names_are_there_without_a_word(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(nla, name) is not None


@pytest.mark.parametrize("name", sorted(nla._DEPRECATED))
def test_old_names_say_where_they_are_now(name):
    with pytest.warns(FutureWarning, match=rf"nla\.{name} is nla\.{nla._DEPRECATED[name]} now"):
        assert getattr(nla, name) is not None


def test_what_never_was_is_an_error():
    with pytest.raises(AttributeError):
        nla.nonsense  # noqa: B018


def _texts():
    """Every piece of Python that shows how nla is used: its own, tests, notebooks, blocks of the pages."""
    for path in sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("nla/**/*.py")]):
        yield path.name, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in shape.code(committed(path)):
            yield path.name, re.sub(r"^( *)%.*$", r"\1pass", cell.source, flags=re.M)
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        yield from ((name, block) for block in re.findall(r"```python\n(.*?)```", text, re.S))
        yield from ((name, word) for word in re.findall(r"`(?:import )?(nla\.\w[\w.]*)", text))


def _used():
    """{name of nla's, by its place in dots: files that use it}"""
    used = {}
    for file, text in _texts():
        for node in ast.walk(ast.parse(text)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Attribute):
                names = [ast.unparse(node)]
            for name in names:
                if re.fullmatch(r"nla(\.\w+)+", name):
                    used.setdefault(name, set()).add(file)
    return used


def test_our_own_notebooks_pages_and_tests_use_the_new_names():
    used = _used()
    assert len(used) > 200 and any(file.endswith(".ipynb") for files in used.values() for file in files)
    wrong = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        for name, files in used.items():
            try:
                pkgutil.resolve_name(name)
            except (FutureWarning, AttributeError, ImportError) as error:
                wrong[name] = str(error), sorted(files)
    assert wrong.keys() <= {"nla.nonsense"}, wrong
