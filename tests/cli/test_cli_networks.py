"""Users' own networks on the command line: exported ones, configuration files, and mistakes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnviz import demo
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn

REAL = Path(__file__).parents[3] / "shared/real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real networks are not here")
NEEDS_TORCH = pytest.mark.needs("torch")
CIFAR = ("--mean", ".4914,.4822,.4465", "--std", ".2023,.1994,.2010", "--input-size", "32")
CIFAR_CLASSES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


@pytest.fixture
def spots(tmp_path):
    """A gray network, made by hand, that tells a bright left side from a bright right one.

    One convolution passes the brightness on, and each class sums the brightness of its half.
    """
    net = nn.HybridSequential(prefix="spots_")
    with net.name_scope():
        net.add(nn.Conv2D(1, 1, in_channels=1), nn.Activation("relu"), nn.Dense(2, in_units=64))
    net.initialize(mx.init.Zero())
    net[0].weight.set_data(mx.nd.ones((1, 1, 1, 1)))
    halves = np.zeros((2, 8, 8), np.float32)
    halves[0, :, :4] = halves[1, :, 4:] = 0.25
    net[2].weight.set_data(mx.nd.array(halves.reshape(2, 64)))
    net.hybridize()
    net(mx.nd.zeros((1, 1, 8, 8)))
    (tmp_path / "spots").mkdir()
    net.export(str(tmp_path / "spots/spots"))
    image = np.zeros((8, 8), np.uint8)
    image[2:6, 5:8] = 255
    cv2.imwrite(str(tmp_path / "right.png"), image)
    return tmp_path / "spots/spots-symbol.json"


@pytest.mark.parametrize("engine", ["mxnet", pytest.param("torch", marks=NEEDS_TORCH)])
def test_gray_network_looks_where_the_light_is(cnnviz, spots, tmp_path, engine):
    status, out, err = cnnviz(
        *("explain", "right.png", "--model", spots, "--input-size", "8", "-o", "out"),
        *("--mean", "0", "--std", "1", "--method", "gradcam", "--arrays", "--quiet"),
        *("--engine", engine),
    )
    assert (status, out, err) == (0, "", "")
    with np.load(tmp_path / "out/right.npz") as arrays:
        # 12 pixels of brightness 1, a quarter each, all of them on the right.
        np.testing.assert_allclose(arrays["logits"], [0, 3], atol=1e-6)
        assert arrays["target"] == 1
        # The layer's one map is the image. The gradient of class 1 is a quarter where the ReLU
        # lets it through, which is where there is light: 12 * 0.25 / 64 in the mean.
        expected = np.zeros((8, 8))
        expected[2:6, 5:8] = 0.046875
        np.testing.assert_allclose(arrays["gradcam"], expected, atol=1e-7)
        assert str(arrays["layer"]) == "spots_conv0_fwd"


def test_the_manifest_says_which_symbol_and_another_one_does_all_again(cnnviz, spots, tmp_path):
    command = ("explain", "right.png", "--model", spots, "--input-size", "8", "-o", "out")
    assert cnnviz(*command)[0] == 0
    network = json.loads((tmp_path / "out/manifest.json").read_text())["run"]["network"]
    for name, path in (
        ("symbol", spots),
        ("weights", spots.with_name("spots-0000.params")),
    ):
        assert network[name]["path"] == str(path)
        assert network[name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "(1 of them already done)" in cnnviz(*command)[2]
    spots.write_text(spots.read_text() + "\n")
    assert "already done" not in cnnviz(*command)[2]


def test_classes_without_names_are_numbers_and_what_is_assumed_is_said(cnnviz, spots):
    status, out, err = cnnviz("explain", "right.png", "-m", spots, "--input-size", "8x8")
    assert status == 0
    assert out == "right.png: class 1 0.95\n"  # 1 / (1 + exp(-3))
    assert "pixels from 0 to 1 are assumed: --mean 0 --std 1." in err
    assert "spots, layer spots_conv0_fwd (Convolution, 1×8×8)" in err
    assert "(beside the symbol)" in err


def test_card_says_it_all_and_the_command_line_wins(cnnviz, spots):
    spots.with_name("cnnviz.yaml").write_text(
        "model: spots-symbol.json\ninput_size: 8\nmean: 0\nstd: 1\nlabels: [left, right]\n"
        "layer: spots_relu0_fwd\nname: spotter\n"
    )
    for model in ("spots", "spots/cnnviz.yaml"):
        status, out, err = cnnviz("explain", "right.png", "-m", model, "--target", "left")
        assert status == 0
        assert out == "right.png: right (1) 0.95; explained: left (0) 0.05\n"
        assert "spotter, layer spots_relu0_fwd (ReLU, 1×8×8)" in err
        assert "assumed" not in err
    Path("names.txt").write_text("dark\nlight\n")
    status, out, err = cnnviz(
        *("explain", "right.png", "-m", "spots", "--labels", "names.txt", "--std", "0.5"),
        *("--layer", "spots_conv0_fwd"),
    )
    assert status == 0
    assert out == "right.png: light (1) 1.00\n"  # 1 / (1 + exp(-6))
    assert "layer spots_conv0_fwd" in err


def test_card_of_a_catalog_network_with_classes_of_its_own(cnnviz, photos, tmp_path):
    names = [f"kind {name}" for name in demo.CLASSES]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/cnnviz.json").write_text(json.dumps({"model": "demo", "labels": names}))
    status, out, err = cnnviz("explain", photos / "2.png", "-m", "mine")
    assert status == 0
    assert ": kind " in out
    assert "demo, layer " in err


@pytest.mark.subprocess
def test_without_mxnet_an_exported_network_cannot_be_read(spots, tmp_path):
    script = (
        "import sys; sys.modules['mxnet'] = None; from cnnviz.cli import run; "
        f"print(int(run(['explain', 'right.png', '-m', {str(spots)!r}, '--input-size', '8'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n"
    assert done.stderr.startswith("Error: Reading a network that MXNet exported takes MXNet")
    assert "`pip install mxnet" in done.stderr or "MXNet has no build for " in done.stderr


def test_layers_takes_what_explain_takes(cnnviz, spots):
    status, out, _ = cnnviz("layers", spots, "--input-size", "8")
    assert status == 0
    assert [line.split() for line in out.splitlines()] == [
        ["layer", "kind", "output", "used", "by", "explain"],
        ["spots_conv0_fwd", "Convolution", "1×8×8", "default"],
        ["spots_relu0_fwd", "ReLU", "1×8×8"],
        ["spots_dense0_fwd", "Dense", "2"],
    ]
    spots.with_name("spots-0000.params").unlink()
    assert cnnviz("layers", spots, "--input-size", "8")[1] == out
    status, out, _ = cnnviz("layers", "vgg16", "--json")
    layers = json.loads(out)
    # The last convolution of each block, as in torchvision's `features`.
    assert [layer["name"] for layer in layers if layer["stage"]] == [
        f"features.{index}" for index in (2, 7, 14, 21, 28)
    ]
    assert [layer["name"] for layer in layers if layer["default"]] == ["features.28"]
    status, out, _ = cnnviz("layers", "resnet18_v1", "--input-size", "320x256")
    # A 32nd of the image each way.
    assert ["features.7.1", "ReLU", "512×10×8", "default"] in map(str.split, out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "spots-symbol.json does not say how large its images are: give --input-size"),
        (("--input-size", "0"), 2, "'0' is not a size: expected a number of pixels from 1 on"),
        (
            ("--input-size", "8", "--mean", "1,b"),
            2,
            "'1,b' is not valid: expected a number for each",
        ),
        (
            ("--input-size", "8", "--mean", ".5,.5,.5", "--std", "1,1,1"),
            2,
            "spots takes a gray image (1 channel), and mean and std have 3 numbers: give 1 each.",
        ),
        (("--input-size", "8", "--target", "2"), 2, "the network's classes are 0 to 1"),
        (("--input-size", "8", "--target", "left"), 2, "this network's classes have none"),
        (("--input-size", "8", "--head", "x"), 2, "has no output or node 'x'"),
        (("--input-size", "8", "--labels", "three.txt"), 2, "3 class names were given"),
        (("--input-size", "9"), 3, "made for another --input-size than 9×9"),
        (("--input-size", "8", "--weights", "other.params"), 3, "other.params cannot be read"),
    ],
)
def test_what_goes_wrong_with_an_exported_network(cnnviz, spots, arguments, status, said):
    Path("three.txt").write_text("a\nb\nc\n")
    found, out, err = cnnviz("explain", "right.png", "-m", spots, *arguments)
    assert (found, out) == (status, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        ("demo", ("--head", "x"), "demo has one output; --head is for exported networks"),
        ("demo", ("--mean", "0", "--std", "1"), "demo takes color images"),
        ("demo", ("--mean", "124,117,104"), "Divide mean and std by 255: --mean 0.4863,0.4588,"),
        ("vgg16", ("--input-size", "448"), "vgg16 takes only images of 224x224"),
    ],
)
def test_what_does_not_suit_a_catalog_network(cnnviz, spots, model, arguments, said):
    status, _, err = cnnviz("explain", "right.png", "-m", model, *arguments)
    assert status == 2
    assert said in err


@pytest.mark.subprocess
def test_mistakes_in_cards_and_files_are_told_without_mxnet(spots, tmp_path):
    spots.with_name("cnnviz.yaml").write_text("model: spots-symbol.json\nlables: a\n")
    spots.with_name("spots-0000.params").unlink()
    (tmp_path / "no.json").write_text("{}")
    mistakes = {
        "spots": "unknown key 'lables'. Did you mean labels?",
        "lost-symbol.json": "There is no file lost-symbol.json",
        "no.json": "is JSON, but no network",
        "spots/spots-symbol.json": "no parameters beside spots/spots-symbol.json",
        "spots/spots": "did you mean spots/spots-symbol.json?",
    }
    script = (
        "import sys; from cnnviz.cli import run\n"
        f"for model in {list(mistakes)!r}:\n"
        "    run(['explain', 'right.png', '-m', model, '--input-size', '8'])\n"
        "print('mxnet' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
    for error, said in zip(done.stderr.splitlines(), mistakes.values(), strict=True):
        assert said in error


@needs_real
def test_real_exported_network(cnnviz):
    Path("names.txt").write_text("\n".join(CIFAR_CLASSES))
    status, out, err = cnnviz(
        *("explain", REAL / "photos", "-o", "out", "--labels", "names.txt", *CIFAR),
        *("--model", REAL / "cifar_resnet56-symbol.json", "--method", "gradcam"),
    )
    assert status == 0
    assert "layer cifarresnetv11_stage3_activation8 (ReLU, 64×8×8)" in err
    # A hummingbird is a bird; the snow leopard is nearest to a cat.
    said = {Path(line.partition(":")[0]).stem: line for line in out.splitlines()}
    assert ": bird (2) 0.99" in said["hummingbird"]
    assert ": cat (3) " in said["snow_leopard"]


def test_card_decides_how_images_are_resized_until_the_command_line_does(cnnviz, spots, tmp_path):
    spots.with_name("cnnviz.yaml").write_text(
        "model: spots-symbol.json\ninput_size: 8\nmean: 0\nstd: 1\nresize: crop\n"
    )
    sides = np.zeros((16, 64), np.uint8)
    sides[:, :20] = sides[:, 44:] = 255  # the center, which is what a crop keeps, is dark
    cv2.imwrite("sides.png", sides)
    light = {}
    for name, options in (("config", ()), ("stretch", ("--resize", "stretch"))):
        arguments = ("-m", "spots", "-o", name, "--arrays", "--method", "gradcam", *options)
        assert cnnviz("explain", "sides.png", *arguments)[0] == 0
        with np.load(tmp_path / name / "sides.npz") as arrays:
            light[name] = float(arrays["input"].mean())
    assert light["config"] == 0
    np.testing.assert_allclose(light["stretch"], 40 / 64, atol=0.01)


def test_exported_network_from_python(spots, tmp_path):
    import cnnviz

    Path(tmp_path / "names.txt").write_text("left\nright\n")
    notes = []
    explainer = cnnviz.load(
        str(spots), input_size=8, labels=tmp_path / "names.txt", notify=notes.append
    )
    image = cnnviz.read_image(tmp_path / "right.png")
    (explanation,) = explainer.explain([explainer.prepare(image)])
    assert (explainer.name, explanation.top()[0].name) == ("spots", "right")
    assert len(notes) == 1
