"""Networks that have no ReLU, or few: what is shown by default, what is refused, what is said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cnnviz import Explainer, InputSpec, explain, load
from cnnviz.attribution import METHODS, choose_methods
from cnnviz.errors import UsageError
from cnnviz.importers.gluon import from_gluon
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn

SIDE = 16
SPEC = InputSpec(SIDE, SIDE, (0.5,) * 3, (0.25,) * 3)
ACTIVATIONS = {
    "tanh": lambda: nn.Activation("tanh"),
    "sigmoid": lambda: nn.Activation("sigmoid"),
    "leaky": lambda: nn.LeakyReLU(0.2),
    "prelu": lambda: nn.PReLU(),
    "elu": lambda: nn.ELU(),
    "gelu": lambda: nn.GELU(),
    "swish": lambda: nn.Swish(),
}
NOTE = (
    "This network has no ReLU, so nothing can be guided: guided Grad-CAM is left out and "
    "saliency uses the plain gradient."
)


def network(*activations):
    """Convolutions with an activation after each, and a dense layer."""
    mx.random.seed(3)
    net = nn.HybridSequential(prefix="small_")
    with net.name_scope():
        for name in activations:
            activation = nn.Activation("relu") if name == "relu" else ACTIVATIONS[name]()
            net.add(nn.Conv2D(6, 3, padding=1), activation)
        net.add(nn.MaxPool2D(), nn.Flatten(), nn.Dense(4))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    net(mx.nd.zeros((1, 3, SIDE, SIDE)))
    return net


@pytest.fixture
def exported(tmp_path):
    """A function that exports a network and gives the options that it is explained with."""

    def export(*activations):
        network(*activations).export(str(tmp_path / "small"))
        numbers = ("--mean", ".5,.5,.5", "--std", ".25,.25,.25", "--input-size", SIDE)
        return ("-m", "small-symbol.json", *numbers, "-o", "out")

    return export


@pytest.fixture
def image(tmp_path, write_image):
    return write_image(tmp_path / "cat.png")


def prepared(explainer):
    pixels = np.random.RandomState(1).randint(0, 256, (20, 24, 3), np.uint8)
    return explainer.prepare(pixels)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_explainer_attributes_with_what_needs_no_relu(activation):
    """Saliency is the sum of the plain gradient's magnitudes: MXNet's own, op by op."""
    net = network(activation, activation)
    explainer = Explainer(from_gluon(net, SPEC.shape), SPEC)
    assert [method.name for method in explainer.methods] == ["gradcam", "saliency"]
    assert explainer.notes == (NOTE,)
    image = prepared(explainer)
    (found,) = explainer.explain([image])
    assert (set(found.maps), found.relus) == ({"gradcam", "saliency"}, None)

    data = mx.nd.array(image.input[None])
    data.attach_grad()
    with mx.autograd.record(train_mode=True):
        out = net(data)[0, found.target]
    out.backward()
    magnitude = np.abs(data.grad.asnumpy()[0]).sum(axis=0)
    # float32, and a convolution's way back that sums in another order.
    np.testing.assert_allclose(found.maps["saliency"], magnitude, rtol=1e-4, atol=1e-6)


def test_plain_command_writes_what_there_is_and_says_what_is_left_out(cnnviz, exported, image):
    status, out, err = cnnviz("explain", image, *exported("tanh"), "--panel", "--arrays", "--json")
    assert status == 0
    assert err.count(NOTE) == 1
    (record,) = map(json.loads, out.splitlines())
    assert record["relus_guided"] is None
    (one,) = record["explanations"]
    assert sorted(one["files"]) == ["arrays", "gradcam", "original", "saliency"]
    assert not list(image.parent.glob("out/*guided*"))
    run = json.loads((image.parent / "out/manifest.json").read_text())["run"]
    assert run["notes"] == [NOTE]
    assert [method["key"] for method in run["methods"]] == ["gradcam", "saliency"]
    assert run["methods"][1]["options"] == {"source": "gradient"}


def test_run_goes_on_and_is_reported(cnnviz, exported, image, write_image):
    write_image(image.with_name("dog.png"), seed=1)
    options = exported("prelu")
    command = ("explain", "cat.png", "dog.png", *options, "--report")
    assert cnnviz(*command)[0] == 0
    assert "(2 of them already done)" in cnnviz(*command)[2]
    named = (*command, "--method", "gradcam", "--method", "saliency", "--saliency", "gradient")
    assert "(2 of them already done)" in cnnviz(*named)[2]  # the same methods write the same files
    assert "already done" not in cnnviz(*command, "--method", "gradcam")[2]


@pytest.mark.parametrize(
    ("options", "keys", "said"),
    [
        (("--relu", "standard"), "gradcam saliency", "guided Grad-CAM is left out and saliency"),
        (("--saliency", "gradient"), "gradcam saliency", "guided Grad-CAM is left out."),
        (("--relu", "standard", "--saliency", "gradient"), "gradcam saliency", "left out."),
        (("--method", "saliency"), "saliency", "guided: saliency uses the plain gradient."),
        (("--method", "gradcam"), "gradcam", None),
        (("--method", "gradient", "--relu", "standard"), "gradient", None),
    ],
)
def test_what_is_asked_for_and_can_be_done_is_done(cnnviz, exported, image, options, keys, said):
    status, out, err = cnnviz("explain", image, *exported("elu"), *options, "--json")
    assert status == 0
    (one,) = json.loads(out)["explanations"]
    assert sorted(one["files"]) == sorted([*keys.split(), "original"])
    assert ("has no ReLU" in err) == (said is not None)
    assert said is None or said in err


@pytest.mark.parametrize(
    ("wrong", "advice", "right"),
    [
        (("--method", "guided-gradcam"), "leave out --method guided-gradcam", ()),
        (("--method", "deconvnet"), "leave out --method deconvnet", ()),
        (
            ("--saliency", "guided"),
            "in place of --saliency guided give --saliency gradient",
            ("--saliency", "gradient"),
        ),
        (
            ("--method", "saliency", "--saliency", "guided-gradcam"),
            "in place of --saliency guided-gradcam give --saliency gradient",
            ("--method", "saliency", "--saliency", "gradient"),
        ),
        (
            ("--relu", "guided"),
            "in place of --relu guided give --relu standard",
            ("--relu", "standard"),
        ),
        (
            ("--method", "smoothgrad", "-O", "samples=2", "--relu", "deconvnet"),
            "in place of --relu deconvnet give --relu standard",
            ("--method", "smoothgrad", "-O", "samples=2", "--relu", "standard"),
        ),
        (
            ("--method", "guided-backprop", "--method", "gradcam", "--relu", "guided"),
            "leave out --method guided-backprop; in place of --relu guided give --relu standard",
            ("--method", "gradcam", "--relu", "standard"),
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_advice_that_works(
    cnnviz, exported, image, wrong, advice, right
):
    options = exported("swish")
    status, out, err = cnnviz("explain", image, *options, *wrong)
    assert (status, out) == (2, "")
    sentence = f"This network has no ReLU, so nothing can be guided: {advice}."
    assert err.splitlines()[-1] == f"Error: {sentence}"
    assert not (image.parent / "out").exists()
    assert cnnviz("explain", image, *options, *right)[0] == 0


def test_every_method_but_the_guided_ones_needs_no_relu():
    few = {"smoothgrad": {"samples": 2}, "integrated-gradients": {"steps": 2}, "rise": {"masks": 4}}
    explainer = Explainer(from_gluon(network("tanh", "tanh"), SPEC.shape), SPEC)
    guided = {name for name in METHODS if choose_methods([name], has_relu=False)[0].guided}
    assert guided == {"guided-gradcam", "guided-backprop", "deconvnet"}
    for name in set(METHODS) - guided:
        (found,) = explainer.replace(
            methods=choose_methods([name], few.get(name), has_relu=False)
        ).explain([prepared(explainer)])
        assert found.maps
    for name in guided:
        with pytest.raises(UsageError, match=f"leave out --method {name}"):
            explainer.replace(methods=choose_methods([name]))


def test_from_python_in_one_call(exported, image):
    exported("leaky")
    said = []
    explainer = load(
        str(image.with_name("small-symbol.json")),
        input_size=SIDE,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        notify=said.append,
    )
    assert said == [NOTE]
    (found,) = explain(str(image), explainer)
    assert set(found.images) == {"original", "gradcam", "saliency"}
    (found,) = explain(str(image), explainer, method="saliency", relu=())
    assert set(found.maps) == {"saliency"}
    with pytest.raises(UsageError, match="in place of relu='guided' give relu='standard'"):
        explain(str(image), explainer, relu="guided")


def test_network_with_some_relus_is_guided_at_these(cnnviz, exported, image):
    status, out, err = cnnviz("explain", image, *exported("swish", "relu", "tanh"), "--json")
    assert status == 0
    assert "has no ReLU" not in err
    record = json.loads(out)
    assert record["relus_guided"] == [1, 1]
    assert "guided_gradcam" in record["explanations"][0]["files"]


def test_methods_that_ask_for_guided_passes_themselves_count_as_guided():
    assert [
        choose_methods(["smoothgrad"], relu=[rule])[0].guided for rule in ("standard", "guided")
    ] == [False, True]
