"""Files: whole or not there, readable by others, and never over somebody else's."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import cnnviz
from cnnviz.errors import ExitCode, ImageError, OutputError, OutputUnavailableError, UsageError
from cnnviz.outputs import files
from cnnviz.outputs.files import (
    OutputFolder,
    check_output_folder,
    write_gif,
    write_html,
    write_jpeg,
    write_json,
    write_npz,
    write_png,
    written_by_cnnviz,
)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)


# --- what is in them -----------------------------------------------------------------------------


def test_png_is_what_pillow_reads_in_color_and_gray(tmp_path, image):
    write_png(tmp_path / "c.png", image)
    write_png(tmp_path / "g.png", image[:, :, 0])

    color, gray = Image.open(tmp_path / "c.png"), Image.open(tmp_path / "g.png")
    assert (color.mode, gray.mode) == ("RGB", "L")
    assert (np.asarray(color) == image).all()
    assert (np.asarray(gray) == image[:, :, 0]).all()
    assert color.text == {"Software": f"cnnviz {cnnviz.__version__}"}
    Image.open(tmp_path / "c.png").verify()  # checks the checksum of every chunk


def test_gif_is_what_pillow_reads_and_is_replaced_but_nobody_elses(tmp_path, image):
    red, blue = np.zeros((2, 9, 7, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    path = tmp_path / "a.gif"
    for _ in range(2):  # the second time it is there already
        write_gif(path, [red, blue, image[:9, :7]], [0.5, 0.25, 2])
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (3, 0)
        for number, (frame, milliseconds) in enumerate([(red, 500), (blue, 250)]):
            gif.seek(number)
            assert gif.info["duration"] == milliseconds
            np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), frame)
    assert written_by_cnnviz(path)

    Image.fromarray(red).save(tmp_path / "theirs.gif")
    theirs = (tmp_path / "theirs.gif").read_bytes()
    with pytest.raises(OutputError, match="not written by cnnviz"):
        write_gif(tmp_path / "theirs.gif", [red], [1])
    assert (tmp_path / "theirs.gif").read_bytes() == theirs


def test_jpeg_is_what_pillow_reads_in_color_and_gray(tmp_path):
    for name, image in (("c", photo()), ("g", photo()[:, :, 0])):
        write_jpeg(tmp_path / f"{name}.jpg", image, 90)
        with Image.open(tmp_path / f"{name}.jpg") as read:
            assert read.mode == ("RGB" if name == "c" else "L")
            assert read.info["comment"] == f"cnnviz {cnnviz.__version__}".encode()
            # The codec itself is not ours: the right image, upright and in the right colors.
            assert np.abs(np.asarray(read).astype(float) - image).mean() < 3
        assert written_by_cnnviz(tmp_path / f"{name}.jpg")


def test_jpegs_have_a_largest_size(tmp_path):
    write_jpeg(tmp_path / "x.jpg", np.zeros((1, 65500), np.uint8), 85)
    with pytest.raises(OutputError, match="at most 65500 pixels"):
        write_jpeg(tmp_path / "y.jpg", np.zeros((65501, 1, 3), np.uint8), 85)
    assert os.listdir(tmp_path) == ["x.jpg"]


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

    write_json(tmp_path / "manifest.json", parts())

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

    write_json(tmp_path / "manifest.json", [b'{"cnnviz_manifest": 1}'])
    with pytest.raises(RuntimeError, match="a bug"):
        write_json(tmp_path / "manifest.json", parts())
    assert (tmp_path / "manifest.json").read_bytes() == b'{"cnnviz_manifest": 1}'
    assert os.listdir(tmp_path) == ["manifest.json"]


@pytest.mark.parametrize("parts", [[], [b""], [b'{"a": 1}'], [b' {"cnnviz_manifest":1}']])
def test_only_what_is_known_for_ours_is_written_as_json(tmp_path, parts):
    with pytest.raises(ValueError, match="begins with"):
        write_json(tmp_path / "manifest.json", parts)
    assert os.listdir(tmp_path) == []


def test_a_page_ends_with_our_mark(tmp_path):
    write_html(tmp_path / "index.html", "<!doctype html>\n<p>\u00e9 \U0001f431 \udcff\n\n")
    assert (tmp_path / "index.html").read_bytes() == (
        "<!doctype html>\n<p>\u00e9 \U0001f431 ?\n"
        f"<!-- written by cnnviz {cnnviz.__version__} -->\n"
    ).encode()
    assert written_by_cnnviz(tmp_path / "index.html")


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9))
        | st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)),
        elements=st.integers(0, 255) | st.sampled_from([0, 255]),
    ),
)
@settings(max_examples=100, deadline=None)
def test_any_image_comes_back(image):
    with tempfile.TemporaryDirectory() as folder:
        write_png(Path(folder) / "x.png", image)
        read = Image.open(Path(folder) / "x.png")
        assert (np.asarray(read) == image).all()
        assert np.asarray(read).shape == image.shape
        Image.open(Path(folder) / "x.png").verify()


def photo():
    path = Path(__file__).parents[2] / "sample_images" / "photos" / "rocket.jpg"
    return np.asarray(Image.open(path).convert("RGB"))


def test_files_are_small(tmp_path):
    """Against OpenCV's default strategy at the same level, which looks for all repetitions."""

    def sizes(image):
        write_png(tmp_path / "x.png", image)
        level = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        return os.path.getsize(tmp_path / "x.png"), cv2.imencode(".png", image, level)[1].size

    grain = np.random.default_rng(4).normal(0, 3, photo().shape)
    ours, theirs = sizes(np.clip(photo() + grain, 0, 255).astype(np.uint8))
    assert ours < theirs
    ours, theirs = sizes(photo())  # half of it night sky
    assert ours < 1.1 * theirs
    flat = np.full((500, 500, 3), 128, np.uint8)
    ours, _ = sizes(flat)
    assert ours < 0.01 * flat.size
    noise = np.random.default_rng(5).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    ours, _ = sizes(noise)
    assert ours < 1.01 * noise.size


def test_npz_is_what_numpy_reads(tmp_path):
    arrays = {
        "input": np.random.default_rng(1).standard_normal((3, 8, 8)).astype(np.float32),
        "target": 281,
        "layer": "features.28",
        "turned": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "empty": np.zeros((0, 3)),
    }
    write_npz(tmp_path / "a.npz", arrays)

    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert sorted(read.files) == sorted(arrays)
        for name, value in arrays.items():
            assert np.array_equal(read[name], value)
        assert read["input"].dtype == np.float32
        assert int(read["target"]) == 281
        assert str(read["layer"]) == "features.28"
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None


def test_the_same_content_gives_the_same_bytes(tmp_path, image):
    for name in ("a", "b"):
        write_png(tmp_path / f"{name}.png", image)
        write_npz(tmp_path / f"{name}.npz", {"x": image})
        write_jpeg(tmp_path / f"{name}.jpg", image, 85)

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 1), (4,), (0, 4, 3), (4, 0)])
def test_only_images_become_png(tmp_path, shape):
    with pytest.raises(ImageError, match="uint8"):
        write_png(tmp_path / "x.png", np.zeros(shape, np.uint8))
    with pytest.raises(ImageError, match="float32"):
        write_png(tmp_path / "x.png", np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ImageError, match="an image is a uint8 array"):
        write_jpeg(tmp_path / "x.jpg", np.zeros(shape, np.uint8), 85)
    assert os.listdir(tmp_path) == []


def test_objects_do_not_become_npz(tmp_path):
    with pytest.raises(OutputError, match="'bad' cannot be written"):
        write_npz(tmp_path / "x.npz", {"good": 1, "bad": np.array([{}, None], object)})
    assert os.listdir(tmp_path) == []


def test_others_may_read_them_as_the_umask_says(tmp_path, image):
    before = os.umask(0o027)
    try:
        write_png(tmp_path / "x.png", image)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == 0o640


# --- whole or not there --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("there_before", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, image, monkeypatch, error, there_before):
    path = tmp_path / "x.png"
    if there_before:
        write_png(path, image)
    before = path.read_bytes() if there_before else None

    def fail(*_):
        raise error

    monkeypatch.setattr(files.os, "replace", fail)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputUnavailableError
    with pytest.raises(expected) as caught:
        write_png(path, 255 - image)

    assert os.listdir(tmp_path) == (["x.png"] if there_before else [])
    if there_before:
        assert path.read_bytes() == before
    if expected is OutputUnavailableError:
        assert not isinstance(caught.value, OutputError)  # the run must stop, not go on
        assert caught.value.exit_code == ExitCode.SOME_FAILED
        assert "x.png cannot be written: No space left on device" in str(caught.value)


def test_running_out_of_room_in_the_middle(tmp_path):
    """With a real limit of the operating system: 64 KiB a file, for 300 KiB of noise."""
    program = """
import resource, sys
import numpy as np
from cnnviz.errors import OutputUnavailableError
from cnnviz.outputs import write_npz, write_png
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
for write, name, content in ((write_png, "x.png", noise), (write_npz, "x.npz", {"x": noise})):
    try:
        write(sys.argv[1] + "/" + name, content)
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
    write_png(path, images[0])
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for image in images:
                write_png(path, image)

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
    write_png(tmp_path / name, image)

    assert os.listdir(tmp_path) == [name]


# --- never over somebody else's ------------------------------------------------------------------


def test_our_own_files_are_replaced(tmp_path, image):
    def write(image, number):
        write_png(tmp_path / "x.png", image)
        write_npz(tmp_path / "x.npz", {"a": number})
        write_jpeg(tmp_path / "x.jpg", np.full((8, 8), number, np.uint8), 85)
        write_json(tmp_path / "x.json", [b'{"cnnviz_manifest": %d}' % number])
        write_html(tmp_path / "x.html", f"{number}")

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
    for name, write, *arguments in (
        ("x.png", write_png, image),
        ("x.npz", write_npz, {"a": 1}),
        ("x.jpg", write_jpeg, image, 85),
        ("x.json", write_json, [b'{"cnnviz_manifest": 1}']),
        ("x.html", write_html, "<p>"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OutputError, match=f"{name} exists and was not written by cnnviz"):
            write(tmp_path / name, *arguments)
        assert (tmp_path / name).read_bytes() == content
    assert len(os.listdir(tmp_path)) == 5


def test_neither_are_folders_and_dead_links(tmp_path, image):
    (tmp_path / "x.png").mkdir()
    (tmp_path / "y.png").symlink_to("nowhere")
    for name in ("x.png", "y.png"):
        with pytest.raises(OutputError, match="not written by cnnviz"):
            write_png(tmp_path / name, image)
    assert (tmp_path / "y.png").is_symlink()


def test_an_input_is_not_overwritten_even_if_it_is_ours(tmp_path, image):
    """Somebody explains an image that cnnviz wrote: by its path, a link, a detour."""
    write_png(tmp_path / "x.png", image)
    (tmp_path / "link.png").symlink_to("x.png")
    (tmp_path / "sub").mkdir()
    for named in ("x.png", "link.png", "sub/../x.png"):
        folder = OutputFolder(tmp_path, [tmp_path / "missing.jpg", tmp_path / named])
        with pytest.raises(OutputError, match="is an input of this run"):
            folder.write_png(PurePath("x.png"), 255 - image)
    assert (np.asarray(Image.open(tmp_path / "x.png")) == image).all()

    OutputFolder(tmp_path, [tmp_path / "sub"]).write_png(PurePath("x.png"), 255 - image)
    assert (np.asarray(Image.open(tmp_path / "x.png")) == 255 - image).all()


# --- the folder ----------------------------------------------------------------------------------


def test_folders_are_made_as_needed(tmp_path, image):
    folder = OutputFolder(tmp_path / "out" / "new")
    assert not (tmp_path / "out").exists()

    path = folder.write_png(PurePath("a/b/cat_gradcam.png"), image)
    other = folder.write_npz(PurePath("a/b/cat.npz"), {"a": 1})
    small = folder.write_jpeg(PurePath("thumbnails/a/cat.jpg"), image, 85)
    manifest = folder.write_json(PurePath("manifest.json"), [b'{"cnnviz_manifest": 1}'])
    page = folder.write_html(PurePath("index.html"), "<p>")

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
        OutputFolder(tmp_path / "out").write_png(PurePath(relative), image)


def test_a_file_where_a_folder_has_to_be(tmp_path, image):
    (tmp_path / "a").write_bytes(b"mine")
    for relative in ("a/x.png", "a/b/x.png"):
        with pytest.raises(OutputError, match="cannot be made: a file"):
            OutputFolder(tmp_path).write_png(PurePath(relative), image)
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
        with pytest.raises(UsageError, match="is no folder"):
            check_output_folder(tmp_path / path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(tmp_path, image):
    (tmp_path / "closed").mkdir(mode=0o500)
    for path in ("closed", "closed/below"):
        with pytest.raises(UsageError, match="no permission to write"):
            check_output_folder(tmp_path / path)
    with pytest.raises(OutputUnavailableError, match="cannot be written: Permission denied"):
        write_png(tmp_path / "closed/x.png", image)
    with pytest.raises(OutputUnavailableError, match="cannot be made: Permission denied"):
        OutputFolder(tmp_path / "closed").write_png(PurePath("a/x.png"), image)


def test_check_refuses_a_file_system_that_cannot_be_written_to():
    with pytest.raises(UsageError, match=r"nothing can be made in|is no folder"):
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
        folder.write_png(PurePath(relative), image)
    folder.write_png(PurePath("x.png"), image)
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
        write_png(tmp_path / "x.png", image)
    assert os.listdir(tmp_path) == []


def test_a_name_too_long_with_its_folders(tmp_path, image):
    """By the operating system: no path has more than 4096 bytes."""
    deep = PurePath(*["d" * 250] * 16, "d" * 100, "x.png")
    with pytest.raises(OutputError, match="File name too long"):
        OutputFolder(tmp_path).write_png(deep, image)


def test_what_cannot_be_looked_at_is_not_replaced(tmp_path, image, monkeypatch):
    write_png(tmp_path / "x.png", image)

    def closed(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "written_by_cnnviz", closed)
    with pytest.raises(OutputError, match=r"x\.png cannot be replaced: Permission denied"):
        write_png(tmp_path / "x.png", image)


@pytest.mark.parametrize("call", ["mkdir", "touch"])
def test_a_folder_is_tried(tmp_path, monkeypatch, call):
    """Permissions do not tell everything: root has all, and /proc takes no files all the same."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.Path, call, refuse)
    with pytest.raises(UsageError, match=r"nothing can be made in .* \(Read-only file system\)"):
        check_output_folder(tmp_path / "a/b")
    assert os.listdir(tmp_path) == []
