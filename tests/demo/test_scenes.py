"""The scene generator: same seed, same image; masks that tell the truth; no help from color."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnviz.demo import CLASSES
from cnnviz.demo.scenes import Scene, compose, light, scene
from cnnviz.demo.scenes.__main__ import main
from cnnviz.demo.scenes.objects import OBJECTS
from cnnviz.demo.scenes.stamps import Stamp, make_stamp
from cnnviz.errors import UsageError
from cnnviz.images.sources import find_sources
from cnnviz.labels.regions import read_regions

SAMPLE_IMAGES = Path(__file__).parents[2] / "sample_images/scenes"
SAMPLES = re.findall(
    r"^\| `(.+\.png)` \| `(--seed .+)` \|$", (SAMPLE_IMAGES.parent / "README.md").read_text(), re.M
)
assert len(SAMPLES) == len(list(SAMPLE_IMAGES.glob("*.png")))


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [scene(seed) for seed in range(32)]


def test_the_same_seed_gives_the_same_scene_whatever_came_before() -> None:
    first = scene(11)
    scene(12, ("snail",))
    light.noise_sheet.cache_clear()
    again = scene(11)
    np.testing.assert_array_equal(first.image, again.image)
    assert [thing.kind for thing in first.objects] == [thing.kind for thing in again.objects]
    for one, other in zip(first.objects, again.objects, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


def test_other_seeds_give_other_scenes(drawn: list[Scene]) -> None:
    assert len({one.image.tobytes() for one in drawn}) == len(drawn)


def test_images_and_masks_have_the_promised_shape_and_type(drawn: list[Scene]) -> None:
    for one in drawn:
        assert one.image.shape == (224, 224, 3)
        assert one.image.dtype == np.uint8
        for thing in one.objects:
            assert thing.mask.shape == (224, 224)
            assert thing.mask.dtype == np.bool_
            assert CLASSES[thing.index] == thing.kind


def test_seeds_bring_one_or_two_objects_and_every_kind(drawn: list[Scene]) -> None:
    assert {len(one.objects) for one in drawn} == {1, 2}
    assert {thing.kind for one in drawn for thing in one.objects} == set(CLASSES)
    assert all(len({thing.kind for thing in one.objects}) == len(one.objects) for one in drawn)


def test_every_object_can_be_seen_and_no_pixel_belongs_to_two(drawn: list[Scene]) -> None:
    for one in drawn:
        assert np.sum([thing.mask for thing in one.objects], axis=0).max() == 1
        assert all(thing.mask.sum() >= 500 for thing in one.objects)


@pytest.mark.parametrize("seed", range(100, 112))
def test_masks_are_the_pixels_where_the_object_is_what_one_sees(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects in pure red and pure green, all else black and no shadows: the colors are the masks.

    Edges are smooth and may differ by the rounding of half-covered pixels.
    """
    kinds = ("umbrella", "fish")
    inks = {OBJECTS[kind][0]: np.eye(3)[i] * 255 for i, kind in enumerate(kinds)}

    def inked(rng, painter, radius, lit_by, lean):
        stamp = make_stamp(rng, painter, radius, lit_by, lean)
        flat = np.broadcast_to(inks.get(painter, np.zeros(3)), stamp.color.shape)
        return Stamp(flat.astype(np.float32), stamp.alpha)

    monkeypatch.setattr(compose, "make_stamp", inked)
    monkeypatch.setattr(compose, "background", lambda _: np.zeros((224, 224, 3), np.float32))
    monkeypatch.setattr(compose, "finish", lambda _, canvas: canvas)
    monkeypatch.setattr(light.Light, "random", lambda _: light.Light(1.0, 0.0, 1.0, 0.0))
    one = scene(seed, kinds)
    for channel, thing in enumerate(one.objects):
        seen = one.image[:, :, channel] > 127.5
        assert (seen & thing.mask).sum() >= 0.97 * (seen | thing.mask).sum()


@pytest.mark.parametrize(("file", "arguments"), SAMPLES)
def test_the_sample_images_can_be_drawn_again(
    file: str, arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tmp_path), *arguments.split()])
    assert [path.name for path in tmp_path.iterdir()] == [file]
    again, sample = (cv2.imread(str(folder / file)) for folder in (tmp_path, SAMPLE_IMAGES))
    # Another OpenCV may round differently; a moved stroke differs in far more pixels.
    assert np.mean(np.abs(again.astype(int) - sample) > 30) < 1e-3


def test_kinds_can_be_asked_for_in_order() -> None:
    assert [thing.kind for thing in scene(5, ("teapot",)).objects] == ["teapot"]
    assert [thing.kind for thing in scene(5, ["fish", "snail"]).objects] == ["fish", "snail"]


def test_the_mean_color_does_not_give_the_kind_away() -> None:
    """Nearest class center of the object's mean color: far below what shape gives."""

    def colors(first: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        shown = [scene(first + i, (CLASSES[i % 8],)) for i in range(number)]
        means = np.array([one.image[one.objects[0].mask].mean(axis=0) for one in shown])
        return means, np.arange(number) % 8

    known, kinds = colors(200, 40)
    centers = np.array([known[kinds == kind].mean(axis=0) for kind in range(8)])
    asked, truth = colors(400, 40)
    nearest = np.linalg.norm(asked[:, None] - centers, axis=2).argmin(axis=1)
    assert (nearest == truth).mean() < 0.4  # chance is 0.125


@pytest.mark.parametrize("kinds", [(), ("cat",), ("fish", "fish"), ("fish", "snail", "teapot")])
def test_kinds_that_cannot_be_drawn_are_refused(kinds: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="butterfly, fish"):
        scene(0, kinds)


def test_a_single_name_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(UsageError, match="'fish'"):
        scene(0, "fish")


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="-1"):
        scene(-1)


def test_the_command_writes_the_scene_under_the_name_of_what_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tmp_path / "new"), "--seed", "3", "--kinds", "snail", "fish"])
    file = tmp_path / "new" / "snail_and_fish.png"
    assert capsys.readouterr().out.strip() == str(file)
    pixels = cv2.imread(str(file))[:, :, ::-1]
    np.testing.assert_array_equal(pixels, scene(3, ("snail", "fish")).image)


def test_the_command_numbers_several_scenes(tmp_path: Path) -> None:
    main([str(tmp_path), "--seed", "7", "--count", "2", "--kinds", "teapot"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["teapot_7.png", "teapot_8.png"]


def test_the_command_explains_a_wrong_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), "--kinds", "cat"])
    assert stop.value.code == 2
    assert "'cat'" in capsys.readouterr().err


def test_the_command_writes_masks_and_boxes_that_say_where_the_objects_are(tmp_path: Path) -> None:
    main([str(tmp_path), "--masks", "--seed", "7", "--count", "3"])
    sources = find_sources([str(tmp_path / "images")]).sources
    of_masks = read_regions(None, str(tmp_path / "masks"), sources, CLASSES, 8)
    of_boxes = read_regions(str(tmp_path / "boxes.csv"), None, sources, CLASSES, 8)
    assert of_masks.notes == of_boxes.notes == ()
    assert of_masks.known == of_boxes.known == 3
    objects = 0
    for position, source in enumerate(sources):
        drawn = scene(int(source.path.stem.rpartition("_")[2]))
        np.testing.assert_array_equal(cv2.imread(str(source.path))[:, :, ::-1], drawn.image)
        for thing in drawn.objects:
            region = of_masks.region(position, thing.index, (224, 224))
            np.testing.assert_array_equal(region, thing.mask)
            box = of_boxes.region(position, thing.index, (224, 224))
            for axis in (0, 1):  # as wide and as high, and full
                np.testing.assert_array_equal(box.any(axis=axis), spanned(thing.mask, axis))
            assert box.sum() == box.any(axis=0).sum() * box.any(axis=1).sum()
            objects += 1
        absent = next(index for index in range(8) if index not in {o.index for o in drawn.objects})
        assert not of_masks.region(position, absent, (224, 224)).any()
    assert objects > 3  # one scene at least has two


def spanned(mask: np.ndarray, axis: int) -> np.ndarray:
    """From the first to the last place along the other axis where there is anything."""
    places = np.flatnonzero(mask.any(axis=axis))
    span = np.zeros(mask.shape[1 - axis], np.bool_)
    span[places[0] : places[-1] + 1] = True
    return span
