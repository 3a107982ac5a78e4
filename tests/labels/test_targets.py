"""Which classes users ask for, with --target and with --contrast."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.errors import UsageError
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.labels.label_sets import LabelSet
from cnnviz.labels.targets import (
    ClassPair,
    SimilarityTarget,
    Target,
    resolve_contrasts,
    resolve_targets,
)

PETS = ("tabby, tabby cat", "Egyptian cat", "crane", "Border collie", "collie", "crane")


def test_targets():
    assert resolve_targets(["top1"], PETS, 6) == (Target(rank=0),)
    assert resolve_targets(["top3", "TOP2"], PETS, 6) == (*(Target(rank=r) for r in range(3)),)
    assert resolve_targets(["5", "tabby, tabby cat", "5"], PETS, 6) == (Target(5), Target(0))
    assert resolve_targets(["1, 3,1"], PETS, 6) == (Target(1), Target(3))
    assert resolve_targets(["Top-2"], PETS, 6) == (Target(rank=0), Target(rank=1))
    assert resolve_targets(["collie,1"], PETS, 6) == (Target(4), Target(1))
    assert resolve_targets(["truth, top2,egyptian cat"], PETS, 6) == (
        *(Target(truth=True), Target(rank=0), Target(rank=1), Target(1)),
    )
    # A class with commas in its name comes first.
    assert resolve_targets(["b,a", "a,b", "a,c"], ("a,b", "b", "a", "c"), 4) == (
        *(Target(1), Target(2), Target(0), Target(3)),
    )
    assert resolve_targets(["tabby, tabby"], PETS, 6) == (Target(0),)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("top0", "asks for 0 classes"),
        ("top7", "asks for 7 classes: the network has 6"),
        ("collie,spaniel", "No class is called 'spaniel'"),
        ("collie,", "An empty target was given in 'collie,'"),
        ("collie,9", "There is no class 9"),
    ],
)
def test_refuses_targets(spec, told):
    with pytest.raises(UsageError, match=told):
        resolve_targets([spec], PETS, 6)


def test_places_of_classes_by_words():
    assert resolve_targets(["predicted", "Second", "truth", "top1"], PETS, 6) == (
        Target(),
        Target(rank=1),
        Target(truth=True),
    )
    with pytest.raises(UsageError, match="There is no second class: the network has 1"):
        resolve_targets(["second"], ["only"], 1)


def test_probabilities_and_other_images():
    assert resolve_targets(["Above:0.5", "similarity: a,b.jpg"], PETS, 6) == (
        Target(above=0.5),
        SimilarityTarget("a,b.jpg"),
    )
    assert resolve_targets(["2,above:0,similarity:b.jpg"], PETS, 6) == (
        Target(2),
        Target(above=0),
        SimilarityTarget("b.jpg"),
    )
    # A class of that name comes first.
    assert resolve_targets(["above:0.5"], ("above:0.5", "b"), 2) == (Target(0),)


def test_all_classes_above_a_probability():
    logits = np.array([0.5, -3, 2, 0.5], np.float32)
    sigmoid = Activation(("sigmoid",))
    assert Target(above=0.5).of_image(logits, sigmoid) == [2, 0, 3]
    assert Target(above=0.5).of_image(logits, SOFTMAX) == [2]  # 0.70 of it, for e^2 is the most
    assert Target(above=0.9).of_image(logits, sigmoid) == []
    assert Target(above=0.9).remark(logits, sigmoid) == "no class has a probability above 0.9"
    assert Target(above=0.5).remark(logits, sigmoid) is None
    many = np.arange(30, dtype=np.float32)
    assert Target(above=0.5).of_image(many, sigmoid) == list(range(29, 9, -1))
    assert Target(above=0.5).remark(many, sigmoid) == (
        "29 classes have a probability above 0.5; only the 20 highest are explained"
    )


def test_several_true_classes():
    logits = np.array([1, 5, 3], np.float32)
    truth = Target(truth=True)
    assert truth.of_image(logits, SOFTMAX, LabelSet((0, 1))) == [0, 1]
    assert truth.of_image(logits, SOFTMAX, LabelSet(())) == []
    assert truth.remark(logits, SOFTMAX, LabelSet(())) == "the image has no true class to explain"
    assert truth.of_image(logits, SOFTMAX, None) == [1]
    # Of two sides of a contrast each is one class: of several the one least seen.
    rows = np.stack([logits] * 2)
    assert list(truth(rows, [LabelSet((1, 2)), LabelSet(())])) == [2, 1]


def test_the_truth_is_each_images_own_and_the_answer_where_it_is_not_known():
    logits = np.array([[1, 5, 3], [9, 0, 2], [0, 1, 2]], np.float32)
    assert list(Target(truth=True)(logits, [2, None, 0])) == [2, 0, 0]
    assert list(Target(1)(logits, [2, None, 0])) == [1, 1, 1]


def test_contrasts():
    assert resolve_contrasts(["predicted:truth", "5 : 0", "predicted:truth"], PETS, 6) == (
        ClassPair(Target(), Target(truth=True)),
        ClassPair(Target(5), Target(0)),
    )


def test_a_contrast_of_names_with_colons():
    labels = ("1:2", "ratio: 3", "cat")
    expected = (ClassPair(Target(0), Target(1)), ClassPair(Target(2), Target(0)))
    assert resolve_contrasts(["1:2:ratio: 3", "cat:1:2"], labels, 3) == expected


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("5", "A contrast is two classes, A:B, such as predicted:truth; got '5'"),
        ("1:2:3", "got '1:2:3'"),
        ("1:1", "names one class twice"),
        ("1:9", "There is no class 9"),
        (":1", "An empty target"),
    ],
)
def test_refuses_contrasts(spec, told):
    with pytest.raises(UsageError, match=told):
        resolve_contrasts([spec], PETS, 6)


def test_ranks_are_each_images_own():
    logits = np.array([[1, 5, 3, 5], [9, 0, 2, 1]], np.float32)
    ranks = [list(Target(rank=rank)(logits)) for rank in range(4)]
    # Among equals the lower index comes first.
    assert ranks == [[1, 0], [3, 2], [2, 3], [0, 1]]
    assert list(Target(2)(logits)) == [2, 2]
