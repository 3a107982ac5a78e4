"""A server of files on this machine, which fails as it is told to."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultyServer(ThreadingHTTPServer):
    """Serves bytes by path; of a path with faults each request takes one of these first.

    Attributes:
        files: what is served.
        faults: by path what goes wrong, request by request: a status, ``reset`` (the connection is
            reset) or
            ``truncated`` (half the body comes).
        requests: the paths that were asked for, with their queries.
        asked: the same with the methods in front of them.
        weak: whether the ETags of files are marked as weak.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {}
        self.faults = {}
        self.requests = []
        self.asked = []
        self.weak = False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._serve(body=False)

    def do_GET(self):
        self._serve(body=True)

    def _serve(self, *, body):
        self.server.requests.append(self.path)
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        faults = self.server.faults.get(path)
        fault = faults.pop(0) if faults else None
        data = self.server.files.get(path)
        if fault == "reset":
            # Without waiting for what was sent: the other side gets RST, not FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(fault, int) or data is None:
            self.send_response(fault or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status, length = 200, len(data)
        wanted = self.headers.get("Range")
        if wanted is not None:
            first, last = wanted.removeprefix("bytes=").split("-")
            data = data[int(first) : int(last) + 1]
            status = 206
            self.send_response(status)
            self.send_header("Content-Range", f"bytes {first}-{last}/{length}")
        else:
            self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        etag = f'"{hashlib.sha1(self.server.files[path]).hexdigest()}"'
        self.send_header("ETag", f"W/{etag}" if self.server.weak else etag)
        self.end_headers()
        if not body:
            return
        if fault == "truncated":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(files):
    """A server of these files, while the context lasts."""
    server = FaultyServer()
    server.files.update(files)
    with running(server):
        yield server


@contextmanager
def running(server):
    """Have a server answer in a thread of its own, while the context lasts."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
