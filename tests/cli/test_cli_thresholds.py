"""``cnnviz explain`` held to thresholds: exit status, lines, files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cnnviz.errors import ExitCode
from tests.support.columns import SCALE, write_bright, write_columns

SCENES = Path(__file__).parents[2] / "sample_images/scenes"
TRUTH = "path,label\nfish.png,fish\nsnail.png,fish\numbrella.png,umbrella\n"
SCORES = "accuracy, top5, balanced-accuracy, macro-f1 or map"


@pytest.fixture
def photos(tmp_path):
    """A fish, a snail that is called a fish, and an umbrella; the demo network sees all three."""
    (tmp_path / "in").mkdir()
    for name in ("fish", "snail", "umbrella"):
        shutil.copy(SCENES / f"{name}.png", tmp_path / "in")
    (tmp_path / "truth.csv").write_text(TRUTH)
    return tmp_path


def explain(cnnviz, *options, truth=True):
    known = ("--truth", "truth.csv") if truth else ()
    method = ("-m", "demo", "--method", "gradcam", "--size", "model", "-o", "out")
    return cnnviz("explain", "in", *method, *known, *options)


def unmet(err):
    return [line for line in err.splitlines() if line.startswith("Threshold not met: ")]


def test_an_unmet_threshold_is_status_4_and_loses_nothing(cnnviz, photos):
    options = ("--fail-under", "accuracy=0.7", "--fail-under", "top5=0.1")
    status, out, err = explain(cnnviz, *options, "--report")
    assert status == 4
    assert unmet(err) == [
        "Threshold not met: accuracy: 0.6667 over 3 images; at least 0.7 was demanded "
        "(--fail-under accuracy=0.7)"
    ]
    assert err.endswith("1 of 2 thresholds met\n")
    assert len(out.splitlines()) == 3
    manifest = json.loads((photos / "out/manifest.json").read_text())
    assert (manifest["summary"]["ok"], manifest["summary"]["accuracy"]) == (3, 2 / 3)
    files = [one["explanations"][0]["files"]["gradcam"] for one in manifest["images"]]
    assert all((photos / "out" / file).is_file() for file in files)
    assert (photos / "out/index.html").is_file()
    # Thresholds are no part of the run: the same images are not explained again.
    assert not {"fail_under", "junit"} & manifest["run"]["parameters"].keys()
    status, _, err = explain(cnnviz, "--fail-under", "accuracy=0.6", "--report")
    assert (status, unmet(err)) == (ExitCode.OK, [])
    assert "3 explained (3 of them already done)" in err


def test_bad_news_is_not_quiet(cnnviz, photos):
    status, out, err = explain(cnnviz, "--max-share", "Corner=0", "--quiet")
    assert (status, out) == (4, "")
    (line,) = unmet(err)
    assert err == line + "\n"
    assert " corner: 0." in line
    assert line.endswith(" over 3 images; at most 0 was demanded (--max-share corner=0)")
    assert explain(cnnviz, "--max-share", "corner=1", "--quiet") == (0, "", "")


def test_a_failed_image_is_less_than_an_unmet_threshold(cnnviz, photos):
    (photos / "in/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert explain(cnnviz, "--fail-under", "accuracy=0.6")[0] == ExitCode.SOME_FAILED
    status, _, err = explain(cnnviz, "--fail-under", "accuracy=0.7")
    assert status == ExitCode.NOT_MET == 4
    assert "over 3 images" in unmet(err)[0]


def test_nothing_measured_is_not_met(cnnviz, photos):
    (photos / "truth.csv").write_text("path,label\nfish.png,fish\n")
    (photos / "in/fish.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    status, _, err = explain(cnnviz, "--fail-under", "accuracy=0")
    assert status == 4
    assert "accuracy: could not be measured, because no image has a true class; " in unmet(err)[0]


def test_of_selected_images_all_count(cnnviz, photos):
    """Of the images predicted wrongly none is right; of all that were looked at two thirds are."""
    status, _, err = explain(cnnviz, "--only", "wrong", "--fail-under", "accuracy=0.6")
    assert status == 0, err
    status, _, err = explain(cnnviz, "--only", "wrong", "--fail-under", "accuracy=0.7")
    assert status == 4
    assert "accuracy: 0.6667 over 3 images" in unmet(err)[0]


def test_the_files(cnnviz, photos):
    (photos / "in/bad|.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    files = ("--summary", "made/summary.md", "--junit", "junit.xml")
    status, _, err = explain(cnnviz, *files, "--fail-under", "accuracy=0.7")
    assert status == 4, err
    page = (photos / "made/summary.md").read_text()
    assert page.startswith("## cnnviz explain: 0 of 1 threshold met\n\n- **Not met:** accuracy: ")
    assert "3 images explained, 1 failed. 2 of 3 predictions are correct. The most " in page
    assert "| accuracy | 0.6667 | 3 images | at least 0.7 | **not met** |" in page
    # The one that is wrong has the highest loss.
    assert page.index("| `in/snail.png` | snail (") < page.index("| `in/fish.png` |")
    assert "| <code>in/bad&#124;&#46;png</code> | " in page
    (suite,) = ElementTree.parse(photos / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("5", "2")
    wrong = {case.get("name") for case in suite if case.find("failure") is not None}
    assert wrong == {"accuracy at least 0.7", "in/bad|.png"}
    # A later run replaces what cnnviz wrote, also if all is done already.
    (photos / "in/bad|.png").unlink()
    assert explain(cnnviz, *files, "--quiet") == (0, "", "")
    assert (photos / "made/summary.md").read_text().startswith("## cnnviz explain: 3 images\n")
    assert len(ElementTree.parse(photos / "junit.xml").getroot()[0]) == 3


@pytest.mark.parametrize("option", ["--summary", "--junit"])
def test_files_of_others_are_refused_at_the_start(cnnviz, photos, option):
    path = photos / {"--summary": "notes.md", "--junit": "pom.xml"}[option]
    path.write_text("mine")
    status, out, err = explain(cnnviz, option, path.name)
    assert (status, out) == (2, "")
    assert err.startswith(f"Error: {path.name} exists and was not written by cnnviz; ")
    assert path.read_text() == "mine"
    assert not (photos / "out").exists()
    status, _, err = explain(cnnviz, option, "out/manifest.json")
    assert status == 2
    assert f"{option} writes a file whose name ends in {path.suffix}; got out/manifest.json" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--fail-under", "acuracy=0.9"),
            f"'acuracy' is not one of {SCORES}. Did you",
        ),
        (
            ("--fail-under", "corner=0.9"),
            f"'corner' is not one of {SCORES}. `cnnviz explain` takes --max-share corner.",
        ),
        (("--fail-under", "insertion=0.9"), "`cnnviz evaluate` takes --fail-under insertion."),
        (("--max-share", "broken=0.1"), "`cnnviz compare` takes --max-share broken."),
        (("--fail-under", "accuracy"), "'accuracy' is not NAME=VALUE, such as accuracy=0.5."),
        (("--fail-under", "accuracy=90"), "for 90 % write 0.9"),
        (("--fail-under", "accuracy=nan"), "lies between 0 and 1"),
        (("--fail-under", "accuracy=1e9999999%"), "lies between 0 and 1"),
        (("--max-share", "edge=0.3"), "'edge' is not one of border or corner."),
        (("--max-share", "corner=-1"), "lies between 0 and 1"),
        (("--fail-under", "map=0.5"), "an image belongs to one class. Use --fail-under accuracy."),
        (
            ("--max-share", "corner=0.3", "--method", "saliency"),
            "--max-share corner=0.3 needs a heatmap: add --method gradcam.",
        ),
        (
            ("--max-share", "corner=0.3", "--target", "similarity:in/fish.png"),
            "needs heatmaps of the predicted classes: add --target predicted.",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(cnnviz, photos, options, said):
    status, out, err = cnnviz(
        *("explain", "in", "-m", "demo", "-o", "out", "--truth", "truth.csv", *options)
    )
    assert (status, out) == (2, "")
    assert said in err
    assert not (photos / "out").exists()


def test_scores_need_true_classes(cnnviz, photos):
    status, out, err = explain(cnnviz, "--fail-under", "top5=0.9", truth=False)
    assert (status, out) == (2, "")
    assert err == "Error: --fail-under top5=0.9 needs the images' true classes: give --truth.\n"


@pytest.mark.needs("mxnet")
def test_images_of_several_classes_have_a_mean_average_precision(cnnviz, tmp_path):
    """Class 0: a, b, c in this order, a and c true: 1 · 1/2 + 2/3 · 1/2. Class 1 has no image."""
    from tests.support.mxnet import import_mxnet

    write_columns(tmp_path, "net", 2, import_mxnet().sym.sigmoid)
    for name, level in (("a", 6), ("b", 4), ("c", 2)):
        write_bright(tmp_path / "in" / f"{name}.png", level, 0)
    (tmp_path / "truth.csv").write_text("path,label\na.png,0\nb.png,\nc.png,0\n")
    call = ("explain", "in", "--model", "net-symbol.json", *SCALE, "--truth", "truth.csv")
    call += ("--method", "gradcam", "-o", "out", "--fail-under")
    status, _, err = cnnviz(*call, "map=0.84")
    assert status == 4
    assert "mean average precision: 0.8333 over 3 images; at least 0.84 was" in unmet(err)[0]
    assert cnnviz(*call, "map=0.83")[0] == 0
    status, _, err = cnnviz(*call, "accuracy=0.5")
    assert status == 2
    assert "an image may belong to several classes. Use --fail-under map." in err


def test_maps_are_held_to_metrics(cnnviz, photos):
    """Where less is better, worse is more."""
    call = ("evaluate", "in", "-m", "demo", "--method", "gradcam,saliency", "-o", "evaluation")
    call += ("--input-size", "96", "--metric", "deletion", "--metric-option", "steps=4", "--quiet")
    files = ("--summary", "summary.md", "--junit", "junit.xml")
    status, out, err = cnnviz(*call, *files, "--fail-under", "gradcam.Deletion=0")
    assert (status, out) == (4, "")
    summary = json.loads((photos / "evaluation/evaluation.json").read_text())["summary"]
    (cell,) = [one for one in summary["cells"] if one["subject"] == "gradcam"]
    (line,) = unmet(err)
    assert f" Grad-CAM: {cell['value']:.4g} over 3 images; at most 0 was demanded " in line
    assert (
        (photos / "summary.md")
        .read_text()
        .startswith("## cnnviz evaluate: 0 of 1 threshold met\n\n- **Not met:** ")
    )
    (suite,) = ElementTree.parse(photos / "junit.xml").getroot()
    assert [case.get("name") for case in suite] == [
        *("gradcam.deletion at most 0", "in/fish.png", "in/snail.png", "in/umbrella.png")
    ]
    assert cnnviz(*call, "--fail-under", "deletion=1") == (0, "", "")
    for wrong, said in (
        ("deletoin=1", "'deletoin' is not measured; deletion is. Did you mean deletion?"),
        (
            "saliensy.deletion=1",
            "no map of 'saliensy' is judged, only of gradcam and saliency.",
        ),
        ("deletion=inf", "'inf' is no number to compare deletion with"),
        ("Accuracy=0.9", "`cnnviz explain` takes --fail-under accuracy."),
    ):
        status, _, err = cnnviz(*call, "--fail-under", wrong)
        assert (status, said in err) == (2, True), err


def test_a_metric_that_no_image_can_have_is_refused(cnnviz, photos):
    """Of a similarity there is no probability that could rise."""
    call = ("evaluate", "in", "-m", "demo", "--method", "gradcam", "-o", "evaluation")
    target = ("--target", "similarity:in/fish.png", "--metric", "increase,deletion")
    status, out, err = cnnviz(*call, *target, "--fail-under", "gradcam.increase=0.1", "--quiet")
    assert (status, out) == (2, "")
    assert err == (
        "Error: --fail-under gradcam.increase=0.1 cannot be measured: the target has no "
        "probability.\n"
    )
    assert not (photos / "evaluation").exists()


@pytest.mark.slow
@pytest.mark.subprocess
def test_the_status_of_a_worker_is_that_of_the_command(photos):
    """A folder is explained in a process of its own."""
    import subprocess

    done = subprocess.run(
        [
            *(sys.executable, "-m", "cnnviz", "explain", "in", "-m", "demo", "-o", "out"),
            *("--method", "gradcam", "--max-share", "border=0", "--quiet"),
        ],
        cwd=photos,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert done.stderr.count("Threshold not met: evidence at the border: 0.") == 1


STOPPED = ("--junit", "j.xml", "--summary", "s.md", "--fail-under", "accuracy=0.5")


def cases(folder):
    """The test cases of a JUnit file, and which of them failed."""
    found = ElementTree.parse(folder / "j.xml").iter("testcase")
    return {case.get("name"): case.find("failure") is not None for case in found}


@pytest.mark.parametrize("command", ["explain", "evaluate"])
def test_the_first_failure_stands_in_the_files(cnnviz, photos, command):
    (photos / "in/gone.png").write_bytes(b"no image")
    method = ("-m", "demo", "--method", "gradcam", "-o", "out", "--batch-size", "1")
    options = ("--metric", "sparseness") if command == "evaluate" else ("--truth", "truth.csv")
    limits = STOPPED if command == "explain" else STOPPED[:4]
    status, _, _ = cnnviz(command, "in", *method, *options, "--fail-fast", *limits)
    assert status == ExitCode.SOME_FAILED
    expected = {"in/fish.png": False, "in/gone.png": True}
    if command == "explain":
        expected = {"accuracy at least 0.5": True, **expected}
    assert cases(photos) == expected
    summary = (photos / "s.md").read_text()
    assert "Stopped at in/gone.png, the first image that failed" in summary


def test_an_interrupted_run_says_so_in_the_files(cnnviz, photos, monkeypatch):
    from cnnviz.cli.explain_lines import OutcomePrinter

    def interrupted(self, outcome):
        raise KeyboardInterrupt

    monkeypatch.setattr(OutcomePrinter, "__call__", interrupted)
    status, _, _ = explain(cnnviz, *STOPPED)
    assert status == 130
    assert cases(photos) == {"accuracy at least 0.5": True}
    assert "Interrupted: the same command resumes the run." in (photos / "s.md").read_text()
