"""What there is of a model before anything is fetched: revisions, their files, sizes and hashes, as the Hub lists them.

Answers are kept on this disk, the files of a commit for good and the revisions in case the Hub cannot be reached.
"""

import json
import os
import re
import time
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

from nla.models.errors import CheckpointError, Unavailable
from nla.models.folder import read_json
from nla.models.retries import locked, patiently


class File(namedtuple("File", "name size digest")):
    """One file of a checkpoint; digest: SHA-256 of an LFS file, else the git blob id."""

    def whole(self, folder):
        """Whether it is in this folder, with all its bytes."""
        path = folder / self.name
        return path.is_file() and path.stat().st_size == self.size


RECENT = 60  # seconds for which a tree that could not be had is not asked for again
_refused = {}  # commit -> (when, why)


def folder(repo, commit):
    """Where what is fetched of this commit is kept: beside the cache of the Hub's client, see `nla.models.cache`."""
    from huggingface_hub import constants

    if not re.fullmatch(r"[0-9a-f]{40}", str(commit)):
        raise CheckpointError(f"{repo}: the Hub names {commit!r} where a commit should stand")
    return Path(constants.HF_HUB_CACHE).with_name("nla") / f"models--{repo.replace('/', '--')}" / commit


def endpoint():
    """Address of the Hub."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def ask(path):
    """The JSON object at `path` of the Hub's API, or the list there with all its pages."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url, pages = f"{endpoint()}/api/{path}", []
    while url:  # not by HfApi, whose calls wait for ever on a server that is silent
        response = get_session().get(url, headers=build_hf_headers(), timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        hf_raise_for_status(response)
        try:
            pages.append(response.json())
        except ValueError:
            raise OSError("the answer is not a Hub's (perhaps a login page of the network)") from None
        url = response.links.get("next", {}).get("url")
    return [entry for page in pages for entry in page] if isinstance(pages[0], list) else pages[0]


def revisions(repo):
    """{name: commit} of the branches and tags of `repo`; as last seen where the Hub cannot be reached."""
    saved = folder(repo, "0" * 40).with_name("refs.json")
    try:
        refs = patiently(f"the list of revisions of {repo}", lambda: ask(f"models/{repo}/refs"))
    except Unavailable:
        if saved.is_file():
            return read_json(saved)
        raise
    found = {ref["name"]: ref["targetCommit"] for kind in ("tags", "branches") for ref in refs.get(kind) or ()}
    _save(saved, found)
    return found


def siblings(repo):
    """{repository: commit of main} of the repositories of the same owner whose names begin like that of `repo`."""
    author, name = repo.split("/")
    saved = folder(repo, "0" * 40).with_name("siblings.json")
    try:
        query = f"models?author={author}&search={name}&expand=sha&limit=1000"
        found = patiently(f"the list of repositories like {repo}", lambda: ask(query))
    except Unavailable:
        if saved.is_file():
            return read_json(saved)
        raise
    found = [m for m in found if m["id"].startswith(repo) and m["id"] != repo]
    found = {m["id"]: m.get("sha") or revisions(m["id"]).get("main") for m in found}
    _save(saved, found)
    return found


def tree(source):
    """The files of a checkpoint on the Hub, a tuple of `File`; asked for once per commit."""
    saved = source.folder.parent / "trees" / f"{source.commit}.json"
    with suppress(CheckpointError, TypeError):
        return tuple(File(*file) for file in read_json(saved))
    when, error = _refused.get(source.commit, (-RECENT, None))
    if time.monotonic() - when < RECENT:
        raise type(error)(str(error))
    what = f"the list of files of {source.name}"
    try:
        entries = patiently(what, lambda: ask(f"models/{source.repo}/tree/{source.commit}"))
    except CheckpointError as error:
        _refused[source.commit] = (time.monotonic(), error)
        raise
    files = [(e["path"], e["size"], (e.get("lfs") or e)["oid"]) for e in entries if e["type"] == "file"]
    _save(saved, files)
    return tuple(File(*file) for file in files)


def forget():
    """Ask again also for the trees that could not be had just now."""
    _refused.clear()


def _save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with locked(path.parent / "lists.lock", f"another process that writes {path}"):
        partial.write_text(json.dumps(value), encoding="utf-8")
        os.replace(partial, path)
