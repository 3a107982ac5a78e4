"""`cnnviz evaluate --boxes`, `--masks`: on scenes that say where their objects are."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from cnnviz.demo.scenes.__main__ import main as write_scenes

OPTIONS = ("-m", "demo", "-o", "out", "--method", "gradcam", "-q")
METRICS = ("--metric", "pointing-game,energy-inside,rank-accuracy,iou")


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Three scenes of a fish and a snail in ``s/images``, the command running beside ``s``."""
    monkeypatch.chdir(tmp_path)
    write_scenes(["s", "--masks", "--count", "3", "--seed", "5", "--kinds", "fish", "snail"])
    return tmp_path / "s"


@pytest.fixture
def evaluate(cnnviz, scenes):
    """Run the command on the scenes: the records of images by name, and what stderr says."""

    def call(*options, status=0):
        ended, _, err = cnnviz("evaluate", scenes / "images", *OPTIONS, *options)
        assert ended == status, err
        file = scenes.parent / "out" / "evaluation.json"
        images = json.loads(file.read_text())["images"] if file.exists() else []
        return {image["relative"]: image for image in images}, err

    return call


def test_maps_are_compared_with_masks_and_with_boxes(evaluate, scenes):
    with open(scenes / "boxes.csv", encoding="utf-8") as file:
        boxes = {(row["path"], row["label"]): row for row in csv.DictReader(file)}
    of_masks, _ = evaluate("--masks", scenes / "masks", *METRICS)
    of_boxes, _ = evaluate("--boxes", scenes / "boxes.csv", *METRICS)
    for name, image in of_boxes.items():
        box = boxes[f"images/{name}", image["target"]["name"]]
        left, top, right, bottom = (int(box[key]) for key in ("x0", "y0", "x1", "y1"))
        area = (right - left) * (bottom - top) / 224**2
        assert image["region_share"] == pytest.approx(area, abs=1e-12)
        ones = image["measurements"]["ones"]["energy-inside"]
        assert ones["value"] == pytest.approx(area, abs=1e-12)
        # A mask is a part of its box.
        assert of_masks[name]["region_share"] < area
        energies = (
            found[name]["measurements"]["gradcam"]["energy-inside"]["value"]
            for found in (of_masks, of_boxes)
        )
        assert 0 < next(energies) < next(energies)
        assert (
            image["measurements"]["gradcam"]["pointing-game"]["group"] == image["target"]["index"]
        )


def test_boxes_are_those_of_the_upright_image_and_of_what_a_crop_leaves(evaluate, scenes):
    """A scene on its side, as cameras store it, with gray to its left and right when upright."""
    (path, *others) = sorted((scenes / "images").iterdir())
    for other in others:
        other.unlink()
    drawn = np.asarray(Image.open(path))
    wide = np.pad(drawn, ((0, 0), (100, 100), (0, 0)), constant_values=128)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right
    Image.fromarray(np.rot90(wide)).save(path, exif=exif)
    (scenes / "wide.csv").write_text(f"path,x0,y0,x1,y1\n{path},0,0,212,224\n")
    records, _ = evaluate("--boxes", "s/wide.csv", "--resize", "crop", *METRICS)
    (image,) = records.values()
    assert image["region_share"] == pytest.approx(212 / 424, abs=1e-12)
    details = image["measurements"]["ones"]["energy-inside"]["details"]
    # The crop is 224/256 of 224: 196 columns from 114 to 310, of which the box has 98.
    assert details["input_share"] == pytest.approx(0.5, abs=0.01)
    assert details["region_seen"] == pytest.approx(196 * 98 / (212 * 224), rel=0.01)


def test_an_image_whose_box_does_not_fit_fails_alone(evaluate, scenes):
    rows = (scenes / "boxes.csv").read_text().splitlines()
    rows[1] = rows[1].rpartition(",")[0] + ",2240"
    (scenes / "bad.csv").write_text("\n".join(rows))
    records, err = evaluate("--boxes", scenes / "bad.csv", *METRICS, status=1)
    assert sorted(image["status"] for image in records.values()) == ["failed", "ok", "ok"]
    assert "in line 2 of" in err
    assert "reaches out of the image, which is 224 pixels wide" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--boxes", "s/boxes.csv", "--masks", "s/masks"), "not both"),
        (("--boxes", "s/none.csv"), "cannot be read"),
        (("--masks", "s/images/none"), "a folder with a PNG for each image"),
        ((), "give --boxes or --masks"),
    ],
)
def test_wrong_usage_is_status_2(evaluate, options, said):
    assert said in evaluate(*options, *METRICS, status=2)[1]
