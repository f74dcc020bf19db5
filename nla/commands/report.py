"""The executed notebooks of one MODEL as HTML pages, with an index: files that need no server and no network."""

import base64
import html
import re
from pathlib import Path

import nbformat

from nla.models import slug
from nla.models.paths import build

STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
article { display: grid; grid-template-columns: 1fr 18rem; gap: 1.5rem; border-top: 1px solid #ddd; padding: 1rem 0; }
article img, figure img { width: 100%; } h2 { margin: 0; font-size: 1.15rem; } a { color: #0b5394; }
.sheet { max-width: 100rem; } figure { margin: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1rem; }
figcaption { font-size: .8rem; color: #555; }
@media (max-width: 40rem) { article, .grid { grid-template-columns: 1fr; } }
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body{kind}>
<h1>{title}</h1>
{body}
</body></html>
"""
ARTICLE = """<article><div><h2><a href="{page}">{title}</a></h2><p>{lead}</p></div>
<a href="{page}">{picture}</a></article>"""
FIGURE = """<figure><a href="{page}"><img src="{source}" alt="{text}"></a>
<figcaption>{text}</figcaption></figure>"""


def summary(notebook):
    """(title, lead) of a notebook: its first heading and the paragraph under it, without badge and Markdown marks."""
    text = notebook.cells[0].source
    title = re.search(r"^# (.+)$", text, re.M)[1]
    paragraphs = [p for p in text.split("\n\n")[1:] if p.strip() and "badge" not in p]
    return title, re.sub(r"[*`]|\[([^]]*)\]\([^)]*\)", r"\1", paragraphs[0] if paragraphs else "")


def describe(page, pictures):
    """The page with the alternative texts of its pictures, which nbconvert leaves out."""
    texts = iter([_text(p) for p in pictures])
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
    folder = build(slug(model))
    pages = folder / "report"
    pages.mkdir(parents=True, exist_ok=True)
    paths = sorted(p for p in folder.glob("*.ipynb") if ".partial" not in p.name)
    name, articles, sheet = html.escape(Path(model).name), [], []
    for i, path in enumerate(paths):
        notebook = nbformat.read(path, as_version=4)
        title, lead = (html.escape(part) for part in summary(notebook))
        page, figures = f"{path.stem}.html", []
        neighbours = (paths[i - 1].stem if i else None, paths[i + 1].stem if i + 1 < len(paths) else None)
        body, pictures = as_page(notebook, *neighbours)
        (pages / page).write_text(body, encoding="utf-8")
        for k, picture in enumerate(pictures):
            source = f"{path.stem}_{k}.png"
            (pages / source).write_bytes(base64.b64decode(picture.data["image/png"]))
            figures.append(FIGURE.format(page=page, source=source, text=_text(picture)))
        first = f'<img src="{path.stem}_0.png" alt="First figure of {title}">' if pictures else ""
        articles.append(ARTICLE.format(page=page, title=title, lead=lead, picture=first))
        sheet.append(f'<h2><a href="{page}">{title}</a></h2><div class="grid">' + "\n".join(figures) + "</div>")
    told = f'<p>{len(paths)} notebooks, executed on <code>{name}</code>; <a href="gallery.html">all figures</a>.</p>'
    _write(pages / "gallery.html", f"All figures of {name}", '<p><a href="index.html">← all notebooks</a></p>', *sheet)
    return _write(pages / "index.html", f"How the weight matrices of {name} change during training", told, *articles)


def as_page(notebook, before=None, after=None):
    """(HTML, pictures) of a notebook, with links to the index and to the notebooks `before` and `after` it."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url="")
    exporter.log.setLevel("ERROR")
    title, _ = summary(notebook)
    pictures = [o for c in notebook.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]
    links = ["[← all notebooks](index.html)", before and f"[{before[:2]}]({before}.html)"]
    links = " · ".join(link for link in [*links, after and f"[{after[:2]} →]({after}.html)"] if link)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = offline(cell.source)
    for cell, place in ((notebook.cells[0], "{0}\n\n{1}"), (notebook.cells[-1], "{1}\n\n{0}")):
        cell.source = place.format(links, cell.source)
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    return describe(re.sub(r'<script src="">\s*</script>', "", body), pictures), pictures


def _text(picture):
    return html.escape(picture.metadata.get("image/png", {}).get("alt", "figure"), quote=True)


def _write(path, title, *parts):
    kind = ' class="sheet"' if path.stem == "gallery" else ""
    path.write_text(PAGE.format(title=title, style=STYLE, kind=kind, body="\n".join(parts)), encoding="utf-8")
    return path
