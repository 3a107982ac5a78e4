"""``--threads``: how many threads the network and NumPy really get."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cnnviz.errors import UsageError
from cnnviz.machine import MOST_THREADS, available_cores, set_threads, threads
from tests.support.mxnet import import_mxnet

COUNT = """
import ctypes, gc, sys
from cnnviz.cli import run
status = run(sys.argv[1:])
import mxnet
from cnnviz.engines.mxnet.runtime import import_mxnet
print("OPENMP", ctypes.CDLL(mxnet.libinfo.find_lib_path()[0]).omp_get_max_threads())
print("COLLECTING", int(gc.isenabled()))
with open("/proc/self/maps") as maps:
    blas = {line.split()[-1] for line in maps if "libopenblas64" in line and "numpy" in line}
for path in blas:
    print("BLAS", ctypes.CDLL(path).openblas_get_num_threads64_())
sys.exit(status)
"""


def counted(image, *options, model="demo", **environment):
    """The numbers of threads in a process that explained an image, and what it said on stderr."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MXNET_OMP_MAX_THREADS")
    }
    # --method makes the command import NumPy while it still reads its options.
    arguments = ["explain", str(image), "--model", model, "--method", "gradcam", *options]
    done = subprocess.run(
        [sys.executable, "-c", COUNT, *arguments],
        env={**inherited, **environment},
        cwd=image.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = dict(line.split() for line in done.stdout.splitlines()[1:])
    return {name: int(count) for name, count in counts.items()}, done.stderr


@pytest.fixture
def image(tmp_path, write_image):
    return write_image(tmp_path / "image.png")


@pytest.mark.needs("mxnet")
@pytest.mark.subprocess
def test_all_cores_by_default(image):
    counts, _ = counted(image)
    assert counts["OPENMP"] == available_cores()
    assert counts["COLLECTING"] == 1  # what the import of MXNet puts off goes on afterward


@pytest.mark.slow
@pytest.mark.needs("mxnet")
@pytest.mark.subprocess
def test_the_users_variable_counts_where_the_option_is_not_given(image):
    other = available_cores() + 1
    counts, said = counted(image, OMP_NUM_THREADS=str(other))
    assert counts["OPENMP"] == other
    assert "--threads" not in said


def check_option(threads, counts, said):
    assert counts["OPENMP"] == threads
    assert counts.get("BLAS", min(threads, os.cpu_count())) == min(threads, os.cpu_count())
    # More threads than cores is allowed, and told.
    told = f"--threads {threads} is more than the {available_cores()} cores" in said
    assert told == (threads > 1)


@pytest.mark.slow
@pytest.mark.needs("mxnet")
@pytest.mark.subprocess
def test_the_option_wins(image):
    variable = str(available_cores() + 1)
    check_option(1, *counted(image, "--threads", "1", OMP_NUM_THREADS=variable))


@pytest.mark.needs("mxnet")
@pytest.mark.subprocess
def test_the_option_wins_over_a_look_at_an_exported_network(image):
    # To count its classes, for their names, MXNet reads the network before anything is run.
    mx = import_mxnet()
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(4, 3, activation="relu"), mx.gluon.nn.Dense(2))
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros((1, 3, 16, 16)))
    net.export(str(image.with_name("net")))
    image.with_name("names.txt").write_text("cat\ndog\n")
    more = available_cores() + 2
    options = ("--input-size", "16", "--labels", "names.txt", "--target", "dog")
    counts, said = counted(
        *(image, "--threads", str(more), *options),
        model="net-symbol.json",
        OMP_NUM_THREADS=str(available_cores() + 1),
    )
    check_option(more, counts, said)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("3", 3),
        ("4,2", 4),
        (" 5 , 2", 5),
        ("7,", 7),
        *((nonsense, None) for nonsense in ("", ",", "0", "-1", "abc", "1e9", "1000000000", "2.5")),
    ],
)
def test_what_openmps_variable_may_say(monkeypatch, said, meant):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads() == (available_cores() if meant is None else meant)


def test_more_threads_than_anybody_has(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(UsageError, match=f"at most {MOST_THREADS} threads; got 1025"):
        set_threads(MOST_THREADS + 1)


@pytest.mark.parametrize("wrong", ["0", "-1", "many"])
def test_what_is_no_number_of_threads(cnnviz, image, wrong):
    status, _, err = cnnviz("explain", image, "--threads", wrong)
    assert status == 2
    assert "--threads" in err
