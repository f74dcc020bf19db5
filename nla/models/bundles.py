"""A bundle: tables and spectra of a MODEL in a folder, or in a dataset on the Hub, without its weights."""

import json
import re
from functools import lru_cache
from pathlib import Path

from nla.models import hub_listing
from nla.models.errors import CheckpointError, _first_line

MANIFEST, FORMAT = "manifest.json", 1
FILES = ("*.json", "*.parquet", "tables/*.parquet")


def is_bundle(folder):
    """Whether there is a manifest in this folder."""
    return (folder / MANIFEST).is_file()


def manifest(folder):
    """What the manifest of a bundle says, a dict; of what is no bundle, or spoilt, one line."""
    path = Path(folder) / MANIFEST
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not the manifest of a bundle: {_first_line(error)}") from None


@lru_cache(16)
def _read(path, _):
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']!r}, and this version of nla reads {FORMAT}")
    for entry in found["checkpoints"]:
        kinds = {"revision": str, "step": int, "stage": str, "identity": str, "content": str, "config": int}
        if wrong := [name for name, kind in kinds.items() if type(entry[name]) is not kind]:
            raise ValueError(f"{wrong[0]} of a checkpoint is {entry[wrong[0]]!r}")
        found["configs"][entry["config"]]["model_type"]
    if wrong := [name for name in found["tables"] if not re.fullmatch(r"[\w.-]+", name)] or not found["checkpoints"]:
        raise ValueError(f"it names {wrong if wrong is not True else 'no checkpoints'}")
    return found | {"by_revision": {entry["revision"]: entry for entry in found["checkpoints"]}}


def fetched(name):
    """The folder of a bundle ``datasets/org/name`` on the Hub, fetched into its client's cache; None of other names."""
    from huggingface_hub import snapshot_download

    if not re.fullmatch(r"datasets/[\w.-]+/[\w.-]+", str(name)):
        return None
    repo, hub = name.removeprefix("datasets/"), hub_listing.HUB
    how = {"repo_type": "dataset", "endpoint": hub.endpoint(), "allow_patterns": list(FILES), "token": None}
    return Path(hub.contact.patiently(name, lambda: snapshot_download(repo, **how)))
