"""What holds for all faithfulness metrics: their passes are counted, neighbors change nothing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from cnnviz.attribution import queries
from cnnviz.attribution.queries import ModelQueries, PassCount
from cnnviz.metrics.base import Case
from cnnviz.metrics.registry import METRICS
from tests.support.judged import case_for, passes_told, subject_of
from tests.support.networks import conv_relu, flatten, linear, max_pool, sequential

SHAPE = (3, 12, 14)
FAITHFULNESS = [
    kind for kind in METRICS.values() if kind.group == "faithfulness" and not kind.needs_region
]


@pytest.fixture(scope="module")
def network():
    layers = (conv_relu(4, 3), max_pool(), flatten(), linear(5))
    return sequential(SHAPE, *layers, seed=1).network()


@pytest.fixture(scope="module")
def image():
    return np.random.RandomState(2).randn(*SHAPE).astype(np.float32)


class Counted:
    """A network that counts the images that go through it."""

    def __init__(self, network):
        self._network = network
        self.passes = 0

    def __getattr__(self, name):
        return getattr(self._network, name)

    def run(self, batch, *arguments, **options):
        self.passes += len(batch)
        return self._network.run(batch, *arguments, **options)


def subjects(network):
    """Three maps, each of which takes a pass to be made anew."""
    random = np.random.RandomState(4)

    def attribute(inputs, target):
        network.run(inputs)
        return np.abs(inputs).sum(axis=1)

    for number in range(3):
        drawn = subject_of(random.standard_normal(SHAPE[1:]), key=f"map {number}")
        yield dataclasses.replace(drawn, attribute=attribute, cost=PassCount(forwards=1))


@pytest.mark.parametrize("kind", FAITHFULNESS, ids=lambda kind: kind.name)
def test_the_passes_are_those_it_tells(network, image, kind):
    counted = Counted(network)
    case = dataclasses.replace(case_for(network, image, 1), queries=ModelQueries(counted))
    for subject in subjects(counted):
        kind().measure(case, subject)
    assert counted.passes == passes_told(kind(), SHAPE, 3, PassCount(forwards=1))
    assert counted.passes > 0


def test_metrics_share_passes(network, image):
    """All of them: an image without pixels twice, ROAD's fourteen, what is seen once."""
    counted = Counted(network)
    case = dataclasses.replace(case_for(network, image, 1), queries=ModelQueries(counted))
    metrics = [kind() for kind in FAITHFULNESS]
    for subject in subjects(counted):
        for metric in metrics:
            metric.measure(case, subject)
    once = {key: n for one in metrics for key, n in one.image_passes(SHAPE).items()}
    cost = PassCount(forwards=1)
    each = {key: n for one in metrics for key, n in one.passes(SHAPE, cost).items()}
    told = sum(n.total() for n in once.values()) + 3 * sum(n.total() for n in each.values())
    assert counted.passes == told
    # Two curves of 27, ROAD's 14, 1 that is seen, 10 maps anew; 2 filled, 100 squares, 10 changed,
    # 4 corners and none.
    assert told == 3 * (54 + 14 + 1 + 10) + 2 + 100 + 10 + 5


@pytest.mark.parametrize("kind", FAITHFULNESS, ids=lambda kind: kind.name)
def test_other_maps_targets_and_batches_change_nothing(network, image, kind, monkeypatch):
    """Alone, each with batches of one; and after the same was measured of others."""

    def measured(case: Case):
        return [kind().measure(case, subject) for subject in subjects(network)]

    together = case_for(network, image, 1)
    measured(dataclasses.replace(case_for(network, image, 3), queries=together.queries))
    found = measured(together)
    monkeypatch.setattr(queries, "_LARGEST_BATCH", 1)
    for subject, one in zip(subjects(network), found, strict=True):
        alone = kind().measure(case_for(network, image, 1), subject)
        # Batches round differently.
        assert one.value == pytest.approx(alone.value, rel=1e-5, abs=1e-6)
        assert one.curve == pytest.approx(alone.curve, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", FAITHFULNESS, ids=lambda kind: kind.name)
def test_measurements_are_values_that_json_can_hold(network, image, kind):
    found = kind().measure(case_for(network, image, 1), next(subjects(network)))
    assert json.loads(json.dumps(dict(found.details))) == found.details
    assert found.value is None or type(found.value) is float
    assert all(type(one) is float for one in found.curve)
