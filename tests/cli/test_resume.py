"""The same command again: what is done is not done again, what changed is."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cnnviz.cli.explain_lines import OutcomePrinter
from cnnviz.errors import ExitCode
from cnnviz.outputs.files import OutputFolder
from cnnviz.runs.manifest import JOURNAL

OPTIONS = ("--model", "demo", "--input-size", "96", "-o", "out", "--method", "gradcam")


@pytest.fixture
def explain(cnnviz, photos, monkeypatch):
    """Run the command; which images were done now, and which were known."""

    def call(*options):
        done = {}
        shown = OutcomePrinter.__call__

        def watch(self, outcome):
            done[outcome.record.relative] = outcome.fresh
            shown(self, outcome)

        with monkeypatch.context() as patch:
            patch.setattr(OutcomePrinter, "__call__", watch)
            status, out, err = cnnviz("explain", photos, *OPTIONS, *options)
        assert status in (0, 1), err
        return done, out, err

    return call


def fresh(done):
    return {name for name, now in done.items() if now}


ALL = {"2.png", "10.jpg", "sub/cat.png"}


def test_nothing_is_done_twice(explain, tmp_path):
    done, out, _ = explain()
    assert fresh(done) == ALL
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    done, again, err = explain()
    assert fresh(done) == set()
    assert again == out
    assert "3 explained (3 of them already done)" in err
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}


def test_another_format_and_a_report(explain, cnnviz, tmp_path):
    explain("--format", "jpg", "--panel", "--report")
    out = tmp_path / "out"
    kinds = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert kinds == {".jpg", ".json", ".html"}
    assert (out / "2_panel.jpg").exists()
    assert (out / "thumbnails/2_gradcam.jpg").exists()
    assert '"2_gradcam.jpg"' in (out / "index.html").read_text()
    done, _, _ = explain("--format", "jpg", "--panel", "--report")
    assert fresh(done) == set()
    status, _, err = cnnviz("explain", out, "-m", "demo", "-o", "again")
    assert status == 2  # what cnnviz wrote is not explained
    assert "holds no images but those that cnnviz wrote" in err


def test_force_does_all_again(explain):
    explain()
    done, _, _ = explain("--force")
    assert fresh(done) == ALL


def test_a_changed_image_is_done_again(explain, photos, write_image, tmp_path):
    explain()
    before = json.loads((tmp_path / "out/manifest.json").read_text())["images"]
    write_image(photos / "10.jpg", 99)
    done, _, _ = explain()
    assert fresh(done) == {"10.jpg"}
    after = json.loads((tmp_path / "out/manifest.json").read_text())["images"]
    changed = [old["stem"] for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["10"]


def test_an_image_that_was_only_touched_is_not(explain, photos):
    explain()
    (photos / "2.png").touch()
    done, _, _ = explain()
    assert fresh(done) == set()


def test_a_new_image_is_done_and_a_removed_one_forgotten(explain, photos, write_image, tmp_path):
    explain()
    write_image(photos / "3.png", 5)
    (photos / "10.jpg").unlink()
    done, _, err = explain()
    assert fresh(done) == {"3.png"}
    assert "3 explained (2 of them already done)" in err
    images = json.loads((tmp_path / "out/manifest.json").read_text())["images"]
    assert [image["stem"] for image in images] == ["2", "3", "sub/cat"]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *((kind, damage) for kind in ("png", "jpg") for damage in ("removed", "cut", "zeros")),
        ("webp", "removed"),
        ("webp", "cut"),  # with zeros at its end nobody can tell whose it is
    ],
)
def test_a_file_that_is_gone_or_damaged_is_made_again(explain, tmp_path, damage, kind):
    explain("--format", kind)
    path = tmp_path / f"out/10_gradcam.{kind}"
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(whole[:-3])
    else:
        path.write_bytes(whole[:100] + b"\0" * (len(whole) - 100))
    done, _, _ = explain("--format", kind)
    assert fresh(done) == {"10.jpg"}
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "options",
    [
        ["--target", "fish"],
        ["--layer", "features.19"],
        ["--alpha", "0.5"],
        ["--size", "50"],
        ["--no-overlay"],
        ["--format", "jpg"],
        ["--arrays"],
        ["--panel"],
        ["--contrast", "predicted:second"],
        ["--resize", "crop"],
        ["--crop-fraction", "0.9"],
        ["--interpolation", "bicubic"],
        ["--relu", "guided"],
        ["--mean", "0.5,0.5,0.5"],
    ],
)
def test_another_parameter_does_all_again(explain, options):
    explain("--limit", "1")
    done, _, _ = explain("--limit", "1", *options)
    assert fresh(done) == {"2.png"}


@pytest.mark.parametrize(
    "options", [["--sort", "margin"], ["--limit", "2"], ["--batch-size", "1"], ["--json"]]
)
def test_what_changes_no_image_does_nothing_again(explain, options):
    explain()
    done, _, _ = explain(*options)
    assert fresh(done) == set()
    assert done


def test_another_truth_does_again_what_it_is_about(explain, photos, tmp_path):
    explain()
    (tmp_path / "truth.csv").write_text("2.png,fish\n")
    done, _, _ = explain("--truth", "truth.csv")
    assert fresh(done) == {"2.png"}


def test_failures_are_tried_again(explain, photos):
    (photos / "3.png").write_bytes(b"no image")
    explain()
    done, _, err = explain()
    assert fresh(done) == {"3.png"}
    assert "3 explained (3 of them already done), 1 failed" in err


def test_a_common_scale_is_that_of_all_images(explain, photos, write_image):
    explain("--scale", "run")
    done, _, _ = explain("--scale", "run")
    assert fresh(done) == set()
    pixels = cv2.imread(str(photos / "2.png"))
    assert cv2.imwrite(str(photos / "2.png"), np.clip(pixels.astype(int) * 2, 0, 255))
    done, _, _ = explain("--scale", "run")
    assert fresh(done) in (ALL, {"2.png"})  # if it has not changed the scale


def test_a_full_disk_leaves_what_can_be_continued(cnnviz, explain, photos, tmp_path, monkeypatch):
    from cnnviz.errors import OutputUnavailableError

    write = OutputFolder.write

    def full(self, relative, parts):
        if relative.name == "10_gradcam.png":
            raise OutputUnavailableError("No space left on device.")
        return write(self, relative, parts)

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "write", full)
        status, _, err = cnnviz("explain", photos, *OPTIONS, "--batch-size", "1")
    assert status == ExitCode.SOME_FAILED
    assert err.endswith("Error: No space left on device.\n")
    assert (tmp_path / "out" / JOURNAL).exists()
    assert not (tmp_path / "out/manifest.json").exists()
    done, _, _ = explain()
    assert "2.png" not in fresh(done)
    assert not (tmp_path / "out" / JOURNAL).exists()


def test_fail_fast_stops_and_can_be_continued(cnnviz, explain, photos):
    (photos / "3.png").write_bytes(b"no image")
    status, _, err = cnnviz("explain", photos, *OPTIONS, "--fail-fast", "--batch-size", "1")
    assert status == ExitCode.SOME_FAILED
    assert f"Stopped at {photos / '3.png'}, the first image that failed" in err
    done, _, _ = explain()
    assert done["2.png"] is False


def test_leftovers_of_a_kill_are_swept_away(explain, tmp_path):
    explain()
    (tmp_path / "out" / JOURNAL).write_bytes(b"{}\n")
    for name in ("out/.cnnviz-0123.tmp", "out/sub/.cnnviz-4567.tmp"):
        (tmp_path / name).write_bytes(b"half an image")
    (tmp_path / "out/sub/mine.tmp").write_bytes(b"mine")
    explain()
    left = [path.name for path in (tmp_path / "out").rglob("*.tmp")]
    assert left == ["mine.tmp"]


def files(tmp_path):
    return {path.relative_to(tmp_path / "out").as_posix() for path in pngs(tmp_path)}


def pngs(tmp_path):
    return list((tmp_path / "out").rglob("*.png"))


def test_runs_for_other_classes_keep_their_files(explain, tmp_path):
    """All that the first runs wrote is there in the end, and unchanged; so is what they show."""
    options = (["--panel"], ["--panel", "--contrast", "fish:snail"])
    targets = (["top1"], ["fish"], ["snail"], ["top2"], ["fish,snail"], ["second"])
    before = {}
    for more, target in [(more, target) for more in options for target in targets]:
        explain("--target", *target, *more)
        data = {path: path.read_bytes() for path in pngs(tmp_path)}
        assert before.items() <= data.items()
        before = data
    for index in (1, 4):
        assert {f"2_{index}_gradcam.png", f"2_{index}_panel.png"} <= files(tmp_path)
    assert {"2_gradcam.png", "2_panel.png", "2_1-4_panel.png", "2_1-4_contrast.png"} <= files(
        tmp_path
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--layer", "features.19"], "another layer"),
        (["--relu", "guided"], "other methods or method options"),
        (["--method", "occlusion", "-O", "window=64"], "other methods or method options"),
        (["--target", "fish"], "another target"),
        (["--contrast", "fish:snail"], "another contrast"),
        (["--size", "50"], "another --size"),
        (["--mean", "0.5,0.5,0.5"], "another input"),
        (["--format", "webp"], "other kinds of files"),
        (["--alpha", "0.5", "--no-overlay", "--arrays"], "other colors, other kinds of files"),
    ],
)
def test_another_run_in_the_folder_is_told(explain, options, told):
    _, _, err = explain("--limit", "1")
    assert "earlier run" not in err
    _, _, err = explain("--limit", "1", *options)
    assert (
        f"out contains an earlier run with {told}: files with the same names are replaced." in err
    )
    _, _, err = explain("--limit", "1", *options)
    assert "contains an earlier run" not in err


def test_a_run_of_other_images_is_in_nobodys_way(explain, cnnviz, write_image, tmp_path):
    explain()
    write_image(tmp_path / "dog.png")
    _, _, err = cnnviz("explain", "dog.png", *OPTIONS, "--layer", "features.19")
    assert "contains an earlier run" not in err
    assert "out still has 6 files of earlier runs that its manifest no longer names: " in err


def test_images_of_the_same_name_are_told(explain, cnnviz, write_image, tmp_path):
    explain()
    _, _, err = cnnviz("explain", write_image(tmp_path / "2.png", seed=5), *OPTIONS)
    other = tmp_path / "photos/2.png"
    assert f"an earlier run, which had the same names, were replaced: {other}\n" in err
    (tmp_path / "same").mkdir()
    (tmp_path / "same/2.png").write_bytes((tmp_path / "2.png").read_bytes())
    _, _, err = cnnviz("explain", "same/2.png", *OPTIONS)
    assert "replaced" not in err


@pytest.mark.parametrize("ending", [[], ["--force"]])
def test_files_that_no_manifest_names_any_more_are_named(explain, photos, tmp_path, ending):
    def told():
        found = json.loads((tmp_path / "out/manifest.json").read_text())
        named = {
            name
            for one in found["images"]
            for e in one["explanations"]
            for name in e["files"].values()
        }
        assert files(tmp_path) - named == set(found["summary"]["left_behind"])
        return found["summary"]["left_behind"]

    _, _, err = explain()
    assert "no longer names" not in err
    assert told() == []
    _, _, err = explain("--target", "fish", *ending)
    gone = ["2_gradcam.png", "10_gradcam.png", "sub/cat_gradcam.png"]
    assert "out still has 3 files of earlier runs that its manifest no longer names: " in err
    assert f"no longer names: {', '.join(gone)}\n" in err
    assert sorted(told()) == sorted(gone)
    (photos / "10.jpg").unlink()
    (tmp_path / "out/2_gradcam.png").unlink()
    _, _, err = explain("--target", "snail", *ending)
    assert "out still has 6 files of earlier runs" in err
    assert sorted(told()) == sorted(
        [
            *gone[1:],
            *(f"{stem}_1_gradcam.png" for stem in ("2", "10", "sub/cat")),
            "10_original.png",
        ]
    )
    explain("--target", "fish", *ending)
    explain(*ending)
    assert len(told()) == 7  # two images for two classes, and what is left of the third
    for path in pngs(tmp_path):
        if "10" in path.name:
            path.unlink()
    _, _, err = explain(*ending)
    assert "out still has 4 files" in err


def test_files_of_a_run_that_was_stopped_are_named(cnnviz, explain, photos, tmp_path):
    (photos / "3.png").write_bytes(b"no image")
    cnnviz("explain", photos, *OPTIONS, "--fail-fast", "--batch-size", "1", "--target", "fish")
    (photos / "3.png").unlink()
    stopped = files(tmp_path)
    assert "2_1_gradcam.png" in stopped
    _, _, err = explain()
    assert "out contains an earlier run with other options: files with the same names" in err
    found = json.loads((tmp_path / "out/manifest.json").read_text())["summary"]["left_behind"]
    assert set(found) == stopped - {"2_original.png", "10_original.png", "sub/cat_original.png"}


def test_what_an_earlier_version_did_is_not_done_again(explain, tmp_path):
    """Its files are called the same unless a class was asked for, and its summary says less."""
    explain()
    path = tmp_path / "out/manifest.json"
    head, run, summary, *images = path.read_text().splitlines(keepends=True)
    summary = json.loads("{" + summary.rstrip(",\n") + "}")["summary"]
    del summary["left_behind"]
    path.write_text("".join([head, run, f'"summary": {json.dumps(summary)},\n', *images]))
    done, _, err = explain()
    assert fresh(done) == set()
    assert "earlier" not in err


VERSION_1 = {
    "manifest.json": '{"cnnviz_manifest": 1,\n"run": {"fingerprint": "ab"},\n"images": []}\n',
    JOURNAL: '{"cnnviz_journal": 1, "fingerprint": "ab"}\n{"stem": "2"}\n',
}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        *((name, command) for name in VERSION_1 for command in ("explain", "explain --force")),
        ("manifest.json", "report"),
    ],
)
def test_a_folder_of_version_1_is_left_alone(cnnviz, photos, tmp_path, name, command):
    """One sentence that says what it is and what to do, before any work."""
    before = {name: VERSION_1[name], "2_gradcam.png": "of that run"}
    (tmp_path / "out").mkdir()
    for file, text in before.items():
        (tmp_path / "out" / file).write_text(text)
    command, *force = command.split()
    arguments = ("out",) if command == "report" else (photos, *OPTIONS, *force)
    status, out, err = cnnviz(command, *arguments)
    assert (status, out) == (ExitCode.USAGE, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"Error: out/{name} has version 1 of the format, and this cnnviz ")
    assert "utput folder" in err
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == before
