"""Images, a way to call the command in this process, and what tests may find missing."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections import Counter

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core; threads that wait for another worker's would spin. Before NumPy, which
    # reads it, and for all processes that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.testing  # the first import of it starts a process
import pytest
from hypothesis import HealthCheck, settings

from cnnviz.machine import available_cores
from cnnviz.storage import spool
from tests.support.capabilities import CAPABILITIES, SLOW, missing, required

# How long an example takes says nothing on a machine that does other things, too.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _same_random_numbers(request):
    """A module's ``RNG`` begins anew: a test's numbers must not depend on what ran before it."""
    generator = getattr(request.module, "RNG", None)
    if generator is not None:
        bits = generator.bit_generator
        bits.state = _BEGINNINGS.setdefault(request.module.__name__, bits.state)


#: Of the random numbers of each module.
_BEGINNINGS: dict = {}


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory):
    """Where byte code is not to be written, processes that tests start share some of their own."""
    if not sys.dont_write_bytecode:
        yield
        return
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(shared / "byte-code"))
        yield


@pytest.fixture
def write_image():
    """A function that writes smooth color noise: an image that no codec finds hard."""

    def write(path, seed=0, shape=(60, 80)):
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.RandomState(seed).randint(0, 256, (6, 8, 3), np.uint8)
        pixels = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(path), pixels)
        return path

    return write


@pytest.fixture
def photos(tmp_path, write_image):
    """Three images in a folder, one in a sub-folder."""
    for seed, name in enumerate(("2.png", "10.jpg", "sub/cat.png")):
        write_image(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


@pytest.fixture
def cnnviz(capfd, monkeypatch, tmp_path):
    """Run the command in a folder of its own; returns (exit status, stdout, stderr)."""
    from cnnviz.cli import run

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capfd.readouterr()
        status = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return int(status), out, err

    return call


@pytest.fixture
def on_the_disk(monkeypatch):
    """All lists are so long that they lie on the disk."""
    monkeypatch.setattr(spool, "MOST_IN_MEMORY", 0)


@pytest.fixture(params=["memory", "disk"])
def anywhere(request):
    """Once with lists in memory, where short ones are, and once with lists on the disk."""
    if request.param == "disk":
        request.getfixturevalue("on_the_disk")


def pytest_configure(config):
    """Heed signals, and make sure that what has to be there is."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script's background job is told to ignore Ctrl-C, and so would all that tests start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # So does nohup with the end of its terminal.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    lacking = required() & set(missing())
    if lacking:
        raise pytest.UsageError(
            f"CNNVIZ_REQUIRE asks for what is not here: {', '.join(sorted(lacking))}."
        )


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no garbage among thousands of tests, which stay: a quarter of the time, else."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers():
    """One worker per core that this process may use; each takes half a gigabyte."""
    return min(available_cores(), 8)


def pytest_runtest_setup(item):
    """Skip tests that need what is not there, and slow ones unless they are asked for."""
    if not SLOW and item.get_closest_marker("slow"):
        pytest.skip("slow: set CNNVIZ_SLOW=1")
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            if not CAPABILITIES[name].present():
                pytest.skip(CAPABILITIES[name].reason)


#: The processes that the test under way has started; None between tests.
_started: list[str] | None = None


def _note_process(event, arguments):
    if _started is None or event not in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        return
    # By ldconfig Python looks for libraries, while PyTorch is imported, say.
    if not (arguments and str(arguments[0]).endswith("ldconfig")):
        _started.append(event)


sys.addaudithook(_note_process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """See to it that `-m "not subprocess"` leaves out every test that starts a process."""
    global _started
    _started = []
    try:
        result = yield
        if _started and not item.get_closest_marker("subprocess"):
            pytest.fail("It starts a process: mark it with @pytest.mark.subprocess", pytrace=False)
        return result
    finally:
        _started = None


def pytest_terminal_summary(terminalreporter):
    """Say once what is missing here, and how many tests were skipped for it."""
    reasons = Counter(
        str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ())
    )
    for one in missing().values():
        count = reasons[f"Skipped: needs {one.text}"]
        if count:
            need = "test needs" if count == 1 else "tests need"
            terminalreporter.line(f"{count} {need} {one.text}, which is not here: {one.install}")
