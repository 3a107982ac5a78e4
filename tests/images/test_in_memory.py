"""Pillow's images, read from the same files that we read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import ImageError
from cnnviz.images.decode import read_image
from cnnviz.images.in_memory import held_image
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.samples import Samples

SHAPE = (23, 31)


def held(image):
    """What a color network gets: RGB of 8 bits, or what is displayed of anything else."""
    found = held_image(image, InputSpec())
    return found.displayed() if isinstance(found, Samples) else found


def sample(mode):
    """An image of this mode whose values are all different, and transparent where it can be."""
    random = np.random.RandomState(0)
    if mode == "I;16":
        return Image.fromarray(random.randint(0, 65536, SHAPE).astype(np.uint16))
    if mode in ("P", "1"):
        return sample("RGB").convert(mode)
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = random.randint(0, 256, (*SHAPE, channels), np.uint8)
    return Image.fromarray(values[:, :, 0] if channels == 1 else values, mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_is_as_in_a_file(mode, tmp_path):
    """Whether it was made, opened, or half transparent in a palette."""
    image = sample(mode)
    file = tmp_path / "file.png"
    image.save(file)
    expected = read_image(file)
    np.testing.assert_array_equal(held(image), expected)
    with Image.open(file) as opened:
        np.testing.assert_array_equal(held(opened), expected)


@pytest.mark.parametrize(
    ("mode", "hidden"),
    [("L", None), ("P", None), ("P", bytes(range(0, 256, 5))), ("RGB", (1, 2, 3))],
)
def test_transparency_beside_the_pixels_is_white(mode, hidden, tmp_path):
    image = sample(mode)
    if hidden is None:
        hidden = image.getpixel((5, 6))
    elif mode == "RGB":
        image.putpixel((3, 4), hidden)
    file = tmp_path / "file.png"
    image.save(file, transparency=hidden)
    with Image.open(file) as opened:
        found = held(opened)
    np.testing.assert_array_equal(found, read_image(file))
    assert (found != np.asarray(image.convert("RGB"))).any()


def test_a_hidden_gray_of_16_bits_is_white(tmp_path):
    image = sample("I;16")
    image.info["transparency"] = image.getpixel((5, 6))
    assert (held(image)[6, 5] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_it_upright(orientation, tmp_path):
    image = sample("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "file.png"
    image.save(file, exif=exif)
    with Image.open(file) as opened:
        np.testing.assert_array_equal(held(opened), read_image(file))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "PA", "La", "RGBa", "RGBX"])
def test_modes_that_no_png_has_are_shown_as_pillow_converts_them(mode):
    """With a premultiplied alpha and without."""
    start = {"La": "LA", "RGBa": "RGBA", "PA": "P", "HSV": "RGB"}.get(mode, mode)
    image = sample(start).convert(mode)
    if mode in ("La", "RGBa"):
        rgba = np.asarray(image.convert(start).convert("RGBA"))
        alpha = rgba[:, :, 3:] / 255
        expected = rgba[:, :, :3] * alpha + 255 * (1 - alpha)
    else:
        expected = np.asarray(image.convert("RGB"), np.float64)
    assert np.abs(held(image) - expected).max() <= 0.5


def test_16_bits_of_the_other_byte_order():
    image = sample("I;16")
    wide = np.asarray(image)
    swapped = Image.frombytes("I;16B", image.size, wide.astype(">u2").tobytes())
    np.testing.assert_array_equal(held(swapped), held(image))


def test_a_photo_in_cmyk_is_as_in_its_file(tmp_path):
    smooth = Image.linear_gradient("L").resize((64, 48))
    image = Image.merge("CMYK", [smooth, smooth.transpose(Image.FLIP_LEFT_RIGHT), smooth, smooth])
    file = tmp_path / "file.jpg"
    image.save(file, quality=100)
    with Image.open(file) as opened:
        found = held(opened).astype(int)
    # Two decoders, and two ways to round the product of ink and black.
    assert np.abs(found - read_image(file)).max() <= 3


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_black_and_white_are_refused(mode):
    with pytest.raises(ImageError, match=f"mode {mode} does not say"):
        held(Image.new(mode, (4, 4)))


def test_what_pillow_cannot_read_is_a_sentence(tmp_path):
    sample("RGB").save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    cut = Image.open(tmp_path / "cut.png")
    with pytest.raises(ImageError, match=r"Pillow cannot read this image of mode RGB: \w"):
        held(cut)
    with Image.open(tmp_path / "whole.png") as image:
        pass
    with pytest.raises(ImageError, match="file was closed"):
        held(image)
    with pytest.raises(ImageError, match="has pixels"):
        held(Image.new("RGB", (0, 4)))
