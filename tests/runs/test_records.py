"""Records: what they hold, what they refuse, and that what they document is what they have."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

from cnnviz.labels.scores import Score
from cnnviz.runs.evaluation_records import EvaluatedImageRecord
from cnnviz.runs.image_records import (
    ContrastRecord,
    ExplanationRecord,
    HeatmapRecord,
    ImageRecord,
    LocationRecord,
)
from cnnviz.runs.records import RECORDS, json_record
from cnnviz.runs.run_records import EngineRecord
from cnnviz.structure import decode, encode

CAT = Score(281, "tabby, tabby cat", 7.5, 0.61)
DOG = Score(3, None, -1.0, 0.2)
EXPLAINED = ExplanationRecord(
    target=CAT,
    files={"original": "a/cat_original.png", "gradcam": "a/cat_gradcam.png"},
    blank=("gradcam",),
    diagnostics={"occlusion": {"windows": 4, "drop": 0.5}},
    ranges={"gradcam": (0.0, 3.5)},
    location=LocationRecord(
        0.36, (0.04, 0.0, 0.5, 1.0), (1, 2, 3, 4), HeatmapRecord((1, 3), "ADP/")
    ),
)
GOOD = ImageRecord(
    stem="a/cat",
    path="photos/a/cat.jpg",
    relative="a/cat.jpg",
    sha256="ab" * 32,
    size=(300, 400),
    status="ok",
    top5=(CAT, DOG),
    ground_truth=DOG,
    correct=False,
    loss=1.6,
    margin=0.41,
    engine=EngineRecord("torch", "2.13.0", "gpu:0", "tf32"),
    relus_guided=(8, 8),
    explanations=(EXPLAINED,),
    contrasts=(ContrastRecord(CAT, DOG, "a/cat_281-3_contrast.png"),),
    panel="a/cat_panel.png",
    seconds=0.25,
)
FAILED = ImageRecord(
    stem="\udcff",
    path="\udcff",
    relative="\udcff",
    sha256=None,
    size=None,
    status="failed",
    error="empty",
)


@pytest.mark.parametrize("image", [GOOD, FAILED])
def test_what_is_written_is_read_back(image):
    line = encode(image)
    assert line.isascii()
    assert b"\n" not in line
    assert line.startswith(b'{"stem":')  # the journal knows an image's line by that
    assert decode(ImageRecord, json.loads(line), "image") == image


def test_a_failed_image_has_the_keys_of_a_good_one():
    good, failed = (json.loads(encode(one)) for one in (GOOD, FAILED))
    assert list(good) == list(failed)
    assert failed["error"] == "empty"
    assert failed["top5"] == failed["explanations"] == failed["contrasts"] == []


def test_numbers_come_back_to_the_last_bit():
    image = dataclasses.replace(GOOD, loss=0.1 + 0.2, margin=5e-324)
    read = decode(ImageRecord, json.loads(encode(image)), "image")
    assert (read.loss, read.margin) == (0.1 + 0.2, 5e-324)
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(dataclasses.replace(GOOD, loss=float("nan")))


def test_files_are_named_once():
    again = dataclasses.replace(EXPLAINED, files={"original": "a/cat_original.png", "x": "x.png"})
    image = dataclasses.replace(GOOD, explanations=(EXPLAINED, again))
    assert image.files == [
        "a/cat_original.png",
        "a/cat_gradcam.png",
        "x.png",
        "a/cat_281-3_contrast.png",
        "a/cat_panel.png",
    ]
    assert FAILED.files == []
    assert [score.index for score in GOOD.scores] == [281, 3, 3, 281, 281, 3]


def test_heatmaps_by_hand():
    """0, 51 and 255 of 255."""
    values = HeatmapRecord((1, 3), "ADP/").values()
    assert (values.dtype, values.shape) == (np.float32, (1, 3))
    assert values.ravel() == pytest.approx([0, 0.2, 1], abs=1e-7)
    assert HeatmapRecord.of(np.array([[0, 0.2, 1]], np.float32)) == HeatmapRecord((1, 3), "ADP/")


@pytest.mark.parametrize(
    ("shape", "data", "reason"),
    [
        ((2, 2), "ADP/", "2 by 2, and 3 values"),
        ((-1, -3), "ADP/", "-1 by -3"),
        ((10**30, 10**30), "ADP/", "3 values"),
        ((0, 0), "", "0 by 0"),
        ((1, 3), "A?P/", "not in base64"),
        ((1, 3), "ADP", "not in base64"),
        ((1, 3), "é", "not in base64"),
    ],
)
def test_damaged_heatmaps_are_refused(shape, data, reason):
    with pytest.raises(ValueError, match=reason):
        HeatmapRecord(shape, data)


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "", ".", "a\0b.png", "\ud800.png"])
def test_files_are_below_the_folder(name):
    with pytest.raises(ValueError, match=r"no file below the folder|no file can have"):
        ContrastRecord(CAT, DOG, name)
    with pytest.raises(ValueError, match="names"):
        dataclasses.replace(EXPLAINED, files={"gradcam": name})
    with pytest.raises(ValueError, match="names"):
        dataclasses.replace(GOOD, panel=name)


def test_a_line_of_json_has_the_version_and_files_from_here():
    line = json_record(GOOD, Path("out/run"), ["features.28"])
    assert next(iter(line)) == "schema_version"
    assert line["schema_version"] == 4
    assert line["layers"] == ["features.28"]
    assert "stem" not in line
    assert line["explanations"][0]["files"]["gradcam"] == "out/run/a/cat_gradcam.png"
    assert line["contrasts"][0]["file"] == "out/run/a/cat_281-3_contrast.png"
    assert line["panel"] == "out/run/a/cat_panel.png"
    assert list(json_record(FAILED, Path("."), [])) == list(line)
    assert GOOD.files[0] == "a/cat_original.png"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_documented(record):
    attributes = inspect.getdoc(record).partition("Attributes:")[2]
    told = re.findall(r"^    (\w+): ", attributes, re.MULTILINE)
    assert told == [field.name for field in dataclasses.fields(record)]


@pytest.mark.parametrize(
    ("record", "added"),
    [
        (GOOD, {"etag"}),
        (EvaluatedImageRecord("a", "a.png", "a.png", "ok", None, 0.5), {"etag", "others"}),
    ],
    ids=["explained", "evaluated"],
)
def test_files_from_before_a_key_was_added_are_read(record, added):
    written = json.loads(encode(record))
    older = {key: value for key, value in written.items() if key not in added}
    assert written.keys() - older.keys() == added
    assert decode(type(record), older, "it") == record
