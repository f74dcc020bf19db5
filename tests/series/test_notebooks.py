"""The shape every notebook keeps, so that nbval has something to check and a reader something to read."""

import re

import pytest

from nla.commands.notebook import neighbours
from tests.helpers import shape
from tests.helpers.notebooks import committed
from tests.helpers.shape import ROOT, code, tagged

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=PATHS, ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return committed(path)


def test_each_number_is_one_question():
    numbers = [int(p.stem[:2]) for p in PATHS]
    assert numbers == sorted(set(numbers)) and numbers[:8] == list(range(8))
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", p.stem) for p in PATHS)


def test_was_run_once_from_top_to_bottom(notebook):
    shape.was_run_once_from_top_to_bottom(notebook)


def test_parameters(notebook, path):
    shape.parameters(notebook, path)


def test_checked_cells_have_something_to_check(notebook):
    shape.checked_cells_have_something_to_check(notebook)


def test_a_wider_tolerance_is_of_something_and_says_why(notebook):
    for cell in code(notebook):
        text = "\n".join(o.get("text", "") for o in cell.outputs)
        for entry in cell.metadata.get("tolerance", []):
            assert set(entry) <= {"lines", "units", "relative", "counts", "why"} and len(entry) >= 2, entry
            assert entry["why"] and cell in tagged(notebook, "nbval-check-output"), cell.source
            assert any(re.search(entry.get("lines", ""), " ".join(line.split())) for line in text.splitlines()), entry


def test_asserts_hold_for_any_model(notebook):
    shape.asserts_hold_for_any_model(notebook)


def test_conclusion_comes_last(notebook):
    shape.conclusion_comes_last(notebook)


def test_no_trace_of_papermill_or_of_a_machine(notebook, path):
    assert notebook.metadata.kernelspec.name == "python3"
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    assert not tagged(notebook, "injected-parameters")
    text = path.read_text()
    assert not re.search(r"/(home|root|Users|tmp|work)/", text)


def test_badge_and_colab_cell_point_here(notebook, path):
    shape.badge_and_colab_cell_point_here(notebook, path)


def test_links_lead_to_notebooks(notebook):
    shape.links_lead_to_notebooks(notebook)


def test_leads_to_the_one_before_and_the_one_after(notebook, path):
    found = {p: committed(p) for p in PATHS}
    assert notebook.cells[-1].source == neighbours(path, found)  # python -m nla relink mends it


def test_is_short(notebook, path):
    shape.is_short(notebook, path)


def test_is_in_the_readme(path):
    assert f"(notebooks/{path.name})" in (ROOT / "README.md").read_text()


def test_is_named_by_its_figures(notebook, path):
    """Each saved figure is named after its notebook, and is committed for demo."""
    for name in re.findall(r'figures\.show\(fig, "(\w+)"', "\n".join(c.source for c in code(notebook))):
        assert name.startswith(path.stem[:2])
        assert (ROOT / "figures" / "demo" / f"{name}.png").is_file()
