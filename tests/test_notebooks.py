"""The shape every notebook keeps, so that nbval has something to check and a reader something to read."""

import ast
import re
import tomllib
from pathlib import Path

import papermill
import pytest

from nla.commands.notebook import neighbours
from tests.helpers.notebooks import committed

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


@pytest.fixture(params=PATHS, ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return committed(path)


def code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def tagged(notebook, tag):
    return [c for c in code(notebook) if tag in c.metadata.get("tags", [])]


def test_each_number_is_one_question():
    numbers = [int(p.stem[:2]) for p in PATHS]
    assert numbers == sorted(set(numbers)) and numbers[:8] == list(range(8))
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", p.stem) for p in PATHS)


def test_was_run_once_from_top_to_bottom(notebook):
    assert [c.execution_count for c in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    kinds = {o.output_type for c in code(notebook) for o in c.outputs}
    assert "error" not in kinds
    assert not [o for c in code(notebook) for o in c.outputs if o.get("name") == "stderr"]


def test_parameters(notebook, path):
    assert len(tagged(notebook, "parameters")) == 1
    assert notebook.cells[1] is tagged(notebook, "parameters")[0]
    parameters = papermill.inspect_notebook(str(path))
    assert parameters["MODEL"]["default"] == '"demo"' and "STEPS" in parameters
    assert len(parameters) == notebook.cells[1].source.count("\n") + 1  # papermill could read every line
    for statement in ast.parse(notebook.cells[1].source).body:
        assert isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
    assert all("  # " in line for line in notebook.cells[1].source.splitlines())


def test_checked_cells_have_something_to_check(notebook):
    checked = tagged(notebook, "nbval-check-output")
    assert checked
    for cell in checked:
        assert any(o.output_type == "stream" and o.text.strip() for o in cell.outputs), cell.source


def test_a_wider_tolerance_is_of_something_and_says_why(notebook):
    for cell in code(notebook):
        text = "\n".join(o.get("text", "") for o in cell.outputs)
        for entry in cell.metadata.get("tolerance", []):
            assert set(entry) <= {"lines", "units", "relative", "counts", "why"} and len(entry) >= 2, entry
            assert entry["why"] and cell in tagged(notebook, "nbval-check-output"), cell.source
            assert any(re.search(entry.get("lines", ""), " ".join(line.split())) for line in text.splitlines()), entry


def test_asserts_hold_for_any_model(notebook):
    assert any("assert" in c.source for c in code(notebook))


def test_conclusion_comes_last(notebook):
    headings = re.findall(r"^#+ .+$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M)
    assert headings[0].startswith("# ") and all(h.startswith("## ") for h in headings[1:])
    assert headings[-1] == "## What this shows"


def test_no_trace_of_papermill_or_of_a_machine(notebook, path):
    assert notebook.metadata.kernelspec.name == "python3"
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    assert not tagged(notebook, "injected-parameters")
    text = path.read_text()
    assert not re.search(r"/(home|root|Users|tmp|work)/", text)


def test_badge_and_colab_cell_point_here(notebook, path):
    colab = ADDRESS.replace("https://github.com", "https://colab.research.google.com/github")
    assert f"({colab}/blob/main/notebooks/{path.name})" in notebook.cells[0].source
    assert f'"nla @ git+{ADDRESS}"' in notebook.cells[2].source
    assert '"google.colab" in sys.modules' in notebook.cells[2].source


def test_links_lead_to_notebooks(notebook):
    for link in re.findall(r"\]\((\w+\.ipynb)\)", "\n".join(c.source for c in notebook.cells)):
        assert (ROOT / "notebooks" / link).is_file(), link


def test_leads_to_the_one_before_and_the_one_after(notebook, path):
    found = {p: committed(p) for p in PATHS}
    assert notebook.cells[-1].source == neighbours(path, found)  # python -m nla relink mends it


def test_is_short(notebook, path):
    lines = [len(c.source.splitlines()) for c in code(notebook)]
    assert len(notebook.cells) <= 40 and len(lines) <= 20 and sum(lines) <= 160 and max(lines) <= 20
    assert path.stat().st_size < 400_000


def test_is_in_the_readme(path):
    assert f"(notebooks/{path.name})" in (ROOT / "README.md").read_text()


def test_is_named_by_its_figures(notebook, path):
    """Each saved figure is named after its notebook, and is committed for demo."""
    for name in re.findall(r'figures\.show\(fig, "(\w+)"', "\n".join(c.source for c in code(notebook))):
        assert name.startswith(path.stem[:2])
        assert (ROOT / "figures" / "demo" / f"{name}.png").is_file()
