"""A Hugging Face hub on this machine, with one dataset: the requests that the client makes for a download."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rwkv.data.hub import REPOSITORY

REVISION = "a" * 40
# Entries of a page of the list of files, few so that there are several.
_PAGE = 7
# From this size on the hub stores a file outside git.
_LARGE = 1_500


@dataclass
class Hub:
    """The dataset, and how the server behaves.

    Attributes:
        files: Contents by path.
        asked: The downloads asked for, as (path, range).
        token: The token that the hub asks for; None for a public dataset.
        error: A status and the hub's code of the error with which every request is answered.
        cut: The number of times that the transfer of a path breaks after half of it.
        damaged: How often the content of a path is sent damaged.
        closed: After this many downloads the hub answers no more.
        held: After this many downloads the hub waits with its answers for `release`.
    """

    files: dict[str, bytes]
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    token: str | None = None
    error: tuple[int, str] | None = None
    cut: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    closed: int | None = None
    held: int | None = None
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def fetched(self) -> list[str]:
        """The paths of users' files asked for, in order, without repetitions."""
        return list(dict.fromkeys(path for path, _ in self.asked if path.endswith(".parquet")))

    def entry(self, path: str) -> dict[str, Any]:
        """A file in the list of the hub."""
        content = self.files[path]
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
        if len(content) >= _LARGE:
            sha256 = hashlib.sha256(content).hexdigest()
            entry |= {"lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}}
        return entry

    def entries(self) -> list[dict[str, Any]]:
        """The whole list, with folders."""
        parents = {parent for path in self.files for parent in _parents(path)}
        folders = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(parents)]
        return [*folders, *map(self.entry, sorted(self.files))]


def git_hash(content: bytes) -> str:
    """The hash that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub at hub.url."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        hub, address = self.served, urlsplit(self.path)
        path = unquote(address.path)
        if hub.error is not None:
            return self._refuse(*hub.error)
        if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._refuse(401, "GatedRepo")
        if path == f"/api/datasets/{REPOSITORY}":
            return self._json({"_id": "1", "id": REPOSITORY, "sha": REVISION, "siblings": [], "tags": []})
        if path == f"/api/datasets/{REPOSITORY}/tree/{REVISION}":
            return self._list(int(parse_qs(address.query).get("cursor", ["0"])[0]))
        match = re.fullmatch(f"/datasets/{REPOSITORY}/resolve/{REVISION}/(.+)", path)
        if match is None:
            return self._refuse(404, "RepoNotFound")
        if match[1] not in hub.files:
            return self._refuse(404, "EntryNotFound")
        return self._file(match[1], with_content)

    def _list(self, first: int) -> None:
        entries = self.served.entries()
        more = {}
        if first + _PAGE < len(entries):
            address = f"{self.served.url}/api/datasets/{REPOSITORY}/tree/{REVISION}"
            more = {"Link": f'<{address}?recursive=true&cursor={first + _PAGE}>; rel="next"'}
        self._json(entries[first : first + _PAGE], more)

    def _file(self, path: str, with_content: bool) -> None:
        hub = self.served
        content, entry = hub.files[path], hub.entry(path)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        if not with_content:
            return self._send(200, content, headers, with_content=False)
        asked = self.headers.get("Range")
        if hub.closed is not None and len(hub.asked) >= hub.closed:
            return self._refuse(503, "")
        hub.asked.append((path, asked))
        if hub.held is not None and len(hub.asked) > hub.held:
            hub.release.wait()
        if hub.damaged.get(path, 0) > 0:
            hub.damaged[path] -= 1
            content = bytes(len(content))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        whole = content[start:]
        if hub.cut.get(path, 0) > 0:
            hub.cut[path] -= 1
            self._send(206 if asked else 200, whole, headers, with_content=False)
            self.wfile.write(whole[: len(whole) // 2])
            self.close_connection = True
            return None
        return self._send(206 if asked else 200, whole, headers)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code} if code else {})

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str], with_content: bool = True) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_content and self.command != "HEAD":
            self.wfile.write(content)
