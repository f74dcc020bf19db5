"""The recipes of CONTRIBUTING.md, followed as they stand there."""

import re
import shutil
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from PIL import Image, ImageChops, ImageStat

import nla
from nla.commands import forks
from nla.commands.notebook import new
from nla.matrices import FAMILIES
from tests.helpers import shape

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(heading, language):
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.search(rf"```{language}\n(.*?)```", section, re.S)[1]


def test_a_measure():
    names = {}
    exec(block("Add a measure", "python"), names)
    table = names["table"]
    s = nla.scan("demo", nla.spectrum, steps=[4000], kinds=["query"], layers=[0]).singular_values[0]
    row = table[(table.kind == "query") & (table.layer == 0) & (table.step == 4000)].iloc[0]
    assert row.gap == pytest.approx(s[0] / s[1], rel=1e-5) and len(names["figure"].axes) >= 2
    plt.close(names["figure"])


def test_a_family(monkeypatch, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    monkeypatch.setitem(FAMILIES, "my_llama", None)  # so that it is gone afterwards
    exec(block("Add a family of models", "python"), {})
    config = LlamaConfig(
        vocab_size=90, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(path.read_text().replace('"model_type": "llama"', '"model_type": "my_llama"'))
    table = nla.scan(str(tmp_path / "m"), nla.norms)
    assert set(table.kind) == {
        "query",
        "key",
        "value",
        "dense",
        "gate",
        "dense_h_to_4h",
        "dense_4h_to_h",
        "embed_in",
        "embed_out",
    }


def test_a_notebook(tmp_path, monkeypatch):
    command = block("Add a notebook", "sh").split()
    slug, question = command[4], "How large is the gap?"
    assert command[:4] == ["python", "-m", "nla", "new"] and question in block("Add a notebook", "sh")
    shutil.copy(ROOT / "notebooks" / "00_checkpoints.ipynb", tmp_path)
    path = new(slug, question, shape.ADDRESS, tmp_path)
    with pytest.raises(ValueError, match="is there already"):
        new(slug, question, shape.ADDRESS, tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    execute = ["-m", "nbconvert", "--log-level", "ERROR", "--to", "notebook", "--execute", "--inplace"]
    options = ["--ExecutePreprocessor.record_timing=False", "--ExecutePreprocessor.kernel_name=python3"]
    monkeypatch.setenv("NLA_FIGURES", str(tmp_path / "figures"))
    subprocess.run([forks.python(), *execute, *options, path], check=True)
    notebook = nbformat.read(path, as_version=4)
    assert (
        notebook.cells[-1].source == "Back: [00 · Which checkpoints exist, and what is a matrix?](00_checkpoints.ipynb)"
    )
    first = nbformat.read(tmp_path / "00_checkpoints.ipynb", as_version=4)
    assert first.cells[-1].source == f"Next: [{slug[:2]} · {question}]({slug}.ipynb)"
    shape.parameters(notebook, path)
    shape.badge_and_colab_cell_point_here(notebook, path)
    shape.is_short(notebook, path)
    for test in (
        shape.was_run_once_from_top_to_bottom,
        shape.checked_cells_have_something_to_check,
        shape.asserts_hold_for_any_model,
        shape.conclusion_comes_last,
        shape.links_lead_to_notebooks,
    ):
        test(notebook)
    assert (tmp_path / "figures" / "demo" / f"{slug[:2]}_size.png").is_file()


def test_the_measure_of_the_readme_gives_its_figure(tmp_path, monkeypatch):
    monkeypatch.setenv("NLA_FIGURES", str(tmp_path))
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own measure\n")[1]
    names = {}
    nla.figures.use_theme()
    exec(re.search(r"```python\n(.*?)```", section, re.S)[1], names)
    made = Image.open(nla.figures.save(names["figure"], "README_largest", "demo")).convert("L")
    shown = Image.open(ROOT / re.search(r"!\[.*?\]\((.*?)\)", section)[1]).convert("L")
    assert made.size == shown.size and ImageStat.Stat(ImageChops.difference(made, shown)).mean[0] < 1
    plt.close(names["figure"])


def test_a_bad_name_is_one_line():
    with pytest.raises(ValueError, match="named like 15_spectral_gap"):
        new("gap", "?", shape.ADDRESS)
