"""Thresholds of metrics: which maps they mean, and which values are worse."""

from __future__ import annotations

import pytest

from cnnviz.errors import UsageError
from cnnviz.metrics.registry import METRICS
from cnnviz.runs.checked import Collector
from cnnviz.runs.evaluation_checks import (
    check_metrics,
    metric_figures,
    of_each_method,
    verdict_on,
)
from cnnviz.runs.evaluation_records import CellRecord, EvaluationRecord, SubjectRecord
from cnnviz.runs.judge import metric_record
from cnnviz.runs.thresholds import FAIL_UNDER, Threshold

MEASURED = tuple(METRICS[name]() for name in ("insertion", "deletion", "sparseness"))
SUBJECTS = (
    SubjectRecord("guided_gradcam", "guided Grad-CAM", False),
    SubjectRecord("gradcam@features.2", "Grad-CAM (features.2)", False),
    SubjectRecord("gradcam@features.28", "Grad-CAM (features.28)", False),
    SubjectRecord("random", "a random map", True),
)


def under(name, limit=0.4):
    return Threshold(FAIL_UNDER, name, limit)


def meant(name):
    return [one.name for one in of_each_method(check_metrics([under(name)], MEASURED), SUBJECTS)]


def summary(values):
    """An evaluation of three images in which these means were found."""
    cells = tuple(
        CellRecord(subject, metric, value, None, None, 3, None, None, None, None, ())
        for (subject, metric), value in values.items()
    )
    return EvaluationRecord(
        *(4, 3, 1, tuple(map(metric_record, MEASURED)), SUBJECTS, cells, ()),
        findings=("Grad-CAM is not shown to be better.",),
    )


def test_a_metric_alone_means_that_of_every_method():
    assert meant("Insertion") == [
        *("guided_gradcam.insertion", "gradcam@features.2.insertion"),
        "gradcam@features.28.insertion",
    ]


def test_a_method_is_meant_at_all_its_layers_or_at_one():
    assert meant("guided-gradcam.deletion") == ["guided_gradcam.deletion"]
    assert meant("gradcam.deletion") == [
        *("gradcam@features.2.deletion", "gradcam@features.28.deletion")
    ]
    assert meant("gradcam@features.28.deletion") == ["gradcam@features.28.deletion"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("insertoin", "'insertoin' is not measured; insertion, deletion and sparseness are. Did"),
        ("road", "'road' is not measured; insertion, deletion and sparseness are."),
        ("gradcam.sparseness", "no value of sparseness is better than another"),
        ("gradkam.insertion", "no map of 'gradkam' is judged, only of guided_gradcam, "),
        ("gradkam.insertion", "Did you mean gradcam"),
        ("random.insertion", "no map of 'random' is judged"),
    ],
)
def test_what_is_not_measured_is_refused(name, said):
    with pytest.raises(UsageError) as caught:
        meant(name)
    assert str(caught.value).startswith(f"--fail-under {name}=0.4: ")
    assert said in str(caught.value)


def test_under_means_worse_in_the_direction_of_the_metric():
    found = summary(
        {
            ("gradcam@features.2", "insertion"): 0.4,
            ("gradcam@features.28", "insertion"): 0.39,
            ("guided_gradcam", "insertion"): None,
            ("gradcam@features.2", "deletion"): 0.4,
            ("gradcam@features.28", "deletion"): 0.41,
            ("guided_gradcam", "deletion"): 0.1,
            ("random", "insertion"): 0.1,
            ("guided_gradcam", "sparseness"): 0.1,
        }
    )
    # Neither baselines nor metrics without a direction are figures.
    assert {one.name.rpartition(".")[2] for one in metric_figures(found)} == {
        *("insertion", "deletion")
    }
    assert not any(one.name.startswith("random") for one in metric_figures(found))
    demanded = check_metrics([under("insertion"), under("deletion")], MEASURED)
    limits = of_each_method(demanded, SUBJECTS)
    collector = Collector()
    for number in range(4):
        collector.add(f"{number}.png", 0.5, None if number else "It is empty.")
    run = verdict_on(found, limits, collector, "net.")
    assert {one.threshold.name: one.met for one in run.verdicts} == {
        "guided_gradcam.insertion": False,
        "gradcam@features.2.insertion": True,
        "gradcam@features.28.insertion": False,
        "guided_gradcam.deletion": True,
        "gradcam@features.2.deletion": True,
        "gradcam@features.28.deletion": False,
    }
    assert [one.sentence for one in run.unmet] == [
        f"{METRICS['insertion'].title} of guided Grad-CAM: could not be measured, because it was "
        "measured on no image; at least 0.4 was demanded "
        "(--fail-under guided_gradcam.insertion=0.4)",
        f"{METRICS['insertion'].title} of Grad-CAM (features.28): 0.39 over 3 images; at least 0.4 "
        "was demanded (--fail-under gradcam@features.28.insertion=0.4)",
        f"{METRICS['deletion'].title} of Grad-CAM (features.28): 0.41 over 3 images; at most 0.4 "
        "was demanded (--fail-under gradcam@features.28.deletion=0.4)",
    ]
    assert run.findings == (
        *("3 images evaluated, 1 failed.", "Grad-CAM is not shown to be better.", "net."),
    )
    assert [one.path for one in run.failed] == ["0.png"]
