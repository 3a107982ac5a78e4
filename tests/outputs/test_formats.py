"""What is in files: what others read, and by what cnnviz knows them again."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import cnnviz
from cnnviz.errors import ImageError, OutputError, UsageError
from cnnviz.outputs.files import write_file
from cnnviz.outputs.formats import (
    IMAGE_FORMATS,
    check_format,
    encode_gif,
    encode_image,
    encode_jpeg,
    encode_markup,
    encode_npz,
    encode_png,
    encode_run_file,
)
from cnnviz.outputs.marks import is_complete, written_by_cnnviz


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)


def test_png_is_what_pillow_reads_in_color_and_gray(tmp_path, image):
    write_file(tmp_path / "c.png", encode_png(image))
    write_file(tmp_path / "g.png", encode_png(image[:, :, 0]))

    color, gray = Image.open(tmp_path / "c.png"), Image.open(tmp_path / "g.png")
    assert (color.mode, gray.mode) == ("RGB", "L")
    assert (np.asarray(color) == image).all()
    assert (np.asarray(gray) == image[:, :, 0]).all()
    assert color.text == {"Software": f"cnnviz {cnnviz.__version__}"}
    Image.open(tmp_path / "c.png").verify()  # checks the checksum of every chunk


@pytest.mark.subprocess
def test_gif_is_what_pillow_reads_and_is_replaced_but_nobody_elses(tmp_path, image):
    red, blue = np.zeros((2, 9, 7, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    path = tmp_path / "a.gif"
    for _ in range(2):  # the second time it is there already
        write_file(path, encode_gif([red, blue, image[:9, :7]], [0.5, 0.25, 2]))
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
        write_file(tmp_path / "theirs.gif", encode_gif([red], [1]))
    assert (tmp_path / "theirs.gif").read_bytes() == theirs


def test_jpeg_is_what_pillow_reads_in_color_and_gray(tmp_path):
    for name, image in (("c", photo()), ("g", photo()[:, :, 0])):
        write_file(tmp_path / f"{name}.jpg", encode_jpeg(image, 90))
        with Image.open(tmp_path / f"{name}.jpg") as read:
            assert read.mode == ("RGB" if name == "c" else "L")
            assert read.info["comment"] == f"cnnviz {cnnviz.__version__}".encode()
            # The codec itself is not ours: the right image, upright and in the right colors.
            assert np.abs(np.asarray(read).astype(float) - image).mean() < 3
        assert written_by_cnnviz(tmp_path / f"{name}.jpg")


def test_jpegs_have_a_largest_size(tmp_path):
    write_file(tmp_path / "x.jpg", encode_jpeg(np.zeros((1, 65500), np.uint8), 85))
    with pytest.raises(OutputError, match="at most 65500 pixels"):
        write_file(tmp_path / "y.jpg", encode_jpeg(np.zeros((65501, 1, 3), np.uint8), 85))
    assert os.listdir(tmp_path) == ["x.jpg"]


def test_what_the_formats_keep(tmp_path):
    """A PNG every pixel; the others of a smooth map all but two gray levels, on the mean."""
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    image = np.stack(
        [np.tile(ramp, (64, 1)), np.tile(ramp[::-1], (64, 1)), photo()[:64, :96, 2]], 2
    )
    bounds = {"png": 0, "jpg": 1, "webp": 2.5}  # WebP's colors have half the resolution
    assert set(bounds) == set(IMAGE_FORMATS)
    for kind, bound in bounds.items():
        for pixels in (image, np.ascontiguousarray(image[..., 0])):
            path = tmp_path / f"a.{kind}"
            write_file(path, encode_image(pixels, kind))
            with Image.open(path) as read:
                assert read.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[kind]
                found = np.asarray(read.convert("RGB" if pixels.ndim == 3 else "L"))
            assert np.abs(found.astype(float) - pixels).mean() <= bound
            assert written_by_cnnviz(path)
    with Image.open(tmp_path / "a.jpg") as read:
        assert read.mode == "L"
    write_file(tmp_path / "a.jpg", encode_image(image, "jpg"))
    with Image.open(tmp_path / "a.jpg") as read:  # no color is spread over two pixels
        assert [(across, down) for _, across, down, _ in read.layer] == 3 * [(1, 1)]


def test_webps_have_a_largest_size(tmp_path):
    write_file(tmp_path / "x.webp", encode_image(np.zeros((1, 16383), np.uint8), "webp"))
    with pytest.raises(OutputError, match=r"at most 16383 pixels .* Try --format png"):
        write_file(tmp_path / "y.webp", encode_image(np.zeros((16384, 1, 3), np.uint8), "webp"))
    with pytest.raises(ImageError):
        encode_image(np.zeros((4, 4, 4), np.uint8), "webp")
    assert os.listdir(tmp_path) == ["x.webp"]


def test_formats_that_there_are_not():
    with pytest.raises(UsageError, match=r"written as png, jpg, webp; got 'gif'"):
        check_format("gif")


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_other_peoples_images_are_theirs(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    exif = Image.Exif()
    exif[0x0131] = "a camera"
    Image.fromarray(photo()).save(path, exif=exif.tobytes())
    assert not written_by_cnnviz(path)
    assert not is_complete(path)
    with pytest.raises(OutputError, match="not written by cnnviz"):
        write_file(path, encode_image(photo(), kind))


def test_files_without_their_end_are_not_whole(tmp_path):
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    files = {f"a.{kind}": encode_image(pixels, kind) for kind in IMAGE_FORMATS}
    for name, parts in {**files, "a.npz": encode_npz({"x": np.arange(3)})}.items():
        path = tmp_path / name
        write_file(path, parts)
        data = path.read_bytes()
        assert is_complete(path)
        for broken in (data[:-3], data[: len(data) // 2], b"", data[:-5] + b"\0" * 5):
            path.write_bytes(broken)
            assert not is_complete(path), broken
    (tmp_path / "b.png").write_bytes(b"\x89PNG somebody else's")
    assert not is_complete(tmp_path / "b.png")
    assert not is_complete(tmp_path / "none.png")
    assert not is_complete(tmp_path)


def test_what_a_power_cut_left_of_a_file_is_replaced(tmp_path):
    """The length is written before the contents: what is missing at the end is zeros."""
    files = {f"a.{kind}": encode_image(photo(), kind) for kind in IMAGE_FORMATS}
    for name, parts in {**files, "a.npz": encode_npz({"x": np.arange(3000)})}.items():
        path = tmp_path / name
        whole = b"".join(parts)
        path.write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))
        assert written_by_cnnviz(path), name
        assert not is_complete(path)
        write_file(path, parts)
        assert path.read_bytes() == whole


def test_a_mark_in_front_is_passed_over_by_readers(tmp_path):
    image = photo()
    write_file(tmp_path / "a.webp", encode_image(image, "webp"))
    with Image.open(tmp_path / "a.webp") as read:
        assert read.size == image.shape[1::-1]
        assert read.getexif()[0x0131].startswith("cnnviz ")
        pixels = np.asarray(read.convert("RGB"))
    opened = cv2.imread(str(tmp_path / "a.webp"))[:, :, ::-1]
    np.testing.assert_array_equal(opened, pixels)
    data = (tmp_path / "a.webp").read_bytes()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    write_file(tmp_path / "a.npz", encode_npz({"x": np.arange(3), "y": np.eye(2)}))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]
        assert arrays["y"].tolist() == np.eye(2).tolist()


@pytest.mark.parametrize("parts", [[], [b""], [b'{"a": 1}'], [b' {"cnnviz_manifest":1}']])
def test_only_what_is_known_for_ours_is_written_as_json(tmp_path, parts):
    with pytest.raises(ValueError, match="begins with"):
        write_file(tmp_path / "manifest.json", encode_run_file(parts))
    assert os.listdir(tmp_path) == []


def test_a_page_ends_with_our_mark(tmp_path):
    write_file(
        tmp_path / "index.html", encode_markup("<!doctype html>\n<p>\u00e9 \U0001f431 \udcff\n\n")
    )
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
@settings(max_examples=100)
def test_any_image_comes_back(image):
    with tempfile.TemporaryDirectory() as folder:
        write_file(Path(folder) / "x.png", encode_png(image))
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
        write_file(tmp_path / "x.png", encode_png(image))
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
    write_file(tmp_path / "a.npz", encode_npz(arrays))

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
        write_file(tmp_path / f"{name}.png", encode_png(image))
        write_file(tmp_path / f"{name}.npz", encode_npz({"x": image}))
        write_file(tmp_path / f"{name}.jpg", encode_jpeg(image, 85))

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 1), (4,), (0, 4, 3), (4, 0)])
def test_only_images_become_png(tmp_path, shape):
    with pytest.raises(ImageError, match="uint8"):
        write_file(tmp_path / "x.png", encode_png(np.zeros(shape, np.uint8)))
    with pytest.raises(ImageError, match="float32"):
        write_file(tmp_path / "x.png", encode_png(np.zeros((4, 4, 3), np.float32)))
    with pytest.raises(ImageError, match="an image is a uint8 array"):
        write_file(tmp_path / "x.jpg", encode_jpeg(np.zeros(shape, np.uint8), 85))
    assert os.listdir(tmp_path) == []


def test_objects_do_not_become_npz(tmp_path):
    with pytest.raises(OutputError, match="'bad' cannot be written"):
        write_file(tmp_path / "x.npz", encode_npz({"good": 1, "bad": np.array([{}, None], object)}))
    assert os.listdir(tmp_path) == []
