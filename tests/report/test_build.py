"""The page as text: what is in it, what cannot break out of it, and which manifests are refused."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import cv2
import numpy as np
import pytest

from cnnviz.errors import OutputError, UsageError
from cnnviz.report import build, build_report, single_file
from cnnviz.report.document import duration, script_safe
from cnnviz.report.finding import WorthALook
from cnnviz.report.page import times_as_much, url_of
from tests.report.runs import (
    METHODS,
    failed,
    image,
    located,
    manifest,
    score,
    typed,
    write_run,
)

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"&'{{ 7 * 7 }}"


class Page(HTMLParser):
    """Elements, text and the data of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts, self._inside = [], "", [], ""
        self.feed(text)
        self.close()
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, text):
        if self._inside == "script":
            self.scripts[-1] += text
        elif self._inside != "style":
            self.text += text

    def count(self, tag):
        return sum(one == tag for one, _ in self.elements)


def render_page(record):
    return build.render_page(typed(record))


def words(text):
    """What a page says, with spaces between its elements."""
    body = re.sub(r"(?s)<(style|script).*?</\1>", "", text)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def read(text):
    page = Page(text)
    page.text = " ".join(page.text.split())
    return page


# --- what is in it -------------------------------------------------------------------------------


def test_it_says_what_was_run():
    images = [image("a.jpg", 0, truth=0), image("b.jpg", 1, truth=0), failed("c.jpg")]
    page = read(render_page(manifest(images)))

    assert "Where vgg16 looked" in page.text
    assert "3 images explained on 2026-11-21, 1 failed" in page.text
    assert "1 is classified correctly and 1 incorrectly: accuracy 50.0%" in page.text
    assert "features.28 (512×14×14)" in page.text
    assert "1 min 23 s" in page.text
    assert "folder names" in page.text
    (weights,) = [attributes for tag, attributes in page.elements if tag == "abbr"]
    assert weights["title"] == "SHA-256 " + "0123456789abcdef" * 4
    assert "volcano predicted as spider web" in page.text


def test_guided_methods_are_warned_of_and_only_they():
    page = read(render_page(manifest([image("a.jpg")])))
    assert "Guided methods fail sanity checks (Guided Grad-CAM)" in page.text
    assert "Adebayo et al. 2018" in page.text

    plain = METHODS[:1]
    page = read(render_page(manifest([image("a.jpg", methods=plain)], methods=plain)))
    assert "sanity checks" not in page.text


def test_the_data_leaves_maps_out_and_has_files_as_urls():
    record = image("a b/c#1.jpg", 1, truth=0)
    record["contrasts"] = [
        {
            "positive": record["top5"][0],
            "negative": record["ground_truth"],
            "file": "a b/c#1_contrast.png",
        }
    ]
    record["panel"] = "a b/c#1_panel.png"
    page = read(render_page(manifest([record])))

    (kept,) = page.data["images"]
    (explanation,) = kept["explanations"]
    assert explanation["files"]["gradcam"] == "a%20b/c%231_gradcam.png"
    assert explanation["location"] == {
        "border": 0.36,
        "corners": [0.04] * 4,
        "box": [4, 3, 20, 15],
    }
    assert kept["contrasts"][0]["file"] == "a%20b/c%231_contrast.png"
    assert kept["panel"] == "a%20b/c%231_panel.png"
    assert kept["top5"] == record["top5"]
    assert page.data["classes"] == {"0": "volcano", "1": "spider web", "2": "tabby, tabby cat"}
    assert [one["key"] for one in page.data["maps"]] == ["gradcam", "guided_gradcam"]


def test_names_that_several_classes_have_get_their_index():
    """Two cranes, told apart by index: also where only one of them is in the run."""
    names = ("volcano", "maillot", "maillot, tank suit", "crane", "crane")
    images = [
        image("a.jpg", 3, truth=4, names=names),
        image("b.jpg", 4, truth=3, names=names),
        image("c.jpg", 0, truth=3, names=names),
        image("d.jpg", 1, truth=2, names=names),
    ]
    page = read(render_page(manifest(images, labels=list(names))))
    for told in (
        "1\u00d7 crane (4) predicted as crane (3)",
        "1\u00d7 crane (3) predicted as crane (4)",
        "1\u00d7 crane (3) predicted as volcano",
        "1\u00d7 maillot (2) predicted as maillot (1)",
    ):
        assert told in " ".join(page.text.split())
    assert page.data["classes"] == {
        **{"0": "volcano", "1": "maillot", "2": "maillot, tank suit"},
        **{"3": "crane (3)", "4": "crane (4)"},
    }
    page = read(render_page(manifest([image("a.jpg", 3, names=names)], labels=list(names))))
    assert page.data["classes"]["3"] == "crane (3)"


def test_suspicious_pairs_say_why():
    stamp = located(0.5, (0.0, 0.0, 0.0, 0.71))
    images = [image(f"{n}.jpg", 1, truth=0, location=stamp) for n in range(4)]
    page = read(render_page(manifest(images)))
    assert (
        "18 times as much evidence in the bottom-right corner as expected: 71% of it, where an "
        "even heatmap has 4%. Perhaps a watermark or a stamp there drives these errors."
    ) in page.text

    even = [image(f"{n}.jpg", 1, truth=0) for n in range(4)]
    assert "Perhaps" not in read(render_page(manifest(even))).text


def test_a_mean_of_few_images_is_no_mean():
    """A mean is one of five maps or more."""
    corner = located(0.5, (0.0, 0.0, 0.0, 0.9))
    few = [image(f"{n}.jpg", 2, truth=3, location=corner) for n in range(2)]
    assert "on average" not in read(render_page(manifest(few))).text

    enough = [image(f"{n}.jpg", 0, truth=0) for n in range(5)]
    page = read(render_page(manifest([*few, *enough])))
    pairs = [
        attributes
        for tag, attributes in page.elements
        if tag == "li" and "pair" in attributes.get("class", "").split()
    ]
    assert [attributes["class"] for attributes in pairs] == ["pair"]
    # Four that look suspicious are named, but have no mean map.
    more = [image(f"{n}.jpg", 2, truth=3, location=corner) for n in range(4)]
    text = render_page(manifest([*more, *enough]))
    assert text.count("<canvas data-pair=") == 1
    assert 'data-pair="1"' in text
    page = read(text)
    assert page.data["pairs"][0] is None
    assert page.data["pairs"][1]["shape"] == [2, 2]
    assert "lighthouse predicted as tabby" in page.text


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1.9, "twice as much"),
        (2.5, "three times as much"),
        (3.4, "three times as much"),
        (12.2, "twelve times as much"),
        (12.6, "13 times as much"),
    ],
)
def test_factors_in_words(factor, words):
    assert times_as_much(factor) == words


def test_a_method_with_several_drawings_names_each():
    occlusion = {
        **METHODS[0],
        "name": "occlusion",
        "key": "occlusion",
        "title": "occlusion",
        "map_kinds": {
            "occlusion": "heat",
            "occlusion_probability": "probability",
            "occlusion_classes": "classes",
        },
    }
    page = read(render_page(manifest([image("a.jpg", methods=[occlusion])], methods=[occlusion])))
    assert [one["title"] for one in page.data["maps"]] == [
        "occlusion",
        "occlusion: probability",
        "occlusion: classes",
    ]
    assert "The probability of the class when this place is covered." in page.text


@pytest.mark.parametrize(
    "images",
    [
        [],
        [failed("a.jpg"), failed("b.jpg")],
        [image("a.jpg", 0)],
        [image("a.jpg", 0, blank=True)],
        [image("a.jpg", 0, truth=0)],
        [image("a.jpg", 0, truth=0), image("b.jpg", 1)],
        [image("a.jpg", 2, names=None)],
    ],
    ids=["none", "all failed", "no truth", "no map", "one class", "some truth", "no names"],
)
def test_runs_of_every_kind(images):
    page = read(render_page(manifest(images)))
    known = any(one["ground_truth"] for one in images)
    assert ("Confusion matrix" in page.text) == known
    assert "Where it looked, on average" not in page.text
    assert [one["path"] for one in page.data["images"]] == [one["path"] for one in images]


def test_what_was_found_comes_first():
    """Accuracy, the worst confusion, where the evidence lies oddly: before all else."""
    stamp = located(0.5, (0.0, 0.0, 0.0, 0.71))
    images = [image(f"{n}.jpg", 1, truth=0, location=stamp) for n in range(5)]
    text = words(render_page(manifest([*images, image("5.jpg", 0, truth=0)])))
    first, second, third = (
        text.index(words)
        for words in (
            "Of 6 with a known true class, 1 is classified correctly and 5 incorrectly: accuracy",
            "Confused most often: volcano is predicted as spider web, in 5 of 6 images.",
            "Look at “volcano predicted as spider web”: 18 times as much evidence",
        )
    )
    assert first < second < third < text.index("How to read the maps")
    assert text.index("About this run Network vgg16") > third


def test_confusions_that_never_repeat_are_not_the_worst():
    images = [image("a.jpg", 1, truth=0), image("b.jpg", 2, truth=0), image("c.jpg", 0, truth=1)]
    assert "Confused most often" not in read(render_page(manifest(images))).text
    assert "No true class is known; of 1 prediction, 1 has a probability below 50%." in (
        read(render_page(manifest([image("a.jpg", 0, 0.4)]))).text
    )


def worth_a_look(images):
    """The picks among records."""
    worth = WorthALook()
    for place, one in enumerate(typed(manifest(images)).images):
        worth.add_image(place, one)
    return worth.picks()


def test_the_images_most_worth_a_look():
    """Wrong ones by loss, then blank ones, then the least certain, each once; six of them."""
    images = [
        image("sure.jpg", 0, 0.9, truth=0),
        image("blank.jpg", 0, 0.9, truth=0, blank=True),
        image("unsure.jpg", 0, 0.45, truth=0),
        image("less.jpg", 0, 0.4, truth=0),
        image("wrong.jpg", 1, 0.6, truth=0),
        image("worst.jpg", 1, 0.98, truth=0, blank=True),
        failed("failed.jpg"),
    ]
    picks = worth_a_look(images)
    assert [images[one.place]["relative"] for one in picks] == [
        *("worst.jpg", "wrong.jpg", "blank.jpg", "less.jpg", "unsure.jpg"),
    ]
    assert [one.why for one in picks] == [
        "wrong with 98.0%, loss 4.61",
        "wrong with 60.0%, loss 1.61",
        "blank map: the layer holds no evidence for the class",
        "uncertain: 40.0%",
        "uncertain: 45.0%",
    ]
    many = [image(f"{n}.jpg", 1, truth=0, blank=n == 8) for n in range(9)]
    assert [one.place for one in worth_a_look(many)] == [0, 1, 2, 3, 4, 5]
    # All that are blank are wrong as well, and come as such.
    both = [image(f"{n}.jpg", 1, truth=0, blank=True) for n in range(4)]
    rest = [image(f"{n}.jpg", 0, truth=0, blank=True) for n in range(4, 12)]
    assert [one.place for one in worth_a_look([*both, *rest])] == [0, 1, 2, 3, 4, 5]


def test_a_title(tmp_path):
    """Of the command, or that of the run; as text."""
    record = manifest([image("a.jpg")])
    assert "<h1>a &lt;b&gt;</h1>" in build.render_page(typed(record), title="a <b>")
    record["run"]["parameters"]["title"] = EVIL
    page = read(render_page(record))
    assert page.text.count("{{ 7 * 7 }}") == 3  # in the head, above the page, among the options
    assert "Where vgg16 looked" not in page.text


def test_how_well_it_classifies():
    images = [
        image("a.jpg", 0, 0.9, truth=0),
        image("b.jpg", 0, 0.9, truth=1),
        image("c.jpg", 1, 0.6, truth=1),
        image("d.jpg", 3, 0.6, truth=4),
    ]
    text = words(render_page(manifest(images)))
    assert "top-5 accuracy" not in text  # there are five classes
    # Two bins: |1/2 - 0.9| and |1/2 - 0.6|, half of the images each.
    assert "expected calibration error 0.250" in text
    assert text.index("crane – 0.000 0.000 1 0") < text.index("volcano 0.500 1.000 0.667 1 2")
    # 0 has precision 1/2, 1 has 1, 4 has none: 0.
    assert "mean over classes 0.500 0.500 0.444" in text
    assert "weighted by images 0.625 0.500 0.500" in text
    images = [*images, image("e.jpg", 0, 0.9, truth=4)]
    record = manifest(images, classes=9)
    assert "top-5 accuracy 60.0%" in words(render_page(record))


def test_several_classes_an_image_have_precision_and_recall():
    record = image("a.jpg", 0, 0.9)
    record["true_classes"] = {
        "positive": [score(0, 0.9), score(2, 0.1)],
        "unknown": [1],
        "logits": [1.0] * 5,
    }
    record["predicted_classes"] = [score(0, 0.9), score(1, 0.8)]
    record["correct"] = False
    record = manifest([record])
    record["summary"]["average_precisions"] = [
        {"name": "x", "index": 0, "images": 1, "positives": 1, "average_precision": 1.0}
    ]
    text = words(render_page(record))
    assert "volcano 1.000 1.000 1.000 1 1" in text
    assert "tabby, tabby cat – 0.000 0.000 1 0" in text
    assert "spider web –" not in text
    assert "Calibration" not in text


def test_a_run_that_chose_its_images_says_so():
    record = manifest([image("a.jpg", 1, truth=0)])
    record["summary"]["scanned"] = {
        "images": 900,
        "failed": 0,
        "correct": 850,
        "incorrect": 50,
        "accuracy": 850 / 900,
        "mean_average_precision": None,
    }
    text = read(render_page(record)).text
    assert "selected from 900 images (850 correct, 50 incorrect)" in text
    assert "850 are classified correctly and 50 incorrectly: accuracy 94.4%" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.31, "0.3 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


# --- what others named ---------------------------------------------------------------------------


def test_names_cannot_break_out():
    names = (EVIL, f"other {EVIL}", "c")
    images = [
        image(f"{EVIL.replace('/', '')}.jpg", 1, truth=0, names=names),
        failed(EVIL, error=EVIL),
    ]
    record = manifest(images, name=EVIL)
    record["run"]["methods"] = [{**METHODS[0], "title": EVIL}, METHODS[1]]
    record["run"]["ground_truth"]["source"] = EVIL
    record["run"]["engine"]["device"] = EVIL
    record["images"][0]["engine"] = {**record["run"]["engine"], "name": EVIL}
    record["run"]["network"]["layers"][0]["name"] = EVIL
    text = render_page(record)
    page = read(text)

    clean = Page(render_page(manifest([image("a.jpg", 1, truth=0), failed("b.jpg")])))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert page.data["images"][0]["top5"][0]["name"] == names[1]
    assert page.data["images"][1]["error"] == EVIL
    assert "{{ 7 * 7 }}" in page.text
    assert "<" not in page.scripts[0]


def test_json_in_a_script():
    data = ["</script>", "<!--", "&lt;", "\u2028", "\udcff", "é"]
    text = script_safe(data)
    assert json.loads(text) == data
    assert re.fullmatch(r"[ -;=?-~]*", text)


@pytest.mark.parametrize(
    "name",
    [
        b"a b/c.png",
        b"100%.png",
        b"%41.png",
        b"a#b?c=d.png",
        b"a\nb.png",
        b"javascript:alert(1).png",
        b"a:b/c.png",
        b"http:/x.png",
        "é \U0001f431.png".encode(),
        b"\xff\xfe.png",
        b"\\x\\.png",
        b"a'b\"c.png",
    ],
)
def test_urls_lead_to_the_bytes_of_the_name(name):
    """As a browser resolves them (RFC 3986), beside a page on the disk."""
    url = url_of(os.fsdecode(name))
    whole = urlsplit(urljoin("file:///run/index.html", url))
    assert unquote_to_bytes(whole.path) == b"/run/" + name
    assert (whole.scheme, whole.netloc, whole.query, whole.fragment) == ("file", "", "", "")


# --- files ---------------------------------------------------------------------------------------


def test_the_page_and_its_thumbnails(tmp_path):
    names = ["a/100% #1?.jpg", "\U0001f431\n.jpg", os.fsdecode(b"\xff.jpg")]
    write_run(tmp_path, manifest([image(name) for name in names]))
    told = []

    page = build_report(tmp_path, progress=lambda *done: told.append(done), notify=told.append)

    assert page == tmp_path / "index.html"
    assert told == [(done, 9) for done in range(1, 10)]
    for name in names:
        stem = PurePosixPath(name).with_suffix("")
        small = np.fromfile(tmp_path / "thumbnails" / f"{stem}_gradcam.jpg", np.uint8)
        assert cv2.imdecode(small, cv2.IMREAD_COLOR).shape == (36, 48, 3)

    told.clear()
    made = os.stat(tmp_path / "thumbnails/a/100% #1?_gradcam.jpg").st_mtime_ns
    build_report(tmp_path, progress=lambda *done: told.append(done))
    assert told == []  # nothing is missing
    assert os.stat(tmp_path / "thumbnails/a/100% #1?_gradcam.jpg").st_mtime_ns == made


def test_a_thumbnail_older_than_its_image_is_made_again(tmp_path):
    write_run(tmp_path, manifest([image("a.jpg")]))
    build_report(tmp_path)
    small = tmp_path / "thumbnails/a_gradcam.jpg"
    late = time.time() + 10
    os.utime(tmp_path / "a_gradcam.png", (late, late))
    told = []
    build_report(tmp_path, progress=lambda *done: told.append(done))
    assert told == [(1, 1)]
    assert small.exists()


def test_images_that_are_gone_are_named_and_the_page_is_there(tmp_path):
    write_run(tmp_path, manifest([image("a.jpg"), image("b.jpg")]))
    (tmp_path / "b_gradcam.png").unlink()
    (tmp_path / "b_original.png").write_bytes(b"broken")
    told = []
    assert build_report(tmp_path, notify=told.append).exists()
    assert len(told) == 2
    assert any("b_gradcam.png" in one for one in told)
    assert any("b_original.png" in one for one in told)


def test_a_single_file_holds_its_images(tmp_path):
    names = ["a/100% #1?.jpg", os.fsdecode(b"\xff.jpg")]
    write_run(tmp_path, manifest([image(name) for name in names]))
    said = []

    page = build_report(tmp_path, single_file=True, announce=said.append)

    assert page == tmp_path / "report.html"
    assert not (tmp_path / "index.html").exists()
    (sentence,) = said
    size = float(re.search(r"at most ([0-9.]+) MB, with all images", sentence)[1])
    assert page.stat().st_size <= size * 1e6
    inside = json.loads(Page(page.read_text()).scripts[1])
    assert len(inside) == 2 * 6  # images and thumbnails of two images by two methods
    for url, content in inside.items():
        kind, _, coded = content.partition(";base64,")
        file = os.fsdecode(unquote_to_bytes(url))
        assert kind == ("data:image/jpeg" if file.startswith("thumbnails/") else "data:image/png")
        assert base64.b64decode(coded) == (tmp_path / file).read_bytes()
    assert "manifest.json" not in read(page.read_text()).text


def test_a_single_file_that_would_be_large_has_thumbnails(tmp_path, monkeypatch):
    write_run(tmp_path, manifest([image("a.jpg")]))
    build_report(tmp_path)
    small = sum(one.stat().st_size for one in (tmp_path / "thumbnails").iterdir())
    monkeypatch.setattr(single_file, "LARGEST", 2 * small)
    said = []
    page = build_report(tmp_path, single_file=True, announce=said.append)
    assert "images at the size of thumbnails only" in said[0]
    assert sorted(json.loads(Page(page.read_text()).scripts[1])) == [
        f"thumbnails/a_{key}.jpg" for key in ("gradcam", "guided_gradcam", "original")
    ]


def test_an_index_of_somebody_else_stays(tmp_path):
    write_run(tmp_path, manifest([image("a.jpg")]))
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(OutputError, match=r"index\.html exists and was not written by cnnviz"):
        build_report(tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"


# --- manifests that cannot be read ---------------------------------------------------------------


def test_no_manifest(tmp_path):
    with pytest.raises(UsageError, match=r"There is no manifest\.json in .*nowhere"):
        build_report(tmp_path / "nowhere")
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        build_report(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty: move it away"),
        (b'{"cnnviz_manifest": 4, "run": {', "is damaged"),
        (b"\xff\xfe\x00", "is damaged"),
        (b"[1]", "was not written by cnnviz"),
        (b'{"version": 1}', "was not written by cnnviz"),
        (b'{"cnnviz_manifest": 1}', "has version 1 of the format, and this cnnviz reads version 4"),
        (b'{"cnnviz_manifest": 5}', "has version 5 of the format, and this cnnviz reads version 4"),
        (b'{"cnnviz_manifest": "4"}', "has version '4'"),
        (b'{"cnnviz_manifest": 4}', "the manifest has no run"),
        (b'{"cnnviz_manifest": 4, "x": NaN}', "has NaN for a number"),
        (b"[" * 100_000, "is damaged"),
    ],
)
def test_no_manifest_of_ours(tmp_path, text, reason):
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(UsageError, match=reason):
        build_report(tmp_path)
    assert os.listdir(tmp_path) == ["manifest.json"]


def _set(*path):
    *front, last, value = path

    def change(record):
        for step in front:
            record = record[step]
        if value is KeyError:
            del record[last]
        else:
            record[last] = value

    return change


FIRST = ("images", 0)
EXPLAINED = (*FIRST, "explanations", 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("run", 3), "manifest.run is a whole number and not an object"),
        (_set("images", {}), "manifest.images is an object and not a list"),
        (_set("images", 0, None), r"images\[0\] is null and not an object"),
        (_set("run", "methods", 0, "title", KeyError), r"methods\[0\] has no title"),
        (_set("run", "methods", 0, "tilte", "x"), r"methods\[0\] has 'tilte', which is unknown"),
        (_set("run", "network", "weights", {}), "run.network.weights has no path"),
        (_set(*FIRST, "top5", []), r"images\[0\] is ok, but has an error or no prediction"),
        (
            _set(*FIRST, "explanations", []),
            r"images\[0\] is ok, but has no explanation, and no remark",
        ),
        (_set(*FIRST, "error", "x"), r"images\[0\] is ok, but has an error or no prediction"),
        (_set(*FIRST, "status", "failed"), r"images\[0\] has failed, but has no error"),
        (_set(*FIRST, "top5", 0, "probability", "0.8"), r"top5\[0\]\.probability is text"),
        (_set(*FIRST, "ground_truth", "index", None), r"images\[0\]\.ground_truth\.index is null"),
        (
            _set(*FIRST, "ground_truth", "index", True),
            r"\.index is a boolean and not a whole number",
        ),
        (_set(*FIRST, "loss", []), r"images\[0\]\.loss is a list and not a number"),
        (_set(*FIRST, "status", "gone"), r"images\[0\]\.status is 'gone' and not 'ok' or 'failed'"),
        (_set(*EXPLAINED, "files", KeyError), r"explanations\[0\] has no files"),
        (_set(*EXPLAINED, "files", "gradcam", "../../x.png"), "no file below the folder"),
        (_set(*EXPLAINED, "files", "gradcam", "/etc/x.png"), "no file below the folder"),
        (_set(*EXPLAINED, "files", "gradcam", "\ud800.png"), "which no file can have"),
        (_set(*FIRST, "panel", "a\0b.png"), "no file below the folder"),
        (_set(*EXPLAINED, "location", "corners", [0.1]), r"corners has 1 values and not 4"),
        (_set(*EXPLAINED, "location", "heatmap", "shape", [2]), "shape has 1 values and not 2"),
        (_set(*EXPLAINED, "location", "heatmap", "shape", [3, 3]), "heatmap has the shape 3 by 3"),
        (_set(*EXPLAINED, "location", "heatmap", "data", "?"), "heatmap is not in base64"),
    ],
)
def test_a_damaged_manifest_says_where(tmp_path, change, reason):
    record = manifest([image("a.jpg", 1, truth=0)])
    change(record)
    write_run(tmp_path, record, files=False)
    with pytest.raises(UsageError, match=reason) as caught:
        build_report(tmp_path)
    assert "Run `cnnviz explain` again" in str(caught.value)
    assert not (tmp_path / "index.html").exists()
