"""Threads beside the network's, and the size of batches that fits into memory."""

from __future__ import annotations

import pytest

from cnnviz.engines.base import Device
from cnnviz.explainer import Explainer
from cnnviz.graph.architecture import Architecture
from cnnviz.images.preprocessing import InputSpec
from cnnviz.importers.gluon import from_gluon
from cnnviz.models import zoo
from cnnviz.runs.capacity import automatic_batch_size, default_helpers
from tests.support.mxnet import import_mxnet

nn = import_mxnet().gluon.nn


@pytest.mark.parametrize(
    ("number", "cores", "helpers", "beside_gpu"),
    [
        *((1, 1, 1, 1), (1, 8, 0, 0), (2, 2, 1, 2), (2, 8, 1, 2), (8, 8, 2, 8)),
        (16, 16, 4, 16),
    ],
)
def test_helpers_follow_the_threads(monkeypatch, number, cores, helpers, beside_gpu):
    monkeypatch.setattr("cnnviz.runs.capacity.available_cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", str(number))
    assert default_helpers(Device("cpu")) == helpers
    for gpu in ("gpu", "mps"):
        assert default_helpers(Device(gpu), "model") == beside_gpu
        assert default_helpers(Device(gpu), "full") == helpers


def test_what_waits_for_a_network_has_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr("cnnviz.runs.capacity.available_cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert default_helpers(Device("cpu"), waits=True) == 8
    # Images at full size take too much memory for that.
    assert default_helpers(Device("cpu"), "full", waits=True) == 1


@pytest.fixture(scope="module")
def explainer():
    """Layers put out 4·8·8 (convolution), 4·8·8 (ReLU), 256 (flat) and 2 numbers: 770 in all."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, padding=1), nn.Activation("relu"), nn.Flatten(), nn.Dense(2))
    net.initialize()
    return Explainer(from_gluon(net, (3, 8, 8)), InputSpec(8, 8))


#: Four times the float32 of all outputs.
ONE = 770 * 4 * 4


@pytest.mark.parametrize(
    ("images", "free", "wanted"),
    [
        (100, 2**40, 8),
        (8, 2**40, 8),
        (7, 2**40, 4),
        (1, 2**40, 1),
        (0, 2**40, 1),
        (100, 16 * ONE, 8),
        (100, 16 * ONE - 1, 4),
        (100, 4 * ONE, 2),
        (100, 4 * ONE - 1, 1),
        (100, 0, 1),
    ],
)
def test_automatic_batch_size(explainer, images, free, wanted):
    assert automatic_batch_size(explainer, images, free=free) == wanted


def test_full_images_go_one_by_one(explainer):
    assert automatic_batch_size(explainer, 100, "full", free=2**40) == 1


def test_the_estimate_covers_what_a_batch_takes():
    """VGG-16's outputs are 28.7 million numbers; a batch of 8 was seen to take 1.05 GB."""

    class Like:
        network = Architecture(*zoo.build(zoo.get("vgg16")))

    assert automatic_batch_size(Like, 100, free=2 * 1050 * 2**20) < 8
    assert automatic_batch_size(Like, 100, free=10 * 2**30) == 8
