"""What is done with each image, stage by stage."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from cnnviz.attribution import choose_methods
from cnnviz.explainer import Explainer
from cnnviz.images.preprocessing import InputSpec
from cnnviz.images.sources import find_sources
from cnnviz.importers.gluon import from_gluon
from cnnviz.labels.label_sets import LabelSet
from cnnviz.labels.targets import Target
from cnnviz.runs.goals import Goals
from cnnviz.runs.items import plan_items
from cnnviz.runs.request import OutputOptions
from cnnviz.runs.stages import MeasureScale, Predict
from cnnviz.runs.stream import Loader, Stream
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn


@pytest.fixture(scope="module")
def explainer():
    """A network of 8 x 8 whose logits are the mean brightness times 2 and 1, under a sigmoid.

    One convolution passes on the brightness from 0 to 1 of a gray image.
    """
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(1, 1, in_channels=1),
        nn.Activation("relu"),
        nn.Flatten(),
        nn.Dense(2, in_units=64),
        nn.Activation("sigmoid"),
    )
    net.initialize(mx.init.Zero())
    net[0].weight.set_data(mx.nd.ones((1, 1, 1, 1)))
    net[3].weight.set_data(mx.nd.array([[2 / 64] * 64, [1 / 64] * 64]))
    spec = InputSpec(8, 8, (0.0,), (1.0,))
    return Explainer(from_gluon(net, (1, 8, 8)), spec, methods=choose_methods(["gradcam"]))


@pytest.fixture
def sources(tmp_path):
    """Black, gray and white; and one that is no image."""
    for number, value in enumerate((0, 51, 255)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8), value, np.uint8))
    (tmp_path / "3.png").write_bytes(b"no image")
    return find_sources([str(tmp_path)]).sources


def sigma(logit):
    return 1 / (1 + math.exp(-logit))


def test_predictions_by_the_networks_own_activation(explainer, sources):
    stage, told = Predict(explainer), []
    items = plan_items(sources, explainer, truths=(LabelSet((1,)), None, LabelSet((0, 1)), None))
    Stream(Loader(explainer), batch_size=3, helpers=1).run(stage, items, told.append)
    assert told == stage.predictions
    black, gray, white, failed = stage.predictions
    assert failed is None
    assert (black.predicted, black.correct, white.correct, gray.correct) == (0, False, True, None)
    assert gray.confidence == pytest.approx(sigma(0.4), rel=1e-6)
    # Both are true: the mean of their binary cross entropies.
    assert white.loss == pytest.approx(-math.log(sigma(2) * sigma(1)) / 2, rel=1e-6)
    assert (black.assigned, gray.assigned, white.assigned) == ((), (0, 1), (0, 1))


def test_a_common_scale_reaches_as_far_as_the_farthest_map(explainer, sources):
    """Grad-CAM of class 0: its gradient is 2/64 everywhere, times the brightness."""
    stage = MeasureScale(explainer, Goals((Target(index=0),)))
    Stream(Loader(explainer), batch_size=2, helpers=0).run(stage, plan_items(sources, explainer))
    assert stage.limits == pytest.approx({"gradcam": 2 / 64}, rel=1e-6)


def test_names_of_files_follow_what_is_written(explainer, sources):
    def names(goals, files=None):
        return [
            item.stem.file("_gradcam.png", 0 if goals.numbered else None).name
            for item in plan_items(sources, explainer, goals, files)
        ]

    assert names(Goals())[0] == "0_gradcam.png"
    assert names(Goals((Target(index=0),)), OutputOptions(arrays=True))[0] == "0_0_gradcam.png"


def test_the_truth_is_needed_where_it_is_a_target():
    assert not Goals().needs_truth
    assert Goals((Target(), Target(truth=True))).needs_truth
