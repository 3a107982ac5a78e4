"""The demo network's promises, on scenes that it was not trained on; and the measure itself."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.demo import CLASSES
from cnnviz.demo.scenes import Object, Scene
from cnnviz.demo.scenes.held_out import one_object_scenes, two_object_scenes
from cnnviz.engines.network import Network
from cnnviz.errors import ItemError, UsageError
from cnnviz.explainer import Explainer
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.builder import Builder
from cnnviz.metrics.localization import classify, localize, share_inside
from cnnviz.metrics.regions import PointingGame
from cnnviz.models.zoo.demo import build
from cnnviz.runs.judge import Judge
from tests.support.capabilities import SLOW
from tests.support.networks import SequentialNetwork, demo_network, random_parameters

SCENES = 200 if SLOW else 24  # of each kind


@pytest.fixture(scope="module")
def network() -> Network:
    return demo_network()


@pytest.fixture(scope="module")
def pairs() -> list[Scene]:
    return two_object_scenes(SCENES)


def test_the_map_of_either_class_peaks_on_its_own_object(
    network: Network, pairs: list[Scene]
) -> None:
    found = localize(network, pairs)
    assert found.maps == 2 * SCENES
    assert found.own >= 0.95
    assert found.other < 0.05
    assert found.own + found.other + found.neither == pytest.approx(1)


def test_single_objects_are_classified_correctly_and_surely(network: Network) -> None:
    found = classify(network, one_object_scenes(SCENES))
    assert found.accuracy >= 0.97
    assert found.confidence >= 0.93


def test_the_measure_fails_a_network_that_knows_nothing(pairs: list[Scene]) -> None:
    builder = Builder((3, 224, 224))
    named = builder.finish(build(builder, "demo", len(CLASSES)))
    untrained = SequentialNetwork(Architecture(*named), random_parameters(named.graph, 3)).network()
    assert localize(untrained, pairs[:10]).own < 0.5
    assert classify(untrained, one_object_scenes(8)).accuracy < 0.5


def _two_halves() -> Scene:
    left, right = np.zeros((2, 224, 224), np.bool_)
    left[:, :96] = True
    right[:, 128:] = True
    return Scene(
        np.zeros((224, 224, 3), np.uint8), (Object("fish", 1, left), Object("snail", 4, right))
    )


@pytest.mark.parametrize(
    ("column", "inside"), [(2, (1, 0)), (11, (0, 1)), (6, (0, 0)), (None, (0, 0))]
)
def test_where_the_peak_lies_decides(column: int | None, inside: tuple[float, float]) -> None:
    """Of 14 columns, 2 lies in the left object's pixels 0..95, 11 in the other's, 6 between."""
    cam = np.zeros((14, 14), np.float32)
    if column is not None:
        cam[5, column] = 1
    assert tuple(share_inside(_two_halves(), which, cam) for which in (0, 1)) == inside


def test_scenes_with_the_wrong_number_of_objects_are_refused(network: Network) -> None:
    with pytest.raises(UsageError, match=r"2 object\(s\); one has 1"):
        localize(network, one_object_scenes(1))
    with pytest.raises(UsageError, match="none"):
        classify(network, [])


def test_grad_cam_points_at_the_objects_and_no_baseline_does(
    network: Network, pairs: list[Scene]
) -> None:
    """By the metric itself, for both classes of each scene, without tolerance."""
    explainer = Explainer(network, labels=CLASSES, methods=["gradcam"])
    judge = Judge(explainer, (PointingGame(tolerance=0),))
    hits: dict[str, list[float]] = {}
    for drawn in pairs[:8]:
        for thing in drawn.objects:
            (result,) = explainer.explain_targets([explainer.prepare(drawn.image)], [thing.index])
            assert not isinstance(result, ItemError)
            (found,) = judge.judge(result, lambda _explanation, mask=thing.mask: mask).judged
            for key, measured in found.measurements.items():
                one = measured["pointing-game"]
                assert one.value is not None
                assert one.group == thing.index
                hits.setdefault(key, []).append(one.value)
    means = {key: np.mean(values) for key, values in hits.items()}
    own = means.pop("gradcam")
    assert own >= 0.95
    assert set(means) == {"random", "gaussian", "ones", "gradient_magnitude"}
    # The brightest pixel of a gradient lies on the object more often than chance has it.
    assert own > max(means.values()) + 0.1, means
