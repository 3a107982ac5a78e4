"""Networks that take blue first: the same network, its first layer turned round, says the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cnnviz import Explainer, InputSpec, Style, explain, load
from cnnviz.attribution import METHODS, choose_methods
from cnnviz.errors import UsageError
from cnnviz.images.preprocessing import canvas, prepare
from cnnviz.importers.gluon import from_gluon
from cnnviz.inspection.filters import find_convolution, read_filters
from cnnviz.inspection.maximize import AscentOptions, maximize
from cnnviz.inspection.objectives import ClassObjective
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn

SIDE = 16
MEAN, STD = (0.2, 0.4, 0.6), (0.2, 0.25, 0.4)
RGB = InputSpec(SIDE, SIDE, MEAN, STD)
BGR = InputSpec(SIDE, SIDE, MEAN[::-1], STD[::-1], "bgr")
FEW = {
    "smoothgrad": {"samples": 3},
    "integrated-gradients": {"steps": 3},
    "rise": {"masks": 20},
    "occlusion": {"window": 5},
}


def block(*, reverse=False):
    """Two convolutions with weights that are the same each time; the first may take blue first."""
    net = nn.HybridSequential(prefix="colors_")
    with net.name_scope():
        net.add(nn.Conv2D(6, 3, activation="relu"), nn.MaxPool2D(), nn.Conv2D(8, 3))
        net.add(nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Dense(4))
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros((1, 3, SIDE, SIDE)))
    random = np.random.RandomState(2)
    for parameter in net.collect_params().values():
        values = random.normal(0, 0.4, parameter.shape)
        if reverse and parameter.shape[1:] == (3, 3, 3):
            values = values[:, ::-1].copy()
        parameter.set_data(mx.nd.array(values))
    return net


@pytest.fixture(scope="module")
def networks():
    return tuple(from_gluon(block(reverse=reverse), (3, SIDE, SIDE)) for reverse in (False, True))


@pytest.fixture(scope="module")
def image():
    return np.random.RandomState(5).randint(0, 256, (24, 20, 3), np.uint8)


def close(a, b):
    """Float32 sums over the channels in another order: a few parts in a million."""
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


def test_blue_is_fed_first_with_its_own_mean(image):
    rgb, bgr = prepare(image, RGB), prepare(image, BGR)
    assert bgr.input.tobytes() == np.ascontiguousarray(rgb.input[::-1]).tobytes()
    assert bgr.seen.tobytes() == rgb.seen.tobytes()
    pixel = bgr.seen[3, 4].astype(np.float64) / 255
    np.testing.assert_allclose(bgr.input[0, 3, 4], (pixel[2] - 0.6) / 0.4, rtol=1e-6)


def test_imagenets_mean_is_turned_round_too():
    spec = InputSpec(channels="bgr")
    assert (spec.mean, spec.std) == ((0.406, 0.456, 0.485), (0.225, 0.224, 0.229))
    assert (InputSpec().mean, InputSpec().channels) == ((0.485, 0.456, 0.406), "rgb")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_the_same(networks, image, name):
    methods = choose_methods([name], FEW.get(name))
    explained = []
    for network, spec in zip(networks, (RGB, BGR), strict=True):
        explainer = Explainer(network, spec, methods=methods)
        (found,) = explainer.explain([explainer.prepare(image)], 1)
        explained.append(found)
    rgb, bgr = explained
    close(bgr.logits, rgb.logits)
    close(bgr.arrays()["input"][::-1], rgb.arrays()["input"])  # as it is fed
    assert bgr.maps.keys() == rgb.maps.keys()
    for key, values in rgb.maps.items():
        close(bgr.maps[key], values)
    drawings = [
        found.render(canvas(image, found.prepared, "default"), Style()).images
        for found in explained
    ]
    for key, drawn in drawings[0].items():
        # A shade, where a value lies between two.
        assert np.abs(drawings[1][key].astype(int) - drawn).max() <= 1


def test_colors_of_filters_are_those_they_look_for(networks):
    drawn = []
    for network, spec in zip(networks, (RGB, BGR), strict=True):
        layer = find_convolution(network.architecture)
        filters = read_filters(network, layer, channels=spec.channels)
        drawn.append((filters.render(), filters.shown))
    assert drawn[0][0].tobytes() == drawn[1][0].tobytes()
    assert [one.inputs for one in drawn[1][1]] == [(2, 1, 0)] * 6


def test_maximized_image_is_the_same(networks):
    results = [
        maximize(network, spec, ClassObjective((0, 2)), AscentOptions(steps=4))
        for network, spec in zip(networks, (RGB, BGR), strict=True)
    ]
    for rgb, bgr in zip(*results, strict=True):
        assert np.abs(rgb.image.astype(int) - bgr.image).max() <= 1
        close(bgr.logits, rgb.logits)


def test_gray_network_has_no_order_and_there_are_two():
    with pytest.raises(UsageError, match="A gray network has one channel"):
        InputSpec(8, 8, (0.5,), (0.5,), "bgr")
    with pytest.raises(UsageError, match="rgb or bgr; got 'gbr'"):
        InputSpec(channels="gbr")


# --- on the command line ------------------------------------------------------------------------


@pytest.fixture
def exported(tmp_path):
    """The network that takes blue first, exported; options that say all but the order."""
    block(reverse=True).export(str(tmp_path / "blue"))
    block().export(str(tmp_path / "red"))
    return ("--input-size", SIDE, "--std", ",".join(map(str, STD[::-1])))


def test_option_card_and_python_agree(cnnviz, exported, tmp_path, write_image):
    write_image(tmp_path / "cat.png")
    blue = ("--mean", ",".join(map(str, MEAN[::-1])), *exported)
    common = ("explain", "cat.png", "--method", "gradient", "--arrays")
    status, out, err = cnnviz(
        *(*common, "-m", "blue-symbol.json", "--channels", "bgr", "-o", "a", *blue)
    )
    assert status == 0
    assert "blue is fed first, then green, then red; mean and std are taken in that order" in err
    fed = json.loads((tmp_path / "a/manifest.json").read_text())["run"]["network"]["input"]
    assert (fed["channels"], fed["mean"], fed["std"]) == ("bgr", [0.6, 0.4, 0.2], [0.4, 0.25, 0.2])

    (tmp_path / "cnnviz.yaml").write_text(
        f"model: blue-symbol.json\ninput_size: {SIDE}\nchannels: bgr\n"
        f"mean: {list(MEAN[::-1])}\nstd: {list(STD[::-1])}\n"
    )
    assert cnnviz(*common, "-m", "cnnviz.yaml", "-o", "b")[:2] == (0, out)
    red = ("--mean", ".2,.4,.6", "--std", ".2,.25,.4", "--input-size", SIDE, "--channels", "rgb")
    assert cnnviz(*common, "-m", "red-symbol.json", *red, "-o", "c")[0] == 0
    a, b, c = (np.load(tmp_path / f"{folder}/cat.npz") for folder in "abc")
    assert a["gradient"].tobytes() == b["gradient"].tobytes()
    close(a["gradient"], c["gradient"])
    close(a["input"][::-1], c["input"])
    explainer = load(
        str(tmp_path / "blue-symbol.json"),
        input_size=SIDE,
        mean=MEAN[::-1],
        std=STD[::-1],
        channels="bgr",
    )
    (found,) = explain(str(tmp_path / "cat.png"), explainer, method="gradient")
    assert found.maps["gradient"].tobytes() == a["gradient"].tobytes()


def test_the_other_order_is_another_run(cnnviz, exported, tmp_path, write_image):
    write_image(tmp_path / "cat.png")
    command = ("explain", "cat.png", "-m", "blue-symbol.json", "--mean", ".6,.4,.2", *exported)
    assert cnnviz(*command, "-o", "out")[0] == 0
    assert "already done" not in cnnviz(*command, "-o", "out", "--channels", "bgr")[2]


def test_what_is_assumed_is_said_in_the_networks_order(cnnviz, exported, tmp_path, write_image):
    write_image(tmp_path / "cat.png")
    command = ("explain", "cat.png", "-m", "blue-symbol.json", "--input-size", SIDE, "-o", "out")
    _status, _out, err = cnnviz(*command, "--channels", "bgr")
    assert "--mean 0.406,0.456,0.485 --std 0.225,0.224,0.229 --channels bgr." in err


def test_other_commands_take_it_too(cnnviz, exported, tmp_path, write_image):
    write_image(tmp_path / "cat.png")
    blue = ("--channels", "bgr", "--mean", ".6,.4,.2", *exported)
    for command in (
        ("activations", "cat.png", "-m", "blue-symbol.json"),
        ("filters", "blue-symbol.json"),
        ("maximize", "blue-symbol.json", "--target", "0", "--steps", "1"),
        ("summary", "blue-symbol.json"),
        ("layers", "blue-symbol.json"),
    ):
        status, _out, err = cnnviz(*command, *blue)
        assert status == 0, err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--channels", "gbr"), "'gbr' is not one of rgb, bgr."),
        (("--channels", "bgr", "--mean", ".5", "--std", ".5"), "takes color"),
    ],
)
def test_wrong_orders_are_refused(cnnviz, exported, tmp_path, write_image, options, said):
    write_image(tmp_path / "cat.png")
    status, _out, err = cnnviz(
        *("explain", "cat.png", "-m", "blue-symbol.json", "--input-size", SIDE, *options)
    )
    assert status == 2
    assert said in err


def test_gray_network_refuses_bgr_on_the_command_line(cnnviz, tmp_path, write_image):
    write_image(tmp_path / "cat.png")
    net = nn.HybridSequential()
    net.add(nn.Conv2D(2, 3, in_channels=1), nn.Flatten(), nn.Dense(2))
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros((1, 1, 8, 8)))
    net.export(str(tmp_path / "gray"))
    for numbers in ((), ("--mean", "0", "--std", "1")):
        status, _out, err = cnnviz(
            *("explain", "cat.png", "-m", "gray-symbol.json", "--input-size", "8"),
            *("--channels", "bgr", *numbers),
        )
        assert status == 2
        assert "A gray network has one channel, and no order of channels" in err


def test_card_with_another_order_is_refused(cnnviz, exported, tmp_path):
    (tmp_path / "cnnviz.yaml").write_text("model: blue-symbol.json\nchannels: grb\n")
    status, _out, err = cnnviz("layers", "cnnviz.yaml")
    assert status == 2
    assert "channels has to be rgb or bgr; it is 'grb'" in err
