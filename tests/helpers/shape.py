"""What several test modules share of notebooks."""

import ast
import re
import tomllib
from pathlib import Path

import papermill

ROOT = Path(__file__).parents[2]


ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def tagged(notebook, tag):
    return [c for c in code(notebook) if tag in c.metadata.get("tags", [])]


def was_run_once_from_top_to_bottom(notebook):
    assert [c.execution_count for c in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    kinds = {o.output_type for c in code(notebook) for o in c.outputs}
    assert "error" not in kinds
    assert not [o for c in code(notebook) for o in c.outputs if o.get("name") == "stderr"]


def parameters(notebook, path):
    assert len(tagged(notebook, "parameters")) == 1
    assert notebook.cells[1] is tagged(notebook, "parameters")[0]
    parameters = papermill.inspect_notebook(str(path))
    assert parameters["MODEL"]["default"] == '"demo"' and "STEPS" in parameters
    assert len(parameters) == notebook.cells[1].source.count("\n") + 1  # papermill could read every line
    for statement in ast.parse(notebook.cells[1].source).body:
        assert isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
    assert all("  # " in line for line in notebook.cells[1].source.splitlines())


def checked_cells_have_something_to_check(notebook):
    checked = tagged(notebook, "nbval-check-output")
    assert checked
    for cell in checked:
        assert any(o.output_type == "stream" and o.text.strip() for o in cell.outputs), cell.source


def asserts_hold_for_any_model(notebook):
    assert any("assert" in c.source for c in code(notebook))


def conclusion_comes_last(notebook):
    headings = re.findall(r"^#+ .+$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M)
    assert headings[0].startswith("# ") and all(h.startswith("## ") for h in headings[1:])
    assert headings[-1] == "## What this shows"


def badge_and_colab_cell_point_here(notebook, path):
    colab = ADDRESS.replace("https://github.com", "https://colab.research.google.com/github")
    assert f"({colab}/blob/main/notebooks/{path.name})" in notebook.cells[0].source
    assert f'"nla @ git+{ADDRESS}"' in notebook.cells[2].source
    assert '"google.colab" in sys.modules' in notebook.cells[2].source


def links_lead_to_notebooks(notebook):
    for link in re.findall(r"\]\((\w+\.ipynb)\)", "\n".join(c.source for c in notebook.cells)):
        assert (ROOT / "notebooks" / link).is_file(), link


def is_short(notebook, path):
    lines = [len(c.source.splitlines()) for c in code(notebook)]
    assert len(notebook.cells) <= 40 and len(lines) <= 20 and sum(lines) <= 160 and max(lines) <= 20
    assert path.stat().st_size < 400_000
