"""Parts of a run, in any order and at once, come to what a single run writes, to the last byte."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cnnviz.errors import ExitCode
from tests.support.runs import contents

OPTIONS = ("-m", "demo", "--method", "gradcam", "--input-size", "96", "--size", "model")
TRUTH = "path,label\n0.png,fish\n1.png,mushroom\nsub/cat.png,fish\n"


@pytest.fixture
def images(tmp_path, write_image):
    """Eleven: some whose names collide, in three ways, and one that is none."""
    names = [f"{number}.png" for number in range(5)]
    names += ["cat.png", "CAT.jpg", "sub/cat.png", "cat_281.png", "cat_guided.png"]
    for seed, name in enumerate(names):
        write_image(tmp_path / "photos" / name, seed)
    (tmp_path / "photos/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (tmp_path / "truth.csv").write_text(TRUTH)
    return tmp_path / "photos"


def shuffled(count):
    return np.random.default_rng(count).permutation(count).tolist()


@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.slow), 7])
def test_parts_come_to_what_a_single_run_writes(cnnviz, images, tmp_path, count):
    command = ("explain", images, *OPTIONS, "--target", "top2", "--truth", "truth.csv")
    assert cnnviz(*command, "-o", "whole")[0] == ExitCode.SOME_FAILED
    statuses = []
    for number in shuffled(count):
        assert not (tmp_path / "parts/manifest.json").exists()
        status, _, err = cnnviz(*command, "-o", "parts", "--shard", f"{number + 1}/{count}")
        statuses.append(status)
    assert "all parts are merged: 11 images, 1 failed" in err
    assert sorted(statuses) == [0] * (count - 1) + [1]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.needs("torch")
def test_engines_and_batches_are_those_of_a_single_run(cnnviz, images, tmp_path):
    """In batches of four of which some images fail, by an engine whose numbers depend on that."""
    command = ("explain", images, *OPTIONS, "--engine", "torch", "--batch-size", "4")
    cnnviz(*command, "-o", "whole", "--limit", "9")
    for number in shuffled(3):
        cnnviz(*command, "-o", "parts", "--limit", "9", "--shard", f"{number + 1}/3")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.needs("mxnet", "torch")
def test_parts_by_several_engines_are_told(cnnviz, images, tmp_path):
    """Where they are merged, and in the manifest; then a single run keeps what each has done."""
    command = ("explain", images, *OPTIONS)
    cnnviz(*command, "-o", "parts", "--shard", "1/2", "--engine", "torch")
    _, _, err = cnnviz(*command, "-o", "parts", "--shard", "2/2", "--engine", "mxnet")
    manifest = json.loads((tmp_path / "parts/manifest.json").read_text())
    engines = [one["engine"]["name"] for one in manifest["images"] if one["status"] == "ok"]
    assert set(engines) == {"mxnet", "torch"}
    said = f"{engines.count('torch')} images by PyTorch "
    (note,) = (one for one in manifest["run"]["notes"] if "several engines" in one)
    assert said in note
    assert note in err
    _, _, err = cnnviz(*command, "-o", "parts", "--engine", "mxnet")
    assert "10 explained (10 of them already done)" in err
    assert f"Explained in an earlier run, and kept: {said}" in err


def test_an_evaluation(cnnviz, images, tmp_path):
    metrics = ("--metric", "sparseness,randomization", "--metric-option", "randomization.images=2")
    command = ("evaluate", images, *OPTIONS[:-2], "--limit", "6", *metrics)
    cnnviz(*command, "-o", "whole")
    cnnviz(*command, "-o", "parts", "--shard", "2/2")
    status, _, err = cnnviz("merge", "parts")
    assert (status, "Part 1 of 2 is missing" in err) == (ExitCode.USAGE, True)
    _, out, _ = cnnviz(*command, "-o", "parts", "--shard", "1/2")
    assert "sparseness" in out  # the table of all
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert "evaluation.csv" in contents(tmp_path / "parts")


def test_after_the_merge_all_is_done(cnnviz, images, tmp_path):
    """For a part, and for a single run; what has changed is done again, and merged."""
    command = ("explain", images, *OPTIONS, "-o", "out")
    for number in (1, 2):
        cnnviz(*command, "--shard", f"{number}/2")
    merged = contents(tmp_path / "out")
    for more in (("--shard", "2/2"), ()):
        _, _, err = cnnviz(*command, *more)
        done, known = map(int, re.search(r"(\d+) explained \((\d+) of them", err).groups())
        assert done == known > 0
        assert contents(tmp_path / "out") == merged
    shutil.copy(images / "1.png", images / "0.png")
    for number in (1, 2):
        cnnviz(*command, "--shard", f"{number}/2")
    cnnviz("explain", images, *OPTIONS, "-o", "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_files_of_an_earlier_run_are_left_behind(cnnviz, images, tmp_path):
    """As a single run has it: those that no image of this one has."""
    for folder in ("whole", "parts"):
        cnnviz("explain", images, *OPTIONS, "--target", "top1", "-o", folder, "--format", "jpg")
    (images / "0.png").unlink()
    command = ("explain", images, *OPTIONS)
    cnnviz(*command, "-o", "whole")
    for number in (2, 1):
        cnnviz(*command, "-o", "parts", "--shard", f"{number}/2")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    left = json.loads((tmp_path / "parts/manifest.json").read_text())["summary"]["left_behind"]
    assert "0_gradcam.jpg" in left


def test_force_does_a_part_again(cnnviz, images, tmp_path):
    command = ("explain", images, *OPTIONS, "-o", "out")
    for number in (1, 2):
        cnnviz(*command, "--shard", f"{number}/2")
    merged = contents(tmp_path / "out")
    _, _, err = cnnviz(*command, "--shard", "1/2", "--force")
    assert "already done" not in err
    assert contents(tmp_path / "out") == merged


def test_parts_of_other_runs_are_refused_by_name(cnnviz, images, tmp_path):
    cnnviz("explain", images, *OPTIONS, "-o", "out", "--shard", "1/2")
    _, _, err = cnnviz("explain", images, *OPTIONS, "-o", "out", "--shard", "2/2", "--arrays")
    assert "are of different runs (part 1; part 2), with other options" in err
    assert not (tmp_path / "out/manifest.json").exists()
    status, _, err = cnnviz("merge", "out")
    assert status == ExitCode.USAGE
    cnnviz("explain", images, *OPTIONS, "-o", "out", "--shard", "1/3")
    status, _, err = cnnviz("merge", "out")
    assert (status, "into 2 and 3 parts" in err) == (ExitCode.USAGE, True)


VERDICT = ("--summary", "v.md", "--junit", "v.xml")


def verdict(folder):
    """What these files hold, without times."""
    texts = [(folder / name).read_text() for name in VERDICT[1::2]]
    return [re.sub(r'(time(stamp)?="[^"]*")|(, in [0-9.]+ s)', "", text) for text in texts]


def test_a_merged_run_is_held_to_what_a_single_run_is(cnnviz, images, tmp_path):
    """When it is merged, and later on."""
    command = ("explain", images, *OPTIONS, "--truth", "truth.csv")
    demands = ("--fail-under", "Accuracy=90%", "--max-share", "corner=1", *VERDICT)
    status, _, expected = cnnviz(*command, "-o", "whole", *demands)
    whole = verdict(tmp_path)
    assert status == ExitCode.NOT_MET
    cnnviz(*command, "-o", "parts", "--shard", "2/2")
    assert cnnviz("merge", "parts", *demands)[0] == ExitCode.USAGE
    cnnviz(*command, "-o", "parts", "--shard", "1/2")
    for name in VERDICT[1::2]:
        (tmp_path / name).unlink()
    status, _, err = cnnviz("merge", "parts", *demands)
    assert status == ExitCode.NOT_MET
    assert err.splitlines() == expected.splitlines()[-2:]
    assert verdict(tmp_path) == whole
    assert cnnviz("merge", "parts", "--max-share", "corner=1")[0] == ExitCode.SOME_FAILED


def test_a_merged_evaluation_is_held_to_metrics(cnnviz, images, tmp_path):
    command = ("evaluate", images, *OPTIONS[:-2], "--limit", "4")
    command += ("--metric", "insertion,sparseness", "--metric-option", "insertion.steps=2")
    demands = ("--fail-under", "gradcam.Insertion=1", *VERDICT)
    cnnviz(*command, "-o", "whole", *demands)
    whole = verdict(tmp_path)
    for number in (1, 2):
        cnnviz(*command, "-o", "parts", "--shard", f"{number}/2")
    status, _, err = cnnviz("merge", "parts", *demands)
    assert status == ExitCode.NOT_MET
    assert "Threshold not met: insertion of Grad-CAM: " in err
    assert verdict(tmp_path) == whole
    for name, said in {
        "rise.insertion": "no map of 'rise' is judged, only of gradcam",
        "sparseness": "no value of sparseness is better than another",
        "deletion": "'deletion' is not measured; insertion and sparseness are",
    }.items():
        status, _, err = cnnviz("merge", "parts", "--fail-under", f"{name}=0.5")
        assert (status, said in err) == (ExitCode.USAGE, True)
    status, _, err = cnnviz("merge", "parts", "--max-share", "corner=1")
    assert (status, "is an evaluation" in err) == (ExitCode.USAGE, True)


def test_demands_that_a_merged_run_cannot_meet(cnnviz, images, tmp_path):
    for number in (1, 2):
        cnnviz("explain", images, *OPTIONS, "-o", "parts", "--shard", f"{number}/2")
    cnnviz("explain", images, *OPTIONS, "-o", "selected", "--only", "uncertain")
    for folder, demand, said in (
        ("parts", "accuracy=0.9", "true classes: explain the images again with --truth"),
        ("parts", "acuracy=0.9", "'acuracy' is not one of accuracy, top5"),
        ("parts", "insertion=0.9", "`cnnviz evaluate` takes --fail-under insertion"),
        ("selected", "accuracy=0.9", "selected by the predictions for all"),
    ):
        status, _, err = cnnviz("merge", folder, "--fail-under", demand)
        assert (status, said in err) == (ExitCode.USAGE, True), err
    cnnviz("evaluate", images, *OPTIONS[:-2], "-o", "parts", "--metric", "sparseness")
    status, _, err = cnnviz("merge", "parts", "--summary", "v.md")
    assert (status, "manifest.json and evaluation.json" in err) == (ExitCode.USAGE, True)


@pytest.mark.parametrize(
    "options", [("--scale", "run"), ("--sort", "confidence"), ("--summary", "s.md")]
)
def test_what_depends_on_all_images_is_refused(cnnviz, images, options):
    status, _, err = cnnviz("explain", images, *OPTIONS, "--shard", "1/2", *options)
    assert status == ExitCode.USAGE
    assert options[0] in err
    assert "--shard" in err


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_a_part_that_there_is_not(cnnviz, images, text):
    status, _, err = cnnviz("explain", images, *OPTIONS, "--shard", text)
    assert status == ExitCode.USAGE
    assert f"such as 2/16; got '{text}'" in err


def test_a_folder_without_parts(cnnviz, images):
    status, _, err = cnnviz("merge", images)
    assert status == ExitCode.USAGE
    assert "has no parts of a run" in err
    assert cnnviz("merge", "nowhere")[2] == (
        "Error: nowhere does not exist: give the --output of the parts.\n"
    )


def test_parts_that_the_last_one_has_merged(cnnviz, images):
    """A job that merges after all others need not know whether there is anything left to do."""
    cnnviz("explain", images, *OPTIONS, "-o", "parts", "--limit", "1", "--shard", "1/1")
    status, out, err = cnnviz("merge", "parts")
    assert (status, out) == (ExitCode.OK, "")
    assert err == "parts has no parts left to merge; manifest.json is there\n"


def test_many_missing_parts_are_one_short_line(cnnviz, images):
    command = ("explain", images, *OPTIONS, "-o", "parts", "--limit", "1")
    for number in (3, 5):
        _, _, err = cnnviz(*command, "--shard", f"{number}/9999")
    assert "\nParts 1, 2, 4 and 6 to 9999 of 9999 are missing; " in err


@pytest.mark.subprocess
def test_at_once_and_killed_in_the_middle(images, tmp_path):
    """Two processes that end together, after one of them was killed over its images."""
    arguments = ("explain", str(images), *OPTIONS)

    def begin(*more):
        # All of them in processes that begin alike: in this one tests have set numbers of threads,
        # and with them the order of sums.
        return subprocess.Popen(
            [sys.executable, "-m", "cnnviz", *arguments, *more],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(number):
        return begin("-o", "parts", "--shard", f"{number}/2")

    begin("-o", "whole").communicate(timeout=120)
    first = start(1)
    journal = tmp_path / "parts/.cnnviz-journal.part-1-of-2.jsonl"
    while first.poll() is None and not (journal.exists() and b'"stem"' in journal.read_bytes()):
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    both = [start(1), start(2)]
    for process in both:
        process.communicate(timeout=120)
    assert sorted(process.returncode for process in both) == [0, 1]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
