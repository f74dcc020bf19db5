"""MODEL as the name of a folder; also run by make as a script, before there is an environment to import nla in."""

import hashlib
import sys

LONGEST = 160  # characters; file systems allow 255 bytes, and names of files are made of it


def slug(model):
    """org/name -> org--name, base>sft -> base+sft; what is too long for a folder is cut and ends in its hash."""
    name = str(model).strip("/").replace(">", "+").replace("/", "--")
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


if __name__ == "__main__":
    print(slug(sys.argv[1]))
