"""What there is of a model before anything is fetched, as the Hub lists it: revisions, files, sizes and hashes."""

import json
import os
import re
import time
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

from nla.models.errors import CheckpointError, Unavailable
from nla.models.folder import read_json
from nla.models.retries import Contact, locked


class File(namedtuple("File", "name size digest")):
    """One file of a checkpoint; digest: SHA-256 of an LFS file, else the git blob id."""

    def whole(self, folder):
        """Whether it is in this folder, with all its bytes."""
        path = folder / self.name
        return path.is_file() and path.stat().st_size == self.size


RECENT = 60  # seconds, or ten times what it took, for which a tree that could not be had is not asked for again


class Hub:
    """The Hub as this process has it: where it is, where its files are kept, what came of asking it."""

    def __init__(self, address=None, cache=None):
        self.address, self.cache = address, cache  # None: as its client has them, and HF_HOME/nla
        self.contact = Contact()
        self.refused = {}  # commit -> (until when, why)
        self.ours = set()  # folders that this process used, and may evict

    def endpoint(self):
        from huggingface_hub import constants

        return (self.address or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")

    def folder(self, repo, commit):
        """Where what is fetched of this commit is kept."""
        from huggingface_hub import constants

        if not re.fullmatch(r"[0-9a-f]{40}", str(commit)):
            raise CheckpointError(f"{repo}: the Hub names {commit!r} where a commit should stand")
        cache = self.cache or Path(constants.HF_HUB_CACHE).with_name("nla")
        return cache / f"models--{repo.replace('/', '--')}" / commit

    def ask(self, path):
        """The JSON object at `path` of its API, or the list there with all its pages."""
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url, pages = f"{self.endpoint()}/api/{path}", []
        while url:  # not by HfApi, whose calls wait for ever on a server that is silent
            response = get_session().get(url, headers=build_hf_headers(), timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
            hf_raise_for_status(response)
            try:
                pages.append(response.json())
            except ValueError:
                raise OSError("the answer is not a Hub's (perhaps a login page of the network)") from None
            url = response.links.get("next", {}).get("url")
        return [entry for page in pages for entry in page] if isinstance(pages[0], list) else pages[0]

    def revisions(self, repo):
        """{name: commit} of the branches and tags of `repo`; as last seen where the Hub cannot be reached."""

        def read(refs):
            return {ref["name"]: ref["targetCommit"] for kind in ("tags", "branches") for ref in refs.get(kind) or ()}

        return self._or_last_seen(repo, "refs", f"the list of revisions of {repo}", f"models/{repo}/refs", read)

    def siblings(self, repo):
        """{repository: commit of main} of the repositories of the same owner whose names begin like that of `repo`."""

        def read(found):
            others = [m for m in found if m["id"].startswith(repo) and m["id"] != repo]
            return {m["id"]: m.get("sha") or self.revisions(m["id"]).get("main") for m in others}

        query = "models?author={}&search={}&expand=sha&limit=1000".format(*repo.split("/"))
        return self._or_last_seen(repo, "siblings", f"the list of repositories like {repo}", query, read)

    def _or_last_seen(self, repo, name, what, path, read):
        saved = self.folder(repo, "0" * 40).with_name(f"{name}.json")
        try:
            found = read(self.contact.patiently(what, lambda: self.ask(path)))
        except Unavailable:
            if not saved.is_file():
                raise
            return read_json(saved)
        _save(saved, found)
        return found

    def tree(self, source):
        """The files of a `sources.OnHub`, a tuple of `File`; asked for once per commit, and kept on this disk."""
        saved = source.folder.parent / "trees" / f"{source.commit}.json"
        with suppress(CheckpointError, TypeError):
            return tuple(File(*file) for file in read_json(saved))
        begun = time.monotonic()
        until, error = self.refused.get(source.commit, (begun, None))
        if begun < until:
            raise type(error)(str(error))
        what, path = f"the list of files of {source.name}", f"models/{source.repo}/tree/{source.commit}"
        try:
            entries = self.contact.patiently(what, lambda: self.ask(path))
        except CheckpointError as error:
            self.refused[source.commit] = (begun + max(RECENT, 11 * (time.monotonic() - begun)), error)
            raise
        files = [File(e["path"], e["size"], (e.get("lfs") or e)["oid"]) for e in entries if e["type"] == "file"]
        _save(saved, files)
        return tuple(files)


HUB = Hub()  # what all checkpoints of this process are from


def _save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with locked(path.parent / "lists.lock", f"another process that writes {path}"):
        partial.write_text(json.dumps(value), encoding="utf-8")
        os.replace(partial, path)
