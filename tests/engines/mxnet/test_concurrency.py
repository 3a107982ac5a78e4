"""One network in several threads, passes beside each other, and what becomes of it in a fork."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cnnviz.attribution import choose_methods
from cnnviz.engines.base import GradientRequest
from cnnviz.explainer import Explainer
from cnnviz.images.preprocessing import InputSpec
from cnnviz.importers.gluon import from_gluon
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn
SIDE = 32
SPEC = InputSpec(SIDE, SIDE)


def network(seed=0):
    mx.random.seed(seed)
    net = nn.HybridSequential()
    for _ in range(3):
        net.add(nn.Conv2D(8, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"))
    net.add(nn.MaxPool2D(2), nn.InstanceNorm(), nn.Flatten(), nn.Dense(9, activation="relu"))
    net.add(nn.Dense(4))
    net.initialize(mx.init.Xavier(magnitude=3))
    return from_gluon(net, (3, SIDE, SIDE))


def photo(seed):
    return np.random.RandomState(seed).randint(0, 256, (SIDE, SIDE, 3), np.uint8)


def test_forward_passes_are_independent():
    """Whichever is gone back through first."""
    net = network()
    batch = np.random.RandomState(0).randn(2, 3, SIDE, SIDE).astype(np.float32)
    targets = np.array([0, 1])
    alone = net.run(batch, record=True).gradients(targets, [GradientRequest()])[0].input
    first, second = net.run(batch, record=True), net.run(batch, record=True)
    for recorded in (second, first):
        (found,) = recorded.gradients(targets, [GradientRequest()], retain_graph=False)
        np.testing.assert_array_equal(found.input, alone)


@pytest.mark.parametrize("shared", [True, False])
def test_threads_get_what_one_thread_gets(shared):
    methods = choose_methods(
        ["gradcam", "guided-gradcam", "smoothgrad", "ablationcam"], {"samples": 3}
    )
    explainers = [Explainer(network(), SPEC, methods=methods)]
    explainers *= 4
    if not shared:
        explainers = [Explainer(network(), SPEC, methods=methods) for _ in range(4)]
    expected = [explainers[0].explain([explainers[0].prepare(photo(seed))])[0] for seed in range(4)]

    def work(number):
        explainer = explainers[number]
        for _ in range(4):
            (found,) = explainer.explain([explainer.prepare(photo(number))])
            for key, values in expected[number].maps.items():
                np.testing.assert_array_equal(found.maps[key], values)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


PARENT = """
import multiprocessing, os, sys
import numpy as np
import cnnviz
from cnnviz.errors import NetworkError

IMAGE = np.zeros((40, 40, 3), np.uint8)

def work(model):
    try:
        if model is None:
            return str(cnnviz.explain(IMAGE, model=EXPLAINER)[0].target)
        return str(cnnviz.explain(IMAGE, model=model, engine="mxnet")[0].target)
    except NetworkError as problem:
        return str(problem)

def ask(models):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map(work, models), flush=True)

EXPLAINER = None
ask(["demo"])
EXPLAINER = cnnviz.load("demo")
ask([None, "demo"])
work(None)
ask([None, "demo"])
child = os.fork()
if child == 0:
    print(work("demo"))
    sys.exit(7)  # with all that Python does at its end
print(os.WEXITSTATUS(os.waitpid(child, 0)[1]), work("demo").isdecimal())
"""


@pytest.mark.slow
@pytest.mark.subprocess
def test_a_fork_is_told_and_hangs_nobody(tmp_path):
    """Before anything is loaded a fork does no harm; after that it is told, used or not."""
    (tmp_path / "parent.py").write_text(PARENT)
    run = subprocess.run(
        [sys.executable, "parent.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    before, loaded, used, in_child, in_parent = run.stdout.splitlines()
    assert in_parent == "7 True"
    told = "forked after MXNet was loaded"
    assert before.strip("[]'").isdecimal()
    assert loaded.count(told) == used.count(told) == 2
    assert told in in_child
