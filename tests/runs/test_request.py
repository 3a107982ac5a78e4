"""Requests: values that another process can be given."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from cnnviz.errors import UsageError
from cnnviz.rendering.style import Style
from cnnviz.runs.request import (
    ActivationsRequest,
    ExecutionOptions,
    ModelOptions,
    RunRequest,
    SelectionOptions,
)


def test_a_request_is_the_same_in_another_process():
    request = RunRequest(
        ("cat.jpg", "photos"),
        Path("out"),
        ModelOptions("demo", input_size=(64, 96)),
        style=Style(320, "viridis"),
        selection=SelectionOptions(only="wrong", truth="folders"),
    )
    assert pickle.loads(pickle.dumps(request)) == request
    with pytest.raises(FrozenInstanceError):
        request.inputs = ()


def test_no_two_options_of_a_request_have_the_same_name():
    request = RunRequest(("cat.jpg",), Path("out"))
    names = [name for name, _ in request.options()]
    assert len(set(names)) == len(names)
    assert {"inputs", "output", "model", "targets", "alpha", "only", "batch_size"} <= set(names)
    groups = [field.name for field in fields(RunRequest)[2:]]
    assert len(names) == 2 + sum(len(fields(getattr(request, group))) for group in groups)


def test_who_goes_on_after_a_crash_does_nothing_twice():
    request = RunRequest(
        ("photos",), Path("out"), execution=ExecutionOptions(batch_size=4, force=True)
    )
    assert request.continued().execution == ExecutionOptions(batch_size=4)


def test_only_predictions_take_a_look_at_all_images():
    assert not SelectionOptions(truth="folders", limit=3).by_prediction
    assert SelectionOptions(sort="margin").by_prediction
    assert SelectionOptions(only="uncertain").by_prediction


def test_activations_have_a_style_of_their_own():
    style = ActivationsRequest(("cat.jpg",), Path("out")).style
    assert (style.size, style.overlay) == (320, False)
    with pytest.raises(UsageError, match="color map"):
        type(style)(colormap="grey")


@pytest.mark.subprocess
def test_requests_are_cheap_to_import():
    code = (
        "import sys, cnnviz.runs.request, cnnviz.runs.supervisor\n"
        "assert not {'numpy', 'cv2', 'mxnet'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
