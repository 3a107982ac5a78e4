"""What files say of themselves: written as the standard has it, read whatever a file holds."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

import cnnviz as package
from cnnviz.errors import ImageError, OutputError, UsageError
from cnnviz.outputs.files import write_file
from cnnviz.outputs.formats import encode_image, encode_npz, encode_png
from cnnviz.outputs.marks import written_by_cnnviz
from cnnviz.outputs.provenance import Origin
from tests.support.capabilities import SLOW

PIXELS = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
ORIGIN = Origin("vgg16", "ab" * 32, "a/cat.jpg", "cd" * 32)
METHOD = {
    "name": "gradcam",
    "key": "gradcam",
    "title": "Grad-CAM",
    "options": {"relu": "standard"},
    "relu": ["standard"],
}
ABOUT = ORIGIN.describe(
    "gradcam", layers=["features.28"], methods=[METHOD], classes=[(281, "tabby, tabby cat")]
)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, body, checksum=None):
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def text(body, before=b"cnnviz\0\0\0\0\0"):
    return chunk(b"iTXt", before + body)


def png(*chunks):
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"")


def zipped(*comments, data=b"x"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, comment in enumerate(comments):
            info = zipfile.ZipInfo(f"{number}.npy")
            info.comment = comment
            archive.writestr(info, data)
    return buffer.getvalue()


def test_what_is_said():
    assert {
        "cnnviz_about": 1,
        "cnnviz": package.__version__,
        "shows": "gradcam",
        "image": {"name": "a/cat.jpg", "sha256": "cd" * 32},
        "network": {"name": "vgg16", "weights": "ab" * 32},
        "layers": ["features.28"],
        "methods": [METHOD],
        "classes": [{"index": 281, "name": "tabby, tabby cat"}],
    } == ABOUT
    assert Origin().describe("filters")["image"] is None


def test_a_png_has_it_where_others_find_it(tmp_path):
    """Pillow reads it, the mark stays where it was, and the pixels and all else are the same."""
    plain, told = tmp_path / "plain.png", tmp_path / "told.png"
    write_file(plain, encode_png(PIXELS))
    write_file(told, encode_png(PIXELS, ABOUT))
    with Image.open(told) as image:
        image.load()
        assert list(image.text) == ["Software", "cnnviz"]
        assert json.loads(image.text["cnnviz"]) == ABOUT
        np.testing.assert_array_equal(np.asarray(image), PIXELS)
    np.testing.assert_array_equal(cv2.imread(str(told))[..., ::-1], PIXELS)
    assert written_by_cnnviz(told)
    without, more = plain.read_bytes(), told.read_bytes()
    start = more.index(b"iTXt") - 4
    length = 12 + struct.unpack(">I", more[start : start + 4])[0]
    assert more[:start] + more[start + length :] == without
    assert package.about(told) == package.about(str(told)) == package.about(os.fsencode(told))


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_a_jpeg_and_a_webp_have_it_where_others_find_it(tmp_path, kind):
    """EXIF's ImageDescription, in ASCII; the pixels are the same without it."""
    about = Origin("vgg16", image="Käfer\udc80.jpg").describe("gradcam")
    plain, told = tmp_path / f"plain.{kind}", tmp_path / f"told.{kind}"
    write_file(plain, encode_image(PIXELS, kind))
    write_file(told, encode_image(PIXELS, kind, about))
    with Image.open(told) as image:
        exif = image.getexif()
        assert exif[0x0131] == f"cnnviz {package.__version__}"
        assert exif[0x010E].isascii()
        assert json.loads(exif[0x010E]) == about
        np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(plain)))
    assert cv2.imread(str(told)).shape == PIXELS.shape
    assert written_by_cnnviz(told)
    assert package.about(told) == about
    with pytest.raises(ImageError, match="does not say what it shows"):
        package.about(plain)


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_what_a_camera_says_is_not_ours(tmp_path, kind):
    exif = Image.Exif()
    exif[0x010E], exif[0x0131] = "OLYMPUS DIGITAL CAMERA", "1.0"
    Image.fromarray(PIXELS).save(tmp_path / f"a.{kind}", exif=exif.tobytes())
    with pytest.raises(ImageError, match="does not say what it shows"):
        package.about(tmp_path / f"a.{kind}")


def test_more_than_a_jpeg_has_room_for():
    classes = [(number, "a class with a long name") for number in range(2000)]
    about = ORIGIN.describe("panel", classes=classes)
    with pytest.raises(OutputError, match=r"room for 65533 bytes .* Try --format png"):
        encode_image(PIXELS, "jpg", about)
    assert b"".join(encode_image(PIXELS, "webp", about))


def test_an_npz_has_it_where_numpy_does_not_see_it(tmp_path):
    arrays = {"a": np.arange(5), "b": np.str_("x")}
    write_file(tmp_path / "plain.npz", encode_npz(arrays))
    write_file(tmp_path / "told.npz", encode_npz(arrays, ABOUT))
    assert package.about(tmp_path / "told.npz") == ABOUT
    assert written_by_cnnviz(tmp_path / "told.npz")
    with np.load(tmp_path / "told.npz") as read, np.load(tmp_path / "plain.npz") as other:
        assert read.files == other.files == ["a", "b"]
        np.testing.assert_array_equal(read["a"], arrays["a"])


@pytest.mark.parametrize("count", [400, 900])
def test_an_npz_of_many_layers(tmp_path, count):
    """More than a zip archive holds with one entry."""
    layers = [f"{number:0300d}" for number in range(count)]
    about = ORIGIN.describe("arrays", layers=layers)
    write_file(tmp_path / "a.npz", encode_npz({str(number): number for number in range(8)}, about))
    write_file(tmp_path / "a.png", encode_png(PIXELS, about))
    assert package.about(tmp_path / "a.npz") == package.about(tmp_path / "a.png") == about


@pytest.mark.parametrize(
    "name",
    ["猫 🦋.jpg", os.fsdecode(b"\xff\xe9.jpg"), "a\0b\nc\u2028\x9b31m", 'q"\\u0041', "é" * 100],
)
def test_any_name_comes_back(tmp_path, name):
    about = Origin(name, None, name).describe("gradcam", classes=[(0, name), (1, None)])
    write_file(tmp_path / "a.png", encode_png(PIXELS, about))
    write_file(tmp_path / "a.npz", encode_npz({"a": 1}, about))
    assert package.about(tmp_path / "a.png") == package.about(tmp_path / "a.npz") == about
    if "\udcff" not in name:  # as it is, for who reads it without us
        shown = json.dumps(name, ensure_ascii=False)
        assert shown.encode() in (tmp_path / "a.png").read_bytes()


def test_files_without_it_are_ours_and_say_nothing(tmp_path):
    write_file(tmp_path / "early.png", encode_png(PIXELS))
    write_file(tmp_path / "early.npz", encode_npz({"a": 1}))
    assert cv2.imwrite(str(tmp_path / "theirs.png"), PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "start.png").write_bytes(SIGNATURE)
    for path in tmp_path.iterdir():
        assert written_by_cnnviz(path) == path.name.startswith("early"), path
        with pytest.raises(ImageError, match="does not say what it shows"):
            package.about(path)


GOOD = json.dumps(ABOUT).encode()


def changed(**keys):
    return json.dumps({**ABOUT, **keys}).encode()


HOSTILE = {
    "another checksum": png(chunk(b"iTXt", b"cnnviz\0\0\0\0\0" + GOOD, 0)),
    "cut off": SIGNATURE + text(GOOD)[:-9],
    "nothing but its name": SIGNATURE + text(b"")[:15],
    "huge and not there": SIGNATURE + struct.pack(">I", 0xFFFFFFFF) + b"iTXtcnnviz\0\0\0\0\0{}",
    "huge and there": png(text(b" " * (5 << 20))),
    "compressed": png(text(zlib.compress(GOOD), b"cnnviz\0\1\0\0\0")),
    "a bomb": png(text(zlib.compress(b" " * (1 << 26)), b"cnnviz\0\1\0\0\0")),
    "in French": png(text(GOOD, b"cnnviz\0\0\0fr\0\0")),
    "no JSON": png(text(b"{")),
    "no UTF-8": png(text(b'"\xff"')),
    "deep": png(text(b"[" * 500_000)),
    "a number": png(text(b"3")),
    "many digits": png(text(b'{"cnnviz_about": %s}' % (b"9" * 10_000))),
    "NaN": png(text(b'{"cnnviz_about": NaN}')),
    "another version": png(text(changed(cnnviz_about=2))),
    "no layers": png(text(changed(layers=None))),
    "layers of numbers": png(text(changed(layers=[3]))),
    "a method that is none": png(text(changed(methods=[{}]))),
    "classes by name": png(text(changed(classes=[{"index": "281", "name": None}]))),
    "no image": png(text(changed(image="cat.jpg"))),
    "channels by name": png(text(changed(channels=["3"]))),
    "an archive cut off": zipped(GOOD)[:-5],
    "an archive without an end": b"PK\3\4" + b"\0" * 1000,
    "an archive of others": zipped(b"mine"),
    "an archive of many": zipped(*[b"x" * 65535] * 20),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_sentence(cnnviz, tmp_path, name):
    (tmp_path / "a.png").write_bytes(HOSTILE[name])
    began = time.process_time()
    status, out, err = cnnviz("about", "a.png")
    assert time.process_time() - began < 2
    assert (status, out) == (1, "")
    assert err.startswith("Error: a.png is damaged where it says what it shows: ")
    assert len(err.splitlines()) == 1
    assert len(err) < 300


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "npz"])
def test_damage_is_found_or_does_no_harm(tmp_path, kind):
    """A changed byte, or an end that is missing: what was said, or an error of ours."""
    rng = random.Random(0)
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        write_file(path, encode_npz({"a": 1, "b": 2}, ABOUT))
    else:
        write_file(path, encode_image(PIXELS, kind, ABOUT))
    whole = path.read_bytes()
    for _ in range(1500 if SLOW else 500):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        try:
            found = package.about(path)
        except ImageError:
            continue
        assert found == ABOUT or kind != "png"  # nothing else has a checksum over it


def test_what_is_no_file(cnnviz, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # would be waited for
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ImageError, match="is not a file"):
            package.about(path)
    for path in ("none.png", "nul\0.png"):
        with pytest.raises((UsageError, ImageError), match=r"There is no file|null"):
            package.about(path)
    status, out, err = cnnviz("about", "none.png")
    assert (status, out, err) == (2, "", "Error: There is no file none.png; check the path.\n")


@pytest.mark.subprocess
def test_reading_needs_neither_numpy_nor_mxnet(tmp_path):
    write_file(tmp_path / "a.npz", encode_npz({"a": 1}, ABOUT))
    code = (
        "import sys, cnnviz; cnnviz.about(sys.argv[1]); import cnnviz.cli.about; "
        "print(sorted({'numpy', 'cv2', 'mxnet', 'PIL'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.npz")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
