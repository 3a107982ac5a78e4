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
from tests.support.capabilities import SLOW
from tests.support.networks import demo_network

SCENES, STEPS = (3, 6) if SLOW else (2, 4)
BROKEN = "of_another_image"
#: What no test here asks for.
LEFT_OUT = "gradient_magnitude"


@pytest.fixture(scope="module")
def judged():
    """Of each scene what is judged, and its maps."""
    methods = ["gradcam", "guided-backprop"]
    explainer = Explainer(demo_network(), labels=CLASSES, methods=methods)
    found = []
    for scene in two_object_scenes(SCENES):
        (explanation,) = explainer.explain([explainer.prepare(scene.image)])
        queries = ModelQueries(explainer.network)
        target = as_target_function(explanation.target)
        case = Case(explanation.prepared, explanation.logits, target, explainer.spec, queries, None)
        maps = subjects(explainer, explanation, queries)
        found.append((case, [one for one in maps if one.key != LEFT_OUT]))
    return found


@pytest.fixture(
    scope="module",
    params=[
        Insertion(steps=STEPS),
        Deletion(steps=STEPS),
        pytest.param(Road(), marks=pytest.mark.slow),
    ],
    ids=lambda metric: metric.name,
)
def means(request, judged):
    """By map, the mean of a metric over the scenes, signed so that more is better."""
    metric = request.param
    values = defaultdict(list)
    for number, (case, maps) in enumerate(judged):
        other = judged[number - 1][1][0]
        assert other.key == "gradcam"
        for subject in (*maps, replace(other, key=BROKEN)):
            values[subject.key].append(metric.measure(case, subject).value)
    sign = 1 if metric.direction == "higher" else -1
    return {key: sign * np.mean(found) for key, found in values.items()}


def test_grad_cam_is_better_than_maps_that_saw_no_image(means):
    for baseline in ("random", "gaussian", "ones"):
        assert means["gradcam"] > means[baseline] + 0.05, baseline


def test_the_map_of_another_image_comes_last_of_all_methods(means):
    order = sorted(("gradcam", "guided_backprop", BROKEN), key=means.__getitem__)
    assert order[0] == BROKEN, means
