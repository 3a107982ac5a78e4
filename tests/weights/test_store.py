"""Fetching weights, from a loopback server laid out like the Gluon store and Hugging Face."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest
from safetensors.numpy import save

from cnnviz import system
from cnnviz.errors import WeightsError
from cnnviz.models import zoo
from cnnviz.weights import cache, download, store
from cnnviz.weights.info import PublishedWeights
from cnnviz.weights.params_file import read_params, write_params

NAME = "tinynet"
SHAPES = {
    "features.0.weight": (4, 3, 3, 3),
    "features.0.bias": (4,),
    "features.4.weight": (6, 16),
    "features.4.bias": (6,),
    "features.6.weight": (5, 6),
    "features.6.bias": (5,),
    "output.weight": (2, 5),
    "output.bias": (2,),
}
ARRAYS = {
    name: np.random.default_rng(number).standard_normal(shape).astype(np.float32)
    for number, (name, shape) in enumerate(SHAPES.items())
}
TIMM_NAMES = {"features.4": "pre_logits.fc1", "features.6": "pre_logits.fc2", "output": "head.fc"}


def params_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "made.params"
    write_params(path, ARRAYS)
    return path.read_bytes()


def zipped(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def timm_bytes():
    state = {}
    for name, array in ARRAYS.items():
        layer, last = name.rsplit(".", 1)
        if name == "features.4.weight":
            array = array.reshape(6, 4, 2, 2)
        state[f"{TIMM_NAMES.get(layer, layer)}.{last}"] = array
    return save(state)


@dataclass
class Reply:
    """What the server does when a path is asked for."""

    body: bytes = b""
    status: int = 200
    announced: int | None = None  # Content-Length, if it is not the body's
    announced_to_head: int | None = None
    wait: threading.Event | None = None  # held back before the answer
    stall: threading.Event | None = None  # held back after half of the body
    headers: dict[str, str] = field(default_factory=dict)


class Site:
    """A server on the loopback interface that serves `replies` and notes what it is asked."""

    def __init__(self):
        self.replies: dict[str, Reply | list[Reply]] = {}
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                site.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler):
        part = handler.headers.get("Range", "")
        self.asked.append(f"{handler.command} {handler.path}{' ' + part if part else ''}")
        reply = self.replies.get(handler.path, Reply(b"no such file", status=404))
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if reply.wait is not None:
            reply.wait.wait(20)
        body, status = reply.body, reply.status
        if part and reply.headers.get("Accept-Ranges"):
            body = body[int(part[len("bytes=") : -1]) :]
            status = 206
        head = handler.command == "HEAD"
        length = reply.announced_to_head if head else reply.announced
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        if head:
            return
        with contextlib.suppress(OSError):
            if reply.stall is not None:
                handler.wfile.write(body[: len(body) // 2])
                handler.wfile.flush()
                reply.stall.wait(20)
                body = body[len(body) // 2 :]
            handler.wfile.write(body)

    def gets(self, path):
        return [line for line in self.asked if line.startswith(f"GET {path}")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return params_bytes(tmp_path_factory)


@pytest.fixture
def site():
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch, site, whole):
    """A machine of its own: empty caches, both sources on the loopback server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "mxnet"))
    monkeypatch.setenv("MXNET_GLUON_REPO", f"{site.url}/store/")
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 1.0)
    return tmp_path


def tiny(whole, hub=f"timm/{NAME}.tv_in1k"):
    """The published weights of a small VGG."""
    return PublishedWeights(NAME, "vgg", 4 * 253, hashlib.sha1(whole).hexdigest(), hub)


def ensure(whole, **options):
    return store.ensure_weights(tiny(whole), SHAPES, **options)


def short(whole):
    return hashlib.sha1(whole).hexdigest()[:8]


def gluon_path(whole):
    return f"/store/gluon/models/{NAME}-{short(whole)}.zip"


HUB_PATH = f"/timm/{NAME}.tv_in1k/resolve/main/model.safetensors"


def serve_gluon(site, whole, **options):
    body = zipped(f"{NAME}-{short(whole)}.params", whole)
    site.replies[gluon_path(whole)] = Reply(body, **options)
    return body


def serve_hub(site, body=None, **options):
    body = timm_bytes() if body is None else body
    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": "c" * 40}
    site.replies[HUB_PATH] = Reply(body, headers=headers, **options)


def files(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def weights_files(home):
    """All but the lock in the cache folder."""
    return [name for name in files(home / "mxnet" / "models") if not name.endswith(".lock")]


def failure(published):
    with pytest.raises(WeightsError) as caught:
        store.ensure_weights(published, SHAPES, progress=False)
    return str(caught.value)


def same_values(path):
    read = read_params(path)
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)


# Addresses ----------------------------------------------------------------------


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "models"
    monkeypatch.delenv("MXNET_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert cache.cache_folder() == tmp_path / "me" / ".mxnet" / "models"


def test_nobody_knows_where_home_is(monkeypatch, tmp_path):
    """As in a container with a user of its own: there is no folder called ~ for the weights."""

    def unknown(_):
        raise KeyError

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("MXNET_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    published = zoo.get("alexnet").published
    assert cache.cached(published) is None
    with pytest.raises(WeightsError, match=r"there is no such home folder\): set MXNET_HOME"):
        store.ensure_weights(published, {})
    assert os.listdir(tmp_path) == []


# What works ---------------------------------------------------------------------------------------


def test_gluon_store(home, site, whole, capfd):
    serve_gluon(site, whole)
    serve_hub(site)
    assert cache.cached(tiny(whole)) is None
    located = ensure(whole)
    assert located.path == home / "mxnet" / "models" / f"{NAME}-{short(whole)}.params"
    assert located.path.read_bytes() == whole
    assert located.source == f"Gluon model store ({site.host})"
    assert cache.cached(tiny(whole)) == located.path
    assert weights_files(home) == [located.path.name]
    assert site.asked == [f"GET {gluon_path(whole)}"]
    assert capfd.readouterr().err == ""  # no bar where there is no terminal


def test_the_cache_comes_first(home, site, whole):
    serve_gluon(site, whole)
    first = ensure(whole)
    site.asked.clear()
    again = ensure(whole)
    assert again.path == first.path
    assert again.source == "Gluon model store, cached"
    assert site.asked == []


def test_a_repository_without_trailing_slash(home, site, whole, monkeypatch):
    monkeypatch.setenv("MXNET_GLUON_REPO", f"{site.url}/store")
    serve_gluon(site, whole)
    assert ensure(whole).path.read_bytes() == whole


def test_falls_back_to_hugging_face(home, site, whole, capfd):
    site.replies[gluon_path(whole)] = Reply(b"denied", status=403)
    serve_hub(site)
    located = ensure(whole)
    assert located.path == home / "mxnet" / "models" / f"{NAME}-tv_in1k.params"
    assert located.source == f"timm/{NAME}.tv_in1k on Hugging Face"
    same_values(located.path)
    assert cache.cached(tiny(whole)) == located.path
    assert weights_files(home) == [located.path.name]
    assert len(site.gets(HUB_PATH)) == 1
    assert capfd.readouterr().err == ""
    site.asked.clear()
    again = ensure(whole)
    assert (again.path, site.asked) == (located.path, [])
    assert again.source == f"timm/{NAME}.tv_in1k on Hugging Face, cached"


def test_hugging_faces_own_cache_is_used_without_network(home, site, whole, monkeypatch):
    serve_hub(site)
    huggingface_hub.hf_hub_download(
        f"timm/{NAME}.tv_in1k",
        "model.safetensors",
        endpoint=site.url,
        cache_dir=huggingface_hub.constants.HF_HUB_CACHE,
    )
    site.replies.clear()
    site.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    same_values(ensure(whole).path)
    assert not any("timm" in line for line in site.asked)


def test_a_redirected_hub_file(home, site, whole):
    serve_hub(site)
    reply = site.replies[HUB_PATH]
    elsewhere = Reply(reply.body)
    site.replies[HUB_PATH] = Reply(
        status=302,
        headers={
            **reply.headers,
            "Location": "/cdn/blob",
            "X-Linked-Size": str(len(reply.body)),
            "X-Linked-Etag": reply.headers["ETag"],
        },
    )
    elsewhere.headers = reply.headers
    site.replies["/cdn/blob"] = elsewhere
    same_values(ensure(whole).path)


def test_a_body_that_breaks_off_is_resumed(home, site, whole):
    body = serve_gluon(site, whole)
    ranged = {"Accept-Ranges": "bytes"}
    site.replies[gluon_path(whole)] = [
        Reply(body[:100], announced=len(body), headers=ranged),
        Reply(body, headers=ranged),
    ]
    assert ensure(whole).path.read_bytes() == whole
    assert site.asked[1] == f"GET {gluon_path(whole)} bytes=100-"


def test_a_server_that_cannot_resume_is_asked_for_all_again(home, site, whole):
    body = serve_gluon(site, whole)
    site.replies[gluon_path(whole)] = [Reply(body[:100], announced=len(body)), Reply(body)]
    assert ensure(whole).path.read_bytes() == whole


# What does not ------------------------------------------------------------------------------------


def test_no_source_says_everything(home, site, whole):
    site.replies[gluon_path(whole)] = Reply(b"denied", status=403)
    text = failure(tiny(whole))
    folder = home / "mxnet" / "models"
    assert text.startswith(
        f"The weights of {NAME} (0 MB) are not on this machine and could not be "
    )
    assert f"the Gluon model store at {site.host} (HTTP 403)" in text
    assert f"timm/{NAME}.tv_in1k at {site.host} (HTTP 404)" in text
    assert f"or put {NAME}-{short(whole)}.params into {folder}" in text
    assert "Give a .params, .safetensors or .pth file with --weights" in text
    assert "`--model demo` needs no download" in text
    assert "\n" not in text
    assert WeightsError("").exit_code == 3
    assert weights_files(home) == []
    assert cache.cached(tiny(whole)) is None


def test_a_network_that_hugging_face_has_not(home, site, whole, monkeypatch):
    alone = tiny(whole, hub=None)
    (home / "mxnet" / "models").mkdir(parents=True)
    # A file of that name has nothing to do with us.
    (home / "mxnet" / "models" / f"{NAME}-tv_in1k.params").write_bytes(b"something")
    serve_hub(site)
    text = failure(alone)
    assert "HTTP 404" in text
    assert "Hugging Face (has no identical network)" in text
    # Nobody else's files of it fit, so only Gluon's are asked for.
    assert "Give a .params file with --weights" in text
    assert site.asked == [f"GET {gluon_path(whole)}"]
    assert cache.cached(alone) is None
    serve_gluon(site, whole)
    assert store.ensure_weights(alone, SHAPES).path.read_bytes() == whole


def test_another_repository_of_hugging_face(home, site, whole, monkeypatch):
    published = tiny(whole, "timm/tiny_net.gluon_in1k")
    serve_hub(site)
    path = "/timm/tiny_net.gluon_in1k/resolve/main/model.safetensors"
    site.replies[path] = site.replies.pop(HUB_PATH)
    located = store.ensure_weights(published, SHAPES)
    assert located.path.name == f"{NAME}-gluon_in1k.params"
    same_values(located.path)


def test_what_hugging_face_has():
    """Repositories that timm names, with the means and deviations that it gives them."""
    published = [entry.published for entry in zoo.entries() if entry.published is not None]
    hub = {one.network: one.hub for one in published if one.hub is not None}
    vggs = [f"vgg{depth}{suffix}" for depth in (11, 13, 16, 19) for suffix in ("", "_bn")]
    densenets = [f"densenet{depth}" for depth in (121, 161, 169, 201)]
    assert hub == {
        **{name: f"timm/{name}.tv_in1k" for name in vggs + densenets},
        "resnet18_v1": "timm/resnet18.tv_in1k",
        "resnet34_v1": "timm/resnet34.tv_in1k",
        # Not .tv_in1k, which wants images from -1 to 1.
        "inceptionv3": "timm/inception_v3.gluon_in1k",
    }


def test_time_outs(home, site, whole, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.3)
    never = threading.Event()
    serve_gluon(site, whole, wait=never)
    serve_hub(site, wait=never)
    before = time.monotonic()
    text = failure(tiny(whole))
    never.set()
    assert text.count("timed out after 0.3 s") == 2
    assert time.monotonic() - before < 3


def test_a_stalled_body_times_out(home, site, whole, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.3)
    never = threading.Event()
    serve_gluon(site, whole, stall=never)
    text = failure(tiny(whole))
    never.set()
    assert f"the Gluon model store at {site.host} (timed out after 0.3 s)" in text
    assert len(site.gets(gluon_path(whole))) == 2  # one more try, not minutes of them
    assert weights_files(home) == []


def test_looking_up_a_host_for_ever_times_out(home, site, monkeypatch, whole):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    slow = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: slow.wait(20))
    before = time.monotonic()
    text = failure(tiny(whole))
    slow.set()
    assert text.count("timed out after 0.2 s") == 2
    assert time.monotonic() - before < 3


def test_no_connection(home, monkeypatch, whole):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("MXNET_GLUON_REPO", f"http://127.0.0.1:{port}/")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert failure(tiny(whole)).count("(no connection: Connection refused)") == 2


def test_no_such_host(home, monkeypatch, whole):
    def refuse(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert failure(tiny(whole)).count("no connection: host name not resolved") == 2


def test_truncated_body(home, site, whole):
    body = serve_gluon(site, whole)
    site.replies[gluon_path(whole)] = Reply(body[:100], announced=len(body))
    assert f"the connection ended after 100 of {len(body)} bytes" in failure(tiny(whole))
    assert weights_files(home) == []


def test_wrong_checksum(home, site, whole):
    other = whole[:-1] + bytes([whole[-1] ^ 1])
    site.replies[gluon_path(whole)] = Reply(zipped(f"{NAME}-{short(whole)}.params", other))
    assert "the file's checksum differs" in failure(tiny(whole))
    assert weights_files(home) == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>log in first</html>", "not a sound zip archive"),
        (zipped("other.params", b"x"), "the archive does not hold"),
    ],
)
def test_something_else_than_the_archive(home, site, whole, body, told):
    site.replies[gluon_path(whole)] = Reply(body)
    assert told in failure(tiny(whole))


def test_an_archive_with_damaged_contents(home, site, whole):
    body = bytearray(serve_gluon(site, whole))
    body[200] ^= 0xFF
    site.replies[gluon_path(whole)] = Reply(bytes(body))
    assert "not a sound zip archive" in failure(tiny(whole))


def test_an_archive_that_swells(home, site, whole):
    huge = zipped(f"{NAME}-{short(whole)}.params", bytes(4 << 20))
    site.replies[gluon_path(whole)] = Reply(huge)
    assert "more than the 1012 bytes it should" in failure(tiny(whole))


def test_no_name_in_an_archive_leads_out_of_the_cache(home, site, whole):
    name = f"../../{NAME}-{short(whole)}.params"
    site.replies[gluon_path(whole)] = Reply(zipped(name, whole))
    located = ensure(whole)
    assert located.path.parent == home / "mxnet" / "models"
    assert files(home) == ["mxnet"]


def test_addresses_that_are_not_http(home, site, monkeypatch, whole):
    monkeypatch.setenv("MXNET_GLUON_REPO", "file:///etc/")
    assert "MXNET_GLUON_REPO (not an https address: file://)" in failure(tiny(whole))


@pytest.mark.parametrize("host", ["192.0.2.1", "example.com:8080", "127.0.0.1.example.com"])
def test_without_tls_only_this_machine_is_asked(home, monkeypatch, host, whole):
    monkeypatch.setattr(download, "_open", lambda *_: pytest.fail("it was asked"))
    monkeypatch.setenv("MXNET_GLUON_REPO", f"http://me:secret@{host}/")
    monkeypatch.setenv("HF_ENDPOINT", f"http://{host}")
    text = failure(tiny(whole))
    assert f"MXNET_GLUON_REPO (http://{host} has no TLS: use https)" in text
    assert f"HF_ENDPOINT (http://{host} has no TLS: use https)" in text
    assert "secret" not in text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "127.3.2.1", "[::1]:8080"])
def test_this_machine_needs_no_tls(host):
    assert download.safe_host(f"http://{host}/x", "it") == host


def test_a_redirection_to_where_there_is_no_tls_is_not_followed(home, site, whole):
    site.replies[gluon_path(whole)] = Reply(
        status=302, headers={"Location": "http://192.0.2.1/weights.zip"}
    )
    assert "a redirection (http://192.0.2.1 has no TLS: use https)" in failure(tiny(whole))


def test_a_redirection_to_a_safe_place_is(home, site, whole):
    body = serve_gluon(site, whole)
    site.replies["/elsewhere.zip"] = Reply(body)
    site.replies[gluon_path(whole)] = Reply(status=302, headers={"Location": "/elsewhere.zip"})
    same_values(ensure(whole, progress=False).path)


def test_a_hub_file_is_what_the_hub_says_it_is(home, site, whole):
    """Of the right size and shapes, but not of the SHA-256 that came as its ETag."""
    serve_hub(site)
    reply = site.replies[HUB_PATH]
    reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])
    assert "differs: remove it to fetch it again" in failure(tiny(whole))
    assert weights_files(home) == []


def test_a_hub_file_whose_digest_nobody_told_is_not_used(home, site, whole):
    serve_hub(site)
    site.replies[HUB_PATH].headers["ETag"] = '"17"'
    assert "nothing says what the SHA-256 of " in failure(tiny(whole))
    assert weights_files(home) == []


def test_passwords_in_an_address_are_not_shown(home, site, monkeypatch, whole):
    monkeypatch.setenv("MXNET_GLUON_REPO", f"http://me:secret@{site.host}/")
    text = failure(tiny(whole))
    assert site.host in text
    assert "secret" not in text


def test_offline_mode(home, site, monkeypatch, whole):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not asked, because HF_HUB_OFFLINE is set" in failure(tiny(whole))
    assert not any("timm" in line for line in site.asked)


def test_a_hub_file_of_another_network(home, site, whole):
    serve_hub(site, body=save({"features.0.weight": np.zeros((1, 3, 3, 3), np.float32)}))
    text = failure(tiny(whole))
    assert f"timm/{NAME}.tv_in1k at {site.host} (" in text
    assert f"does not fit {NAME}: 7 of 8 parameters are missing" in text
    assert weights_files(home) == []


def test_a_hub_body_of_another_size(home, site, whole):
    body = timm_bytes()
    serve_hub(site, body=body[:-4], announced_to_head=len(body))
    assert f"timm/{NAME}.tv_in1k at {site.host} (OSError: " in failure(tiny(whole))
    assert weights_files(home) == []


def test_a_damaged_file_in_the_cache_is_told_and_replaced(home, site, whole):
    damaged = home / "mxnet" / "models" / f"{NAME}-{short(whole)}.params"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(whole[:500])
    assert f"{damaged} (its checksum differs" in failure(tiny(whole))
    assert damaged.read_bytes() == whole[:500]
    serve_gluon(site, whole)
    assert ensure(whole).path.read_bytes() == whole


def test_a_damaged_converted_file_is_told_and_replaced(home, site, whole):
    damaged = home / "mxnet" / "models" / f"{NAME}-tv_in1k.params"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(whole[:500])
    assert f"{damaged} is a damaged or incomplete .params file" in failure(tiny(whole))
    serve_hub(site)
    same_values(ensure(whole).path)


def test_a_cached_file_that_cannot_be_read_is_told(home, monkeypatch, whole):
    closed = home / "mxnet" / "models" / f"{NAME}-{short(whole)}.params"
    closed.parent.mkdir(parents=True)
    closed.touch()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store, "digest", refuse)
    assert f"{closed} (cannot be read: Permission denied)" in failure(tiny(whole))


def test_a_cache_that_cannot_be_made(home, monkeypatch, whole):
    (home / "plain").touch()
    monkeypatch.setenv("MXNET_HOME", str(home / "plain"))
    assert "set MXNET_HOME to another folder" in failure(tiny(whole))


def test_a_full_disk_ends_it_at_once(home, site, whole, monkeypatch):
    serve_gluon(site, whole)
    serve_hub(site)

    class Full(io.BytesIO):
        name = "w.part"

        def write(self, chunk):
            raise OSError(28, "No space left on device")

    with pytest.raises(WeightsError, match=r"w\.part cannot be written: No space left on device"):
        download.write(Full(), b"x")
    monkeypatch.setattr(download, "write", _full)
    assert "No space left" in failure(tiny(whole))
    assert len(site.asked) == 1
    assert weights_files(home) == []


def _full(_file, _chunk):
    raise WeightsError("w.part cannot be written: No space left on device.")


# Processes ----------------------------------------------------------------------------------------


def start(home, site, whole):
    """Another process that fetches the same weights; it prints the path."""
    program = f"""
        import sys
        from cnnviz.weights import store
        from cnnviz.weights.info import PublishedWeights
        notify = lambda text: print(text, file=sys.stderr, flush=True)
        located = store.ensure_weights({tiny(whole)!r}, {SHAPES!r}, notify=notify)
        print(located.path, flush=True)
    """
    environment = {**os.environ, "HF_HOME": str(home / "hf")}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.subprocess
def test_two_processes_at_once_fetch_once(home, site, whole):
    go = threading.Event()
    serve_gluon(site, whole, wait=go)
    first = start(home, site, whole)
    until(lambda: site.asked)
    second = start(home, site, whole)
    waiting = second.stderr.readline()
    go.set()
    outputs = [process.communicate(timeout=20) for process in (first, second)]
    assert waiting == f"Another process is fetching the weights of {NAME}; waiting for it.\n"
    assert outputs[0][0] == outputs[1][0] != ""
    assert site.asked == [f"GET {gluon_path(whole)}"]
    assert cache.cached(tiny(whole)).read_bytes() == whole
    assert weights_files(home) == [cache.cached(tiny(whole)).name]


def test_without_locks_both_fetch_and_neither_spoils_the_other(home, site, whole, monkeypatch):
    def no_locks(*_args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(system, "try_to_lock", no_locks)
    go = threading.Event()
    serve_gluon(site, whole, stall=go)
    found, told = [], []
    threads = [
        threading.Thread(target=lambda: found.append(ensure(whole, notify=told.append).path))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(site.asked) == 2)
    go.set()
    for thread in threads:
        thread.join(20)
    assert len(found) == 2
    assert found[0].read_bytes() == whole
    assert weights_files(home) == [found[0].name]
    assert all("No locks available" in text for text in told)


@pytest.mark.subprocess
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_download_is_not_taken_for_whole(home, site, whole, how):
    never = threading.Event()
    serve_gluon(site, whole, stall=never)
    process = start(home, site, whole)
    until(lambda: any(".zip" in name for name in weights_files(home)) and site.asked)
    time.sleep(0.1)
    process.send_signal(how)
    process.communicate(timeout=20)
    never.set()
    left = weights_files(home)
    assert all(name.endswith(".part") for name in left)
    assert (left == []) == (how == signal.SIGINT)  # who is killed cannot tidy up
    assert cache.cached(tiny(whole)) is None
    for name in left:  # as if an hour had passed
        os.utime(home / "mxnet" / "models" / name, (0, 0))
    serve_gluon(site, whole)
    assert ensure(whole).path.read_bytes() == whole
    assert weights_files(home) == [cache.cached(tiny(whole)).name]


# The bar ------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("source", ["gluon", "hub"])
@pytest.mark.parametrize("progress", [True, False])
def test_one_bar_on_a_terminal(home, site, whole, monkeypatch, source, progress):
    if source == "gluon":
        serve_gluon(site, whole)
    else:
        serve_hub(site)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    ensure(whole, progress=progress)
    shown = screen.getvalue()
    if not progress:
        assert shown == ""
        return
    drawn = [line for line in shown.replace("\n", "\r").split("\r") if line.strip(" \x1b[A")]
    assert "100%" in drawn[-1]
    assert len({line.split(":")[0] for line in drawn}) == 1
