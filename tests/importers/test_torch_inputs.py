"""What networks of torchvision and timm are fed: the very numbers of the packages' transforms.

Both resize by Pillow in 8 bits, and scale in float32 in the same order, so that nothing is rounded
otherwise: the tolerance is one step of float32 at the largest number, in case of a fused operation.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cnnviz.images.decode import read_image
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import prepare
from cnnviz.importers.program_source import InputHint
from cnnviz.importers.torch_inputs import timm_hint, torchvision_hint
from cnnviz.models.config import ModelConfig
from cnnviz.models.input_choice import choose_spec

SHAPES = [(333, 500), (500, 333), (331, 333), (224, 224), (100, 61), (57, 333), (31, 777)]
ROUNDING = {"rtol": 0, "atol": 5e-7}


def photo(height, width):
    """Something smooth, with a camera's noise."""
    rng = np.random.default_rng(height * 1000 + width)
    small = rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), np.uint8)
    large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(large, np.int16) + rng.integers(-20, 21, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


PHOTOS = [photo(*shape) for shape in SHAPES]


def spec_of(hint, **options):
    return choose_spec(ModelConfig("net", **options), hint, "net", "net")[0]


def transforms(crop, scaled, interpolation):
    """As torchvision's weights have them."""
    return SimpleNamespace(
        crop_size=[crop],
        resize_size=[scaled],
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225],
        interpolation=SimpleNamespace(value=interpolation),
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop", [(224, 224), (224, 232), (224, 256), (299, 342), (30, 31)])
@pytest.mark.parametrize("image", PHOTOS, ids=map(str, SHAPES))
def test_as_pillow_and_numpy_do_it(image, crop, interpolation):
    """Short side to ``scaled``, the long one cut to whole pixels, the corner rounded."""
    side, scaled = crop
    hint, different = torchvision_hint(transforms(side, scaled, interpolation))
    assert not different
    height, width = image.shape[:2]
    short = min(height, width)
    size = scaled * height // short, scaled * width // short
    resized = Image.fromarray(image).resize(
        size[::-1], Image.Resampling[interpolation.upper()], reducing_gap=None
    )
    top, left = (int(np.rint((whole - side) / 2)) for whole in size)
    expected = np.asarray(resized.crop((left, top, left + side, top + side))) / 255
    expected = (expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    found = prepare(image, spec_of(hint)).input
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), **ROUNDING)


def test_another_interpolation_than_pillows_is_said():
    hint, different = torchvision_hint(transforms(224, 256, "nearest-exact"))
    assert hint.interpolation == "bilinear"
    assert different == (
        "is not fed as in its package: it was evaluated with nearest-exact interpolation, here "
        "with bilinear"
    )


def test_options_come_first():
    hint = InputHint(3, (32, 32), resize="crop", crop_fraction=0.95, interpolation="bicubic")
    assert spec_of(hint) == InputSpec(
        32, 32, resize="crop", crop_fraction=0.95, interpolation="bicubic"
    )
    other = spec_of(hint, crop_fraction=0.9, interpolation="area", input_size=(48, 64))
    assert (other.shape, other.kept, other.interpolation) == ((3, 48, 64), 0.9, "area")
    # What is kept of a crop says nothing about stretching.
    assert spec_of(hint, resize="stretch").kept == 1
    assert spec_of(hint, resize="stretch", crop_fraction=0.9).kept == 0.9
    assert spec_of(InputHint(3, (32, 32))) == InputSpec(32, 32)


def test_another_size_of_the_packages_validation_is_said():
    hint = InputHint(3, (224, 224), (0.0,) * 3, (1.0,) * 3, validation="--input-size 288")
    said = choose_spec(ModelConfig("net"), hint, "net", "net")[1]
    assert said == [
        "net is fed images of 224x224, as in its training; its package's own validation takes "
        "--input-size 288."
    ]
    for given in ({"input_size": (288, 288)}, {"crop_fraction": 0.9}):
        assert choose_spec(ModelConfig("net", **given), hint, "net", "net")[1] == []


def check(image, hint, transform):
    """That the package's own transform gives the same."""
    expected = transform(Image.fromarray(image)).numpy()
    np.testing.assert_allclose(prepare(image, spec_of(hint)).input, expected, **ROUNDING)


@pytest.mark.needs("torchvision")
def test_as_each_network_of_torchvision():
    from torchvision import models

    each = {}
    for name in models.list_models(module=models):
        own = models.get_model_weights(name).DEFAULT.transforms()
        each[own.crop_size[0], own.resize_size[0], own.interpolation, tuple(own.mean)] = own
    assert len(each) > 20
    for number, (key, own) in enumerate(each.items()):
        hint, different = torchvision_hint(own)
        assert not different, key
        check(PHOTOS[number % len(PHOTOS)], hint, own)
        check(PHOTOS[(number + 3) % len(PHOTOS)], hint, own)


@pytest.mark.needs("timm")
def test_as_each_network_of_timm():
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg, list_pretrained

    each, bordered = {}, set()
    for name in list_pretrained():
        config = get_pretrained_cfg(name).to_dict()
        data = resolve_data_config({}, pretrained_cfg=config)
        if max(data["input_size"]) <= 400:
            key = ("input_size", "interpolation", "crop_pct", "crop_mode")
            each[tuple(data[one] for one in key)] = config, data
    assert {mode for *_, mode in each} >= {"center", "squash"}
    for number, (key, (config, data)) in enumerate(each.items()):
        hint, different = timm_hint(config)
        if different:
            bordered.add(key[-1])
            assert "with borders" in different
        else:
            transform = create_transform(**data, is_training=False)
            check(PHOTOS[number % len(PHOTOS)], hint, transform)
    assert bordered <= {"border"}


@pytest.mark.needs("timm")
@pytest.mark.parametrize(
    ("more", "validation", "different"),
    [
        ({}, "", ""),
        (
            {"test_input_size": (3, 288, 288), "test_crop_pct": 1.0},
            "--input-size 288 --crop-fraction 1",
            "",
        ),
        ({"test_input_size": (3, 256, 192)}, "--input-size 256x192", ""),
        ({"test_crop_pct": 0.95}, "--crop-fraction 0.95", ""),
        ({"crop_pct": 1.15}, "", "it was evaluated on smaller images with borders, here without"),
        (
            {"crop_mode": "border"},
            "",
            "it was evaluated on whole images with borders, here on their centers",
        ),
        (
            {"interpolation": "random"},
            "",
            "it was evaluated with random interpolation, here with bilinear",
        ),
    ],
)
def test_what_timm_does_otherwise_is_said(more, validation, different):
    config = {"input_size": (3, 224, 224), "crop_pct": 0.9, "interpolation": "bicubic", **more}
    hint, said = timm_hint(config)
    assert hint.validation == validation
    assert said == (different and f"is not fed as in its package: {different}")


@pytest.mark.needs("torchvision")
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_other_kinds_of_images_are_those_of_their_rgb(mode, tmp_path):
    """Gray and palettes as Pillow's RGB; transparency lies over white, as everywhere in cnnviz."""
    from torchvision import models

    own = models.get_model_weights("efficientnet_b0").DEFAULT.transforms()
    held = Image.fromarray(PHOTOS[0]).convert(mode)
    if mode.endswith("A"):
        held.putalpha(Image.linear_gradient("L").resize(held.size))
    held.save(tmp_path / "x.png")
    pixels = read_image(tmp_path / "x.png")
    if mode.endswith("A"):
        white = Image.new("RGBA", held.size, "white")
        white.alpha_composite(held.convert("RGBA"))
        rgb = np.asarray(white.convert("RGB"), np.int16)
        assert np.abs(rgb - pixels).max() <= 1  # a rounding
    else:
        np.testing.assert_array_equal(pixels, np.asarray(held.convert("RGB")))
    check(pixels, torchvision_hint(own)[0], own)
