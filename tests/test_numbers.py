"""Networks whose numbers are unusual: what comes out is defined, or told."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cnnviz.attribution import METHODS, choose_methods
from cnnviz.errors import ExplanationError, UsageError
from cnnviz.explainer import Explainer
from cnnviz.images.preprocessing import InputSpec
from cnnviz.images.sources import find_sources
from cnnviz.importers.gluon import from_gluon
from cnnviz.labels.targets import Target
from cnnviz.structure import plain
from tests.support.mxnet import import_mxnet
from tests.support.runs import explain_into

mx = import_mxnet()
nn = mx.gluon.nn
SPEC = InputSpec(16, 20)
IMAGE = np.random.RandomState(0).randint(0, 256, (30, 40, 3), np.uint8)


def network(channels=4, classes=3, weight=None, activation=None):
    """A convolution with its ReLU, then a dense layer with one bias."""
    block = nn.HybridSequential()
    block.add(
        nn.Conv2D(channels, 3, in_channels=3),
        nn.Activation("relu"),
        nn.Flatten(),
        nn.Dense(classes, in_units=channels * 14 * 18),
    )
    mx.random.seed(0)
    block.initialize(mx.init.Normal(0.1))
    if weight is not None:
        block[3].weight.set_data(mx.nd.full(block[3].weight.shape, weight))
    return from_gluon(block, (3, 16, 20), activation=activation)


def explain(net, **options):
    explainer = Explainer(net, SPEC, **options)
    (result,) = explainer.explain([explainer.prepare(IMAGE)])
    return result


def method(name):
    return choose_methods([name], {"masks": 20} if name == "rise" else {})


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("activation", [None, "none"])
def test_one_output(name, activation):
    """A yes or no, or a number, which has no probability: methods say where all the same."""
    found = explain(network(classes=1, activation=activation), methods=method(name))
    logit = found.logits[-1]
    if activation == "none":
        assert found.target == 0
        assert [score.probability for score in found.top()] == [None]
    else:
        assert found.target == (logit > 0)
        yes = 1 / (1 + np.exp(-float(logit)))
        assert found.probabilities.tolist() == pytest.approx([1 - yes, yes], rel=1e-6)
    drawn = found.render(IMAGE)
    assert all(np.isfinite(values).all() for values in found.maps.values())
    assert "original" in drawn.images


@pytest.mark.parametrize("name", METHODS)
def test_a_layer_of_one_channel(name):
    found = explain(network(channels=1), methods=method(name))
    assert all(np.isfinite(values).all() for values in found.maps.values())
    assert found.layer.shape[0] == 1


def test_all_zero_maps_are_told_to_be_blank(tmp_path):
    """No weight, no gradient: every map is zero, and none is passed off as black evidence."""
    assert cv2.imwrite(str(tmp_path / "cat.png"), IMAGE)
    names = ("gradcam", "guided-gradcam", "saliency", "gradient", "input-x-gradient")
    explainer = Explainer(network(weight=0.0), SPEC, methods=choose_methods(names))
    outcomes = []
    sources = find_sources([str(tmp_path / "cat.png")]).sources
    report = explain_into(explainer, sources, tmp_path / "out", outcomes.append)
    assert (report.done, report.blank) == (1, 1)
    (explanation,) = outcomes[0].record.explanations
    assert sorted(explanation.blank) == sorted(name.replace("-", "_") for name in names)
    assert explanation.location is None
    assert all(ends == (0.0, 0.0) for ends in explanation.ranges.values())
    json.dumps(plain(outcomes[0].record), allow_nan=False)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_logits_that_are_no_numbers_are_a_failure(weight):
    result = explain(network(weight=weight))
    assert isinstance(result, ExplanationError)
    assert "NaN or infinity" in str(result)


def test_equal_logits_go_to_the_lowest_class():
    found = explain(network(weight=0.0))
    assert [score.index for score in found.top()] == [0, 1, 2]
    assert [score.probability for score in found.top()] == pytest.approx([1 / 3] * 3)


def test_huge_logits_have_probabilities():
    found = explain(network(weight=1e30), methods=choose_methods(["gradcam"]))
    assert np.isfinite(found.probabilities).all()
    assert found.probabilities.sum() == pytest.approx(1)


def test_contrasts_and_ranks_of_one_number():
    explainer = Explainer(network(classes=1, activation="none"), SPEC)
    (found,) = explainer.explain_targets(
        [explainer.prepare(IMAGE)], [None], contrasts=[(0, Target())]
    )
    assert found.contrasts == ()
    with pytest.raises(UsageError):
        explainer.explain([explainer.prepare(IMAGE)], 1)
