"""The demo network's promises, on scenes that it was not trained on; and the measure itself."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.demo import CLASSES, train
from cnnviz.demo.architecture import build
from cnnviz.demo.scenes import Object, Scene
from cnnviz.engines.mxnet.engine import Network
from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.errors import UsageError
from cnnviz.metrics import localization as localization
from cnnviz.metrics.localization import (
    Classification,
    Localization,
    classify,
    demo_network,
    localize,
    one_object_scenes,
    report,
    two_object_scenes,
)
from tests.support.capabilities import SLOW

SCENES = 200 if SLOW else 80  # of each kind


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
    assert found.right >= 0.90
    assert found.wrong < 0.05
    assert found.right + found.wrong + found.neither == pytest.approx(1)


def test_single_objects_are_named_rightly_and_surely(network: Network) -> None:
    named = classify(network, one_object_scenes(SCENES))
    assert named.accuracy >= 0.97
    assert named.confidence >= 0.93


def test_the_measure_fails_a_network_that_knows_nothing(pairs: list[Scene]) -> None:
    mx = import_mxnet()
    mx.random.seed(3)
    np.random.seed(3)
    block = build()
    block.initialize(mx.init.Xavier())
    untrained = Network.from_block(block)
    assert localize(untrained, pairs[:20]).right < 0.5
    assert classify(untrained, one_object_scenes(16)).accuracy < 0.5


def _two_halves() -> Scene:
    left, right = np.zeros((2, 224, 224), np.bool_)
    left[:, :96] = True
    right[:, 128:] = True
    return Scene(
        np.zeros((224, 224, 3), np.uint8), (Object("fish", 1, left), Object("snail", 4, right))
    )


@pytest.mark.parametrize(
    ("column", "verdict"), [(2, "right"), (11, "wrong"), (6, "neither"), (None, "neither")]
)
def test_where_the_peak_lies_decides(column: int | None, verdict: str) -> None:
    """Of 14 columns, 2 lies in the left object's pixels 0..95, 11 in the other's, 6 between."""
    cam = np.zeros((14, 14), np.float32)
    if column is not None:
        cam[5, column] = 1
    assert localization._verdict(_two_halves(), 0, cam) == verdict


def test_all_ordered_pairs_take_turns() -> None:
    seen = [
        tuple(thing.kind for thing in drawn.objects) for drawn in two_object_scenes(56, 9_000_000)
    ]
    assert len(set(seen)) == 56
    assert all(first != second for first, second in seen)


def test_no_scene_was_trained_on() -> None:
    """The default training set ends long before the first seed of the measurements."""
    assert train.TRAINING_SEED + 1_000_000 <= localization.ONE_OBJECT_SEED
    assert localization.ONE_OBJECT_SEED + 1_000_000 <= localization.TWO_OBJECT_SEED
    assert localization.TWO_OBJECT_SEED + 1_000_000 <= train.HELD_OUT_SEED


def test_scenes_with_the_wrong_number_of_objects_are_refused(network: Network) -> None:
    with pytest.raises(UsageError, match=r"2 object\(s\); one has 1"):
        localize(network, one_object_scenes(1))
    with pytest.raises(UsageError, match="none"):
        classify(network, [])


def test_the_report_says_the_figures_plainly() -> None:
    text = report(
        Classification(200, 0.985, 0.97), Localization(400, 0.9625, 0.0125, 0.025, "features.26")
    )
    assert "200 scenes: 98.5% named rightly, mean top probability 0.970" in text
    for line in ("right object    96.2%", "wrong object     1.2%", "neither            2.5%"):
        assert " ".join(line.split()) in " ".join(text.split())


def test_the_command_prints_them_and_refuses_no_scenes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    localization.main(["--scenes", "8"])
    said = capsys.readouterr().out
    assert "8 scenes" in said
    assert "16 Grad-CAM maps" in said
    with pytest.raises(SystemExit) as stop:
        localization.main(["--scenes", "0"])
    assert stop.value.code == 2


def test_every_class_has_its_turn_among_single_objects() -> None:
    kinds = [drawn.objects[0].kind for drawn in one_object_scenes(8, 9_500_000)]
    assert tuple(kinds) == CLASSES
