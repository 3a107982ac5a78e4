"""A run on a Ray cluster comes to what a run on this machine does, whatever happens to workers."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from cnnviz import system
from cnnviz.errors import ExitCode
from cnnviz.runs import ray_cluster, ray_runner
from tests.support.runs import contents

OPTIONS = ("-m", "demo", "--method", "gradcam", "--size", "model")
ON_RAY = ("--runner", "ray")

#: Makes a worker of Ray die over an image of this size, as a library would.
CRASHING = """
import os, signal, sys

if any("default_worker" in argument for argument in sys.orig_argv):
    import cv2

    imdecode = cv2.imdecode

    def crash(*arguments):
        image = imdecode(*arguments)
        if image.shape[:2] == (61, 83):
            os.kill(os.getpid(), signal.SIGSEGV)
        return image

    cv2.imdecode = crash
"""


@pytest.fixture
def start_ray(monkeypatch):
    """Start Ray with so many cores; workers find what is in a folder first."""
    started = []
    # Workers are to import the package that is tested, also where another copy of it is installed.
    tested = Path(ray_runner.__file__).parents[2]

    def call(cores, path=None):
        import ray

        before = os.environ.get("PYTHONPATH")
        found_first = [*filter(None, [path, tested, before])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, found_first)))
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
        started.append(ray)

    yield call
    for ray in started:
        ray.shutdown()


@pytest.fixture
def images(tmp_path, write_image):
    for number in range(60):
        write_image(tmp_path / "photos" / f"{number % 3}/{number}.png", number)
    (tmp_path / "photos/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    return tmp_path / "photos"


@pytest.mark.needs("ray")
@pytest.mark.subprocess
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_a_run_on_this_machine_writes(cnnviz, images, start_ray, tmp_path, request, workers):
    command = ("explain", images, *OPTIONS, "--threads", "1")
    _, expected, _ = cnnviz(*command, "-o", "local", "--json")
    request.getfixturevalue("on_the_disk")  # workers read the list, and names, from there
    start_ray(workers)
    status, out, err = cnnviz(*command, "-o", "ray", "--json", *ON_RAY)
    assert status == ExitCode.SOME_FAILED
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    paths = re.compile(r'"path": "([^"]*)"')
    assert sorted(paths.findall(out)) == sorted(paths.findall(expected))
    assert err.count("Error: ") == 1
    assert "60 explained, 1 failed, in " in err
    # Again: all is done.
    _, _, err = cnnviz(*command, "-o", "ray", *ON_RAY)
    assert "60 explained (60 of them already done), 1 failed" in err
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def verdict_files(name):
    return "--summary", f"{name}.md", "--junit", f"{name}.xml"


def verdict(folder, name):
    """What these hold, without times."""
    texts = [(folder / file).read_text() for file in verdict_files(name)[1::2]]
    return [re.sub(r'(time(stamp)?="[^"]*")|(, in [0-9.]+ s)', "", text) for text in texts]


def holder(journal):
    """The process that has a file open."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:  # it has ended, or is somebody else's
            continue
        if str(journal) in links and int(pid) != os.getpid():
            return int(pid)
    return None


class Killer(threading.Thread):
    """Kills a worker in the middle of a part, and notes what was done by then."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder = folder
        self.before = {}
        self.over = False

    def run(self):
        while not self.over and not self.before:
            for journal in self.folder.glob(".cnnviz-journal.part-*.jsonl"):
                lines = journal.read_bytes().splitlines()[1:] if journal.exists() else []
                # Two, so that one is whole: or else each worker would be killed as it begins.
                pid = holder(journal) if len(lines) > 1 else None
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    done = re.findall(rb'"(\S*\.png)"', b"".join(lines[:-1]))
                    files = (self.folder / os.fsdecode(name) for name in done)
                    self.before = {path: path.stat().st_mtime_ns for path in files if path.exists()}
            time.sleep(0.002)


@pytest.mark.needs("ray")
@pytest.mark.subprocess
def test_one_of_two_workers_that_is_killed_loses_nothing(cnnviz, images, start_ray, tmp_path):
    command = ("explain", images, *OPTIONS, "--threads", "1", "--arrays", "--panel")
    command += ("--max-share", "corner=0")
    _, _, expected = cnnviz(*command, "-o", "local", *verdict_files("local"))
    start_ray(2)
    killer = Killer(tmp_path / "ray")
    killer.start()
    status, _, err = cnnviz(*command, "-o", "ray", *ON_RAY, *verdict_files("ray"))
    killer.over = True
    killer.join()
    assert status == ExitCode.NOT_MET, err
    assert err.splitlines()[-2:] == expected.splitlines()[-2:]
    assert verdict(tmp_path, "ray") == verdict(tmp_path, "local")
    assert killer.before
    for path, changed in killer.before.items():
        assert path.stat().st_mtime_ns == changed  # not done again
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.needs("ray")
@pytest.mark.subprocess
def test_a_run_that_was_stopped_on_this_machine_goes_on(
    cnnviz, images, start_ray, tmp_path, on_the_disk
):
    command = ("explain", images, *OPTIONS, "--threads", "1", "--batch-size", "1")
    cnnviz(*command, "-o", "local")
    (images / "1/1.png").rename(tmp_path / "1.png")
    (images / "1/1.png").symlink_to("nowhere")  # where --fail-fast stops
    assert cnnviz(*command, "-o", "out", "--fail-fast")[0] == ExitCode.SOME_FAILED
    (tmp_path / "1.png").replace(images / "1/1.png")
    journal, other = tmp_path / "out/.cnnviz-journal.jsonl", tmp_path / "out/.cnnviz-list-other"
    other.write_bytes(b"")
    done = journal.read_bytes().count(b'"status": "ok"')
    assert 0 < done < 60
    start_ray(1)
    with journal.open("ab") as file:  # as long as another run goes on there
        assert system.try_to_lock(file)
        status, _, err = cnnviz(*command, "-o", "out", *ON_RAY)
    assert (status, other.exists()) == (ExitCode.USAGE, True)
    assert "Another run is writing to out; wait for it to end" in err
    status, _, err = cnnviz(*command, "-o", "out", *ON_RAY)
    assert f"60 explained ({done} of them already done), 1 failed" in err
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert not journal.exists()


@pytest.mark.needs("ray")
@pytest.mark.subprocess
def test_an_evaluation(cnnviz, images, start_ray, tmp_path):
    """With the test with random parameters, which a worker makes when all parts are done."""
    for path in sorted(images.rglob("*.png"))[20:-1]:
        path.unlink()
    command = ("evaluate", images, "-m", "demo", "--method", "gradcam", "--threads", "1")
    command += ("--metric", "insertion,randomization", "--metric-option", "randomization.images=2")
    command += ("--metric-option", "insertion.steps=2", "--fail-under", "Insertion=1")
    _, expected, _ = cnnviz(*command, "-o", "local", *verdict_files("local"))
    start_ray(1)
    status, out, err = cnnviz(*command, "-o", "ray", *ON_RAY, *verdict_files("ray"))
    assert status == ExitCode.NOT_MET, err
    assert out == expected
    assert verdict(tmp_path, "ray") == verdict(tmp_path, "local")
    assert "20 evaluated, 1 failed, in " in err
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert "evaluation.csv" in contents(tmp_path / "ray")
    _, out, err = cnnviz(*command, "-o", "ray", *ON_RAY, "--json")
    assert "20 evaluated (20 of them already done), 1 failed" in err
    assert len(out.splitlines()) == 21
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.needs("ray")
@pytest.mark.subprocess
def test_a_comparison_in_one_go(cnnviz, images, start_ray, tmp_path):
    for path in sorted(images.rglob("*.png"))[12:]:
        path.unlink()
    command = ("compare", images, "-m", "demo", "--size", "model", "--threads", "1")
    command += ("--method", "gradcam", "--method", "layercam", "--max-share", "changed=0")
    status, expected, _ = cnnviz(*command, "-o", "local")
    start_ray(1)
    on_ray, out, _ = cnnviz(*command, "-o", "ray", *ON_RAY)
    assert on_ray == status
    assert sorted(out.splitlines()) == sorted(expected.splitlines())
    for side in "ab":
        assert contents(tmp_path / "ray" / side) == contents(tmp_path / "local" / side)
    assert (tmp_path / "ray/comparison.csv").read_bytes() == (
        tmp_path / "local/comparison.csv"
    ).read_bytes()


@pytest.mark.needs("ray")
@pytest.mark.subprocess
def test_a_cluster_that_others_use_is_waited_for(cnnviz, photos, start_ray, monkeypatch):
    """Until they are done, and it is said why nothing happens."""
    start_ray(1)
    import ray

    monkeypatch.setattr(ray_runner, "_PATIENCE", 0.0)
    release = ray.remote(lambda said: time.sleep(3)).remote(True)
    status, _, err = cnnviz("explain", photos, *OPTIONS, *ON_RAY)
    assert status == ExitCode.OK
    assert err.count("The Ray cluster does not have 1 core free at the moment") == 1
    ray.get(release)


@pytest.mark.needs("ray")
@pytest.mark.subprocess
def test_an_image_that_ends_its_workers_gets_a_name(
    cnnviz, images, start_ray, tmp_path, write_image
):
    for path in sorted(images.rglob("*.png"))[12:]:
        path.unlink()
    bad = write_image(images / "0/27.png", 1, (61, 83))
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(CRASHING)
    start_ray(2, tmp_path / "site")
    status, out, err = cnnviz("explain", images, *OPTIONS, "-o", "ray", *ON_RAY)
    assert status == ExitCode.SOME_FAILED, err
    assert "has ended 3 workers; going on with it one image at a time" in err
    assert f"Error: {bad}: the libraries that cnnviz uses crashed on it\n" in err
    assert re.search(r"^11 explained.*, 1 failed", err, re.MULTILINE)
    assert len(out.splitlines()) == 11


def test_without_ray(cnnviz, images, monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _name: None)
    status, _, err = cnnviz("explain", images, *OPTIONS, *ON_RAY)
    assert status == ExitCode.USAGE
    assert 'not installed: `pip install "cnnviz[ray]"`' in err


def test_a_cluster_that_there_is_not(cnnviz, images, monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _name: True)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        status, _, err = cnnviz("explain", images, *OPTIONS, "--runner", f"ray:{address}")
    assert status == ExitCode.USAGE
    assert f"There is no Ray cluster at {address} (" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--runner", "spark"), "--runner takes local, ray or ray:ADDRESS; got 'spark'"),
        (("--runner", "ray:"), "got 'ray:'"),
        ((*ON_RAY, "--scale", "run"), "--scale run depends on all images, and --runner"),
        ((*ON_RAY, "--only", "uncertain"), "--only depends on all images, and --runner"),
        ((*ON_RAY, "--sort", "margin"), "--sort depends on all images, and --runner"),
        ((*ON_RAY, "--shard", "1/2"), "--runner divides a run by itself: leave --shard out"),
        ((*ON_RAY, "--device", "gpu:1"), "Ray chooses a GPU for each worker"),
        ((*ON_RAY, "--truth", "none.csv"), "none.csv"),
    ],
)
def test_mistakes_are_found_before_ray_is_looked_for(cnnviz, images, options, said):
    status, _, err = cnnviz("explain", images, *OPTIONS, *options)
    assert status == ExitCode.USAGE
    assert said in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "gpu:1"), "Error: With --runner, Ray chooses a GPU for each worker"),
        (("--method", "nosuch"), "Error: B: "),
    ],
)
def test_mistakes_of_a_side_are_found_before_ray_is_looked_for(cnnviz, images, options, said):
    command = ("compare", images, "-m", "demo", "--method", "gradcam", *ON_RAY)
    status, _, err = cnnviz(*command, *options)
    assert status == ExitCode.USAGE
    assert said in err


def test_runs_that_there_are_need_no_runner(cnnviz, photos):
    for folder in ("a", "b"):
        cnnviz("explain", photos, *OPTIONS, "-o", folder)
    status, _, err = cnnviz("compare", "a", "b", *ON_RAY)
    assert status == ExitCode.USAGE
    assert "which are compared as they are: leave out --runner" in err


def test_the_runner_is_this_machine_unless_it_is_said(cnnviz, photos):
    assert cnnviz("explain", photos, *OPTIONS, "--runner", "local")[0] == ExitCode.OK
    assert not (Path("explanations") / "manifest.part-1-of-1.json").exists()
