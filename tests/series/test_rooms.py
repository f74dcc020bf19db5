"""The shape of nla/: few rooms on floors, arrows down only, a thin helper, nothing long."""

import ast
import re
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
NLA = ROOT / "nla"
ROOMS = sorted(path.parent for path in NLA.glob("*/__init__.py"))
MODULES = sorted(path for path in NLA.rglob("*.py"))
WIDE = {"Family", "Weights"}  # a row of a table of families; what notebooks look at in an open checkpoint


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def definitions(*kinds):
    """Each class or function of nla/, nested ones too, with the module it is in."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
    return [(path, node) for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, kinds)]


def test_a_stranger_sees_rooms_and_a_door():
    there = {path.name for path in NLA.iterdir() if path.name != "__pycache__"}
    assert there - {room.name for room in ROOMS} == {"__init__.py", "__init__.pyi", "__main__.py"} and len(ROOMS) <= 15


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_says_in_one_sentence_what_it_takes_and_gives(room):
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    first = text.partition("\n")[0]
    assert first.endswith(".") and 20 < len(first) <= 120


def test_the_layout_of_the_readme_is_that_of_the_rooms():
    layout = (ROOT / "README.md").read_text(encoding="utf-8").split("## Layout\n")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^  (\w+)/ ", layout, re.M)) == [room.name for room in ROOMS]


def test_rooms_import_rooms_below_only(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)  # and the path is as it was afterwards
    assert lint_imports(no_cache=True, no_logo=True) == 0, capsys.readouterr().out


def test_the_helper_is_thin():
    counts = {room: sum(map(lines, (NLA / room).glob("*.py"))) for room in ("models", "matrices", "scanning")}
    assert sum(counts.values()) <= 3_300, counts


def test_nothing_is_long():
    """Modules of at most 250 lines, functions of at most 50, docstrings counted."""
    found = {str(path.relative_to(NLA)): (lines(path), 250, path) for path in MODULES}
    for path, node in definitions(ast.FunctionDef, ast.AsyncFunctionDef):
        length = node.end_lineno - node.lineno + 1
        if length > 50:
            found[node.name] = length, 50, path
    long = {name: (length, str(path)) for name, (length, most, path) in found.items() if length > most}
    assert long == {}


def test_no_class_has_more_than_eight_attributes():
    wide = {}
    for path, node in definitions(ast.ClassDef):
        parts = [part for part in ast.walk(node) if isinstance(getattr(part, "ctx", None), ast.Store)]
        given = {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
        given |= {part.attr for part in parts if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "self"}
        if len(given) > 8 and node.name not in WIDE:
            wide[f"{path} {node.name}"] = sorted(given)
    assert wide == {}
