"""What in a folder is taken for an image, what is left out aloud, and lists of paths."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

import cnnviz
from cnnviz.errors import ImageError, UsageError
from cnnviz.images import leftovers, local_folders
from cnnviz.images.decode import decode_image
from cnnviz.images.kinds import HEAD, kind_read, kind_unread
from cnnviz.images.sources import find_sources
from cnnviz.outputs.files import write_file
from cnnviz.outputs.formats import encode_png
from cnnviz.outputs.marks import written_by_cnnviz

#: What is found is the same wherever lists are kept.
pytestmark = pytest.mark.usefixtures("anywhere")


def encoded(kind, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**files):
        for name, data in files.items():
            path = tmp_path / "p" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    return lambda files: write(**files)


def relatives(found):
    return [str(source.relative) for source in found.sources]


# --- folders -------------------------------------------------------------------------------------

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_content_decides_where_the_name_does_not(folder):
    names = ["a.jpg", "b.JFIF", "c.jpe", "d.jif", "e.PPM", "f.pgm", "g.pbm", "h.pnm", "i.dib"]
    names += ["j.apng", "k.TIF"]
    folder(dict.fromkeys(names, b"x"))  # by their names, whatever is in them
    kinds = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"]
    folder({f"z{number}": encoded(kind) for number, kind in enumerate(kinds)})
    folder({"y.HEIC": encoded("JPEG"), "y.jpg_original": encoded("JPEG"), "y.1": encoded("PNG")})
    os.symlink("z1", "p/zz_link")  # which has its own name already

    found = find_sources(["p"])

    assert relatives(found) == [*names, "y.1", "y.HEIC", "y.jpg_original"] + [
        f"z{number}" for number in range(8)
    ]
    assert found.notes == ()


def test_what_is_left_out_is_counted_aloud(folder):
    folder({"cat.png": encoded("PNG"), "notes.txt": b"hello", "classes.TXT": b"a\nb"})
    folder({"clip.mp4": b"\0\0\0\x18ftypisom", "README": b"read me", "sub/x.csv": b"a,b"})
    folder({"mystery.q7": bytes(range(200)), "weird.\x01\x1b[2J": b"\x01", "empty": b""})

    assert find_sources(["p", "p"]).notes == (
        "8 files are not images and were skipped: 3 without an extension, 2 .txt, 1 .csv, 1 .mp4, "
        "1 .q7",
    )


def test_images_of_kinds_that_are_not_read_are_called_by_name(folder):
    folder({"cat.png": encoded("PNG"), "a.heic": HEIC, "b": b"8BPS\0\1", "c.HEIC": HEIC})

    assert find_sources(["p"]).notes == (
        "3 images of a format that cnnviz does not read were skipped: 2 HEIC, 1 Photoshop document "
        "(PSD); convert them to JPEG or PNG",
    )


def test_what_nobody_looks_for_needs_no_mention(folder):
    folder({"cat.png": encoded("PNG"), "Dog": encoded("JPEG"), ".hidden": b"x", ".DS_Store": b"x"})
    folder({"cat.txt": b"0 .5 .5", "cat.xml": b"<x/>", "cat.png.json": b"{}", "Thumbs.db": b"x"})
    folder({"desktop.ini": b"x", ".git/config": b"x"})

    assert find_sources(["p"]).notes == ()


def test_a_folder_that_cnnviz_wrote_into_is_told_once(folder):
    folder({"cat.png": encoded("PNG"), "out/manifest.json": b"{}", "out/index.html": b"<html>"})
    write_file("p/out/cat_gradcam.png", encode_png(np.zeros((4, 4, 3), np.uint8)))

    found = find_sources(["p"], is_own=written_by_cnnviz)

    assert found.notes == ("1 image written by cnnviz was skipped",)


def test_a_folder_without_images_says_what_it_holds(folder):
    folder({"a.heic": HEIC, "b.txt": b"x", "c.txt": b"x"})
    with pytest.raises(
        UsageError, match=r"holds no images that cnnviz can read, but 2 \.txt, 1 HEIC; it"
    ):
        find_sources(["p"])


def test_pipes_and_links_to_nowhere_are_not_opened(folder):
    folder({"cat.png": encoded("PNG")})
    os.mkfifo("p/pipe")
    os.symlink("nowhere", "p/link")
    os.symlink("/dev/zero", "p/zero")

    found = find_sources(["p"])
    assert (relatives(found), found.notes) == (["cat.png"], ())


def test_files_are_opened_only_where_their_names_do_not_tell(folder, monkeypatch):
    """A hundred thousand labels beside a hundred thousand images cost no opening."""
    folder({"1.jpg": b"", "2.png": b"", "1.txt": b"", "3.json": b"", "4.zip": b"", "5": b""})
    opened = []
    before = leftovers.kind_of_file
    monkeypatch.setattr(
        local_folders,
        "kind_of_file",
        lambda path: (opened.append(os.path.basename(path)), before(path))[1],
    )
    find_sources(["p"])

    assert opened == ["5"]


def test_in_python_what_is_left_out_is_a_warning(folder):
    folder({"cat.png": encoded("PNG"), "notes.txt": b"hello"})
    explainer = cnnviz.load("demo")
    with pytest.warns(UserWarning, match=r"^p: 1 file is not an image and was skipped: 1 \.txt$"):
        explained = cnnviz.explain("p", model=explainer, method="gradcam")
    assert len(explained) == 1


@pytest.mark.parametrize("command", ["explain", "activations"])
def test_commands_say_it_unless_they_are_quiet(command, cnnviz, folder):
    folder({"cat.png": encoded("PNG"), "notes.txt": b"hello"})
    options = ("-m", "demo", "-o", "out")

    _status, _out, err = cnnviz(command, "p", *options)
    assert "1 file is not an image and was skipped: 1 .txt\n" in err
    status, out, err = cnnviz(command, "p", *options, "-q")
    assert (status, out, err) == (0, "", "")


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (b"\xef\xbb\xbfa.png\r\nb c.png\r\n", ["a.png", "b c.png"]),
        ("a.png\nü.png\n".encode("utf-16"), ["a.png", "ü.png"]),
        (b"\xfe\xff" + "a.png\r\nb c.png".encode("utf-16-be"), ["a.png", "b c.png"]),
        (b"\"a.png\"\n'b c.png'\n", ["a.png", "b c.png"]),
        (b"a.png  \n\t b c.png\t\r\n", ["a.png", "b c.png"]),
        (b" 'a.png' \r\n", ["a.png"]),
        (b"a.png\0b c.png\0", ["a.png", "b c.png"]),
        (b"\xef\xbb\xbfa.png\0new\nline.png\0", ["a.png", "new\nline.png"]),
        (b"a.png\n'quoted'.png\n'q'\n", ["a.png", "'quoted'.png", "'q'"]),
        (b"\xff\xfeab\n", ["\udcff\udcfeab"]),
        (b'"gone.png"\n', ['"gone.png"']),
    ],
)
def test_lists_of_paths_as_all_systems_write_them(listed, expected, folder):
    for name in ("a.png", "b c.png", "ü.png", "new\nline.png", "'quoted'.png", "'q'", "q"):
        open(name, "w").close()  # in the current folder

    found = find_sources(["-"], io.BytesIO(listed)).sources

    assert [str(source.path) for source in found] == expected


# --- kinds ---------------------------------------------------------------------------------------


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cat.jpg", b"x")
    return buffer.getvalue()


def raw_tiff(*tags):
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def box(brand, *others):
    brands = b"".join(others)
    return struct.pack(">I", 16 + len(brands)) + b"ftyp" + brand + bytes(4) + brands + bytes(64)


UNREAD = {
    "a HEIC image": [HEIC, box(b"mif1", b"mif1", b"heic"), box(b"msf1"), box(b"heix")],
    "an AVIF image": [box(b"avif", b"avif", b"mif1"), box(b"mif1", b"mif1", b"avif")],
    "a JPEG 2000 image": [b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(9), b"\xff\x4f\xff\x51\0"],
    "a JPEG XL image": [b"\xff\x0a\xfa", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(9)],
    "a DICOM file": [bytes(128) + b"DICM\2\0"],
    "a Photoshop document (PSD)": [b"8BPS\0\1" + bytes(9)],
    "an SVG drawing": [
        b'<?xml version="1.0"?>\n<svg xmlns="x">',
        b"\xef\xbb\xbf<svg>",
        b"<!-- made by --><svg/>",
    ],
    "a PDF document": [b"%PDF-1.7\n"],
    "a PostScript drawing (EPS)": [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6\0"],
    "a video (MP4)": [box(b"isom", b"mp41"), box(b"mp42"), box(b"M4V ")],
    "a video (QuickTime)": [box(b"qt  ")],
    "a video (Matroska or WebM)": [b"\x1a\x45\xdf\xa3" + bytes(20)],
    "a video (AVI)": [b"RIFF\0\0\0\0AVI LIST"],
    "a camera's raw file": [
        box(b"crx "),
        b"II*\0\x10\0\0\0CR\2\0" + bytes(40),
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",
        b"IIU\0\x08\0\0\0",
        raw_tiff((254, 1), (256, 160), (257, 120), (330, 999)),  # NEF and DNG begin so
        raw_tiff((256, 4000), (257, 3000), (262, 32803)),
        raw_tiff((256, 4000), (257, 3000), (262, 34892)),
    ],
    "a Git LFS pointer": [b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"],
    "a web page (HTML)": [
        b"<!DOCTYPE html>\n<html><body>404",
        b"\n\n<html>",
        b"<head><title>x</title></head>\n<HTML>",
    ],
    "a ZIP archive": [zipped(), b"PK\5\6" + bytes(18)],
    "a tar archive": [b"cat.jpg".ljust(257, b"\0") + b"ustar\x0000"],
    "a gzip archive": [b"\x1f\x8b\x08\0"],
    "an XML file": [b'<?xml version="1.0"?><annotation/>'],
    "a text file": [b"hello", "Grüße\n".encode(), "ß".encode() * HEAD],
    "a file of zeros": [bytes(300)],
    "a macOS attribute file": [b"\0\5\x16\7\0\2\0\0Mac OS X"],
}


@pytest.mark.parametrize("name", UNREAD)
def test_kinds_that_are_not_read_are_called_by_name(name):
    for data in UNREAD[name]:
        with pytest.raises(ImageError) as caught:
            decode_image(data)
        text = str(caught.value)
        assert text.startswith(f"it is {name}"), text
        assert "damaged" not in text


def test_advice_says_what_to_do():
    said = {name: str(kind_unread(data[0])) for name, data in UNREAD.items() if "raw" not in name}
    assert "git lfs pull" in said["a Git LFS pointer"]
    assert "download the image again" in said["a web page (HTML)"]
    assert "convert it to JPEG or PNG" in said["a HEIC image"]
    assert "unpack it" in said["a ZIP archive"]
    assert "frames" in said["a video (MP4)"]


def test_kinds_that_are_read_are_no_others():
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"):
        assert kind_read(encoded(kind)[:HEAD]) is not None
    for data in (b"", b"x", b"P7\n", b"P6", bytes(100), b"II\xbc\1", b"(\0\0\0" + bytes(60)):
        assert kind_read(data) is None
