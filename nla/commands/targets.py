"""MODEL and STEPS -> what make names its files by, what it removes, and where the repository lies.

As a script it needs the standard library alone, because make asks before anything is set up: `targets.py names MODEL
STEPS` prints the name of MODEL's folder in build/, a name for STEPS, and "again" where MODEL's files changed since its
scan; `targets.py clean MODEL` removes what was built of MODEL; `targets.py address YOU/NLA` writes that everywhere.
"""

import os
import re
import runpy
import shutil
import sys
from pathlib import Path

paths = runpy.run_path(str(Path(__file__).parents[1] / "models" / "paths.py"))
absolute = paths["absolute"]
FILES = ("*.json", "*.safetensors", "*.bin")
ABOVE = ("config.json", "tokenizer.json")  # which a checkpoint may have in the folder above it


def changed(model, stamp):
    """Whether a file of MODEL's folders, or what those above say of it, came after the file `stamp`."""
    if not stamp.is_file():
        return False
    parse = runpy.run_path(str(Path(__file__).parents[1] / "numerics" / "steps.py"))["parse"]
    for _, link in paths["split"]("demo" if model == "demo-chain" else model):
        folder = paths["folder"](link) or Path(os.devnull)
        found = [path for pattern in FILES for path in folder.glob(pattern)]
        found += [p for p in folder.glob("*/*") if link == "demo" or parse(p.parent.name)]
        for path in found + [folder.parent / name for name in ABOVE]:
            if path.exists() and max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) > stamp.stat().st_mtime_ns:
                return True
    return False


def names(model, steps):
    """Print the names that make needs."""
    folder = paths["slug"](absolute(model))
    print(folder, paths["slug"](steps), "again" if changed(model, paths["build"](folder) / ".scanned") else "")


def scanned(model, steps, whole):
    """Leave the files that tell make what was scanned, so old that it asks again if that was not the `whole` of it."""
    out = paths["build"](paths["slug"](model))
    out.mkdir(parents=True, exist_ok=True)
    for before in out.glob(".steps-*"):
        before.unlink()
    (out / f".steps-{paths['slug'](steps)}").touch()
    (out / ".scanned").touch()
    if not whole:
        os.utime(out / ".scanned", (1, 1))


def clean(model):
    """Remove build/ of MODEL, and what the tests of the notebooks drew."""
    out = paths["build"](paths["slug"](absolute(model)))
    if not out.is_dir() and model != "demo":
        return print(f"nla: nothing is built of {model!r}")
    for folder in (out, out.parent / "check"):
        shutil.rmtree(folder, ignore_errors=True)


def address(repository):
    """Write the repository's address into pyproject.toml, README, CITATION and every notebook."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        sys.exit("nla: make address REPOSITORY=you/nla")
    project = paths["root"]() / "pyproject.toml"
    old = re.search(r'^Repository = "https://github.com/([^"]*)"', project.read_text(encoding="utf-8"), re.M)[1]
    others = [project.with_name(name) for name in ("README.md", "CITATION.cff")]
    for path in (project, *others, *project.parent.glob("notebooks/*.ipynb")):
        path.write_bytes(path.read_bytes().replace(old.encode(), repository.encode()))


if __name__ == "__main__":
    {"address": address, "clean": clean, "names": names}[sys.argv[1]](*sys.argv[2:])
