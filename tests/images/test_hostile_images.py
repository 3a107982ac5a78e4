"""Files and folders that accidents, careless tools and malice leave behind.

Sizes in headers are written by hand from the formats' specifications. Mutated files are made and
read by ``hostile.py``, in a process of its own.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import ImageError, UsageError
from cnnviz.images.containers import probe
from cnnviz.images.decode import decode_image, read_image, read_reduced
from cnnviz.images.sources import find_sources
from cnnviz.outputs.files import write_file
from cnnviz.outputs.formats import encode_png
from cnnviz.outputs.marks import written_by_cnnviz
from tests.support import hostile
from tests.support.capabilities import SLOW


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# --- mutated files -------------------------------------------------------------------------------


@pytest.mark.subprocess
@pytest.mark.hostile
def test_mutated_images_are_read_or_refused():
    """Never a crash, a hang, another exception, or memory that the pixel limit does not allow."""
    result = hostile.attack("images", 0, 100_000 if SLOW else 2_500)

    assert result["read"] > 250  # the damage reaches the decoders
    assert result["refused"] > 250


@pytest.mark.subprocess
def test_the_attack_itself_sees_crashes_and_wrong_errors():
    with pytest.raises(AssertionError, match=r"ended with -11 in `.*hostile\.py crash 7 1`"):
        hostile.attack("crash", 5, 10)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        hostile.attack("blunder", 0, 3)


# --- sizes that headers declare ------------------------------------------------------------------


def png(width, height):
    """A PNG's header, with nothing of the image."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + chunk + end


def jpeg(width, height, marker=0xC0):
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    return (
        b"\xff\xd8\xff" + bytes([marker]) + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"
    )


def webp(*chunks):
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(c)) + c for k, c in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def three(value):
    return struct.pack("<I", value - 1)[:3]


def tiff(width, height, *, order="<", big=False, tile=None, kind=4):
    tags = {256: width, 257: height, 258: 8}
    if tile:
        tags.update({322: tile[0], 323: tile[1]})
    place = "Q" if big else "I"
    value = {1: "B", 3: "H", 4: "I", 16: "Q"}[kind]
    room = 8 if big else 4
    entries = b"".join(
        struct.pack(f"{order}HH{place}", tag, kind, 1)
        + struct.pack(order + value, number).ljust(room, b"\0")
        for tag, number in tags.items()
    )
    mark = {"<": b"II", ">": b"MM"}[order]
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
        return head + struct.pack(order + "Q", len(tags)) + entries + bytes(8)
    return mark + struct.pack(order + "HIH", 42, 8, len(tags)) + entries + bytes(4)


HUGE = {
    "PNG": png(60000, 50000),
    "JPEG": jpeg(60000, 50000),
    "progressive JPEG": jpeg(60000, 50000, 0xC2),
    "lossless JPEG": jpeg(60000, 50000, 0xC3),
    "second frame of a JPEG": jpeg(6, 5)[:-2] + jpeg(60000, 50000)[2:],
    "GIF": b"GIF89a"
    + struct.pack("<HHBBB", 60000, 50000, 0, 0, 0)
    + b",\0\0\0\0\2\0\1\0\0\2\1D\0;",
    "frame of a GIF": b"GIF89a\2\0\1\0\0\0\0,\0\0\0\0"
    + struct.pack("<HH", 60000, 50000)
    + b"\0\2\1D\0;",
    "BMP": b"BM" + bytes(12) + struct.pack("<Iii", 40, 60000, 50000),
    "BMP from the top down": b"BM" + bytes(12) + struct.pack("<Iii", 40, 60000, -50000),
    "BMP of OS/2": b"BM" + bytes(12) + struct.pack("<IHH", 12, 60000, 50000),
    "TIFF": tiff(60000, 50000),
    "TIFF of a Macintosh": tiff(60000, 50000, order=">"),
    "TIFF in short numbers": tiff(60000, 50000, kind=3),
    "BigTIFF": tiff(60000, 50000, big=True, kind=16),
    "tile of a TIFF": tiff(60, 50, tile=(60000, 50000)),
    "PNM": b"P6 # a comment\n60000\n50000 255\n",
}
HUGE_WEBP = {
    # The largest of each: 14 bits, and 24.
    "WebP": (webp((b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16382))), 16383),
    "lossless WebP": (webp((b"VP8L", b"\x2f" + struct.pack("<I", 16381 << 14 | 16382))), 16383),
    "canvas of a WebP": (webp((b"VP8X", bytes(4) + three(16383) + three(16382))), 16383),
    "frame of a WebP": (
        webp(
            (b"VP8X", bytes(4) + three(3) + three(2)),
            (b"ANMF", bytes(6) + three(16383) + three(16382) + bytes(4)),
        ),
        16383,
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_size_beyond_the_limit_is_refused_before_decoding(name):
    assert probe(HUGE[name]).size == (50000, 60000)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError) as caught:
            decode_image(HUGE[name])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert str(caught.value) == (
        "it is 60000 pixels wide and 50000 high, 3,000 million in all, and the limit is 200 "
        "million: scale it down, or raise --max-pixels"
    )


@pytest.mark.parametrize("name", HUGE_WEBP)
def test_webp_declares_its_size_in_four_places(name):
    data, width = HUGE_WEBP[name]
    assert probe(data).size == (16382, width)
    with pytest.raises(ImageError, match="16383 pixels wide and 16382 high, 268 million"):
        decode_image(data)


@pytest.mark.parametrize("number", range(35))
def test_sizes_found_in_headers_are_those_that_are_decoded(number):
    """For every format and variant that the mutated files begin as."""
    data = hostile.image_files()[number]
    with Image.open(io.BytesIO(data)) as opened:
        expected = opened.size[::-1]

    assert probe(data).size == expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_the_limit_is_exact(kind, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(encode(Image.new("RGB", (12, 10)), kind))

    assert read_image(path, max_pixels=120).shape == (10, 12, 3)
    with pytest.raises(ImageError, match=r"12 pixels wide and 10 high, 120 in all.* 119: "):
        read_image(path, max_pixels=119)
    with pytest.raises(ImageError, match="--max-pixels"):
        read_reduced(path, lambda source: (1, 1), max_pixels=119)


def test_an_image_of_many_zeros_is_a_small_file(tmp_path, monkeypatch):
    """900 million pixels in a file of 4 MB; the limit is what keeps them out of memory."""
    # A thousand rows are compressed once, to a stretch that may be repeated.
    size = 30001 * 30000
    rows = zlib.compressobj(1, zlib.DEFLATED, -15)
    stretch = rows.compress(bytes(size // 30)) + rows.flush(zlib.Z_FULL_FLUSH)
    adler = size % 65521 << 16 | 1  # of so many zeros
    data = b"\x78\x01" + 30 * stretch + rows.flush() + struct.pack(">I", adler)
    body = png(30000, 30000)
    kind = b"IDAT" + data
    chunk = struct.pack(">I", len(data)) + kind + struct.pack(">I", zlib.crc32(kind))
    path = tmp_path / "zeros.png"
    path.write_bytes(body[:33] + chunk + body[33:])
    assert path.stat().st_size < 5_000_000

    monkeypatch.setattr(cv2, "imdecode", None)  # no decoder is asked
    with pytest.raises(ImageError, match="30000 pixels wide and 30000 high, 900 million in all"):
        read_image(path)


@pytest.mark.parametrize("shape", [(1, 1), (1, 20000), (20000, 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF"])
def test_images_of_extreme_shapes_are_read(shape, kind, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(encode(Image.new("RGB", shape[::-1], (255, 0, 0)), kind))

    pixels = read_image(path)

    assert pixels.shape == (*shape, 3)
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 2


def test_a_file_longer_than_any_allowed_image_is_not_read(tmp_path):
    path = tmp_path / "long.png"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # it has holes only

    with pytest.raises(ImageError, match="the file has 1,099,511,627,776 bytes"):
        read_image(path)


def test_a_jpeg_of_a_thousand_scans_is_refused():
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x55"
    data = jpeg(8, 8)[:-2] + 1000 * scan + b"\xff\xd9"
    with pytest.raises(ImageError, match="more than 100 scans"):
        decode_image(data)


def test_what_follows_a_pngs_end_is_kept_from_the_decoder():
    """Without image data OpenCV would look behind the end, and allocate what it finds there."""
    data = png(16, 16) + b"\x0d\x0a\x1a\x0a" + bytes(64)
    with pytest.raises(ImageError, match="damaged or of a rare kind"):
        decode_image(data)
    assert probe(data).content == png(16, 16)


@pytest.mark.parametrize("order", ["<", ">"])
def test_bigtiff_is_looked_into(order):
    """Separate planes of 16 bits, which OpenCV reads wrongly, are told in BigTIFF as in TIFF."""
    planes = np.arange(48, dtype=np.uint16).reshape(3, 4, 4) * 1000
    tags = {256: [4], 257: [4], 258: [16] * 3, 262: [2], 277: [3], 284: [2]}
    end = 16 + 8 + 20 * (len(tags) + 2) + 8
    tags.update({273: [end, end + 32, end + 64], 279: [32] * 3})
    entries = b"".join(
        struct.pack(order + "HHQ", tag, 3, len(values))
        + struct.pack(f"{order}{len(values)}H", *values).ljust(8, b"\0")
        for tag, values in sorted(tags.items())
    )
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HHHQ", 43, 8, 0, 16)
    data = head + struct.pack(order + "Q", len(tags)) + entries + bytes(8)
    body = planes.astype(order + "u2").tobytes()
    expected = np.rint(np.moveaxis(planes, 0, 2) / 257)
    assert (decode_image(data + body).pixels == expected).all()
    with pytest.raises(ImageError, match="truncated or damaged"):
        decode_image(data + body[:-1])


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "a JPEG 2000 image"),
        (b"\x59\xa6\x6a\x95" + bytes(50), "a Sun raster image"),
        (b"#?RADIANCE\n" + bytes(50), "a Radiance HDR image"),
        (b"\x76\x2f\x31\x01" + bytes(50), "an OpenEXR image"),
        (b"PF\n4 4\n-1.0\n" + bytes(200), "a PFM image"),
    ],
)
def test_kinds_whose_readers_are_not_trusted_are_refused(data, name):
    with pytest.raises(ImageError, match=f"it is {name}, which cnnviz does not read; convert"):
        decode_image(data)


# --- what is no file -----------------------------------------------------------------------------


def within(seconds, function):
    """The function's result or error; fails if it is not there in time."""
    result = []

    def call():
        try:
            result.append(function())
        except Exception as error:  # noqa: BLE001 - given to the test
            result.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "it waits"
    return result[0]


def test_pipes_sockets_and_devices_are_refused_and_not_waited_for(here):
    os.mkfifo("pipe.jpg")
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket.jpg")
    os.symlink("/dev/zero", "zero.jpg")
    with server:
        for name, what in {
            "pipe.jpg": "a pipe",
            "socket.jpg": "a socket",
            "zero.jpg": "a device",
        }.items():
            error = within(5, lambda name=name: read_image(name))
            assert isinstance(error, ImageError)
            assert str(error) == f"it is {what}; cnnviz reads files"
        # They are found, so that nothing is left out without a word.
        names = [source.shown for source in within(5, lambda: find_sources(["."]).sources)]
        assert names == ["pipe.jpg", "socket.jpg", "zero.jpg"]


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(here, monkeypatch):
    os.mkfifo("pipe.jpg")
    regular = os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda *arguments, **options: regular)

    error = within(5, lambda: read_image("pipe.jpg"))

    assert str(error) == "it is a pipe; cnnviz reads files"


def test_a_file_that_grows_is_read_up_to_what_was_allowed(here, monkeypatch):
    small = encode(Image.new("RGB", (2, 2)), "PNG")
    Path("x.png").write_bytes(small + bytes(1 << 25))
    before = os.fstat

    def fstat(descriptor):
        return os.stat_result([*before(descriptor)[:6], len(small), *before(descriptor)[7:]])

    monkeypatch.setattr(os, "fstat", fstat)
    assert read_image("x.png", max_pixels=4).shape == (2, 2, 3)


def test_links_that_lead_nowhere_and_to_themselves(here):
    os.symlink("nowhere.jpg", "broken.jpg")
    os.symlink("loop.jpg", "loop.jpg")
    os.symlink("b.jpg", "a.jpg")
    os.symlink("a.jpg", "b.jpg")

    sources = find_sources(["."]).sources

    assert [source.shown for source in sources] == ["a.jpg", "b.jpg", "broken.jpg", "loop.jpg"]
    for source in sources:
        with pytest.raises(ImageError, match=r"no such file|symbolic links"):
            read_image(source.path)
    with pytest.raises(UsageError, match=r"loop\.jpg cannot be looked up: .*symbolic links"):
        find_sources(["loop.jpg"])


def test_a_folder_named_like_an_image_is_a_folder(here, write_image):
    write_image(here / "x.jpg" / "y.png")

    assert [source.shown for source in find_sources(["."]).sources] == ["x.jpg/y.png"]
    assert [str(source.relative) for source in find_sources(["x.jpg"]).sources] == ["y.png"]
    with pytest.raises(ImageError, match="a folder, not an image"):
        read_image("x.jpg")


def test_bad_lines_of_standard_input_do_not_stop_the_others(here, write_image):
    write_image(here / "good.png")
    (here / "empty").mkdir()
    lines = b"empty\nnul\0in.png\n" + b"x" * 5000 + b".png\nlost.png\ngood.png\n/dev/zero\n"

    sources = find_sources(["-"], io.BytesIO(lines)).sources

    assert len(sources) == 6
    reasons = []
    for source in sources:
        try:
            read_image(source.path)
            reasons.append("read")
        except ImageError as error:
            # Python 3.13 has another sentence.
            reasons.append(re.sub("(?<=read: )(stat: )?embedded null.*", "a null", str(error)))
    assert reasons == [
        "it is a folder, not an image",
        "it cannot be read: a null",
        "it cannot be read: File name too long",
        "there is no such file",
        "read",
        "it is a device; cnnviz reads files",
    ]


@pytest.mark.subprocess
def test_a_tree_deeper_than_paths_can_be_long_is_named(here, write_image):
    """Not passed over in silence, nor in the way of the others."""
    write_image(here / "p" / "good.png")
    folder = os.open("p", os.O_RDONLY)
    part = "d" * 200
    depth = 4096 // 201 + 2
    for _ in range(depth):
        os.mkdir(part, dir_fd=folder)
        below = os.open(part, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    try:
        *deep, good = sorted(
            find_sources(["p"]).sources,
            key=lambda source: source.shown != "p/good.png",
            reverse=True,
        )
        assert good.shown == "p/good.png"
        assert len(deep) == 1
        with pytest.raises(ImageError, match="File name too long"):
            read_image(deep[0].path)
    finally:
        subprocess.run(["rm", "-rf", "p"], check=True)


# --- files that cnnviz wrote ---------------------------------------------------------------------


def test_what_earlier_runs_wrote_into_the_folder_is_no_input(here, write_image):
    write_image(here / "p" / "cat.png")
    (here / "p" / "old maps").mkdir()
    pixels = np.zeros((4, 4, 3), np.uint8)
    write_file(here / "p" / "old maps" / "cat_gradcam.png", encode_png(pixels))
    write_file(here / "p" / "dog_gradcam.png", encode_png(pixels))
    os.symlink("dog_gradcam.png", "p/link.png")

    found = find_sources(["p"], is_own=written_by_cnnviz)

    assert [source.shown for source in found.sources] == ["p/cat.png"]
    assert found.own == 2
    assert len(find_sources(["p"]).sources) == 3

    # Who names one, or lists it, means it.
    named = find_sources(
        ["p/dog_gradcam.png", "-"], io.BytesIO(b"p/link.png\n"), is_own=written_by_cnnviz
    )
    assert len(named.sources) == 1
    assert named.own == 0


def test_a_folder_of_nothing_else(here):
    Path("p").mkdir()
    write_file("p/cat_gradcam.png", encode_png(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(UsageError, match=r"folder p holds no images but those .* wrote \(1\)"):
        find_sources(["p"], is_own=written_by_cnnviz)


def test_the_mark_is_looked_for_in_files_only(here, write_image):
    os.mkfifo("pipe.png")
    os.symlink("nowhere", "broken.png")
    os.symlink("pipe.png", "to_pipe.png")
    Path("short.png").write_bytes(b"\x89P")
    Path("empty.png").write_bytes(b"")

    found = within(5, lambda: find_sources(["."], is_own=written_by_cnnviz))

    assert len(found.sources) == 4  # the pipe once
    assert found.own == 0


# --- a run over all of it ------------------------------------------------------------------------


@pytest.mark.subprocess
def test_every_input_of_a_hostile_folder_is_accounted_for(here, write_image):
    """As a user has it: no crash, no hang, exit status 1, and every image told."""
    names = ["new\nline.png", "100%s%d.png", "🦋.png", "x" * 251 + ".png", "a;rm -rf.png", " .png"]
    names += [
        os.fsdecode(b"\xff\xfe.png"),
        "one/same.png",
        "two/same.png",
        "A.png",
        "a.PNG",
        "a.jpg",
    ]
    for seed, name in enumerate(names):
        (here / "p" / name).parent.mkdir(exist_ok=True, parents=True)
        plain = f"plain{os.path.splitext(name)[1].lower()}"  # OpenCV writes no other names
        write_image(here / plain, seed, (40, 50)).rename(here / "p" / name)
    for shape in ((1, 1), (1, 20000), (20000, 1)):
        Image.new("L", shape[::-1], 99).save(here / "p" / f"{shape[0]}.{shape[1]}.png")
    good = len(names) + 3
    bad = 0
    for name, data in {
        "empty.png": b"",
        "huge.png": png(60000, 50000),
        "no.jpg": b"no image",
    }.items():
        (here / "p" / name).write_bytes(data)
        bad += 1
    os.mkfifo("p/pipe.png")
    os.symlink("nowhere", "p/broken.png")
    os.symlink("loop.png", "p/loop.png")
    os.symlink("/dev/zero", "p/zero.png")
    bad += 4
    (here / "p" / "folder.png").mkdir()

    command = [sys.executable, "-m", "cnnviz", "explain", "p", "--model", "demo", "-o", "p/out"]
    command += ["--method", "gradcam", "--size", "64"]
    environment = {**os.environ, "PYTHONPATH": str(hostile.ROOT)}
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment, check=False)

    assert done.returncode == 1, done.stderr
    manifest = json.loads((here / "p" / "out" / "manifest.json").read_bytes())
    status = [record["status"] for record in manifest["images"]]
    assert (status.count("ok"), status.count("failed")) == (good, bad)
    files = [
        file
        for record in manifest["images"]
        for explanation in record.get("explanations", ())
        for file in explanation["files"].values()
    ]
    assert len({name.casefold() for name in files}) == len(files) == 2 * good
    for file in files:
        assert os.path.isfile(os.path.join(b"p/out", os.fsencode(file)))
    assert b"Traceback" not in done.stderr
