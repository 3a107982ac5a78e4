"""The page of a comparison as text: what it says, what cannot break out of it, where links lead."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest

from cnnviz.comparison.records import MeanRecord, MetricChangeRecord
from cnnviz.errors import OutputError
from cnnviz.report import build_report
from cnnviz.report.compared_view import change, mean, signed
from cnnviz.report.comparison import build_comparison_page
from tests.report.comparisons import built, compared, spot, two_runs
from tests.report.runs import failed, image, manifest
from tests.report.test_build import EVIL, Page, read, words


def text_of(page):
    return html.unescape(words(page.read_text()))


def data_of(page):
    return Page(page.read_text()).data


# --- what is in it -------------------------------------------------------------------------------


def test_it_says_what_was_found(tmp_path):
    comparison = compared(tmp_path, *two_runs())
    page = build_comparison_page(tmp_path / "changes", comparison)
    assert page == tmp_path / "changes" / "index.html"
    text = text_of(page)
    first, second = comparison.summary.findings[:2]
    assert text.index(first) < text.index(second) < text.index("How to read this page")
    assert "What changed from vgg16 to vgg19" in text
    for outcome in (
        "✓ fixed A is wrong, B is right 1 16.7%",
        "✗ broken A is right, B is wrong 1 16.7%",
        "✗ both wrong 1 16.7%",
        "✓ both right 2 33.3%",
        "≠ changed A and B predict different classes; the true class is unknown 1 16.7%",
        "◎ looks elsewhere the strongest evidence is in other places 1 16.7%",
    ):
        assert outcome in text
    # Of five images with a true class each has three right: the exact test of 1 against 1 is 1.
    assert "accuracy of A 60.0% (" in text
    assert "accuracy of B 60.0% (" in text
    assert (
        "numbers as unequal as 1 fixed and 1 broken would have a probability of 1 (McNemar's exact "
        "test), so the difference may well be chance."
    ) in text


def test_what_differs_is_shown_and_the_rest_folded(tmp_path):
    page = built(tmp_path, *two_runs()).read_text()
    shown, _, folded = page.partition("What both have in common")
    shown = words(shown.partition('id="about-title"')[2])
    assert "Network vgg16, 5 classes vgg19, 5 classes" in shown
    assert "Engine" not in shown
    assert "Engine MXNet 1.9.1 on cpu" in words(folded)
    assert "SHA-256 0123456789ab…" in words(folded)


def test_classes_that_lost_come_first(tmp_path):
    before = [image("v.jpg", 0, truth=0), image("w.jpg", 1, truth=1), image("x.jpg", 2, truth=1)]
    after = [image("v.jpg", 1, truth=0), image("w.jpg", 1, truth=1), image("x.jpg", 1, truth=1)]
    text = text_of(built(tmp_path, manifest(before), manifest(after)))
    lost = text.index("volcano 1 1.000 0.000 −1.000 0 1 1 0")
    assert lost < text.index("spider web 2 0.500 1.000 +0.500 1 0 1 3")


def test_the_matrix_has_both_and_their_change(tmp_path):
    page = read(built(tmp_path, *two_runs()).read_text())
    cells = {
        (one["data-truth"], one["data-predicted"]): (one["data-a"], one["data-b"], one.get("class"))
        for tag, one in page.elements
        if tag == "button" and "data-predicted" in one
    }
    assert cells == {
        ("0", "0"): ("1", "1", None),
        ("0", "1"): ("1", "1", None),
        ("1", "0"): ("1", "0", "better"),
        ("1", "1"): ("2", "2", None),
        ("1", "2"): ("0", "1", "worse"),
    }
    assert "predicted as tabby: A 0, B 1 image" in " ".join(
        one.get("aria-label") or "" for _, one in page.elements
    )


def test_a_large_matrix_has_the_classes_with_most_change(tmp_path):
    names = tuple(f"class {letter}" for letter in "abcdefghijklmnopqrstuvwxy")
    before = [image(f"{n}.jpg", n, truth=n, names=names) for n in range(25)]
    after = [image(f"{n}.jpg", n, truth=n, names=names) for n in range(25)]
    before += [image(f"more {n}.jpg", 20, truth=20, names=names) for n in range(4)]
    after += [image(f"more {n}.jpg", 22, truth=20, names=names) for n in range(4)]
    network = {"classes": 25, "labels": list(names)}
    page = built(tmp_path, manifest(before, **network), manifest(after, **network))
    text = text_of(page)
    assert "The 12 classes with most change." in text
    cells = re.findall(r'data-truth="(\d+)" data-predicted="(\d+)" data-a=', page.read_text())
    assert {"20", "22"} <= {number for cell in cells for number in cell}
    assert len({truth for truth, _ in cells}) == 12


def test_without_ground_truth_there_is_no_accuracy(tmp_path):
    runs = [manifest([image("a.jpg", answer), image("b.jpg", 0)]) for answer in (0, 1)]
    text = text_of(built(tmp_path, *runs))
    assert "accuracy" not in text
    assert "Confusion" not in text
    assert "≠ changed A and B predict different classes 1 50.0%" in text
    assert "= unchanged A and B predict the same class 1 50.0%" in text
    assert (
        "fixed" not in text.partition("What became of the images Click")[2].partition("Images")[0]
    )


def test_images_that_are_not_compared_are_named_with_the_reason(tmp_path):
    before = manifest([image("a.jpg"), image("b.jpg"), failed("c.jpg"), image("d.jpg")])
    after = manifest([image("a.jpg"), image("c.jpg"), image("d.jpg"), image("e.jpg")])
    for one, digest in zip(after["images"], ("ab", "01", "cd", "02"), strict=True):
        one["sha256"] = digest * 32
    for one, digest in zip(before["images"], ("ab", "03", None, "04"), strict=True):
        one["sha256"] = digest and digest * 32
    text = text_of(built(tmp_path, before, after))
    told = text.partition("Images are matched by their paths and contents.")[2]
    for row in (
        "photos/b.jpg only A has it",
        "photos/c.jpg A failed on it",
        "photos/d.jpg its file is not the same in both",
        "photos/e.jpg only B has it",
    ):
        assert row in told
    assert "1 image is compared, 4 are not" in text


def test_classes_that_only_one_knows_are_named(tmp_path):
    names, others = ("volcano", "crane", "fish"), ("volcano", "crane", "snail")
    before, after = (
        manifest([image("a.jpg", 0, truth=0, names=labels)], classes=3, labels=list(labels))
        for labels in (names, others)
    )
    text = text_of(built(tmp_path, before, after))
    assert "Only A knows 1 class fish Only B knows 1 class snail" in text


def test_metrics_of_both_say_who_is_better(tmp_path):
    comparison = compared(tmp_path, *two_runs())
    a, b = MeanRecord(0.5, 0.4, 0.6, 6), MeanRecord(0.3, 0.25, 0.35, 6)
    metrics = [
        MetricChangeRecord(
            "deletion", "deletion", direction, "gradcam", "gradcam", a, b, MeanRecord(*ends, 6)
        )
        for direction, ends in (
            ("lower", (-0.2, -0.3, -0.1)),
            ("higher", (-0.2, -0.3, -0.1)),
            ("lower", (-0.2, -0.5, 0.1)),
            (None, (-0.2, -0.3, -0.1)),
        )
    ]
    summary = dataclasses.replace(comparison.summary, metrics=tuple(metrics))
    page = build_comparison_page(
        tmp_path / "changes", dataclasses.replace(comparison, summary=summary)
    )
    text = text_of(page)
    assert (
        "0.500 (0.400 to 0.600) 0.300 (0.250 to 0.350) −0.200 (−0.300 to −0.100) B is better"
        in text
    )
    assert text.count("B is better") == 1
    assert text.count("A is better") == 1
    assert text.count("no clear difference") == 1


@pytest.mark.parametrize(
    ("value", "form", "said"),
    [(0.25, "%.1f", "+0.2"), (-1.5, "%.1f", "−1.5"), (-0.01, "%.1f", "0.0"), (3, "%d", "+3")],
)
def test_changes_have_a_sign(value, form, said):
    assert signed(value, form) == said


def test_means_with_and_without_interval():
    assert mean(MeanRecord(0.5, 0.25, 0.75, 4), "%.0f%%", 100) == "50% (25% to 75%)"
    assert mean(MeanRecord(0.5, None, None, 1), "%.1f") == "0.5"
    assert mean(MeanRecord(None, None, None, 0)) == "–"
    assert change(MeanRecord(-0.5, -0.75, 0.25, 4), "%.2f") == "−0.50 (−0.75 to +0.25)"


# --- the data ------------------------------------------------------------------------------------


def test_heatmaps_have_their_peak_over_an_even_map(tmp_path):
    """A's cell of 4 x 4: 255 of 255 + 15 · 20 in all; B's four cells: 4 · 255 + 12 · 20."""
    (first, *_) = data_of(built(tmp_path, *two_runs()))["images"]
    assert first["a"]["heat"]["peak"] == pytest.approx(255 * 16 / (255 + 15 * 20), rel=1e-5)
    assert first["b"]["heat"]["peak"] == pytest.approx(255 * 16 / (4 * 255 + 12 * 20), rel=1e-5)
    assert first["a"]["heat"]["box"] == [0, 0, 1, 1]
    assert base64.b64decode(first["a"]["heat"]["map"])[0] == 255
    assert first["ratio"] == pytest.approx(48 / 36, abs=1e-5)


def test_maps_on_an_image_that_shows_what_one_network_saw(tmp_path):
    """With ``--size model`` of a cropping network the other's map goes beyond the shown image."""
    before, after = (manifest([image("a.jpg", location=spot(1, 1))]) for _ in range(2))
    for one in (before, after):
        one["run"]["parameters"]["size"] = "model"
    before["run"]["network"]["input"]["resize"] = "crop"
    (one,) = data_of(built(tmp_path, before, after))["images"]
    assert one["ground"][0] == 0
    assert one["ratio"] == pytest.approx(224 / 341 * 48 / (7 / 8 * 36), rel=1e-4)
    assert one["a"]["heat"]["box"] == [0, 0, 1, 1]
    left = -((341 - 224) // 2) / 224
    assert one["b"]["heat"]["box"] == pytest.approx([left, -1 / 14, 341 / 224, 8 / 7], abs=1e-4)


def test_maps_of_another_crop_fraction(tmp_path):
    """All of the short side: 224 × 298 of 36 × 48, of which 37 columns are cut on the left."""
    before, after = (manifest([image("a.jpg", location=spot(1, 1))]) for _ in range(2))
    before["run"]["network"]["input"] |= {
        **{"resize": "crop", "crop_fraction": 1.0, "interpolation": "bicubic"}
    }
    page = built(tmp_path, before, after)
    (one,) = data_of(page)["images"]
    assert one["a"]["heat"]["box"] == pytest.approx([37 / 298, 0, 224 / 298, 1], abs=1e-4)
    assert one["b"]["heat"]["box"] == [0, 0, 1, 1]
    text = page.read_text("utf-8")
    assert "224×224, gray, crop, crop fraction 1, bicubic interpolation<" in text
    assert "224×224, gray, stretch<" in text


def test_scores_have_the_numbers_of_the_comparison(tmp_path):
    """B's classes stand in another order."""
    names = ("volcano", "spider web", "tabby, tabby cat")
    turned = ("tabby, tabby cat", "volcano", "spider web")
    before = manifest([image("a.jpg", 1, truth=0, names=names)], classes=3, labels=list(names))
    after = manifest([image("a.jpg", 2, truth=1, names=turned)], classes=3, labels=list(turned))
    data = data_of(built(tmp_path, before, after))
    (one,) = data["images"]
    assert (one["a"]["number"], one["b"]["number"], one["truths"]) == (1, 1, [0])
    assert one["b"]["prediction"]["index"] == 1
    assert data["classes"]["1"] == "spider web"
    assert one["outcome"] == "both_wrong"


# --- what others named ---------------------------------------------------------------------------


def test_names_cannot_break_out(tmp_path):
    name = EVIL.replace("/", "")
    names = (EVIL, f"other {EVIL}", "c")

    def hostile(network):
        images = [image(f"{name}.jpg", 1, truth=0, names=names), failed(EVIL, error=EVIL)]
        record = manifest(images, name=network, labels=list(names), classes=3)
        record["run"]["methods"][0]["title"] = EVIL
        record["run"]["network"]["layers"][0]["name"] = EVIL
        record["run"]["engine"]["device"] = EVIL
        return record

    page = read(
        built(tmp_path / "evil", hostile(EVIL), hostile(f"b {EVIL}"), files=False).read_text()
    )
    clean = manifest([image("a.jpg", 1, truth=0, names=("a", "b", "c")), failed("b.jpg")])
    other = json.loads(json.dumps(clean))
    other["run"]["network"]["name"] = "vgg19"
    expected = Page(built(tmp_path / "clean", clean, other, files=False).read_text())
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in expected.elements]
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert page.data["classes"]["0"] == EVIL
    assert "<" not in page.scripts[0]
    assert "{{ 7 * 7 }}" in page.text


@pytest.mark.parametrize("name", ["a b#1?", "a:b", "100%", os.fsdecode(b"\xff")])
def test_links_lead_to_the_runs_wherever_they_are(tmp_path, name):
    comparison = compared(tmp_path / name, *two_runs())
    page = build_comparison_page(tmp_path / "far" / "away", comparison)
    data = data_of(page)
    base = f"file://{tmp_path}/far/away/index.html"
    for one in data["images"]:
        side, file = one["ground"]
        for url in (
            data["sides"][side]["files"] + file,
            f"{data['sides'][side]['small']}thumbnails/{file.replace('.png', '.jpg')}",
        ):
            assert not urlsplit(url).scheme
            whole = urlsplit(urljoin(base, url))
            assert (whole.query, whole.fragment) == ("", "")
            assert Path(os.fsdecode(unquote_to_bytes(whole.path))).is_file()
    links = [
        attributes["href"]
        for tag, attributes in Page(page.read_text()).elements
        if tag == "a" and attributes["href"].endswith("manifest.json")
    ]
    assert len(links) == 2
    for link in links:
        path = urlsplit(urljoin(base, link)).path
        assert Path(os.fsdecode(unquote_to_bytes(path))).is_file()


# --- files ---------------------------------------------------------------------------------------


def test_the_folders_of_the_runs_are_only_read(tmp_path):
    comparison = compared(tmp_path, *two_runs())

    def files():
        return {
            path: path.stat().st_mtime_ns
            for run in ("before", "after")
            for path in (tmp_path / run).rglob("*")
        }

    there = files()
    told = []
    build_comparison_page(
        tmp_path / "changes", comparison, progress=lambda *done: told.append(done)
    )
    assert files() == there
    # A's originals, and two maps of six images by each.
    assert told[-1] == (30, 30)
    told.clear()
    build_comparison_page(
        tmp_path / "changes", comparison, progress=lambda *done: told.append(done)
    )
    assert told == []


def test_thumbnails_that_a_run_has_are_used(tmp_path):
    comparison = compared(tmp_path, *two_runs())
    build_report(tmp_path / "before")
    page = build_comparison_page(tmp_path / "changes", comparison)
    assert [one["small"] for one in data_of(page)["sides"]] == ["../before/", "b/"]
    assert not (tmp_path / "changes" / "a").exists()


def test_a_single_file_holds_the_images_of_both(tmp_path):
    said = []
    page = built(tmp_path, *two_runs(), single_file=True, announce=said.append)
    assert page.name == "report.html"
    assert page.stat().st_size <= float(re.search(r"at most ([0-9.]+) MB", said[0])[1]) * 1e6
    inside = json.loads(Page(page.read_text()).scripts[1])
    assert len(inside) == 2 * 30
    for url, content in inside.items():
        file = tmp_path / "changes" / os.fsdecode(unquote_to_bytes(url))
        assert base64.b64decode(content.partition(";base64,")[2]) == file.read_bytes()
    assert "manifest.json" not in text_of(page)


def test_images_that_are_gone_are_named(tmp_path):
    comparison = compared(tmp_path, *two_runs())
    (tmp_path / "before" / "unknown_original.png").unlink()
    told = []
    assert build_comparison_page(tmp_path / "changes", comparison, notify=told.append).exists()
    assert len(told) == 1
    assert "unknown_original.png" in told[0]


def test_an_index_of_somebody_else_stays(tmp_path):
    comparison = compared(tmp_path, *two_runs())
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "index.html").write_text("mine")
    with pytest.raises(OutputError, match=r"index\.html exists and was not written by cnnviz"):
        build_comparison_page(tmp_path / "changes", comparison)


def test_a_title(tmp_path):
    page = built(tmp_path, *two_runs(), title="a <b>").read_text()
    assert "<h1>a &lt;b&gt;</h1>" in page
    assert "What changed from" not in page
