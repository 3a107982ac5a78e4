"""Files: whole or not there, readable by others, and never over somebody else's."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

import cnnviz
from cnnviz.errors import ExitCode, OutputError, OutputUnavailableError, UsageError
from cnnviz.outputs import files
from cnnviz.outputs.files import OutputFolder, check_output_folder, write_file
from cnnviz.outputs.formats import (
    encode_jpeg,
    encode_markup,
    encode_npz,
    encode_png,
    encode_run_file,
)
from cnnviz.outputs.marks import written_by_cnnviz


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)


# --- whole or not there --------------------------------------------------------------------------


def test_a_manifest_is_written_as_it_comes(tmp_path):
    """A generator is asked for the next piece only when it is its turn; nothing is kept."""
    written = []

    def parts():
        yield b'{"cnnviz_manifest": 1,\n'
        (temporary,) = tmp_path.iterdir()
        for number in range(3):
            piece = b"%d" % number * 300_000
            yield piece
            written.append(temporary.stat().st_size)

    write_file(tmp_path / "manifest.json", encode_run_file(parts()))

    assert written[0] >= 300_000
    assert written[1] - written[0] == written[2] - written[1] == 300_000
    assert (tmp_path / "manifest.json").read_bytes() == (
        b'{"cnnviz_manifest": 1,\n' + b"0" * 300_000 + b"1" * 300_000 + b"2" * 300_000
    )
    assert written_by_cnnviz(tmp_path / "manifest.json")


def test_a_manifest_that_fails_half_way_leaves_the_old_one(tmp_path):
    def parts():
        yield b'{"cnnviz_manifest": 1,'
        raise RuntimeError("a bug")

    write_file(tmp_path / "manifest.json", encode_run_file([b'{"cnnviz_manifest": 1}']))
    with pytest.raises(RuntimeError, match="a bug"):
        write_file(tmp_path / "manifest.json", encode_run_file(parts()))
    assert (tmp_path / "manifest.json").read_bytes() == b'{"cnnviz_manifest": 1}'
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_others_may_read_them_as_the_umask_says(tmp_path, image):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "x.png", encode_png(image))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("there_before", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, image, monkeypatch, error, there_before):
    path = tmp_path / "x.png"
    if there_before:
        write_file(path, encode_png(image))
    before = path.read_bytes() if there_before else None

    def fail(*_):
        raise error

    monkeypatch.setattr(files.os, "replace", fail)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputUnavailableError
    with pytest.raises(expected) as caught:
        write_file(path, encode_png(255 - image))

    assert os.listdir(tmp_path) == (["x.png"] if there_before else [])
    if there_before:
        assert path.read_bytes() == before
    if expected is OutputUnavailableError:
        assert not isinstance(caught.value, OutputError)  # the run must stop, not go on
        assert caught.value.exit_code == ExitCode.SOME_FAILED
        assert "x.png cannot be written: No space left on device" in str(caught.value)


@pytest.mark.subprocess
def test_running_out_of_room_in_the_middle(tmp_path):
    """With a real limit of the operating system: 64 KiB a file, for 300 KiB of noise."""
    program = """
import resource, sys
import numpy as np
from cnnviz.errors import OutputUnavailableError
from cnnviz.outputs.files import write_file
from cnnviz.outputs.formats import encode_npz, encode_png
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
for name, parts in (("x.png", encode_png(noise)), ("x.npz", encode_npz({"x": noise}))):
    try:
        write_file(sys.argv[1] + "/" + name, parts)
    except OutputUnavailableError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(cnnviz.__file__).parents[1],
    )
    assert done.stdout.count("cannot be written: File too large") == 2
    assert os.listdir(tmp_path) == []


def test_a_reader_never_sees_a_half_file(tmp_path):
    path = tmp_path / "x.png"
    images = [np.full((200, 200, 3), level, np.uint8) for level in (10, 200)]
    write_file(path, encode_png(images[0]))
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for image in images:
                write_file(path, encode_png(image))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            seen = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
            assert seen.min() == seen.max()
            assert seen[0, 0, 0] in (10, 200)
    finally:
        stop.set()
        writer.join()


def test_a_name_as_long_as_names_can_be(tmp_path, image):
    name = "x" * 251 + ".png"
    write_file(tmp_path / name, encode_png(image))

    assert os.listdir(tmp_path) == [name]


# --- never over somebody else's ------------------------------------------------------------------


def test_our_own_files_are_replaced(tmp_path, image):
    def write(image, number):
        write_file(tmp_path / "x.png", encode_png(image))
        write_file(tmp_path / "x.npz", encode_npz({"a": number}))
        write_file(tmp_path / "x.jpg", encode_jpeg(np.full((8, 8), number, np.uint8), 85))
        write_file(tmp_path / "x.json", encode_run_file([b'{"cnnviz_manifest": %d}' % number]))
        write_file(tmp_path / "x.html", encode_markup(f"{number}"))

    write(image, 1)
    assert all(written_by_cnnviz(path) for path in tmp_path.iterdir())
    write(255 - image, 200)

    assert (np.asarray(Image.open(tmp_path / "x.png")) == 255 - image).all()
    assert np.load(tmp_path / "x.npz")["a"] == 200
    assert (np.asarray(Image.open(tmp_path / "x.jpg")) == 200).all()
    assert (tmp_path / "x.json").read_text() == '{"cnnviz_manifest": 200}'
    assert (tmp_path / "x.html").read_text().startswith("200\n")


def theirs(kind):
    buffer = io.BytesIO()
    if kind == "png":
        Image.new("RGB", (9, 9)).save(buffer, "PNG")
    elif kind == "png with a text":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("Software", "another cnnviz 1")
        Image.new("RGB", (9, 9)).save(buffer, "PNG", pnginfo=info)
    elif kind == "npz":
        np.savez(buffer, a=1)
    elif kind == "npz that mentions it":
        np.savez(buffer, a="cnnviz 0.1.0")
    elif kind == "jpeg":
        Image.new("RGB", (9, 9)).save(buffer, "JPEG")
    elif kind == "jpeg with a comment":
        Image.new("RGB", (9, 9)).save(buffer, "JPEG", comment=b"not cnnviz ")
    elif kind == "jpeg without JFIF":
        buffer.write(b"\xff\xd8\xff\xe1\0\x14Exif" + b"\0" * 60)
    elif kind == "text":
        buffer.write(b"cnnviz 0.1.0")
    elif kind == "page":
        buffer.write(b"<!-- written by cnnviz 0.1.0 -->\n<p>and then changed by hand\n")
    elif kind == "json":
        buffer.write(b'{"version": 1, "cnnviz_manifest": 1}')
    return buffer.getvalue()


KINDS = [
    *("png", "png with a text", "npz", "npz that mentions it", "text", "empty", "page", "json"),
    *("jpeg", "jpeg with a comment", "jpeg without JFIF"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_other_peoples_files_are_not(tmp_path, image, kind):
    content = theirs(kind)
    for name, parts in (
        ("x.png", encode_png(image)),
        ("x.npz", encode_npz({"a": 1})),
        ("x.jpg", encode_jpeg(image, 85)),
        ("x.json", encode_run_file([b'{"cnnviz_manifest": 1}'])),
        ("x.html", encode_markup("<p>")),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OutputError, match=f"{name} exists and was not written by cnnviz"):
            write_file(tmp_path / name, parts)
        assert (tmp_path / name).read_bytes() == content
    assert len(os.listdir(tmp_path)) == 5


def test_neither_are_folders_and_dead_links(tmp_path, image):
    (tmp_path / "x.png").mkdir()
    (tmp_path / "y.png").symlink_to("nowhere")
    for name in ("x.png", "y.png"):
        with pytest.raises(OutputError, match="not written by cnnviz"):
            write_file(tmp_path / name, encode_png(image))
    assert (tmp_path / "y.png").is_symlink()


def test_an_input_is_not_overwritten_even_if_it_is_ours(tmp_path, image):
    """Somebody explains an image that cnnviz wrote: by its path, a link, a detour."""
    write_file(tmp_path / "x.png", encode_png(image))
    (tmp_path / "link.png").symlink_to("x.png")
    (tmp_path / "sub").mkdir()
    for named in ("x.png", "link.png", "sub/../x.png"):
        folder = OutputFolder(tmp_path, [tmp_path / "missing.jpg", tmp_path / named])
        with pytest.raises(OutputError, match="is an input of this run"):
            folder.write(PurePath("x.png"), encode_png(255 - image))
    assert (np.asarray(Image.open(tmp_path / "x.png")) == image).all()

    OutputFolder(tmp_path, [tmp_path / "sub"]).write(PurePath("x.png"), encode_png(255 - image))
    assert (np.asarray(Image.open(tmp_path / "x.png")) == 255 - image).all()


# --- the folder ----------------------------------------------------------------------------------


def test_folders_are_made_as_needed(tmp_path, image):
    folder = OutputFolder(tmp_path / "out" / "new")
    assert not (tmp_path / "out").exists()

    path = folder.write(PurePath("a/b/cat_gradcam.png"), encode_png(image))
    other = folder.write(PurePath("a/b/cat.npz"), encode_npz({"a": 1}))
    small = folder.write(PurePath("thumbnails/a/cat.jpg"), encode_jpeg(image, 85))
    manifest = folder.write(PurePath("manifest.json"), encode_run_file([b'{"cnnviz_manifest": 1}']))
    page = folder.write(PurePath("index.html"), encode_markup("<p>"))

    assert path == tmp_path / "out/new/a/b/cat_gradcam.png"
    assert sorted(os.listdir(path.parent)) == ["cat.npz", "cat_gradcam.png"]
    assert other.exists()
    assert small == tmp_path / "out/new/thumbnails/a/cat.jpg"
    assert small.exists()
    assert manifest.read_bytes() == b'{"cnnviz_manifest": 1}'
    assert page.read_text().startswith("<p>")


@pytest.mark.parametrize("relative", ["../x.png", "a/../../x.png", "/tmp/x.png"])
def test_nothing_is_written_outside(tmp_path, image, relative):
    with pytest.raises(OutputError, match="inside the output folder"):
        OutputFolder(tmp_path / "out").write(PurePath(relative), encode_png(image))


def test_a_file_where_a_folder_has_to_be(tmp_path, image):
    (tmp_path / "a").write_bytes(b"mine")
    for relative in ("a/x.png", "a/b/x.png"):
        with pytest.raises(OutputError, match="cannot be made: a file"):
            OutputFolder(tmp_path).write(PurePath(relative), encode_png(image))
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_check_accepts_what_can_be_made_and_makes_nothing(tmp_path, monkeypatch):
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    check_output_folder("relative/path")
    check_output_folder(Path())
    assert os.listdir(tmp_path) == []


def test_check_refuses_files(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dead").symlink_to("nowhere")
    for path in ("file", "file/below", "dead", "dead/below"):
        with pytest.raises(UsageError, match="is not a folder"):
            check_output_folder(tmp_path / path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(tmp_path, image):
    (tmp_path / "closed").mkdir(mode=0o500)
    for path in ("closed", "closed/below"):
        with pytest.raises(UsageError, match="no permission to write"):
            check_output_folder(tmp_path / path)
    with pytest.raises(OutputUnavailableError, match="cannot be written: Permission denied"):
        write_file(tmp_path / "closed/x.png", encode_png(image))
    with pytest.raises(OutputUnavailableError, match="cannot be made: Permission denied"):
        OutputFolder(tmp_path / "closed").write(PurePath("a/x.png"), encode_png(image))


def test_check_refuses_a_file_system_that_cannot_be_written_to():
    with pytest.raises(UsageError, match=r"nothing can be made in|is not a folder"):
        check_output_folder("/proc/self/explanations")


# --- file systems that have not all names --------------------------------------------------------


def exfat(call):
    """A call as a file system has it that knows no colons in names."""

    def strict(*paths, **options):
        if ":" in os.fspath(paths[-1]):
            raise OSError(errno.EINVAL, "Invalid argument")
        return call(*paths, **options)

    return strict


@pytest.mark.parametrize("relative", ["12:30.png", "12:30/x.png", "a/12:30/b/x.png"])
def test_a_name_that_the_file_system_has_not_costs_its_image_only(
    tmp_path, image, monkeypatch, relative
):
    monkeypatch.setattr(files.os, "replace", exfat(os.replace))
    monkeypatch.setattr(files.Path, "mkdir", exfat(Path.mkdir))
    folder = OutputFolder(tmp_path)
    with pytest.raises(OutputError, match=r"12:30.*: Invalid argument\. If the output folder's"):
        folder.write(PurePath(relative), encode_png(image))
    folder.write(PurePath("x.png"), encode_png(image))
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"x.png"}


@pytest.mark.parametrize(
    ("number", "own"),
    [
        (errno.EINVAL, True),
        (errno.EILSEQ, True),
        (errno.ENAMETOOLONG, True),
        (errno.EPROTO, True),  # VirtualBox's shared folders, of a colon
        (errno.EPERM, True),  # NTFS
        (errno.ENOSPC, False),
        (errno.EDQUOT, False),
        (errno.EROFS, False),
        (errno.EIO, False),
    ],
)
def test_which_refusals_are_a_names_own(tmp_path, image, monkeypatch, number, own):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OutputError if own else OutputUnavailableError, match=os.strerror(number)):
        write_file(tmp_path / "x.png", encode_png(image))
    assert os.listdir(tmp_path) == []


def test_a_name_too_long_with_its_folders(tmp_path, image):
    """By the operating system: no path has more than 4096 bytes."""
    deep = PurePath(*["d" * 250] * 16, "d" * 100, "x.png")
    with pytest.raises(OutputError, match="File name too long"):
        OutputFolder(tmp_path).write(deep, encode_png(image))


def test_what_cannot_be_looked_at_is_not_replaced(tmp_path, image, monkeypatch):
    write_file(tmp_path / "x.png", encode_png(image))

    def closed(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "is_foreign", closed)
    with pytest.raises(OutputError, match=r"x\.png cannot be replaced: Permission denied"):
        write_file(tmp_path / "x.png", encode_png(image))


@pytest.mark.parametrize("call", ["mkdir", "touch"])
def test_a_folder_is_tried(tmp_path, monkeypatch, call):
    """Permissions do not tell everything: root has all, and /proc takes no files all the same."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.Path, call, refuse)
    with pytest.raises(UsageError, match=r"nothing can be made in .* \(Read-only file system\)"):
        check_output_folder(tmp_path / "a/b")
    assert os.listdir(tmp_path) == []
