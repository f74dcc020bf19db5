"""No number in prose that no cell prints: answers, conclusions and README are held against the notebooks' outputs."""

import re
from pathlib import Path

import pytest

from tests.helpers.notebooks import committed

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ELSEWHERE = {  # numbers in answers and conclusions that are of a source, which is named there, or of a model's recipe
    "02_spectrum_rank": {"143,000"},
    "05_orthogonality": {"410"},
    "06_w1_w2_correlation": {"0.019", "465", "160", "0.37", "0.40", "−0.48"},
    "09_power_law_alpha": {"28.9"},
    "13_biases_layernorms": {"143,000", "410"},
}


def numbers(text):
    """[(as it stands, value, decimals)] of the numbers in `text`."""
    found = []
    for match in re.finditer(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text):
        said = match[0].rstrip(",").replace("−", "-").replace(",", "")
        mantissa = said.split("e")[0]
        found.append((match[0].rstrip(","), float(said), len(mantissa.partition(".")[2])))
    return found


def prose(text):
    """`text` without badges, addresses, code, formulas, years, and places such as "layer 3" or "steps 0 to 512"."""
    for pattern in (r"!?\[!\[.*", r"\]\([^)]*\)", r"`[^`]*`", r"arXiv:\S+", r"\b(?:19|20)\d\d\b"):
        text = re.sub(pattern, " ", text)
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", " ", text, flags=re.S)
    return re.sub(r"(?i)\b(?:notebooks?|seed|layers?|steps?|figures?) \d[\d, ]*(?:(?:and|to|or) \d[\d,]*)?", " ", text)


def printed(notebook):
    """The sizes of all numbers that a notebook prints."""
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    texts = [o.get("text", "") + o.get("data", {}).get("text/markdown", "") for o in outputs]
    return [abs(value) for _, value, _ in numbers("\n".join(texts))]


def unprinted(text, values):
    """The numbers in `text` that are none of `values`, also not in percent, nor one less such a value (a change)."""
    left = []
    for said, value, decimals in numbers(prose(text)):
        if decimals == 0 and abs(value) <= 12:  # counts of what one sees
            continue
        near = 0.5 * 10.0**-decimals * 1.0001
        forms = ((v, 100 * v, abs(100 * (v - 1))) for v in values)
        if not any(abs(abs(value) - form) <= near for each in forms for form in each):
            left.append(said)
    return left


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_answers_and_conclusions_cite_what_is_printed(path):
    notebook = committed(path)
    told = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    told = [t for t in told if t.startswith("# ") or "## What this shows" in t]
    assert len(told) == 2
    assert set(unprinted("\n".join(told), printed(notebook))) - ELSEWHERE.get(path.stem, set()) == set()


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_readme_says_what_the_notebook_prints(path):
    row = next(r for r in (ROOT / "README.md").read_text().splitlines() if f"(notebooks/{path.name})" in r)
    finding = row.split(" | ")[2]
    assert unprinted(finding, printed(committed(path))) == []


def test_a_wrong_number_is_noticed():
    assert unprinted("It is 4.7 % of 13 and −0.113.", [0.0471, 13.2, 0.1131]) == []
    assert unprinted("It is 4.7 % of 13, −0.113 and 25.", [0.0481, 14.2, 0.1141]) == ["4.7", "13", "−0.113", "25"]
