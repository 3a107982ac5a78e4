"""`cnnviz compare` of images: explained twice, with options that may be given twice."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest

from cnnviz.cli.compare import command as compare
from cnnviz.cli.explain import command as explain
from cnnviz.cli.options import pack
from cnnviz.cli.sides import TWOFOLD
from cnnviz.errors import ExitCode
from cnnviz.runs.manifest import JOURNAL
from cnnviz.runs.request import RunRequest

#: Two values for each option that may be given twice.
VALUES = {
    "--model": ("demo", "vgg19"),
    "--weights": ("a.params", "b.params"),
    "--labels": ("a.txt", "b.txt"),
    "--input-size": ("64", "32x48"),
    "--mean": ("0.5", "0.1,0.2,0.3"),
    "--std": ("0.5", "0.1,0.2,0.3"),
    "--channels": ("rgb", "bgr"),
    "--range": ("0:4095", "0:1"),
    "--display-channels": ("0,1,2", "2"),
    "--head": ("one", "other"),
    "--activation": ("softmax", "sigmoid"),
    "--resize": ("stretch", "crop"),
    "--crop-fraction": ("0.9", "1.0"),
    "--interpolation": ("area", "bicubic"),
    "--device": ("gpu:1", "mps"),
    "--engine": ("mxnet", "torch"),
    "--precision": ("tf32", "bf16"),
    "--layer": ("features.1", "features.2,features.3"),
    "--target": ("truth", "top3,cat"),
    "--method": ("gradcam", "layercam,saliency"),
    "--option": ("samples=5", "samples=50"),
    "--relu": ("guided", "standard"),
    "--saliency": ("gradient", "guided"),
    "--truth": ("a.csv", "b.csv"),
}
#: What every run of `cnnviz explain` may be given, and holds for both.
SHARED = ("--evaluate", "--limit", "7", "--size", "128", "--format", "jpg", "--force")
SHARED += ("--scale", "run", "--arrays", "--panel")
DEMO = ("-m", "demo", "--input-size", "96", "--method", "gradcam")
LAYERS = ("--layer", "features.18", "--layer", "default")


def as_explained(*arguments):
    """What `cnnviz explain` is asked to do by these."""
    given = explain.make_context("explain", ["photos", *arguments]).params
    saliency = given.pop("saliency")
    return pack(RunRequest, given).with_saliency(saliency)


@pytest.fixture
def asked(cnnviz, monkeypatch):
    """A function that calls the command; what the two sides are asked to do, or its error."""
    seen = []

    def note(sides, *_others):
        seen.append(sides)
        return ExitCode.OK, False

    monkeypatch.setattr("cnnviz.cli.compare.explain_both", note)

    def call(*arguments):
        status, _, err = cnnviz("compare", "photos", *arguments)
        if status:
            return err
        sides = seen.pop()
        return [
            replace(
                one,
                output=Path("explanations"),
                execution=replace(one.execution, by_engine=False),
            )
            for one in (sides.a, sides.b)
        ]

    return call


def test_values_are_for_all_options():
    options = {
        max(one.opts, key=len)
        for one in compare.params
        if isinstance(one, click.Option) and one.name in TWOFOLD
    }
    assert options == {*VALUES}


@pytest.mark.parametrize("option", VALUES)
def test_given_once_it_is_for_both_and_given_twice_for_each(asked, option):
    first, second = VALUES[option]
    one, other = as_explained(*SHARED, option, first), as_explained(*SHARED, option, second)
    assert one != other
    assert asked(*SHARED, option, first) == [one, one]
    assert asked(*SHARED, option, first, option, second) == [one, other]


@pytest.mark.parametrize("option", VALUES)
def test_one_side_can_go_without(asked, option):
    value = VALUES[option][1]
    without = "samples=default" if option == "--option" else "default"
    found = asked(option, without, option, value)
    assert found == [as_explained(), as_explained(option, value)]


@pytest.mark.parametrize("option", VALUES)
def test_three_times_is_once_too_often(asked, option):
    first, second = VALUES[option]
    error = asked(*(option, first) * 2, option, second)
    name = "--option samples=" if option == "--option" else option
    assert error.startswith(
        f"Error: {name} was given 3 times: give it once for both sides, or twice, A's first"
    )
    assert error.count("\n") == 1


def test_options_of_methods_are_told_apart_by_name(asked):
    given = ("-O", "samples=5", "-O", "noise=0.1", "-O", "samples=50")
    a, b = asked(*given)
    assert a.methods.options == {"samples": "5", "noise": "0.1"}
    assert b.methods.options == {"samples": "50", "noise": "0.1"}


def test_help_does_not_ask_to_repeat_what_means_two_sides():
    for one in compare.params:
        if isinstance(one, click.Option) and one.name in TWOFOLD:
            assert "epeat" not in (one.help or ""), one.name


def test_wrong_values_are_refused_as_by_explain(asked):
    assert "'gpu2' is not one of" in asked("--engine", "auto", "--engine", "gpu2")
    assert "An option is given as NAME=VALUE" in asked("-O", "samples")


@pytest.fixture
def images(tmp_path, write_image):
    """Two images in a folder."""
    for seed, name in enumerate(("one.png", "two.png")):
        write_image(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def written(folder):
    """When an explanation was."""
    return (folder / "one_gradcam.png").stat().st_mtime_ns


def test_two_layers_of_a_network(cnnviz, tmp_path, images):
    status, out, err = cnnviz("compare", images, *DEMO, *LAYERS, "-o", "cmp", "--format", "jpg")
    assert status == ExitCode.OK, err
    for side, layer in (("a", "features.18"), ("b", "features.26")):
        run = manifest(tmp_path / "cmp" / side)["run"]
        assert [one["name"] for one in run["network"]["layers"]] == [layer]
        assert (tmp_path / "cmp" / side / "one_gradcam.jpg").exists()
    # Each side as `cnnviz explain` would print it, under its name; then what was found.
    lines = err.splitlines()
    assert lines.index("A, in cmp/a:") < lines.index("B, in cmp/b:")
    assert "demo, layer features.18" in lines[lines.index("A, in cmp/a:") + 1]
    assert [line.split(":")[0] for line in out.splitlines()[:4]] == [
        *(str(images / name) for name in ("one.png", "two.png")),
    ] * 2
    found = json.loads((tmp_path / "cmp/comparison.json").read_text())
    assert (found["a"]["folder"], found["b"]["folder"]) == ("a", "b")
    assert found["a"]["name"] == "demo at features.18"
    assert found["summary"]["images"] == 2


def test_the_same_command_goes_on_where_it_was(cnnviz, tmp_path, images):
    command = ("compare", images, *DEMO, "-o", "cmp")
    layers = ("--layer", "features.18", "--layer", "features.22")
    assert cnnviz(*command, *layers)[0] == ExitCode.OK
    a, b = (written(tmp_path / "cmp" / side) for side in "ab")
    _, _, err = cnnviz(*command, *layers)
    assert err.count("2 explained (2 of them already done)") == 2
    assert (written(tmp_path / "cmp/a"), written(tmp_path / "cmp/b")) == (a, b)
    # Of one that is changed only this one is done again.
    _, _, err = cnnviz(*command, "--layer", "features.18", "--layer", "features.14")
    assert err.count("(2 of them already done)") == 1
    assert written(tmp_path / "cmp/a") == a
    assert written(tmp_path / "cmp/b") != b


@pytest.mark.needs("mxnet", "torch")
def test_another_engine_is_another_side(cnnviz, tmp_path, images):
    """A run that goes on takes what another engine has done; not where engines are compared."""
    command = ("compare", images, *DEMO, "-o", "cmp", "--engine", "mxnet")
    assert cnnviz(*command)[0] == ExitCode.OK
    _, _, err = cnnviz(*command, "--engine", "torch")
    assert err.count("(2 of them already done)") == 1
    engines = [
        {image["engine"]["name"] for image in manifest(tmp_path / "cmp" / side)["images"]}
        for side in "ab"
    ]
    assert engines == [{"mxnet"}, {"torch"}]


def test_nothing_differs(cnnviz, tmp_path, images):
    status, _, err = cnnviz("compare", images, *DEMO, "-o", "cmp")
    assert status == ExitCode.OK
    assert "A and B are asked for the same: this compares a network with itself.\n" in err
    found = json.loads((tmp_path / "cmp/comparison.json").read_text())
    assert found["summary"]["groups"][0]["spearman"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--layer", "default", "--layer", "nowhere"),
            "Error: B: This network has no layer",
        ),
        (
            ("--layer", "nowhere", "--layer", "default"),
            "Error: A: This network has no layer",
        ),
        (("--layer", "nowhere"), "Error: This network has no layer"),
        (("--target", "top1", "--target", "walrus"), "Error: B: "),
        (("--method", "gradcam", "--method", "nonesuch"), "Error: B: There is no method"),
        (("--labels", "default", "--labels", "none.txt"), "Error: B: "),
        (("--truth", "none.csv"), "Error: "),
        (("--truth", "default", "--truth", "none.csv"), "Error: B: "),
        (
            ("--fail-if-worse", "accuracy=0.5%"),
            "Error: --fail-if-worse accuracy=0.005 needs the images' true classes: give --truth.",
        ),
        (
            ("--method", "saliency", "--method", "default", "--max-share", "elsewhere=0.1"),
            "Error: --max-share elsewhere=0.1 needs heatmaps of both A and B: add --method gradcam",
        ),
    ],
)
def test_mistakes_of_either_side_come_before_any_work(cnnviz, tmp_path, images, options, said):
    status, out, err = cnnviz("compare", images, "-m", "demo", *options, "-o", "cmp")
    assert status == ExitCode.USAGE
    assert err.splitlines()[-1].startswith(said)
    assert out == ""
    assert not (tmp_path / "cmp").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--weights", "default", "--weights", "none.params"), "none.params cannot be read"),
        (("--weights", "default", "--weights", "photos/one.png"), "is not a weights file"),
        (("--device", "cpu", "--device", "gpu:99"), "gpu:99"),
    ],
)
def test_what_cannot_be_used_comes_before_any_work(cnnviz, tmp_path, images, options, said):
    status, _, err = cnnviz("compare", images, *DEMO, *options, "-o", "cmp")
    assert status == ExitCode.UNUSABLE
    assert err.startswith("Error: B: ")
    assert said in err
    assert not (tmp_path / "cmp").exists()


def test_images_that_fail_and_thresholds(cnnviz, tmp_path, images):
    (images / "bad.png").write_bytes(b"no image")
    command = ("compare", images, *DEMO, *LAYERS, "-o", "cmp")
    status, _, err = cnnviz(*command, "--summary", "found.md", "--quiet")
    assert status == ExitCode.SOME_FAILED
    assert err.count("Error: ") == 2
    assert "demo at features.18" in (tmp_path / "found.md").read_text()
    status, _, err = cnnviz(*command, "--quiet", "--max-share", "changed=0")
    assert (status, err.count("Threshold")) == (ExitCode.SOME_FAILED, 0)
    (tmp_path / "truth.csv").write_text("path,label\nbad.png,fish\n")
    truth = ("--truth", "truth.csv")  # of the one image that neither explains
    status, _, err = cnnviz(*command, *truth, "--quiet", "--fail-if-worse", "accuracy=0")
    assert (status, err.count("Threshold not met: drop in accuracy from A to B: could not be")) == (
        ExitCode.NOT_MET,
        1,
    )


def test_the_first_failure_ends_it_all(cnnviz, tmp_path, images):
    (images / "bad.png").write_bytes(b"no image")
    status, _, err = cnnviz("compare", images, *DEMO, "-o", "cmp", "--fail-fast")
    assert status == ExitCode.SOME_FAILED
    assert "B, in" not in err
    assert not (tmp_path / "cmp/b").exists()


def test_json_is_of_the_comparison_alone(cnnviz, images):
    status, out, _ = cnnviz("compare", images, *DEMO, "--json")
    assert status == ExitCode.OK
    records = [json.loads(line) for line in out.splitlines()]
    assert [Path(one["path"]).name for one in records] == ["one.png", "two.png"]
    assert all(one["outcome"] == "unchanged" for one in records)


def test_paths_on_standard_input_are_read_once_for_both(cnnviz, images, tmp_path, monkeypatch):
    paths = "".join(f"{images / name}\n" for name in ("two.png", "one.png"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(paths.encode())))
    status, _, err = cnnviz("compare", "-", *DEMO, "-o", "cmp")
    assert status == ExitCode.OK, err
    for side in "ab":
        stems = [image["stem"] for image in manifest(tmp_path / "cmp" / side)["images"]]
        assert stems == ["two", "one"]


@pytest.mark.subprocess
def test_in_processes_of_their_own(images, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cnnviz", "compare", "-", *DEMO, *LAYERS, "-o", "cmp"],
        input="".join(f"{images / name}\n" for name in ("two.png", "one.png")),
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.OK, done.stderr
    assert done.stderr.count("2 explained") == 2
    for side in "ab":
        assert len(manifest(tmp_path / "cmp" / side)["images"]) == 2


@pytest.fixture
def run(cnnviz, images):
    """A run's folder."""
    assert cnnviz("explain", images, *DEMO, "-o", "run")[0] == ExitCode.OK
    return "run"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("photos", "photos"), "There is nothing to compare: photos and photos have no manifest"),
        (("photos",), "There is nothing to compare: photos has no manifest.json"),
        (
            ("run", "photos"),
            "run is the folder of a run, and photos has no manifest.json of `cnnviz explain`: give "
            "two of these",
        ),
        (("run", "nowhere"), "There is no image or folder nowhere."),
        (
            ("run/manifest.json", "run"),
            "run/manifest.json is a file of a run: give its folder, run",
        ),
        (("run",), "run is the folder of a run: give two of these"),
        (("run", "-m", "demo", "-m", "vgg16"), "run is the folder of a run: give two of these"),
        (("run", "run", "run"), "run is the folder of a run: give two of these"),
        (
            ("run", "run", "-m", "demo", "--limit", "3"),
            "run and run are folders of runs, which are compared as they are: leave out --model "
            "and --limit",
        ),
        (("run", "run", "-o", "run"), "run is the output folder of a run, whose page a comparison"),
        (("nowhere", "run/nowhere"), "There is no image or folder nowhere"),
        (("photos", "-m", "demo", "-o", "photos"), "The output folder is the input folder photos"),
    ],
)
def test_inputs_that_are_neither(cnnviz, run, arguments, said):
    status, _, err = cnnviz("compare", *arguments)
    assert status == ExitCode.USAGE
    assert err.splitlines()[-1].startswith(f"Error: {said}")
    assert err.count("\n") == 1


def test_an_interrupted_run(cnnviz, tmp_path, run):
    shutil.copytree(tmp_path / run, tmp_path / "other")
    (tmp_path / "other/manifest.json").rename(tmp_path / "other" / JOURNAL)
    status, _, err = cnnviz("compare", "other", "other")
    assert status == ExitCode.USAGE
    assert "The run in other was interrupted: finish it first" in err
    assert cnnviz("compare", run, "other")[2] == err


def test_two_folders_of_runs(cnnviz, tmp_path, run):
    status, _, err = cnnviz("compare", run, run)
    assert status == ExitCode.OK
    assert err.startswith("A and B are the same folder: this compares a run with itself.\n")
    assert not (tmp_path / "comparison/a/manifest.json").exists()


def test_nothing_of_somebody_else_is_replaced(cnnviz, tmp_path, run):
    (tmp_path / "comparison").mkdir()
    (tmp_path / "comparison/comparison.csv").write_text("mine")
    status, _, err = cnnviz("compare", run, run)
    assert status == ExitCode.USAGE
    assert "comparison.csv exists and was not written by cnnviz: move it away" in err
    assert [path.name for path in (tmp_path / "comparison").iterdir()] == ["comparison.csv"]
