"""The scenes that are measured with: all kinds in turn, none of them trained on."""

from __future__ import annotations

from cnnviz.demo import CLASSES, train
from cnnviz.demo.scenes import held_out
from cnnviz.demo.scenes.held_out import one_object_scenes, two_object_scenes


def test_all_ordered_pairs_take_turns() -> None:
    seen = [
        tuple(thing.kind for thing in drawn.objects) for drawn in two_object_scenes(56, 9_000_000)
    ]
    assert len(set(seen)) == 56
    assert all(first != second for first, second in seen)


def test_no_scene_was_trained_on() -> None:
    """The default training set ends long before the first seed of the measurements."""
    assert train.TRAINING_SEED + 1_000_000 <= held_out.ONE_OBJECT_SEED
    assert held_out.ONE_OBJECT_SEED + 1_000_000 <= held_out.TWO_OBJECT_SEED
    assert held_out.TWO_OBJECT_SEED + 1_000_000 <= train.HELD_OUT_SEED


def test_every_class_has_its_turn_among_single_objects() -> None:
    kinds = [drawn.objects[0].kind for drawn in one_object_scenes(8, 9_500_000)]
    assert tuple(kinds) == CLASSES
