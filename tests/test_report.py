"""The report opens from disk alone: formulas are rendered, nothing is asked of the network, links lead somewhere."""

import re
import shutil
from pathlib import Path

import pytest

from nla import report, store

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture
def pages():
    """The report of the committed notebooks."""
    store.build("demo").mkdir(parents=True)
    for path in NOTEBOOKS:
        shutil.copy(path, store.build("demo"))
    return report.report("demo").parent


def test_index_leads_to_every_notebook(pages):
    index = (pages / "index.html").read_text()
    for path in NOTEBOOKS:
        assert f'href="{path.stem}.html"' in index and f'src="{path.stem}.png"' in index
        assert 'href="index.html"' in (pages / f"{path.stem}.html").read_text()
    assert len(re.findall(r'<img [^>]*alt="[^"]+"', index)) == len(NOTEBOOKS)


def test_nothing_is_fetched_and_links_lead_somewhere(pages):
    for page in pages.glob("*.html"):
        text = page.read_text()
        assert not re.findall(r'(?:src|href)="https?://(?![^"]*arxiv|[^"]*doi)[^"]*\.(?:js|css|svg|png)"', text), page
        assert not re.findall(r"<script[^>]*src=", text) and "No description" not in text
        for link in re.findall(r'href="([\w.]+\.html)"', text):
            assert (pages / link).is_file(), (page.name, link)


def test_formulas_are_rendered(pages):
    for page in pages.glob("[0-9]*.html"):
        text = page.read_text()
        assert not re.search(r"\$[^$<\n]*\\[a-z]+[^$<\n]*\$", text), page
    assert (pages / "01_norms.html").read_text().count("<math") > 10


def test_offline_markdown():
    text = report.offline("[![badge](x)](y)\ncost `$HOME` and $a_1$, see [next](02_x.ipynb)\n\n$$\\sum_i s_i$$\n")
    assert "badge" not in text and "`$HOME`" in text and "](02_x.html)" in text
    assert text.count("<math") == 2 and 'display="block"' in text
