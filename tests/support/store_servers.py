"""Servers of storage on this machine, each behind a proxy that fails as it is told to."""

from __future__ import annotations

import http.client
import json
import logging
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import unquote

from tests.support.http_server import running

#: What a connection has of its own, and a message has not.
_OF_A_CONNECTION = ("connection", "keep-alive", "transfer-encoding", "content-length")

SECRET = "wJalrXUtnFEMIK7MDENG"
#: Of the one account that Azurite has unless it is told otherwise; its documentation names both.
_AZURITE = "devstoreaccount1"
_AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


class Request(NamedTuple):
    """What a client asks of a store.

    Attributes:
        does: ``read`` an object, ``stat`` or ``write`` or ``delete`` it, ``list`` objects, or
            something ``else``.
        key: the object, behind the name of its bucket.
        method: of HTTP.
        path: with its query.
    """

    does: str
    key: str
    method: str
    path: str


class Proxy(ThreadingHTTPServer):
    """Passes requests on to a server, or lets them fail.

    Attributes:
        fault: asked of each request; a status to answer with, ``dropped`` (the connection is
            reset), ``truncated`` (half the answer comes), ``slow`` (it comes late) or None.
        requests: all of them.
    """

    daemon_threads = True

    def __init__(self, port, understood):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.understood = understood
        self.fault = lambda _request: None
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that did not wait for its answer is none of a test's business."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def count(self, does, below=""):
        """How many requests did this, to objects that begin so behind their bucket."""
        return sum(one.does == does and one.key.startswith(below) for one in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        does, key = self.server.understood(self.command, self.path, body)
        request = Request(does, key, self.command, self.path)
        self.server.requests.append(request)
        fault = self.server.fault(request)
        if fault == "dropped":
            linger = struct.pack("ii", 1, 0)  # reset at once
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(fault, int):
            self.send_response(fault)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "slow":
            time.sleep(0.1)
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind)
        headers = {name: value for name, value in self.headers.items() if name != "Content-Length"}
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault == "truncated" else data)
        self.close_connection = fault == "truncated"
        behind.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def log_message(self, *arguments):
        pass


class S3:
    """moto's server."""

    scheme = "s3"

    @contextmanager
    def running(self):
        """Its port, while the context lasts."""
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        try:
            yield server.get_host_and_port()[1]
        finally:
            server.stop()

    def understood(self, method, path, _body):
        """What a request does, and to which object."""
        return _by_path(method, path.lstrip("/"), "list-type=2")

    def connect(self, url, monkeypatch, tmp_path):
        """Have clients go to this URL, and not try again by themselves; the file system."""
        import s3fs

        settings = {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",  # botocore has tries and waits of its own
            "AWS_ENDPOINT_URL": url,
        }
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            settings[name] = str(tmp_path / "no-such-file")
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # and so has s3fs
        return s3fs.S3FileSystem


class Azure:
    """Azurite, Microsoft's emulator."""

    scheme = "az"

    @contextmanager
    def running(self):
        """Its port, while the context lasts."""
        command = [shutil.which("azurite-blob"), "--inMemoryPersistence", "--blobPort", "0"]
        command += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                port = None
                while port is None:
                    line = process.stdout.readline()
                    assert line, "azurite-blob ended"
                    port = re.search(r"listens on http://127\.0\.0\.1:(\d+)", line)
                yield int(port[1])
            finally:
                process.terminate()
                process.communicate()

    def understood(self, method, path, _body):
        """What a request does, and to which object."""
        return _by_path(method, path.lstrip("/").partition("/")[2], "comp=list")

    def connect(self, url, monkeypatch, _tmp_path):
        """Have clients go to this URL, and not wait before they try again; the file system."""
        import adlfs
        from azure.storage.blob._shared import policies_async

        async def at_once(*_arguments):
            pass

        monkeypatch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            f"DefaultEndpointsProtocol=http;AccountName={_AZURITE};AccountKey={_AZURITE_KEY};"
            f"BlobEndpoint={url}/{_AZURITE};",
        )
        monkeypatch.setattr(policies_async.AsyncStorageRetryPolicy, "sleep", at_once)
        return adlfs.AzureBlobFileSystem


class Google:
    """The emulator of the package gcp-storage-emulator."""

    scheme = "gs"

    @contextmanager
    def running(self):
        """Its port, while the context lasts."""
        from gcp_storage_emulator.server import create_server

        for name in ("gcp_storage_emulator", "api"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with create_server("127.0.0.1", port, in_memory=True) as server:
            _until_it_answers(port)
            yield port
            server.wipe()

    def understood(self, method, path, body):
        """What a request does, and to which object."""
        bare, _, query = path.partition("?")
        found = re.search(r"/b/([^/]+)/o(?:/(.*))?$", bare)
        key = unquote((found and found[2]) or "")
        if found is None:
            return "else", key
        if method == "POST":
            return "write", _name_in(body)
        if method == "DELETE":
            return "delete", key
        if not key:
            return "list", key
        return ("read" if "alt=media" in query else "stat"), key

    def connect(self, url, monkeypatch, _tmp_path):
        """Have clients go to this URL, and not wait before they try again; the file system."""
        # When it is imported gcsfs looks whether it shall ask what a bucket is by gRPC, too, which
        # the emulator does not speak.
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        import fsspec
        import gcsfs
        import gcsfs.retry

        async def at_once(*_arguments):
            pass

        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        # Otherwise it looks for credentials, at last by asking the network.
        monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        monkeypatch.setattr(gcsfs.retry, "asyncio", SimpleNamespace(sleep=at_once))
        monkeypatch.setattr(logging.getLogger("gcsfs"), "disabled", True)
        return gcsfs.GCSFileSystem


SERVERS = {one.scheme: one for one in (S3(), Azure(), Google())}


@contextmanager
def serving(store):
    """The proxy in front of a store's server, while the context lasts."""
    with store.running() as port, running(Proxy(port, store.understood)) as proxy:
        yield proxy


def _by_path(method, path, lists):
    """Of stores whose paths are those of objects."""
    bare, _, query = path.partition("?")
    key = unquote(bare).partition("/")[2]
    if lists in query:
        return "list", key
    verbs = {"GET": "read", "HEAD": "stat", "PUT": "write", "DELETE": "delete"}
    return (verbs.get(method, "else") if key else "else"), key


def _name_in(body):
    """The object that an upload of several parts is of: the first part says it."""
    found = re.search(rb"\{.*?\}", body, re.DOTALL)
    with suppress(ValueError):
        return str(json.loads(found[0]).get("name", "")) if found else ""
    return ""


def _until_it_answers(port):
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError("the emulator does not answer")
