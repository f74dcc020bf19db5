"""The report opens from disk alone: formulas rendered, pictures shown, nothing fetched; also in a real browser."""

import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from nla.commands import report
from nla.models import paths

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
LOOK = """<script>addEventListener("load", () => { document.title = JSON.stringify({
  broken: [...document.images].filter(i => !i.naturalWidth).length, pictures: document.images.length,
  formulas: [...document.querySelectorAll("math")].filter(m => m.getBoundingClientRect().width > 0).length,
  wide: document.documentElement.scrollWidth - innerWidth}) })</script>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The report of the committed notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLA_BUILD", str(tmp_path_factory.mktemp("build")))
        paths.build("demo").mkdir(parents=True)
        for path in NOTEBOOKS:
            shutil.copy(path, paths.build("demo"))
        return report.report("demo").parent


def test_index_leads_to_every_notebook(pages):
    index = (pages / "index.html").read_text()
    for path in NOTEBOOKS:
        assert f'href="{path.stem}.html"' in index and f'src="{path.stem}_0.png"' in index
        assert 'href="index.html"' in (pages / f"{path.stem}.html").read_text()
    assert len(re.findall(r'<img [^>]*alt="[^"]+"', index)) == len(NOTEBOOKS)
    sheet = (pages / "gallery.html").read_text()
    assert set(re.findall(r'src="([^"]+)"', sheet)) == {p.name for p in pages.glob("*.png")} and "gallery.html" in index


def test_one_leads_to_the_next_and_back(pages):
    for here, after in pairwise(path.stem for path in NOTEBOOKS):
        assert f'href="{after}.html"' in (pages / f"{here}.html").read_text()
        assert f'href="{here}.html"' in (pages / f"{after}.html").read_text()


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


def look(page, folder, width):
    """What LOOK sees in a window `width` wide, and what was written to the console."""
    page, text = page.with_name("looked_at.html"), page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", LOOK + "</body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", *QUIET, f"--user-data-dir={folder}", f"--window-size={width},900"]
    options = ["--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom", page.as_uri()]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    page.unlink()
    seen = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(seen[1].replace("&quot;", '"')), console


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("name", ["index", "gallery", *(p.stem for p in NOTEBOOKS[:3])])
def test_page(pages, tmp_path, name):
    seen, console = look(pages / f"{name}.html", tmp_path / "profile", width=500)
    assert console == []
    assert seen["broken"] == 0 and seen["pictures"] >= (0 if name.startswith("00") else 3)
    assert seen["wide"] <= 0 or name[0].isdigit()  # wide tables of numbers keep their width in notebooks
    if name[0].isdigit():
        assert seen["formulas"] > 0
