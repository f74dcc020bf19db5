"""A Hugging Face Hub on loopback, for the Hub's own client: repositories made from folders, faults on demand.

Two listeners, as on the real Hub: the API and small files on one origin, LFS content on another, to which ``resolve``
redirects. (A client follows a redirect within one origin and would then miss the headers of the first answer.)

>>> with HubServer() as hub:
...     hub.add("acme/ladder", {"main": "folder/step100", "step0": "folder/step0"})
...     hub.fault("drop", "GET /lfs/.*safetensors", after=1000, times=2)
"""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS = (".safetensors", ".bin", ".pt", ".msgpack", ".h5", ".parquet")


class Entry:
    """One file of one revision."""

    def __init__(self, name, data):
        self.name, self.data, self.size = name, data, len(data)
        self.oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        self.sha256 = hashlib.sha256(data).hexdigest() if name.endswith(LFS) else None

    def listing(self):
        """As the tree of a revision shows it."""
        entry = {"type": "file", "oid": self.oid, "size": self.size, "path": self.name}
        if self.sha256:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
        return entry


class Repository:
    """Branches and tags, each a commit with its files."""

    def __init__(self, repo, branches, tags, gated):
        self.id, self.gated, self.refs, self.commits = repo, gated, {"branches": {}, "tags": {}}, {}
        for what, revisions in (("branches", branches), ("tags", tags)):
            for name, content in revisions.items():
                files = {name: Entry(name, data) for name, data in sorted(_files(content).items())}
                commit = hashlib.sha1(repr([repo, name, [(e.name, e.oid) for e in files.values()]]).encode())
                self.refs[what][name] = commit.hexdigest()
                self.commits[commit.hexdigest()] = files

    def commit(self, revision):
        """Commit of a branch, a tag or a commit; None where there is none."""
        known = {c: c for c in self.commits} | self.refs["tags"] | self.refs["branches"]
        return known.get(revision)


def _files(content):
    """{name: bytes} of a folder, or of such a dict itself."""
    if isinstance(content, dict):
        return content
    root = Path(content)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


class HubServer:
    """The server; a context manager.

    `requests` is the log: (method, path, headers), in order of arrival; `sent`, {path: bytes} of LFS files.
    """

    def __init__(self, page=1000):
        self.repositories, self.faults, self.requests, self.page = {}, [], [], page
        self.sent = Counter()
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.api = self._listen(_Api)
        self.lfs = self._listen(_Lfs)
        self.endpoint = f"http://127.0.0.1:{self.api.server_port}"
        self.content = f"http://127.0.0.1:{self.lfs.server_port}"

    def _listen(self, handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"hub": self}))
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # a client that was killed closes its sockets
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        for server in (self.api, self.lfs):
            server.shutdown()
            server.server_close()

    def add(self, repo, branches, tags=(), gated=False):
        """(Re)make a repository from {revision: folder or {name: bytes}}."""
        self.repositories[repo] = Repository(repo, branches, dict(tags), gated)
        return self.repositories[repo]

    def fault(self, kind, where, times=1, **options):
        """From now on, `times` requests whose "METHOD /path" matches the pattern `where` get this fault.

        ``status`` (code=, retry_after=), ``drop`` (the connection, after= bytes of the body), ``stall`` (no more
        bytes after= these), ``short`` (a body of after= bytes said to be all), ``wrong`` (same length, other bytes),
        ``throttle`` (bytes= per second).
        """
        fault = {"kind": kind, "where": re.compile(where), "times": times, "hits": 0, **options}
        self.faults.append(fault)
        return fault

    def heal(self):
        """End all faults and forget the requests."""
        self.faults.clear()
        self.requests.clear()

    def count(self, where="/api/models|/resolve/|/lfs/"):
        """How many requests matched the pattern; by default those about models."""
        return sum(bool(re.search(where, f"{method} {path}")) for method, path, _ in list(self.requests))

    def received(self, method, path, headers):
        """Note a request; the fault it is to get, or None."""
        with self.lock:
            self.requests.append((method, path, dict(headers)))
            for fault in self.faults:
                if fault["hits"] < fault["times"] and fault["where"].search(f"{method} {path}"):
                    fault["hits"] += 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        url = urlsplit(self.path)
        self.fault = self.hub.received(self.command, self.path, self.headers)
        if self.fault and self.fault["kind"] == "status":
            wait = self.fault.get("retry_after")
            return self.refuse(self.fault["code"], **({"Retry-After": str(wait)} if wait is not None else {}))
        return self.answer(unquote(url.path), parse_qs(url.query))

    def refuse(self, status, code=None, **headers):
        """An error, with the code by which the client tells one 404 from another."""
        if code:
            headers |= {"X-Error-Code": code, "X-Error-Message": code}
        self.reply(b'{"error": "%s"}' % (code or "fault").encode(), status, **headers)

    def json(self, value, **headers):
        self.reply(json.dumps(value).encode(), 200, **{"Content-Type": "application/json", **headers})

    def reply(self, body, status=200, **headers):
        """Send everything, as the fault of this request would have it."""
        fault, length = self.fault or {"kind": None}, len(body)
        if fault["kind"] == "wrong":
            body = bytes(255 - b for b in body[:64]) + body[64:]
        if fault["kind"] == "short":
            body = body[: fault["after"]]
            length = len(body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": headers.get("Content-Length", str(length))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault["kind"] in ("drop", "stall"):
            self.wfile.write(body[: fault["after"]])
            self.wfile.flush()
            if fault["kind"] == "stall":
                self.hub.ended.wait(fault.get("seconds", 30))
            self.close_connection = True
            self.connection.close()
        elif fault["kind"] == "throttle":
            piece = max(1, fault["bytes"] // 20)
            for start in range(0, len(body), piece):
                self.wfile.write(body[start : start + piece])
                time.sleep(0.05)
        else:
            self.wfile.write(body)


class _Api(_Handler):
    """Refs, trees, the list of models, and ``resolve``."""

    def answer(self, path, query):
        if path == "/api/models":
            return self.models(query)
        match = re.fullmatch(r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)(?:/(refs|tree|revision)(?:/(.+))?)?", path)
        if match:
            return self.about(match[1], match[2], match[3], query)
        match = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+|refs/[^/]+/[^/]+)/(.+)", path)
        return self.resolve(*match.groups()) if match else self.refuse(404)

    def repository(self, repo):
        found = self.hub.repositories.get(repo)
        if found is None:
            return self.refuse(401, "RepoNotFound")  # the real Hub does not tell strangers what is not there
        if found.gated and not self.headers.get("Authorization"):
            return self.refuse(401, "GatedRepo")
        return found

    def models(self, query):
        author, search = query.get("author", [""])[0], query.get("search", [""])[0]
        found = [r for r in self.hub.repositories.values() if r.id.startswith(author) and search in r.id]
        start = int(query.get("cursor", ["0"])[0])
        page = found[start : start + self.hub.page]
        self.json(
            [{"id": r.id, "modelId": r.id, "sha": r.refs["branches"].get("main")} for r in page],
            **self.next(start, len(found)),
        )

    def next(self, start, total):
        """The Link header to the next page, if there is one."""
        if start + self.hub.page >= total:
            return {}
        url = urlsplit(self.path)
        query = re.sub(r"&?cursor=\d+", "", url.query) + f"&cursor={start + self.hub.page}"
        return {"Link": f'<{self.hub.endpoint}{url.path}?{query.lstrip("&")}>; rel="next"'}

    def about(self, repo, what, revision, query):
        found = self.repository(repo)
        if found is None:
            return None
        if what == "refs":
            listed = {
                kind: [{"name": n, "ref": f"refs/{ref}/{n}", "targetCommit": c} for n, c in found.refs[kind].items()]
                for kind, ref in (("branches", "heads"), ("tags", "tags"))
            }
            return self.json({**listed, "converts": []})
        commit = found.commit(revision or "main")
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        if what != "tree":
            return self.json({"id": repo, "sha": commit, "siblings": [{"rfilename": n} for n in found.commits[commit]]})
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = [e.listing() for n, e in found.commits[commit].items() if recursive or "/" not in n]
        start = int(query.get("cursor", ["0"])[0])
        return self.json(entries[start : start + self.hub.page], **self.next(start, len(entries)))

    def resolve(self, repo, revision, name):
        found = self.repository(repo)
        if found is None:
            return None
        commit = found.commit(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        entry = found.commits[commit].get(name)
        if entry is None:
            return self.refuse(404, "EntryNotFound", **{"X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{entry.oid}"', "Accept-Ranges": "bytes"}
        if not entry.sha256:
            return self.reply(entry.data, **headers)
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
        location = f"{self.hub.content}/lfs/{repo}/{commit}/{quote(name)}"
        return self.reply(b"", 302, Location=location, **headers)


class _Lfs(_Handler):
    """Large files, whole or a range."""

    def answer(self, path, query):
        repo, commit, file = re.fullmatch(r"/lfs/((?:datasets/)?[^/]+/[^/]+)/([^/]+)/(.+)", path).groups()
        entry = self.hub.repositories[repo].commits[commit][file]
        data, status, headers = entry.data, 200, {"ETag": f'"{entry.sha256}"', "Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match:
            start, end = int(match[1]), min(int(match[2] or entry.size - 1), entry.size - 1)
            if start >= entry.size:
                return self.refuse(416, **{"Content-Range": f"bytes */{entry.size}"})
            data, status = data[start : end + 1], 206
            headers["Content-Range"] = f"bytes {start}-{end}/{entry.size}"
        if self.command == "GET":
            with self.hub.lock:
                self.hub.sent[path] += len(data)
        return self.reply(data, status, **headers)
