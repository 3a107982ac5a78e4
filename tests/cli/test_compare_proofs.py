"""Comparisons whose outcome is known beforehand, from the images to what is found."""

from __future__ import annotations

import json
import shutil

import cv2
import pytest

from cnnviz.demo import CLASSES
from cnnviz.demo.scenes.held_out import one_object_scenes
from cnnviz.errors import ExitCode

DEMO = ("-m", "demo", "--method", "gradcam")


@pytest.fixture(scope="module")
def scenes():
    """Four images, by the class of what is drawn in each."""
    drawn = {CLASSES[one.objects[0].index]: one.image for one in one_object_scenes(8, 7_000_000)}
    return {name: drawn[name] for name in ("fish", "snail", "teapot", "umbrella")}


@pytest.fixture
def folder(tmp_path, scenes):
    """These in folders named after classes, one of them after a wrong one."""
    for name, image in scenes.items():
        path = tmp_path / "scenes" / ("fish" if name == "snail" else name) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return tmp_path / "scenes"


def compared(tmp_path, output="comparison"):
    return json.loads((tmp_path / output / "comparison.json").read_text())


def test_a_network_agrees_with_itself(cnnviz, tmp_path, folder):
    status, out, _ = cnnviz("compare", folder, *DEMO, "--truth", "folders")
    assert status == ExitCode.OK
    found = compared(tmp_path)
    for image in found["images"]:
        agreement = image["agreement"]
        assert (agreement["spearman"], agreement["common"]) == (1, 1)
        assert (agreement["peak_distance"], agreement["border"], agreement["corner"]) == (0, 0, 0)
        assert not image["changed"]
        assert image["a"] == image["b"]
    summary = found["summary"]
    assert summary["outcomes"] == {"both_wrong": 1, "both_right": 3}
    assert (summary["changed"], summary["mcnemar"]) == (0, 1)
    assert summary["accuracy_a"] == summary["accuracy_b"]
    assert (summary["accuracy_change"]["low"], summary["accuracy_change"]["high"]) == (0, 0)
    assert summary["groups"][0]["elsewhere"] == 0
    assert all(one["correct_a"] == one["correct_b"] for one in summary["classes"])
    assert all(one["count_a"] == one["count_b"] for one in summary["confusions"])
    assert out.splitlines()[-3:] == [
        "A (demo (a)) and B (demo (b)) both classify 3 of 4 images correctly, the same ones.",
        "No class gained or lost.",
        "Both look at the same places in all 4 images (mean rank correlation of the heatmaps "
        "1.00).",
    ]


@pytest.mark.needs("mxnet", "torch")
def test_a_network_agrees_with_itself_in_another_engine(cnnviz, tmp_path, folder):
    """Up to the rounding of float32: of the 8 bits of a heatmap hardly one ever differs."""
    engines = ("--engine", "mxnet", "--engine", "torch")
    assert cnnviz("compare", folder, *DEMO, *engines)[0] == ExitCode.OK
    found = compared(tmp_path)
    assert [found[side]["run"]["engine"]["name"] for side in "ab"] == ["mxnet", "torch"]
    assert (found["a"]["name"], found["b"]["name"]) == ("demo in MXNet", "demo in PyTorch")
    for image in found["images"]:
        agreement = image["agreement"]
        assert agreement["spearman"] == pytest.approx(1, abs=1e-4)
        assert agreement["common"] == pytest.approx(1, abs=1e-4)
        assert agreement["border"] == pytest.approx(0, abs=1e-4)
        assert agreement["corner"] == pytest.approx(0, abs=1e-4)
        assert agreement["peak_distance"] == 0
    assert found["summary"]["changed"] == 0
    assert found["summary"]["groups"][0]["elsewhere"] == 0


def test_images_that_differ_are_named(cnnviz, tmp_path, folder):
    """One is missing, one is another image now, one was moved, one is damaged, one is new."""
    after = tmp_path / "after"
    shutil.copytree(folder, after)
    (after / "umbrella/umbrella.png").unlink()
    for old, new in (("teapot/teapot.png", "teapot/teapot.png"), ("fish/fish.png", "new.png")):
        assert cv2.imwrite(str(after / new), 255 - cv2.imread(str(folder / old)))
    (after / "moved").mkdir()
    (after / "fish/snail.png").rename(after / "moved/slug.png")
    (after / "fish/fish.png").write_bytes(b"no image")
    assert cnnviz("explain", folder, *DEMO, "-o", "a")[0] == ExitCode.OK
    assert cnnviz("explain", after, *DEMO, "-o", "b")[0] == ExitCode.SOME_FAILED

    status, _, err = cnnviz("compare", "a", "b")
    assert status == ExitCode.OK
    found = compared(tmp_path)
    pairs = [(image["path"], image["path_b"]) for image in found["images"]]
    assert (str(folder / "fish/snail.png"), str(after / "moved/slug.png")) in pairs
    assert {(one["path"], one["why"]) for one in found["summary"]["unpaired"]} == {
        (str(folder / "umbrella/umbrella.png"), "only_a"),
        (str(folder / "teapot/teapot.png"), "content"),
        (str(after / "new.png"), "only_b"),
        (str(folder / "fish/fish.png"), "failed_b"),
    }
    for said in (
        f"Not compared: {folder / 'umbrella/umbrella.png'} is in A only.",
        f"Not compared: {folder / 'teapot/teapot.png'} is another image in B (its SHA-256 "
        "differs).",
        f"Not compared: {after / 'new.png'} is in B only.",
        f"Not compared: {folder / 'fish/fish.png'} failed in B.",
    ):
        assert said in err.splitlines()


def test_metrics_of_both_stand_beside_each_other(cnnviz, tmp_path, folder):
    """They are those of each evaluation, over the same images."""
    for side, layer in (("a", "features.26"), ("b", "features.18")):
        options = (*DEMO, "--layer", layer, "-o", side)
        assert cnnviz("explain", folder, *options)[0] == ExitCode.OK
        assert cnnviz("evaluate", folder, *options, "--metric", "sparseness")[0] == ExitCode.OK
    status, _, _ = cnnviz("compare", "a", "b")
    assert status == ExitCode.OK
    (change,) = compared(tmp_path)["summary"]["metrics"]
    values = {}
    for side in "ab":
        evaluation = json.loads((tmp_path / side / "evaluation.json").read_text())
        values[side] = [
            image["measurements"]["gradcam"]["sparseness"]["value"]
            for image in evaluation["images"]
        ]
    assert change["metric"] == "sparseness"
    assert change["change"]["images"] == 4
    for side in "ab":
        assert change[side]["value"] == pytest.approx(sum(values[side]) / 4)
    assert change["change"]["value"] == pytest.approx((sum(values["b"]) - sum(values["a"])) / 4)
