"""The same command again: what is done is not done again, what changed is."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cnnviz.cli.explain import _Printer
from cnnviz.errors import ExitCode
from cnnviz.manifest import JOURNAL
from cnnviz.outputs import OutputFolder

OPTIONS = ("--model", "demo", "-o", "out", "--method", "gradcam")


@pytest.fixture
def explain(cnnviz, photos, monkeypatch):
    """Run the command; which pictures were done now, and which were known."""

    def call(*options):
        done = {}
        shown = _Printer.__call__

        def watch(self, outcome):
            done[outcome.source.relative.as_posix()] = outcome.fresh
            shown(self, outcome)

        with monkeypatch.context() as patch:
            patch.setattr(_Printer, "__call__", watch)
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
    assert "3 explained (3 of them before)" in err
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}


def test_force_does_all_again(explain):
    explain()
    done, _, _ = explain("--force")
    assert fresh(done) == ALL


def test_a_changed_picture_is_done_again(explain, photos, write_picture, tmp_path):
    explain()
    before = json.loads((tmp_path / "out/manifest.json").read_text())["pictures"]
    write_picture(photos / "10.jpg", 99)
    done, _, _ = explain()
    assert fresh(done) == {"10.jpg"}
    after = json.loads((tmp_path / "out/manifest.json").read_text())["pictures"]
    changed = [old["stem"] for old, new in zip(before, after) if old != new]
    assert changed == ["10"]


def test_a_picture_that_was_only_touched_is_not(explain, photos):
    explain()
    (photos / "2.png").touch()
    done, _, _ = explain()
    assert fresh(done) == set()


def test_a_new_picture_is_done_and_a_removed_one_forgotten(
    explain, photos, write_picture, tmp_path
):
    explain()
    write_picture(photos / "3.png", 5)
    (photos / "10.jpg").unlink()
    done, _, err = explain()
    assert fresh(done) == {"3.png"}
    assert "3 explained (2 of them before)" in err
    pictures = json.loads((tmp_path / "out/manifest.json").read_text())["pictures"]
    assert [picture["stem"] for picture in pictures] == ["2", "3", "sub/cat"]


@pytest.mark.parametrize("damage", ["removed", "cut", "zeros"])
def test_a_file_that_is_gone_or_damaged_is_made_again(explain, tmp_path, damage):
    explain()
    path = tmp_path / "out/10_gradcam.png"
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(whole[:-3])
    else:
        path.write_bytes(whole[:100] + b"\0" * (len(whole) - 100))
    done, _, _ = explain()
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
        ["--arrays"],
        ["--panel"],
        ["--contrast", "predicted:second"],
        ["--resize", "crop"],
        ["--relu", "guided"],
        ["--mean", "0.5,0.5,0.5"],
    ],
)
def test_another_parameter_does_all_again(explain, options):
    explain()
    done, _, _ = explain(*options)
    assert fresh(done) == ALL


@pytest.mark.parametrize(
    "options", [["--sort", "margin"], ["--limit", "2"], ["--batch-size", "1"], ["--json"]]
)
def test_what_changes_no_picture_does_nothing_again(explain, options):
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
    (photos / "3.png").write_bytes(b"no picture")
    explain()
    done, _, err = explain()
    assert fresh(done) == {"3.png"}
    assert "3 explained (3 of them before), 1 failed" in err


def test_a_common_scale_is_that_of_all_pictures(explain, photos, write_picture):
    explain("--scale", "run")
    done, _, _ = explain("--scale", "run")
    assert fresh(done) == set()
    pixels = cv2.imread(str(photos / "2.png"))
    assert cv2.imwrite(str(photos / "2.png"), np.clip(pixels.astype(int) * 2, 0, 255))
    done, _, _ = explain("--scale", "run")
    assert fresh(done) in (ALL, {"2.png"})  # if it has not changed the scale


def test_a_full_disk_leaves_what_can_be_continued(cnnviz, explain, photos, tmp_path, monkeypatch):
    from cnnviz.errors import CnnvizError

    write = OutputFolder.write_png

    def full(self, relative, picture):
        if relative.name == "10_gradcam.png":
            raise CnnvizError("No space left on device.")
        return write(self, relative, picture)

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "write_png", full)
        status, _, err = cnnviz("explain", photos, *OPTIONS, "--batch-size", "1")
    assert status == ExitCode.SOME_FAILED
    assert err.endswith("Error: No space left on device.\n")
    assert (tmp_path / "out" / JOURNAL).exists()
    assert not (tmp_path / "out/manifest.json").exists()
    done, _, _ = explain()
    assert "2.png" not in fresh(done)
    assert not (tmp_path / "out" / JOURNAL).exists()


def test_fail_fast_stops_and_can_be_continued(cnnviz, explain, photos):
    (photos / "3.png").write_bytes(b"no picture")
    status, _, err = cnnviz("explain", photos, *OPTIONS, "--fail-fast", "--batch-size", "1")
    assert status == ExitCode.SOME_FAILED
    assert f"Stopped at {photos / '3.png'}, the first picture that failed" in err
    done, _, _ = explain()
    assert done["2.png"] is False


def test_leftovers_of_a_kill_are_swept_away(explain, tmp_path):
    explain()
    (tmp_path / "out" / JOURNAL).write_bytes(b"{}\n")
    for name in ("out/.cnnviz-0123.tmp", "out/sub/.cnnviz-4567.tmp"):
        (tmp_path / name).write_bytes(b"half a picture")
    (tmp_path / "out/sub/mine.tmp").write_bytes(b"mine")
    explain()
    left = [path.name for path in (tmp_path / "out").rglob("*.tmp")]
    assert left == ["mine.tmp"]
