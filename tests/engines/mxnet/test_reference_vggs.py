"""VGGs against PyTorch in float64 (all eight by hand): ``tests/reference/make_vgg_fixtures.py``."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from cnnviz.attribution.cam import grad_cam
from cnnviz.importers.gluon import from_gluon
from tests.support.capabilities import SLOW
from tests.support.gradients import Gradients, differentiate
from tests.support.mxnet import import_mxnet
from tests.support.seeded import REFERENCE, relative_error, seeded

NAMES = ["vgg11_bn"]
if SLOW:
    NAMES += ["vgg11", "vgg16_bn", "vgg13", "vgg13_bn", "vgg16", "vgg19", "vgg19_bn"]
#: ReLUs of table 1's configurations A, B, D and E: one a convolution, two in the classifier.
RELUS = {"vgg11": 8 + 2, "vgg13": 10 + 2, "vgg16": 13 + 2, "vgg19": 16 + 2}
RULES = ("standard", "guided", "deconvnet")


class Case(NamedTuple):
    name: str
    truth: dict[str, np.ndarray]
    ours: dict[str, Gradients]  # by ReLU rule


def build(name: str) -> Any:
    """Gluon's own network of this name with the seeded parameters."""
    mx = import_mxnet()
    block = mx.gluon.model_zoo.vision.get_model(name, classes=seeded.CLASSES, prefix="")
    block.initialize(mx.init.Zero())
    block(mx.nd.zeros((1, *seeded.IMAGE_SHAPE)))  # settles the shapes left open
    for key, parameter in block._collect_params_with_prefix().items():
        parameter.set_data(mx.nd.array(seeded.parameter(key, parameter.shape)))
    return block


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with np.load(REFERENCE / f"{request.param}.npz") as file:
        truth = dict(file)
    batch = np.stack([seeded.image(int(seed)) for seed in truth["picture_seeds"]])
    network = from_gluon(build(request.param), input_shape=seeded.IMAGE_SHAPE)
    targets = truth["targets"].tolist()
    ours = {rule: differentiate(network, batch, targets, relu_rule=rule) for rule in RULES}
    yield Case(request.param, truth, ours)
    del network, ours
    gc.collect()  # half a gigabyte a network: the next must not come on top of it


def test_default_layer_is_the_last_convolution_or_its_batch_norm(case: Case) -> None:
    layer = case.ours["standard"].layer
    assert layer.name == str(case.truth["layer"])
    assert layer.shape == (512, *case.truth["gradcam"].shape[1:])


# Seen, with oneDNN and without: at most 1.3e-6 for the logits and 7e-6 for everything else, of
# which 6.5e-6 are the rounding of the stored fixtures. The rest is room for other processors.
def test_logits(case: Case) -> None:
    for rule in RULES:
        assert relative_error(case.ours[rule].logits, case.truth["logits"]) < 1e-5


def test_grad_cam_and_its_weights(case: Case) -> None:
    for rule in RULES:  # the layer's gradient is the true one under every rule
        ours = case.ours[rule]
        alpha = ours.layer_gradients.mean(axis=(2, 3))
        assert relative_error(alpha, case.truth["weights"]) < 1e-4
        cam = grad_cam(ours.activations, ours.layer_gradients)
        assert relative_error(cam, case.truth["gradcam"]) < 1e-4


@pytest.mark.parametrize("rule", RULES)
def test_input_gradients(case: Case, rule: str) -> None:
    assert relative_error(case.ours[rule].input_gradients, case.truth[rule]) < 1e-4


def test_every_relu_is_counted(case: Case) -> None:
    relus = RELUS[case.name.replace("_bn", "")]
    counts = {rule: (o.relus_changed, o.relus_total) for rule, o in case.ours.items()}
    assert counts["standard"] == (0, relus)
    assert counts["guided"] == (relus, relus)


def test_the_reference_can_be_held_to_these_tolerances(case: Case) -> None:
    """PyTorch's own float32 is well within each tolerance: a failure above is not rounding."""
    assert case.truth["float32_logits"] < 5e-6
    for key in ("weights", "gradcam", *RULES):
        assert case.truth[f"float32_{key}"] < 1e-5
