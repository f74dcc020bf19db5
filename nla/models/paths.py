"""MODEL -> names and places on this disk, of the package and of what is built; the standard library alone.

As a script it prints the name that a MODEL has in build/ and figures/: the Makefile asks it before anything is set up.
"""

import hashlib
import os
import sys
from pathlib import Path

LONGEST = 160  # characters; file systems allow 255 bytes, and names of files are made of it
HERE = Path(__file__).parents[1]  # nla/
DEMO = HERE / "demo"


def slug(model):
    """org/name -> org--name, base>sft -> base+sft; what is too long for a folder is cut and ends in its hash."""
    name = str(model).strip("/").replace(">", "+").replace("/", "--")
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def root():
    """The checkout this package is installed from, or else the working directory."""
    checkout = HERE.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def build(slug):
    """Folder for all that is derived from one MODEL; the environment variable NLA_BUILD moves it."""
    return Path(os.environ.get("NLA_BUILD") or root() / "build") / slug


if __name__ == "__main__":
    print(slug(sys.argv[1]))
