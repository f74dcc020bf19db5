"""MODEL -> names and places on this disk, of the package and of what is built; the standard library alone."""

import hashlib
import os
import re
from pathlib import Path

LONGEST = 160  # characters; file systems allow 255 bytes, and names of files are made of it
HERE = Path(__file__).parents[1]  # nla/
DEMO = HERE / "demo"


def slug(model):
    """org/name -> org--name, base>sft -> base+sft; what is too long or odd for a folder ends in its hash."""
    name = str(model).strip("/").replace(">", "+").replace("/", "--")
    plain = re.sub(r"[^A-Za-z0-9_.,+@-]", "_", name).lstrip(".-")
    if name == plain and 0 < len(name) <= LONGEST:
        return name
    end = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:12]
    return f"{plain[: LONGEST - 13]}-{end}".lstrip("-")


def folder(model):
    """The folder that MODEL means, absolute; None if it means none."""
    path = DEMO if model == "demo" else Path(os.path.abspath(os.path.expanduser(model)))
    return path if str(model) and os.path.isdir(path) else None


def split(model):
    """[(stage or "", link)] of a chain, or of one link; what exists as a folder is one before `stage=` is read."""
    links = [str(model)] if folder(model) or ">" not in str(model) else [link.strip() for link in model.split(">")]
    return [("", link) if folder(link) else re.fullmatch(r"(?:(\w+)=)?(.*)", link, re.S).groups("") for link in links]


def absolute(model):
    """MODEL with its folders made absolute, in a chain each: what it means wherever it is read."""
    links = [(said, link if link == "demo" else str(folder(link) or link)) for said, link in split(model)]
    return ">".join(f"{said}={link}" if said else link for said, link in links)


def root():
    """The checkout this package is installed from, or else the working directory."""
    return HERE.parent if (HERE.parent / "notebooks").is_dir() else Path.cwd()


def build(slug):
    """Folder for all that is derived from one MODEL; the environment variable NLA_BUILD moves it."""
    return Path(os.environ.get("NLA_BUILD") or root() / "build") / slug
