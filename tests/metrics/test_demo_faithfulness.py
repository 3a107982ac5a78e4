"""On the demo's scenes: Grad-CAM beats the baselines, and the map of another image comes last."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from cnnviz.attribution import ModelQueries
from cnnviz.demo import CLASSES
from cnnviz.demo.scenes.held_out import two_object_scenes
from cnnviz.engines.target_functions import as_target_function
from cnnviz.explainer import Explainer
from cnnviz.metrics.base import Case
from cnnviz.metrics.pixel_curves import Deletion, Insertion
from cnnviz.metrics.road import Road
from cnnviz.runs.subjects import subjects
from tests.support.networks import demo_network

SCENES = 3
STEPS = 6
METRICS = (Insertion(steps=STEPS), Deletion(steps=STEPS), Road())
BROKEN = "of_another_image"


@pytest.fixture(scope="module")
def means():
    """By metric and map, the mean over the scenes."""
    methods = ["gradcam", "guided-backprop"]
    explainer = Explainer(demo_network(), labels=CLASSES, methods=methods)
    judged = []
    for scene in two_object_scenes(SCENES):
        (explanation,) = explainer.explain([explainer.prepare(scene.image)])
        queries = ModelQueries(explainer.network)
        target = as_target_function(explanation.target)
        case = Case(explanation.prepared, explanation.logits, target, explainer.spec, queries, None)
        judged.append((case, list(subjects(explainer, explanation, queries))))
    values = defaultdict(list)
    for number, (case, maps) in enumerate(judged):
        other = judged[number - 1][1][0]
        assert other.key == "gradcam"
        for subject in (*maps, replace(other, key=BROKEN)):
            for metric in METRICS:
                values[metric.name, subject.key].append(metric.measure(case, subject).value)
    return {place: np.mean(found) for place, found in values.items()}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_grad_cam_is_better_than_maps_that_saw_no_image(means, metric):
    sign = 1 if metric.direction == "higher" else -1
    own = sign * means[metric.name, "gradcam"]
    for baseline in ("random", "gaussian", "ones"):
        assert own > sign * means[metric.name, baseline] + 0.05, baseline


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_map_of_another_image_comes_last_of_all_methods(means, metric):
    sign = 1 if metric.direction == "higher" else -1
    methods = ("gradcam", "guided_backprop", BROKEN)
    order = sorted(methods, key=lambda key: sign * means[metric.name, key])
    assert order[0] == BROKEN, means
