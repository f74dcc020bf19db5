"""The references of the series: `references.bib`, read by a library, grouped by topic, as Markdown."""

from collections import namedtuple
from functools import cache
from pathlib import Path

import bibtexparser
from bibtexparser.middlewares import SeparateCoAuthors

Reference = namedtuple("Reference", "key authors title year venue link topic notes")


@cache
def references():
    """{key: `Reference`} of every entry, in the order of the file; an entry that does not parse is an error."""
    text = Path(__file__).with_name("references.bib").read_text(encoding="utf-8")
    library = bibtexparser.parse_string(text, append_middleware=[SeparateCoAuthors()])
    if library.failed_blocks:
        raise ValueError(f"references.bib, line {library.failed_blocks[0].start_line + 1}: {library.failed_blocks[0]}")
    return {entry.key: _reference(entry.key, {f.key: f.value for f in entry.fields}) for entry in library.entries}


def _reference(key, fields):
    venue = next((fields[k] for k in ("journal", "booktitle", "howpublished") if k in fields), "")
    addresses = {"doi": "https://doi.org/{}", "eprint": "https://arxiv.org/abs/{}", "url": "{}"}
    link = next((form.format(fields[k]) for k, form in addresses.items() if k in fields), "")
    title, authors = _plain(fields["title"]), [_plain(author) for author in fields["author"]]
    return Reference(key, authors, title, int(fields["year"]), venue, link, fields["keywords"], fields["annote"])


def _plain(text):
    """Without the braces that keep BibTeX from changing a name or a title."""
    return text.replace("{", "").replace("}", "")


def short(key):
    """Authors and year, as one cites in running text: Gavish & Donoho 2014."""
    reference = references()[key]
    names = [author.split(",")[0] for author in reference.authors]
    if len(names) > 2 or names[-1] == "others":
        return f"{names[0]} et al. {reference.year}"
    return f"{' & '.join(names)} {reference.year}"


def cited(key):
    """`short` as a Markdown link to the publication."""
    link = references()[key].link
    return f"[{short(key)}]({link})" if link else short(key)


def as_markdown():
    """All references, one list per topic, each with its title, venue and two sentences."""
    topics = {}
    for key, entry in references().items():
        line = f"- {cited(key)}. *{entry.title}*. {entry.venue}. {entry.notes}"
        topics.setdefault(entry.topic, []).append(line)
    return "\n\n".join(f"**{topic}**\n\n" + "\n".join(lines) for topic, lines in topics.items())
