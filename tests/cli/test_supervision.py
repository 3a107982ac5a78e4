"""Runs whose process crashes, is killed or stopped, and what is left of them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import cv2
import pytest

from cnnviz.errors import ExitCode
from cnnviz.runs.manifest import JOURNAL
from tests.support.capabilities import SLOW

pytestmark = pytest.mark.subprocess

#: Makes the process die of a segmentation fault over some images, or end, as a library would.
CRASHING = """
import os, signal
import cv2

imdecode = cv2.imdecode

def crash(*arguments):
    image = imdecode(*arguments)
    if image.shape[:2] == (61, 83):
        if os.path.exists("end"):
            os._exit(0)
        os.kill(os.getpid(), signal.SIGSEGV)
    return image

if os.path.exists("crash-judging"):
    from cnnviz.runs.judge import Judge

    judge = Judge.judge

    def crash_judging(self, result, *rest):
        if result.explanations[0].prepared.geometry.source == (61, 83):
            os.kill(os.getpid(), signal.SIGSEGV)
        return judge(self, result, *rest)

    Judge.judge = crash_judging
else:
    cv2.imdecode = crash

if os.path.exists("crash"):
    import cnnviz.models.resolve

    def load(*arguments, **options):
        os.kill(os.getpid(), signal.SIGSEGV)

    cnnviz.models.resolve.load_model = load
"""


@pytest.fixture
def start(tmp_path):
    """Start the command as a shell does."""

    def call(*arguments, command="explain", **options):
        (tmp_path / "sitecustomize.py").write_text(CRASHING)
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "cnnviz", command, *map(str, arguments), "--model", "demo"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return call


@pytest.fixture
def many(tmp_path, write_image):
    for number in range(8):
        write_image(tmp_path / f"photos/{number}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def poison(write_image):
    return lambda path: write_image(path, 1, (61, 83))


def contents(folder):
    """All files by name; of the manifest what has no times in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    manifest = json.loads(found["manifest.json"])
    for key in ("started", "seconds"):
        del manifest["run"][key]
    for image in manifest["images"]:
        del image["seconds"]
    return {**found, "manifest.json": manifest}


@pytest.mark.slow
def test_a_crash_in_a_part_costs_only_its_image(start, cnnviz, many, poison, tmp_path):
    """The other part does not even learn of it, and the merge has all images."""
    poison(many / "2.png")
    command = ("photos", "-o", "out", "--method", "gradcam")
    ends = []
    for number in (1, 2):
        process = start(*command, "--shard", f"{number}/2")
        _, err = process.communicate(timeout=120)
        ends.append((process.returncode, err.count("crashed (SIGSEGV); going on")))
    assert sorted(ends) == [(ExitCode.OK, 0), (ExitCode.SOME_FAILED, 1)]
    assert "all parts are merged: 8 images, 1 failed" in err
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    failed = {image["relative"]: image["error"] for image in manifest["images"] if image["error"]}
    assert failed == {"2.png": "the libraries that cnnviz uses crashed on it (signal 11)"}
    assert manifest["summary"]["ok"] == 7
    written = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {f"{n}_{name}.png" for n in range(8) for name in ("original", "gradcam")}
    assert written == expected - {"2_original.png", "2_gradcam.png"} | {"manifest.json"}
    # What crashed is not touched again, by a part or by the whole.
    for more in (("--shard", f"{ends.index((1, 1)) + 1}/2"), ()):
        status, _, err = cnnviz("explain", *command, "-m", "demo", *more)
        assert (status, "1 failed" in err) == (ExitCode.SOME_FAILED, True)
        done, known = re.search(r"(\d) explained \((\d) of them", err).groups()
        assert done == known


def test_a_crash_costs_only_its_image(start, cnnviz, many, poison, tmp_path):
    """Nor are paths lost that were read from standard input before it, nor anything done twice."""
    crashing = ["2.png", "6.png"] if SLOW else ["2.png"]
    for name in crashing:
        poison(many / name)
    command = ("-", "-o", "out", "--json", "--method", "gradcam", "--force")
    process = start(*command, stdin=subprocess.PIPE)
    paths = "".join(f"photos/{n}.png\n" for n in range(8))
    out, err = process.communicate(paths, timeout=120)
    assert process.returncode == ExitCode.SOME_FAILED
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["relative"] for record in records] == [f"{n}.png" for n in range(8)]
    failed = [record["relative"] for record in records if record["status"] == "failed"]
    assert failed == crashing
    for name in failed:
        assert (
            f"Error: photos/{name}: the libraries that cnnviz uses crashed on it (signal 11)" in err
        )
    assert err.count("crashed (SIGSEGV); going on, one image at a time") == len(crashing)
    failed, explained = len(crashing), 8 - len(crashing)
    # All again was asked for, but not for what was done before a crash.
    before = int(err.partition(f"{explained} explained (")[2].partition(" of them")[0])
    assert before >= 2
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["summary"]["failed"] == failed
    assert len(manifest["images"]) == 8

    # Again: nothing is done, not even with what does not crash here, in this process.
    status, _, err = cnnviz("explain", "photos", "-m", "demo", "-o", "out", "--method", "gradcam")
    assert status == ExitCode.SOME_FAILED
    assert f"{explained} explained ({explained} of them already done), {failed} failed" in err


@pytest.mark.slow
def test_a_library_that_ends_the_process_costs_only_its_image(start, many, poison, tmp_path):
    for number in range(4, 8):
        (many / f"{number}.png").unlink()
    poison(many / "2.png")
    (tmp_path / "end").touch()
    process = start("photos", "-o", "out", "--json", "--method", "gradcam")
    out, err = process.communicate(timeout=120)
    assert process.returncode == ExitCode.SOME_FAILED, err
    assert [json.loads(line)["status"] for line in out.splitlines()] == [
        *("ok", "ok", "failed", "ok")
    ]
    assert (
        "Error: photos/2.png: the libraries that cnnviz uses crashed on it (ended the process with "
        "exit status 0)\n"
    ) in err
    assert (tmp_path / "out/manifest.json").exists()


@pytest.mark.slow
def test_activations_outlive_a_crash_too(start, many, poison, tmp_path):
    for number in range(4, 8):
        (many / f"{number}.png").unlink()
    poison(many / "2.png")
    process = start("photos", "-o", "out", "--json", command="activations")
    out, err = process.communicate(timeout=120)
    assert process.returncode == ExitCode.SOME_FAILED, err
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["status"] for record in records] == ["ok"] * 2 + ["failed"] + ["ok"]
    assert err.count("Error: photos/2.png: the libraries that cnnviz uses crashed on it") == 1
    assert "3 shown, 1 failed" in err
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.slow
def test_an_evaluation_outlives_a_crash_while_an_image_is_judged(
    start, many, poison, cnnviz, tmp_path
):
    for number in range(4, 8):
        (many / f"{number}.png").unlink()
    poison(many / "2.png")
    (tmp_path / "crash-judging").touch()
    command = ("photos", "-o", "out", "--json", "--method", "gradcam", "--metric", "sparseness")
    process = start(*command, command="evaluate")
    out, err = process.communicate(timeout=120)
    assert process.returncode == ExitCode.SOME_FAILED, err
    told = [json.loads(line) for line in out.splitlines()]
    assert [record["relative"] for record in told] == [f"{number}.png" for number in range(4)]
    assert [record["status"] for record in told] == ["ok", "ok", "failed", "ok"]
    assert err.count("Error: photos/2.png: the libraries that cnnviz uses crashed on it") == 1
    evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert (evaluation["summary"]["ok"], evaluation["summary"]["failed"]) == (3, 1)
    crashed = [image["relative"] for image in evaluation["images"] if image["crashed"]]
    assert crashed == ["2.png"]

    # Again, where nothing crashes: it is not tried, unless that is asked for.
    again = ("evaluate", *command, "-m", "demo")
    status, _, err = cnnviz(*again)
    assert status == ExitCode.SOME_FAILED
    assert "3 evaluated (3 of them already done), 1 failed" in err
    status, _, err = cnnviz(*again, "--force")
    assert status == ExitCode.OK
    assert "4 evaluated, in" in err


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--scale", "run"], ["--sort", "margin"]])
def test_a_crash_before_anything_is_written(start, many, poison, tmp_path, options):
    """All images are looked at, or measured, before the first one is explained."""
    poison(many / "2.png")
    process = start("photos", "-o", "out", "--method", "gradcam", *options)
    out, err = process.communicate(timeout=120)
    assert process.returncode == ExitCode.SOME_FAILED
    assert err.count("Error: photos/2.png: the libraries that cnnviz uses crashed on it") == 1
    assert "7 explained, 1 failed" in err
    assert len(out.splitlines()) == 7


def test_a_crash_that_is_no_images(start, many, tmp_path):
    """Over the network itself: there is no way around it."""
    (tmp_path / "crash").touch()
    process = start("photos", "-o", "out", "--method", "gradcam")
    _, err = process.communicate(timeout=120)
    assert process.returncode == ExitCode.UNUSABLE
    assert "crashed (SIGSEGV), and not over an image" in err


def test_code_in_the_current_folder_is_not_run(many, tmp_path):
    (tmp_path / "cnnviz").mkdir()
    for name in ("__init__", "__main__", "cli"):
        (tmp_path / f"cnnviz/{name}.py").write_text("raise SystemExit('not this one')")
    code = "import sys; del sys.path[0]; from cnnviz.cli import main; main()"  # as its script does
    command = ["explain", "photos", "-o", "out", "--model", "demo", "--method", "gradcam"]
    command += ["--limit", "2"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, "not this one" in done.stderr) == (0, False), done.stderr


def test_one_image_has_no_other_process(start, many, poison):
    poison(many / "1.png")
    process = start("photos/1.png", "-o", "out", "--method", "gradcam")
    process.communicate(timeout=120)
    assert process.returncode not in list(ExitCode)


def wait_for(path, process):
    """Until the run has done something."""
    end = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") > 1):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
)
def test_whoever_stops_the_command_stops_its_worker(start, tmp_path, write_image, number):
    """What it has written is whole: every image has four files or none."""
    for name in range(300):
        write_image(tmp_path / f"photos/{name}.png", name)
    process = start("photos", "-o", "out")
    wait_for(tmp_path / "out" / JOURNAL, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)  # until the worker, too, has closed stdout
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert process.returncode == expected
    size = (tmp_path / "out" / JOURNAL).stat().st_size
    time.sleep(0.2)
    assert (tmp_path / "out" / JOURNAL).stat().st_size == size
    assert "Traceback" not in err
    assert ("Interrupted" in err) == (number == signal.SIGINT)
    written = list((tmp_path / "out").glob("*.png"))
    stems = Counter(path.name.partition("_")[0] for path in written)
    assert 1 <= len(stems) < 300
    if number != signal.SIGKILL:
        assert set(stems.values()) == {4}
    assert all(cv2.imread(str(path)) is not None for path in written)


def test_two_runs_in_one_folder(start, cnnviz, tmp_path, write_image):
    for name in range(300):
        write_image(tmp_path / f"photos/{name}.png", name)
    first = start("photos", "-o", "out")
    wait_for(tmp_path / "out" / JOURNAL, first)
    status, _, err = cnnviz("explain", "photos", "-o", "out", "-m", "demo")
    assert status == ExitCode.USAGE
    assert "Another run is writing to out" in err
    first.kill()
    first.communicate(timeout=60)


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(start, tmp_path, write_image):
    """Killed once, or fifty times with CNNVIZ_SLOW, and then left alone."""
    for name in range(24 if SLOW else 12):
        write_image(tmp_path / f"photos/{name % 3}/{name}.png", name)
    (tmp_path / "photos/1/bad.png").write_bytes(b"no image")
    command = ["photos", "--arrays", "--panel", "--contrast", "predicted:second"]
    command += ["--input-size", "96"]
    whole = start(*command, "-o", "whole")
    whole.communicate(timeout=120)
    assert whole.returncode == ExitCode.SOME_FAILED

    moments = random.Random(0)
    times: dict[str, float] = {}
    for attempt in range(50 if SLOW else 1):
        process = start(*command, "-o", "whole_", start_new_session=True)
        if attempt == 0:  # surely in the middle
            wait_for(tmp_path / "whole_" / JOURNAL, process)
        began = time.monotonic()
        # Loading takes about a second; all images about two more.
        while attempt and time.monotonic() - began < moments.uniform(0.8, 2.5):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        journal = tmp_path / "whole_" / JOURNAL
        if journal.exists():
            for line in journal.read_bytes().splitlines()[1:-1]:
                for one in json.loads(line).get("explanations", ()):
                    for name in one["files"].values():
                        changed = (tmp_path / "whole_" / name).stat().st_mtime
                        assert times.setdefault(name, changed) == changed  # not done again
    last = start(*command, "-o", "whole_")
    _, err = last.communicate(timeout=120)
    assert last.returncode == ExitCode.SOME_FAILED, err
    expected, found = contents(tmp_path / "whole"), contents(tmp_path / "whole_")
    assert sorted(found) == sorted(expected)
    one, other = (part.pop("manifest.json") for part in (expected, found))
    assert found == expected
    assert one["images"] == other["images"]
    assert one["summary"] == other["summary"]
    one["run"]["parameters"].pop("output")
    other["run"]["parameters"].pop("output")
    assert one["run"] == other["run"]
