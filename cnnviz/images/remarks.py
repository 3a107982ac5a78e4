"""Catch what decoders written in C report on stderr, for the image that it is about.

libjpeg, libpng and libtiff write their remarks to C's ``stderr``, from the thread that decodes.
That is a variable: here it leads, while images are decoded, to a stream that asks which thread
writes. Descriptor 2 itself, where Python's own messages and those of crashes go, is left alone.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cnnviz import system

_LONGEST, _MOST = 200, 5  # of the sentences that are passed on
_ENOUGH = 1 << 12
_WRITE = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _CookieFunctions(ctypes.Structure):
    """``cookie_io_functions_t`` of the GNU C library."""

    _fields_ = [
        ("read", ctypes.c_void_p),
        ("write", _WRITE),
        ("seek", ctypes.c_void_p),
        ("close", ctypes.c_void_p),
    ]


class _Ear:
    """Takes C's ``stderr`` for as long as any thread listens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._heard: dict[int, bytearray] = {}  # by thread
        self._stream: int | None = None
        self._before: int | None = None
        self._open: Any = None
        try:
            library = system.c_library()
            self._stderr = ctypes.c_void_p.in_dll(library, "stderr")
            self._open = library.fopencookie
            self._buffering = library.setvbuf
        except (
            AttributeError,
            OSError,
            TypeError,
            ValueError,
        ):  # another C library: nothing is caught
            return
        self._open.restype = ctypes.c_void_p
        self._open.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _CookieFunctions]
        self._buffering.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t]
        self._functions = _CookieFunctions(None, _WRITE(self._write), None, None)

    def _write(self, _cookie: object, place: int, size: int) -> int:
        text = ctypes.string_at(place, size)
        heard = self._heard.get(threading.get_ident())
        if heard is not None:
            heard += text[: max(0, _ENOUGH - len(heard))]
            return size
        try:
            return os.write(2, text)
        except OSError:
            return 0

    @contextmanager
    def __call__(self) -> Iterator[bytearray]:
        heard = bytearray()
        thread = threading.get_ident()
        if self._open is None or thread in self._heard:
            yield heard
            return
        with self._lock:
            if self._stream is None:
                self._stream = self._open(None, b"w", self._functions)
                self._buffering(self._stream, None, 2, 0)  # each message is passed on at once
            if self._inside == 0:
                self._before, self._stderr.value = self._stderr.value, self._stream
            self._inside += 1
            self._heard[thread] = heard
        try:
            yield heard
        finally:
            with self._lock:
                del self._heard[thread]
                self._inside -= 1
                if self._inside == 0:
                    self._stderr.value = self._before


listening = _Ear()
"""A context in which what this thread's decoders say is put into the bytearray that it returns."""


def sentences(heard: bytes | bytearray) -> tuple[str, ...]:
    """What was heard, line by line, each once, fit to be printed."""
    lines = re.split(r"[\r\n]+", heard.decode("utf-8", "backslashreplace"))
    clean = (
        "".join(letter if letter.isprintable() else " " for letter in line).strip()
        for line in lines
    )
    return tuple(dict.fromkeys(line[:_LONGEST] for line in clean if line))[:_MOST]
