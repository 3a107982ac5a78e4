"""Damaged and malicious files, made from sound ones by chance, and given to what reads them.

Every case has a number, which is all that its bytes depend on. The tests run this file as a program
of its own, so that a decoder that takes its process down is seen, and the case named::

    python tests/hostile.py pictures 0 50000     # cases 0 to 49999
    python tests/hostile.py params 1234 1        # that one case again

It prints what went wrong as one line of JSON; the number of the case under way goes to descriptor 3
before it begins, if there is one.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLOW = os.environ.get("CNNVIZ_SLOW") == "1"
"""Whether the tests take their time, and try twenty times as many cases."""

_SECONDS = 5.0  # that one case may take; most take less than a millisecond
_MEBIBYTES = 150  # that the process may grow by
#: libjpeg and libpng say of some damage, and nothing but closing descriptor 2 would stop them.
_NOISY = ("pictures",)


def attack(kind, first, count, *, timeout=120):
    """Try cases in a process of their own; what they came to, or an AssertionError that names one.

    Returns:
        How many cases were read and how many refused, as ``{"read": ..., "refused": ...}``.
    """
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, __file__, kind, str(first), str(count), str(writing)],
            pass_fds=[writing],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    finally:
        os.close(writing)
    last = b""
    with open(reading, "rb") as numbers:

        def follow():
            nonlocal last
            while piece := numbers.read1(1 << 16):
                last = (last + piece)[-64:]

        follower = threading.Thread(target=follow)
        follower.start()
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += f"\nno end after {timeout} s"
        follower.join()
    case = last.split()[-1].decode() if last.split() else "none"
    where = f"python tests/hostile.py {kind} {case} 1"
    assert process.returncode == 0, f"ended with {process.returncode} in `{where}`:\n{err[-3000:]}"
    result = json.loads(out.splitlines()[-1])
    assert not result.pop("wrong"), out
    assert kind in _NOISY or not err, f"this was said on stderr up to `{where}`:\n{err[-2000:]}"
    return result


# --- bytes

_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_EXTREMES += (60000, 65500, 1 << 20, 1 << 30)


def damaged(data, others, rng):
    """One to four accidents that happen to the bytes of a file."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        if not data:
            break
        rng.choice(_ACCIDENTS)(data, others, rng)
    return bytes(data)


def _place(data, rng):
    """A place in a file; every other one near its beginning, where the headers are."""
    return rng.randrange(min(len(data), 96) if rng.random() < 0.5 else len(data))


def _flip(data, _others, rng):
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite(data, _others, rng):
    at = _place(data, rng)
    data[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))


def _extreme(data, _others, rng):
    value = rng.choice(_EXTREMES)
    layout = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q"))
    size = struct.calcsize(layout)
    at = _place(data, rng)
    data[at : at + size] = struct.pack(layout, value & ((1 << 8 * size) - 1))


def _truncate(data, _others, rng):
    del data[rng.randrange(len(data)) :]


def _remove(data, _others, rng):
    at = _place(data, rng)
    del data[at : at + rng.randint(1, 64)]


def _repeat(data, _others, rng):
    at, length = _place(data, rng), rng.randint(1, 256)
    data[at:at] = data[at : at + length] * rng.choice((1, 1, 2, 20))


def _insert(data, _others, rng):
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.randint(1, 64))


def _splice(data, others, rng):
    """Another file's header before this one's rest, or its end instead of this one's."""
    other = rng.choice(others)
    if not other:
        return
    ours, theirs = _place(data, rng), _place(other, rng)
    data[:] = rng.choice((other[:theirs] + data[ours:], data[:ours] + other[theirs:]))


_ACCIDENTS = (_flip, _flip, _overwrite, _extreme, _extreme, _truncate, _remove, _repeat, _insert)
_ACCIDENTS += (_splice,)


# --- pictures


def picture_files():
    """The sample pictures, small, in every format and variant that there is an encoder for."""
    from PIL import Image

    files = []
    for number, path in enumerate(sorted((ROOT / "sample_images").glob("[ps]*/*.*g"))):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.thumbnail((24 + 4 * number, 40))
        alpha = image.copy()
        alpha.putalpha(image.convert("L"))
        grey = image.convert("L")
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        exif[0x010F] = "A camera"
        several = {"save_all": True, "append_images": [image.rotate(180), image.rotate(90)]}
        variants = [
            (image, "PNG", {}),
            (image.convert("P"), "PNG", {"transparency": 3}),
            (image.convert("1"), "PNG", {}),
            (alpha, "PNG", {"exif": exif}),
            (grey.convert("I;16"), "PNG", {}),
            (image, "JPEG", {}),
            (image, "JPEG", {"progressive": True, "exif": exif}),
            (image, "JPEG", {"quality": 95, "subsampling": 0, "restart_marker_blocks": 2}),
            (image.convert("CMYK"), "JPEG", {}),
            (grey, "JPEG", {"exif": exif}),
            (image, "WEBP", {"exif": exif}),
            (alpha, "WEBP", {}),
            (alpha, "WEBP", {"lossless": True}),
            (image, "WEBP", several),
            (image, "GIF", {}),
            (image.convert("P"), "GIF", {"transparency": 5, **several}),
            (image, "BMP", {}),
            (image.convert("P"), "BMP", {}),
            (image, "TIFF", {"exif": exif}),
            (alpha, "TIFF", {"compression": "tiff_lzw"}),
            (image, "TIFF", {"compression": "tiff_adobe_deflate"}),
            (image, "TIFF", {"compression": "jpeg"}),
            (image.convert("1"), "TIFF", {"compression": "group4"}),
            (grey.convert("I;16"), "TIFF", {"compression": "packbits"}),
            (image, "PPM", {}),
            (grey, "PPM", {}),
        ]
        for picture, kind, options in variants:
            buffer = io.BytesIO()
            picture.save(buffer, kind, **options)
            files.append(buffer.getvalue())
    return files


def _with_right_checksums(data):
    """A PNG whose chunks' checksums fit again, so that the damage gets past them."""
    data = bytearray(data)
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


class Pictures:
    """Decoding has to end in pixels or in a PictureError."""

    most = 1_000_000  # pixels

    def __init__(self):
        self.files = picture_files()

    def case(self, rng):
        data = damaged(rng.choice(self.files), self.files, rng)
        if data.startswith(b"\x89PNG") and rng.random() < 0.8:
            data = _with_right_checksums(data)
        return data

    def read(self, data):
        import numpy as np

        from cnnviz.errors import PictureError
        from cnnviz.inputs import decode_picture

        try:
            pixels = decode_picture(data, max_pixels=self.most)
        except PictureError as error:
            _check_text(error)
            return False
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"no picture: {pixels.dtype} {pixels.shape}")
        if not 0 < pixels.size <= 3 * self.most:
            raise ValueError(f"of another size than allowed: {pixels.shape}")
        return True


def _check_text(error):
    text = str(error)
    if not 10 < len(text) < 1000 or not text.isprintable():
        raise ValueError(f"no sentence for people: {text[:2000]!r}")


class Crash:
    """A decoder that takes its process down, in case 7; for the test of this file."""

    def case(self, rng):
        return rng

    def read(self, rng):
        if rng.random() == random.Random("crash 7").random():
            os.kill(os.getpid(), signal.SIGSEGV)
        return True


class Blunder(Crash):
    """A decoder with a fault of its own."""

    def read(self, _rng):
        return 1 / 0


KINDS = {"pictures": Pictures, "crash": Crash, "blunder": Blunder}


def main(kind, first, count, progress=None):
    sys.path.insert(0, str(ROOT))
    subject = KINDS[kind]()
    wrong = []
    results = {"read": 0, "refused": 0}
    # What there is once, on the first use of a library, is no growth.
    for number in range(200):
        _quietly(subject, random.Random(f"warm {kind} {number}"))
    before = _peak()
    for number in range(first, first + count):
        if progress is not None:
            os.write(progress, b"%d\n" % number)
        case = subject.case(random.Random(f"{kind} {number}"))
        began = time.perf_counter()
        try:
            results["read" if subject.read(case) else "refused"] += 1
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            wrong.append([number, traceback.format_exc()[-1500:]])
        if time.perf_counter() - began > _SECONDS:
            wrong.append([number, f"took {time.perf_counter() - began:.1f} s"])
        if _peak() - before > _MEBIBYTES:
            wrong.append([number, f"took {_peak() - before} MiB"])
            before = _peak()
        if len(wrong) >= 10:
            break
    print(json.dumps({**results, "wrong": wrong}))


def _quietly(subject, rng):
    try:
        subject.read(subject.case(rng))
    except Exception:  # noqa: BLE001 - the cases that count come later
        return


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(int, sys.argv[4:5]))
