"""The page of a large run: its parts, and that it says what the page of a small one says."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest

from cnnviz.errors import OutputError, UsageError
from cnnviz.report import build, build_report, parts
from cnnviz.runs.reading import manifest_lines
from tests.report.runs import failed, image, large, manifest, score, write_lines, write_run

COUNT = 1050


@pytest.fixture(scope="module")
def record():
    return large(COUNT)


@pytest.fixture(scope="module")
def pages(record, tmp_path_factory):
    """The same run twice: as one page, and in parts."""
    folders = [tmp_path_factory.mktemp(name) for name in ("whole", "parts")]
    for folder in folders:
        write_lines(folder, record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "COLUMNS", 400)
        patch.setattr(parts, "PATHS", 300)
        build_report(folders[0], whole=COUNT)
        build_report(folders[1], whole=COUNT - 1)
    return folders


def page_of(folder):
    """The page without its scripts and their hashes, and its data."""
    text = (folder / "index.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    return re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", shown), data


def part(folder, name):
    first, last = (folder / "report" / f"{name}.js").read_text().splitlines()
    assert last.startswith("// written by cnnviz ")
    return json.loads(re.fullmatch(r"cnnvizPart\((.*)\);", first)[1])


def test_both_pages_say_the_same(pages):
    (whole, in_one), (shown, in_parts) = map(page_of, pages)
    assert shown == whole
    for key in ("classes", "maps", "pairs", "scale", "worth"):
        assert in_parts[key] == in_one[key]
    assert not (pages[0] / "report").exists()


def test_parts_hold_all_records(pages):
    (_, in_one), (_, in_parts) = map(page_of, pages)
    names = sorted(path.stem for path in (pages[1] / "report").iterdir())
    assert names == [
        *(f"{number:04d}" for number in range(1, 12)),
        *(f"columns-{number:04d}" for number in range(1, 4)),
        *(f"paths-{number:04d}" for number in range(1, 5)),
    ]
    found = [part(pages[1], name) for name in names]
    assert [one["name"] for one in found] == names
    assert {one["run"] for one in found} == {in_parts["parts"]["run"]}
    assert [one for each in found[:11] for one in each["data"]] == in_one["images"]
    paths = [path for each in found[14:] for path in each["data"]]
    assert paths == [one["path"] for one in in_one["images"]]
    first = {int(place): one for place, one in in_parts["parts"]["records"].items()}
    assert set(first) == {*range(60), *(one["place"] for one in in_parts["worth"])}
    assert all(one == in_one["images"][place] for place, one in first.items())


def column(folder, key, kind):
    return np.concatenate(
        [
            np.frombuffer(base64.b64decode(part(folder, f"columns-{n:04d}")["data"][key]), kind)
            for n in (1, 2, 3)
        ]
    )


def test_columns_are_the_values_of_the_records(pages, record):
    images = record["images"]
    good = [one["status"] == "ok" for one in images]
    np.testing.assert_array_equal(
        column(pages[1], "predicted", "<i4"),
        [one["top5"][0]["index"] if ok else -1 for one, ok in zip(images, good, strict=True)],
    )
    np.testing.assert_array_equal(column(pages[1], "truth_counts", "<i4"), np.array(good, int))
    np.testing.assert_array_equal(
        column(pages[1], "truths", "<i4"),
        [one["ground_truth"]["index"] for one, ok in zip(images, good, strict=True) if ok],
    )
    for key, value in (
        ("confidence", lambda one: one["top5"][0]["probability"]),
        ("margin", lambda one: one["margin"]),
        ("loss", lambda one: one["loss"]),
    ):
        np.testing.assert_array_equal(
            column(pages[1], key, "<f8"),
            [value(one) if ok else np.nan for one, ok in zip(images, good, strict=True)],
        )
    bits = np.unpackbits(column(pages[1], "flags", "u1")[:, None], axis=1, bitorder="little")
    correct, incorrect, _, blank, broken = bits[:, :5].T
    np.testing.assert_array_equal(correct, [one["correct"] is True for one in images])
    np.testing.assert_array_equal(incorrect, [one["correct"] is False for one in images])
    np.testing.assert_array_equal(
        blank, [any(each["blank"] for each in one["explanations"]) for one in images]
    )
    np.testing.assert_array_equal(broken, np.logical_not(good))


def test_kinds_and_classes_of_every_sort_of_image(tmp_path):
    """Unknown truths, several true classes, none at all, a failure: counted for the lists."""
    several = {**image("a.jpg", 1), "predicted_classes": [score(1, 0.8)], "correct": False}
    several["true_classes"] = {
        "positive": [score(0, 0.1), score(1, 0.8)],
        "unknown": [],
        "logits": [0.0] * 5,
    }
    none = {**several, "true_classes": {**several["true_classes"], "positive": []}}
    write_lines(tmp_path, manifest([several, none, image("b.jpg", 2), failed("c.jpg")]))
    build_report(tmp_path, whole=3)
    found = page_of(tmp_path)[1]["parts"]
    assert found["kinds"] == {"incorrect": 2, "unknown": 1, "failed": 1}
    assert found["predicted"] == {"1": 2, "2": 1}
    assert found["truths"] == {"0": 1, "1": 1, "-2": 1, "-1": 1}
    assert (found["multi_label"], found["truth_known"]) == (True, True)


def test_a_smaller_run_removes_parts_and_nothing_else(tmp_path, record):
    write_lines(tmp_path, record)
    build_report(tmp_path, whole=10)
    mine = tmp_path / "report" / "0099.js"
    mine.write_text("mine")
    (tmp_path / "report" / "cat_original.png").write_bytes(b"an image")
    assert (tmp_path / "report" / "0011.js").exists()
    write_lines(tmp_path, manifest(record["images"][:150]))
    build_report(tmp_path, whole=10)
    kept = {"0099.js", "cat_original.png"}
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *("0001.js", "0002.js", "columns-0001.js", "paths-0001.js", *kept),
    }
    build_report(tmp_path)
    assert {path.name for path in (tmp_path / "report").iterdir()} == kept


def test_somebody_elses_file_is_left_alone(tmp_path, record):
    write_lines(tmp_path, manifest(record["images"][:150]))
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "0002.js").write_text("mine")
    with pytest.raises(OutputError, match=r"0002\.js exists and was not written by cnnviz"):
        build_report(tmp_path, whole=10)
    assert (tmp_path / "report" / "0002.js").read_text() == "mine"
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lines: lines[:-1], "it has no end"),
        (lambda lines: [*lines[:5], *lines[6:]], "it has 19 images instead of 20"),
        (
            lambda lines: [*lines[:5], lines[5].replace(b'"ok"', b'"so"'), *lines[6:]],
            r"images\[1\]",
        ),
        (lambda lines: [lines[0], b'"run": {},\n', *lines[2:]], "run"),
    ],
)
def test_a_damaged_manifest(tmp_path, record, damage, said):
    write_lines(tmp_path, manifest(record["images"][:20]))
    path = tmp_path / "manifest.json"
    lines = damage(path.read_bytes().splitlines(keepends=True))
    path.write_bytes(b"".join(lines))
    with pytest.raises(UsageError, match=rf"is damaged: .*{said}"):
        build_report(tmp_path, whole=10)


def test_a_manifest_in_other_lines_is_read_as_a_whole(tmp_path, record):
    write_run(tmp_path, manifest(record["images"][:20]), files=False)
    assert manifest_lines(tmp_path) is None
    build_report(tmp_path, whole=10)
    assert len(page_of(tmp_path)[1]["images"]) == 20


def test_too_many_images_for_a_single_file(tmp_path, record, monkeypatch):
    write_lines(tmp_path, manifest(record["images"][:20]))
    monkeypatch.setattr(build, "MOST_IMAGES", 19)
    with pytest.raises(UsageError, match=r"at most 19 images, and this run has 20: leave"):
        build_report(tmp_path, single_file=True)
