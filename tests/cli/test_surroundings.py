"""Whatever a process inherits: streams, signals, encodings, variables, limits, broken packages."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from cnnviz import system
from cnnviz.cli import limits, run
from cnnviz.cli.console import Interrupt
from cnnviz.errors import ExitCode

COMMAND = [sys.executable, "-m", "cnnviz"]


def written(folder):
    return json.loads((folder / "manifest.json").read_text())["summary"]["ok"]


# --- streams -------------------------------------------------------------------------------------

STREAMS = """
import os, sys
from cnnviz.cli import streams
streams.steady()
print(sys.argv[1] * int(sys.argv[2]))
print("told", file=sys.stderr)
os._exit(streams.settle(0))
"""


def talk(text="x", times=1, **options):
    return subprocess.run(
        [sys.executable, "-c", STREAMS, text, str(times)],
        check=False,
        timeout=60,
        **{"stderr": subprocess.PIPE, **options},
    )


@pytest.mark.subprocess
def test_a_stream_that_is_closed_is_not_missed(tmp_path):
    """And what is opened next does not get its number: a library's words would end up in it."""
    for closed in ((1,), (0, 1), (0, 1, 2)):
        done = talk(preexec_fn=lambda closed=closed: [os.close(number) for number in closed])
        assert done.returncode == 0
        assert done.stderr == (b"" if 2 in closed else b"told\n")


@pytest.mark.subprocess
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_stream_that_cannot_be_written_to_is_told_on_the_other():
    with open("/dev/full", "w") as full, open("/dev/null") as for_reading:
        for stdout, reason in ((full, b"No space left"), (for_reading, b"Bad file descriptor")):
            done = talk(stdout=stdout)
            assert done.returncode == ExitCode.SOME_FAILED
            told, error = done.stderr.splitlines()
            assert told == b"told"
            assert error.startswith(b"Error: standard output cannot be written to (" + reason)
        done = talk(stdout=subprocess.PIPE, stderr=full)
        assert (done.returncode, done.stdout) == (0, b"x\n")
        assert talk(stdout=full, stderr=full).returncode == ExitCode.SOME_FAILED


@pytest.mark.subprocess
def test_a_pipe_that_does_not_wait_loses_nothing():
    """As a terminal is left by programs that have made it non-blocking."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen(
        [sys.executable, "-c", STREAMS, "x", "300000"], stdout=writer, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    time.sleep(0.3)  # the pipe is full by then
    with open(reader, "rb") as file:
        assert file.read() == b"x" * 300000 + b"\n"
    assert process.wait(60) == 0


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "é猫😀\\udcff".encode()),
        ("latin-1", b"\xe9\\u732b\\U0001f600\\udcff"),
        ("ascii", b"\\xe9\\u732b\\U0001f600\\udcff"),
        ("ascii:replace", b"????"),  # as was asked for
        ("utf-16-le", "é猫😀\\udcff".encode("utf-16-le")),
    ],
)
def test_letters_that_a_stream_has_not_are_escaped(encoding, expected):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = talk("é猫😀\udcff", stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0
    assert done.stdout == expected + "\n".encode(encoding.partition(":")[0])


# --- runs ----------------------------------------------------------------------------------------

#: Neither temporary files nor threads, if that is said.
HOSTILE = """
import tempfile

def refuse(*_, **__):
    raise FileNotFoundError(2, "No usable temporary directory found")

tempfile.TemporaryFile = tempfile.mkdtemp = refuse

import os
if "NO_THREADS" in os.environ:
    import _thread, resource, threading
    resource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))

    def full(*_):
        raise RuntimeError("can't start new thread")

    _thread.start_new_thread = threading._start_new_thread = full
"""


@pytest.fixture
def explain(photos, tmp_path):
    """Explain three images in a process with peculiar surroundings; everything must be done."""
    (photos / "猫.png").write_bytes((photos / "2.png").read_bytes())
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(HOSTILE)

    def call(*options, env, **more):
        paths = [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
        inherited = {key: value for key, value in os.environ.items() if key != "HOME"}
        command = [*COMMAND, "explain", "photos", "-m", "demo", "--method", "gradcam", *options]
        return subprocess.run(
            command,
            env={**inherited, "PYTHONPATH": os.pathsep.join(paths), **env},
            cwd=tmp_path,
            check=False,
            timeout=60,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )

    return call


@pytest.mark.subprocess
def test_what_a_parent_leaves_behind(explain, tmp_path):
    """Ignored and blocked signals, no stdin, an odd number of threads, warnings as errors, ..."""

    def leave():
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.close(0)

    environment = {
        "OMP_NUM_THREADS": "1,2",
        "PYTHONIOENCODING": "latin-1",
        "PYTHONWARNINGS": "error",
        "PYTHONSAFEPATH": "1",
    }
    done = explain("-o", "out", "--json", env=environment, preexec_fn=leave, restore_signals=False)
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "out") == 4
    lines = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    assert lines[-1]["path"] == "photos/猫.png"


@pytest.mark.slow
@pytest.mark.subprocess
def test_without_any_thread_of_its_own(explain, tmp_path):
    """Slower, and the same to the last bit."""
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(os.devnull, "w") as nothing:
        done = explain("-o", "usual", env=one, stdout=nothing)
    assert done.returncode == 0, done.stderr
    done = explain("-o", "alone", "--threads", "7", env={"NO_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert b"Few threads can be started here" in done.stderr
    images = sorted(
        path.relative_to(tmp_path / "usual") for path in tmp_path.glob("usual/**/*.png")
    )
    assert len(images) == 8
    for path in images:
        assert (tmp_path / "alone" / path).read_bytes() == (tmp_path / "usual" / path).read_bytes()


def test_few_threads_are_found_out_beforehand(monkeypatch):
    started = []

    def start(*_):
        if len(started) == 5:
            raise RuntimeError("can't start new thread")
        started.append(1)

    monkeypatch.setattr(limits._thread, "start_new_thread", start)
    monkeypatch.setattr(limits.os, "environ", {})
    monkeypatch.setattr(system, "limit", lambda _: None)
    monkeypatch.setattr(limits, "_PIDS", ())
    limits.make_do()
    assert (started, limits.few_threads()) == ([], False)  # nobody limits them
    monkeypatch.setattr(system, "limit", lambda _: 6)
    limits.make_do()
    assert (len(started), limits.few_threads()) == (5, True)


def test_no_process_for_the_work(photos, tmp_path, monkeypatch, capfd):
    from cnnviz.runs import supervisor

    def full(*_, **__):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(supervisor.subprocess, "Popen", full)
    monkeypatch.chdir(tmp_path)
    command = ["explain", "photos", "-m", "demo", "--method", "gradcam", "-o", "out"]
    assert run(command, supervised=True) == 0
    assert "No process can be started for the work (Resource" in capfd.readouterr().err
    assert written(tmp_path / "out") == 3


def test_who_ignores_ctrl_c_goes_on_doing_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_behind_the_last_image_is_not_lost():
    """A comparison would go on with its other side."""
    with pytest.raises(KeyboardInterrupt), Interrupt():
        signal.raise_signal(signal.SIGINT)

    def fail():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("this came first")

    with pytest.raises(ValueError, match="this came first"), Interrupt():
        fail()


@pytest.mark.subprocess
def test_a_limit_of_processor_time_is_named(photos, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))

    done = subprocess.run(
        [*COMMAND, "explain", "photos/2.png", "-m", "demo", "--method", "rise", "-O", "masks=4000"],
        cwd=tmp_path,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == ExitCode.UNUSABLE
    assert "Error: the run was ended, probably at its limit of CPU time" in done.stderr


# --- packages ------------------------------------------------------------------------------------

BROKEN = """
import importlib
import os
import sys
from pathlib import Path
from cnnviz.cli import run

(folder,) = sys.argv[1:]
sys.path.insert(0, folder)
sys.modules["torch"] = None  # else it does the work
import numpy
numpy.__version__ = "1.26.4"

def attempt(module, text):
    Path(folder, module + ".py").write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        del sys.modules[name]
    importlib.invalidate_caches()
    command = ["filters", "demo"] if module == "mxnet" else ["explain", "x.png"]
    print(int(run(command)), file=sys.stderr)

os.environ["MXNET_CPU_WORKER_NTHREADS"] = "abc"
attempt("mxnet", "")
del os.environ["MXNET_CPU_WORKER_NTHREADS"]
attempt("mxnet", "raise AttributeError('np.PZERO\\\\nwas removed')")
attempt("mxnet", "raise SystemExit(0)")
numpy.__version__ = "2.4.6"
attempt("mxnet", "import numpy; numpy.PZERO")
numpy.__version__ = "1.26.4"
attempt("cv2", "x = []\\nx[0]")
attempt("cv2", "raise ImportError('libGL.so.1: cannot open shared object file', name='cv2')")
attempt("cv2", "raise ImportError('libX.so: failed to map segment from shared object')")
import cnnviz.cli.layers
cnnviz.cli.layers.command.callback = lambda **_: [][0]
run(["layers", "demo"])
"""


@pytest.mark.subprocess
def test_packages_that_cannot_be_imported(tmp_path):
    """Told in a sentence each; what may be a bug of ours keeps its traceback."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told, _, bug = done.stderr.partition("Traceback")
    assert "IndexError: list index out of range" in bug
    errors = told.splitlines()
    assert errors[1::2] == ["3"] * 7, told
    for error, words in zip(
        errors[::2],
        (
            "Error: The environment variable MXNET_CPU_WORKER_NTHREADS is 'abc'",
            "Error: MXNet cannot be imported: np.PZERO",
            "Error: MXNet cannot be imported: 0",
            "Error: MXNet 1.9.1 cannot be used with NumPy 2.4.6",
            "Error: the package cv2 cannot be imported (IndexError: list index out of range)",
            "Error: OpenCV cannot be loaded (libGL.so.1",
            "Error: there is not enough memory",
        ),
        strict=True,
    ):
        assert error.startswith(words)
