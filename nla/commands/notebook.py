"""A new notebook of the series with every part that `tests/test_notebooks.py` asks for, ready to be rewritten."""

import re

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from nla.models.paths import root

CELLS = [
    (
        None,
        """# {number} · {question}

[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}/blob/main/notebooks/{slug}.ipynb)

The answer in two sentences, with its numbers, naming the model they are of. A cell below prints each of them.""",
    ),
    (
        ["parameters"],
        """MODEL = "demo"  # demo, a folder of step*/ checkpoints, one checkpoint's folder, or a model on the Hub
STEPS = "all"  # all, log, k for every k-th, or a,b,c""",
    ),
    (
        [],
        """# For Google Colab: install the helper package. Elsewhere this cell does nothing.
import sys

if "google.colab" in sys.modules:
    %pip install -q "nla @ git+{address}\"""",
    ),
    ([], "import nla\nfrom nla import figures\n\nfigures.use_theme()"),
    (
        None,
        "## What is measured\n\nThe definition: $\\|W\\|_F=\\sqrt{{\\sum w_{{ij}}^2}}$, and what a random matrix has.",
    ),
    (
        [],
        """def size(matrix):
    return {{"size": matrix.values.norm()}}


table = nla.scan(MODEL, size, steps=STEPS)
table = table[table.finite.astype(bool)]""",
    ),
    (
        ["nbval-check-output"],
        'print(f"{{MODEL}}: {{table.step.nunique()}} checkpoints, {{table.kind.nunique()}} kinds")',
    ),
    (None, "## Through training\n\nWhat to look at in the figure."),
    ([], 'figures.show(figures.over_steps(table, "size", "Frobenius norm"), "{number}_size", MODEL)'),
    (
        ["nbval-check-output"],
        """last = table[table.step == table.step.max()]
print(last.groupby("kind", sort=False)["size"].median().map("{{:.3g}}".format).to_string())""",
    ),
    ([], 'assert (table["size"] >= 0).all()'),
    (None, "## What this shows\n\n- On `demo` ..., and what would overturn it."),
    (None, ""),
]


def new(slug, question, address, folder=None):
    """Write notebooks/SLUG.ipynb about `question`, link it with its neighbours, and return its path.

    An existing file is an error.

    Parameters
    ----------
    slug : str
        Two digits, which set the order, and the name of the question: ``15_spectral_gap``.
    address : str
        Of the repository, as in pyproject.toml.
    """
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", slug):
        raise ValueError(f"a notebook is named like 15_spectral_gap, not {slug!r}")
    folder = folder or root() / "notebooks"
    path = folder / f"{slug}.ipynb"
    if path.exists():
        raise ValueError(f"{path.name} is there already")
    said = dict(number=slug[:2], slug=slug, question=question, address=address)
    said["colab"] = address.replace("https://github.com", "https://colab.research.google.com/github")
    cells = []
    for i, (tags, text) in enumerate(CELLS):
        make = new_markdown_cell if tags is None else new_code_cell
        cells.append(make(text.format(**said), id=f"{slug[:2]}-{i:02d}", metadata={"tags": tags} if tags else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.write(notebook, path)
    relink(folder)
    return path


def relink(folder=None):
    """Make the last cell of every notebook lead to the one before and the one after it, under their titles."""
    folder = folder or root() / "notebooks"
    found = {path: nbformat.read(path, as_version=4) for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    for path, notebook in found.items():
        text = neighbours(path, found)
        if notebook.cells[-1].source != text:
            notebook.cells[-1].source = text
            nbformat.write(notebook, path)


def neighbours(path, found):
    """What the last cell of the notebook at `path` says; `found`: all notebooks of the series, by path."""
    paths = sorted(found)
    place = paths.index(path)
    before, after = paths[max(place - 1, 0) : place], paths[place + 1 : place + 2]
    links = [("Back", p) for p in before] + [("Next", p) for p in after]
    return " · ".join(f"{way}: [{_title(found[p])}]({p.name})" for way, p in links)


def _title(notebook):
    return notebook.cells[0].source.splitlines()[0].removeprefix("# ")
