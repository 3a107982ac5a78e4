"""Methods by name and with options, as users write them."""

from __future__ import annotations

import pytest

from cnnviz.attribution import METHODS, choose_methods, registry
from cnnviz.errors import UsageError


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match=r"no method 'grad-cm'\. Did you mean.*gradcam"):
        choose_methods(["grad-cm"])
    with pytest.raises(UsageError, match=r"source of saliency is one of guided-gradcam.*'noise'"):
        choose_methods(["saliency"], {"source": "noise"})


def test_options_reach_the_methods_that_have_them():
    (gradcam, saliency) = choose_methods(
        ["gradcam", "saliency"], {"saliency.source": "gradient"}, relu=["guided"]
    )
    assert (gradcam.relu, gradcam.key) == ("guided", "gradcam_guided")
    assert (saliency.source, saliency.key) == ("gradient", "saliency")


@pytest.mark.parametrize(
    ("names", "options", "relu", "told"),
    [
        (["saliency"], {"sorce": "gradient"}, (), r"no.* option 'sorce'.*have source.*mean source"),
        (["gradcam"], {"saliency.source": "guided"}, (), "None of the chosen methods"),
        (["saliency"], {}, ("guided",), r"none of the chosen methods \(saliency\) takes one"),
        (["gradcam"], {}, ("leaky",), "relu of gradcam is one of standard.*'leaky'"),
    ],
)
def test_options_that_fit_nothing_are_refused(names, options, relu, told):
    with pytest.raises(UsageError, match=f"(?i){told}"):
        choose_methods(names, options, relu=relu)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("gradcam++", ["gradcam-plusplus"]),
        ("Grad-CAM++", ["gradcam-plusplus"]),
        ("Grad_CAM", ["gradcam"]),
        ("GradCAM", ["gradcam"]),
        ("Guided Grad-CAM", ["guided-gradcam"]),
        ("guided_gradcam", ["guided-gradcam"]),
        ("IG", ["integrated-gradients"]),
        ("IntegratedGradients", ["integrated-gradients"]),
        ("RISE", ["rise"]),
        ("input_x_gradient", ["input-x-gradient"]),
        ("GuidedBackpropagation", ["guided-backprop"]),
        ("gradcam, LayerCAM,gradcam", ["gradcam", "layercam"]),
    ],
)
def test_methods_by_other_names(typed, names):
    assert [method.name for method in choose_methods([typed])] == names


def test_one_name_needs_no_list():
    (method,) = choose_methods("gradcam", relu="guided")
    assert method.key == "gradcam_guided"


def test_every_alias_is_a_method_and_no_name_of_another():
    for alias, name in registry._ALIASES.items():
        assert name in METHODS
        assert registry._key(alias) == alias
        assert alias not in map(registry._key, METHODS)
    assert len(set(map(registry._key, METHODS))) == len(METHODS)


def test_options_of_methods_by_other_names():
    (method,) = choose_methods(["ig"], {"IG.steps": "7"})
    assert method.steps == 7
    with pytest.raises(UsageError, match=r"has an option 'nosuch\.steps'"):
        choose_methods(["ig"], {"nosuch.steps": "7"})
