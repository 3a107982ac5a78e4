"""What two runs are called: by what tells them apart, and never the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnnviz.comparison.names import side_names
from cnnviz.runs.run_records import (
    EngineRecord,
    InputRecord,
    LayerRecord,
    MethodRecord,
    NetworkRecord,
    RunRecord,
    SymbolRecord,
    WeightsRecord,
)

INPUT = InputRecord(224, 224, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "rgb", "stretch")
CROPPED = InputRecord(224, 224, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "rgb", "crop")
NETWORK = NetworkRecord(
    name="vgg16",
    classes=2,
    activation="softmax",
    labels=("cat", "dog"),
    input=INPUT,
    layers=(LayerRecord("features.29", "ReLU", (512, 14, 14)),),
    symbol=None,
    weights=WeightsRecord("cache/vgg16.params", "cache", "a" * 64),
    check=None,
)


def method(key, title, **options):
    return MethodRecord(key, key, title, "", {key: "heat"}, options, False)


GRADCAM, LAYERCAM = method("gradcam", "Grad-CAM"), method("layercam", "LayerCAM")
RUN = RunRecord(
    parameters={"output": "runs/before", "targets": ["top1"]},
    versions={},
    network=NETWORK,
    engine=EngineRecord("mxnet", "1.9.1", "cpu", "fp32"),
    engine_reason="",
    methods=(GRADCAM,),
    notes=(),
    ground_truth=None,
)


def run(*, engine=None, methods=RUN.methods, parameters=None, **network):
    return replace(
        RUN,
        engine=replace(RUN.engine, **(engine or {})),
        methods=methods,
        parameters={**RUN.parameters, **(parameters or {})},
        network=replace(NETWORK, **network),
    )


def weights(path, digit):
    return WeightsRecord(path, "--weights", digit * 64)


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        pytest.param(run(), run(name="vgg19"), ("vgg16", "vgg19"), id="networks"),
        pytest.param(
            run(weights=weights("net-0001.params", "1")),
            run(weights=weights("net-0002.params", "2")),
            ("net-0001.params", "net-0002.params"),
            id="epochs",
        ),
        pytest.param(
            run(weights=weights("runs/before/net.params", "1")),
            run(weights=weights("runs/after/net.params", "2")),
            ("before/net.params", "after/net.params"),
            id="folders of weights",
        ),
        pytest.param(
            run(weights=weights("net.params", "1")),
            run(weights=weights("runs/net.params", "2")),
            ("net.params", "runs/net.params"),
            id="one path ends the other",
        ),
        pytest.param(
            run(weights=weights("net.params", "1")),
            run(weights=weights("net.params", "2")),
            ("net.params 11111111", "net.params 22222222"),
            id="another file of the same name",
        ),
        pytest.param(
            run(weights=weights("net.params", "1")),
            run(weights=weights("copy.params", "1")),
            ("vgg16 (before)", "vgg16 (after)"),
            id="a copy is the same",
        ),
        pytest.param(
            run(symbol=SymbolRecord("one/net-symbol.json", "1" * 64)),
            run(symbol=SymbolRecord("two/net-symbol.json", "2" * 64)),
            ("one/net-symbol.json", "two/net-symbol.json"),
            id="symbols",
        ),
        pytest.param(
            run(layers=(LayerRecord("features.28", "Conv2d", (512, 14, 14)),)),
            run(),
            ("vgg16 at features.28", "vgg16 at features.29"),
            id="layers",
        ),
        pytest.param(
            run(),
            run(methods=(LAYERCAM,)),
            ("vgg16 by Grad-CAM", "vgg16 by LayerCAM"),
            id="methods",
        ),
        pytest.param(
            run(),
            run(methods=(GRADCAM, LAYERCAM)),
            ("vgg16", "vgg16 by LayerCAM"),
            id="one method more",
        ),
        pytest.param(
            run(methods=(method("gradcam", "Grad-CAM", samples=5, smooth=0),)),
            run(methods=(method("gradcam", "Grad-CAM", samples=50, smooth=0),)),
            ("vgg16 with samples=5", "vgg16 with samples=50"),
            id="an option",
        ),
        pytest.param(
            run(),
            run(parameters={"targets": ["truth"]}),
            ("vgg16 for top1", "vgg16 for truth"),
            id="targets",
        ),
        pytest.param(
            run(),
            run(engine={"name": "torch", "version": "2.13.0"}),
            ("vgg16 in MXNet", "vgg16 in PyTorch"),
            id="engines",
        ),
        pytest.param(
            run(engine={"name": "torch", "version": "2.13.0"}),
            run(engine={"name": "torch", "version": "2.14.1"}),
            ("vgg16 in PyTorch 2.13.0", "vgg16 in PyTorch 2.14.1"),
            id="versions",
        ),
        pytest.param(
            run(),
            run(engine={"device": "gpu:0", "precision": "tf32"}),
            ("vgg16 on cpu in fp32", "vgg16 on gpu:0 in tf32"),
            id="device and precision",
        ),
        pytest.param(
            run(),
            run(input=replace(INPUT, height=112)),
            ("vgg16 on 224x224 pixels", "vgg16 on 112x224 pixels"),
            id="input",
        ),
        pytest.param(
            run(),
            run(input=replace(INPUT, resize="crop", mean=(0.0, 0.0, 0.25))),
            ("vgg16 on stretched images", "vgg16 on cropped images"),
            id="resize",
        ),
        pytest.param(
            run(input=replace(CROPPED, crop_fraction=224 / 232, interpolation="bilinear")),
            run(input=replace(CROPPED, crop_fraction=0.875)),
            ("vgg16 with crop fraction 0.9655", "vgg16 with crop fraction 0.875"),
            id="crop fraction",
        ),
        pytest.param(
            run(input=replace(CROPPED, interpolation="bicubic")),
            run(input=CROPPED),
            ("vgg16 with bicubic interpolation", "vgg16 with area interpolation"),
            id="interpolation",
        ),
        pytest.param(
            run(),
            run(input=replace(INPUT, mean=(0.0, 0.0, 0.25))),
            ("vgg16 with mean 0.5,0.5,0.5", "vgg16 with mean 0,0,0.25"),
            id="mean",
        ),
        pytest.param(
            run(),
            run(input=replace(INPUT, range=(0, 4095))),
            ("vgg16 with range own", "vgg16 with range 0:4095"),
            id="range",
        ),
        pytest.param(run(), run(), ("vgg16 (before)", "vgg16 (after)"), id="nothing"),
    ],
)
def test_names_say_what_differs(a, b, names):
    b = replace(b, parameters={**b.parameters, "output": "runs/after"})
    assert side_names(a, b) == names
    assert side_names(b, a) == names[::-1]


def test_of_two_networks_only_what_was_asked_for_is_said():
    own = run(
        name="inceptionv3",
        input=replace(INPUT, height=299, width=299),
        layers=(LayerRecord("Mixed_7c", "Concat", (2048, 8, 8)),),
        methods=(LAYERCAM,),
        parameters={"layers": ["Mixed_7c"]},
    )
    assert side_names(RUN, own) == ("vgg16", "inceptionv3")
    asked = replace(own, parameters={**own.parameters, "methods": ["layercam"]})
    assert side_names(RUN, asked) == ("vgg16 by Grad-CAM", "inceptionv3 by LayerCAM")


def test_a_folder_against_itself():
    assert side_names(RUN, RUN) == ("vgg16 (A)", "vgg16 (B)")


def test_names_are_for_people():
    a = run(weights=weights("bad\x1b.params", "1"))
    b = run(weights=weights("good.params", "2"))
    assert side_names(a, b) == ("bad\\x1b.params", "good.params")
