"""A repository of Hugging Face as an input, from a stand-in for their server.

It answers the requests that their client makes, as far as its documentation and code say what
they mean; it is none of theirs.
"""

from __future__ import annotations

import json
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from cnnviz.storage import retries
from tests.support.http_server import running

pytestmark = pytest.mark.needs("fsspec")

REPOSITORY = "/datasets/someone/photos"


class Hub(ThreadingHTTPServer):
    """One repository.

    Attributes:
        files: what is in it, by path.
        faults: statuses to answer first with, by path.
        reads: the paths of files whose contents were asked for.
    """

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.faults, self.reads = dict(files), {}, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def entry(self, path):
        """What is said of a file."""
        data = self.files[path]
        return {"type": "file", "path": path, "size": len(data), "oid": sha1(data).hexdigest()}

    def tree(self, folder, *, recursive):
        """What is below a folder."""
        before = f"{folder}/" if folder else ""
        below = [path for path in self.files if path.startswith(before)]
        names = {path[len(before) :].partition("/")[0] for path in below}
        files = below if recursive else [path for path in below if path[len(before) :] in names]
        folders = {name for name in names if before + name not in self.files}
        return [
            {"type": "directory", "path": before + name, "oid": "0" * 40} for name in folders
        ] + [self.entry(path) for path in files]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        path = unquote(url.path)
        for start in (f"{REPOSITORY}/resolve/main/", f"/api{REPOSITORY}/tree/main"):
            if path.startswith(start):
                path = path.removeprefix(start).lstrip("/")
                break
        if start.startswith(REPOSITORY) and path in self.server.files:
            self.read(path)
        elif "/tree/" in self.path:
            recursive = parse_qs(url.query).get("recursive", [""])[0].lower() == "true"
            self.say(self.server.tree(path, recursive=recursive))
        elif path.startswith(f"/api{REPOSITORY}/revision") or path == f"/api{REPOSITORY}":
            self.say({"id": "someone/photos", "sha": "1" * 40, "siblings": []})
        else:
            self.answer(404, b"", "X-Error-Code", "EntryNotFound")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = json.loads(body) if body[:1] == b"{" else parse_qs(body.decode())
        found = []
        for path in asked["paths"]:
            if path in self.server.files:
                found.append(self.server.entry(path))
            elif self.server.tree(path, recursive=True):
                found.append({"type": "directory", "path": path, "oid": "0" * 40})
        self.say(found)

    def read(self, path):
        self.server.reads.append(path)
        fault = self.server.faults.get(path)
        if fault:
            self.answer(fault.pop(0), b"")
            return
        data, wanted = self.server.files[path], self.headers.get("Range")
        if wanted:
            first, last = map(int, wanted.removeprefix("bytes=").split("-"))
            data = data[first : last + 1]
        self.answer(206 if wanted else 200, data)

    def say(self, value):
        self.answer(200, json.dumps(value).encode(), "Content-Type", "application/json")

    def answer(self, status, data, *header):
        self.send_response(status)
        if header:
            self.send_header(*header)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(photos, monkeypatch):
    """The photos in a repository."""
    import fsspec
    from huggingface_hub import HfFileSystem

    files = {f"in/{path.relative_to(photos).as_posix()}": path for path in photos.rglob("*.*")}
    with running(Hub({name: path.read_bytes() for name, path in files.items()})) as hub:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.url, "token": False})
        monkeypatch.setattr(retries, "_FIRST_WAIT", 0.001)
        HfFileSystem.clear_instance_cache()
        yield hub
        HfFileSystem.clear_instance_cache()


def explain(cnnviz, *arguments):
    return cnnviz("explain", *arguments, "-m", "demo", "--method", "gradcam", "--batch-size", 1)


def test_a_repository_gives_what_its_folder_gives(cnnviz, hub, tmp_path):
    from huggingface_hub import HfFileSystem

    status, out, err = explain(cnnviz, f"hf:/{REPOSITORY}/in", "-o", "there")
    assert status == 0, err
    assert out.startswith(f"hf:/{REPOSITORY}/in/2.png: ")
    assert explain(cnnviz, "photos", "-o", "here")[0] == 0
    for path in (tmp_path / "here").rglob("*.png"):
        relative = path.relative_to(tmp_path / "here")
        assert (tmp_path / "there" / relative).read_bytes() == path.read_bytes()
    assert sorted(hub.reads) == ["in/10.jpg", "in/2.png", "in/sub/cat.png"]
    # Git's names say what has changed.
    hub.reads.clear()
    HfFileSystem.clear_instance_cache()  # it holds what it has listed
    hub.files["in/10.jpg"] = hub.files["in/2.png"]
    _, _, err = explain(cnnviz, f"hf:/{REPOSITORY}/in", "-o", "there")
    assert "3 explained (2 of them already done)" in err
    assert hub.reads == ["in/10.jpg"]


def test_what_passes_and_what_does_not(cnnviz, hub):
    hub.faults.update({"in/2.png": [503], "in/10.jpg": [403] * 99})
    status, _, err = explain(cnnviz, f"hf:/{REPOSITORY}/in", "-o", "there")
    assert status == 1
    assert "in/10.jpg: there is no permission to read it" in err
    assert "2 explained, 1 failed" in err


def test_nothing_is_written_to_a_repository(cnnviz, hub):
    status, _, err = explain(cnnviz, "photos", "-o", f"hf:/{REPOSITORY}/out")
    assert status == 2
    assert "hf://" in err
