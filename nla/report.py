"""The executed notebooks of one MODEL as HTML pages, with an index: files that need no server and no network."""

import base64
import html
import re
from pathlib import Path

import nbformat

from nla.models import slug
from nla.store import build

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>nla · {model}</title><style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
article {{ display: grid; grid-template-columns: 1fr 18rem; gap: 1.5rem; border-top: 1px solid #ddd; padding: 1rem 0; }}
article img {{ width: 100%; }} h2 {{ margin: 0; font-size: 1.15rem; }} a {{ color: #0b5394; }}
@media (max-width: 40rem) {{ article {{ grid-template-columns: 1fr; }} }}
</style></head><body>
<h1>How the weight matrices of {model} change during training</h1>
<p>{count} notebooks, executed on <code>{model}</code>.</p>
{articles}
</body></html>
"""
ARTICLE = """<article><div><h2><a href="{page}">{title}</a></h2><p>{lead}</p></div>
<a href="{page}">{picture}</a></article>"""


def summary(notebook):
    """(title, lead) of a notebook: its first heading and the paragraph under it, without badge and Markdown marks."""
    text = notebook.cells[0].source
    title = re.search(r"^# (.+)$", text, re.M)[1]
    paragraphs = [p for p in text.split("\n\n")[1:] if p.strip() and "badge" not in p]
    return title, re.sub(r"[*`]|\[([^]]*)\]\([^)]*\)", r"\1", paragraphs[0] if paragraphs else "")


def describe(page, pictures):
    """The page with the alternative texts of its pictures, which nbconvert leaves out."""
    texts = iter([html.escape(p.metadata.get("image/png", {}).get("alt", "figure"), quote=True) for p in pictures])
    return re.sub(r'alt="No description has been provided for this image"', lambda _: f'alt="{next(texts)}"', page)


def offline(text):
    """Markdown whose formulas are MathML, without badges, and with links between notebooks led to their pages."""
    from latex2mathml.converter import convert

    text = re.sub(r"^\[!\[.*\n?", "", text, flags=re.M)
    text = re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.html)", text)
    parts = re.split(r"(`[^`]*`)", text)  # dollars in code are no formulas
    for i, part in enumerate(parts[::2]):
        part = re.sub(r"\$\$(.+?)\$\$", lambda m: convert(m[1], display="block"), part, flags=re.S)
        parts[2 * i] = re.sub(r"\$([^$\n]+?)\$", lambda m: convert(m[1]), part)
    return "".join(parts)


def report(model):
    """Write build/MODEL/report/ from the executed notebooks in build/MODEL/ and return its index page."""
    from nbconvert import HTMLExporter

    folder = build(slug(model))
    pages = folder / "report"
    pages.mkdir(parents=True, exist_ok=True)
    exporter, articles = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url=""), []
    exporter.log.setLevel("ERROR")
    for path in sorted(p for p in folder.glob("*.ipynb") if ".partial" not in p.name):
        notebook = nbformat.read(path, as_version=4)
        title, lead = summary(notebook)
        pictures = [o for c in notebook.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = offline(cell.source)
        notebook.cells[0].source = "[← all notebooks](index.html)\n\n" + notebook.cells[0].source
        body, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
        body = describe(re.sub(r'<script src="">\s*</script>', "", body), pictures)
        page = f"{path.stem}.html"
        (pages / page).write_text(body, encoding="utf-8")
        if pictures:
            (pages / f"{path.stem}.png").write_bytes(base64.b64decode(pictures[0].data["image/png"]))
        image = f'<img src="{path.stem}.png" alt="First figure of {html.escape(title)}">' if pictures else ""
        articles.append(ARTICLE.format(page=page, title=html.escape(title), lead=html.escape(lead), picture=image))
    index = pages / "index.html"
    index.write_text(
        PAGE.format(model=html.escape(Path(model).name), count=len(articles), articles="\n".join(articles)),
        encoding="utf-8",
    )
    return index
