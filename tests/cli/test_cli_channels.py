"""Networks of many channels, whose input is not square: files in, arrays out, by the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from cnnviz import explain
from cnnviz.errors import ImageError, UsageError
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn

SIZE = (24, 40)
MEAN, STD = (0.5, 0.25, 0.125, 0.0, 0.75), (0.25, 0.5, 0.125, 0.75, 0.375)
NUMBERS = (
    *("--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))),
    *("--input-size", "24x40"),
)


@pytest.fixture
def five(tmp_path):
    """A network of five channels that takes images of any size."""
    mx.random.seed(0)
    net = nn.HybridSequential(prefix="five_")
    with net.name_scope():
        net.add(nn.Conv2D(6, 3, in_channels=5, activation="relu"), nn.MaxPool2D())
        net.add(nn.Conv2D(8, 3, activation="relu"), nn.GlobalAvgPool2D(), nn.Dense(4))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    net(mx.nd.zeros((1, 5, *SIZE)))
    net.export(str(tmp_path / "five"))
    return "five-symbol.json"


@pytest.fixture
def scene(tmp_path):
    """Five channels of 12 bits at the network's size, as .npy and as pages of a TIFF."""
    values = np.random.default_rng(0).integers(0, 4096, (5, *SIZE)).astype(np.uint16)
    (tmp_path / "scenes").mkdir()
    np.save(tmp_path / "scenes/array.npy", values)
    first, *others = (Image.fromarray(one) for one in values)
    first.save(tmp_path / "scenes/pages.tif", save_all=True, append_images=others)
    return values


def fed(values, low, high):
    """What the network has to be fed."""
    scaled = (values.astype(np.float64) - low) / (high - low)
    return (scaled - np.reshape(MEAN, (-1, 1, 1))) / np.reshape(STD, (-1, 1, 1))


def test_a_range_reaches_the_network_and_the_manifest(cnnviz, five, scene, tmp_path):
    (tmp_path / "scenes/pages.tif").rename(tmp_path / "pages.tif")
    images = ("scenes", "pages.tif", "-m", five, *NUMBERS, "-o", "out", "--arrays")
    status, _out, err = cnnviz("explain", *images, "--range", "0:4095")
    assert status == 0, err
    note = "Of 5 channels, images are displayed by channels 0, 1 and 2 as red, green and blue"
    assert err.count(note) == 1
    for name in ("array", "pages"):
        with np.load(tmp_path / f"out/{name}.npz") as arrays:
            # Float32 rounds numbers below 8 a few times.
            np.testing.assert_allclose(arrays["input"], fed(scene, 0, 4095), atol=4e-6)
        shown = np.asarray(Image.open(tmp_path / f"out/{name}_original.png"))
        expected = np.rint(scene[:3].transpose(1, 2, 0) / 4095 * 255)
        # Float32 may round a half to either side.
        assert np.abs(shown - expected).max() <= 1
    described = json.loads((tmp_path / "out/manifest.json").read_text())["run"]["network"]["input"]
    assert (described["range"], described["displayed"]) == ([0, 4095], [0, 1, 2])
    assert (described["channels"], described["height"], described["width"]) == ("other", *SIZE)
    # Another range is another input: nothing is taken from the first run.
    status, _out, err = cnnviz("explain", *images)
    assert status == 0
    assert "an earlier run with another input" in err
    with np.load(tmp_path / "out/array.npz") as arrays:
        np.testing.assert_allclose(arrays["input"], fed(scene, 0, 65535), atol=4e-6)


def test_a_configuration_file_says_the_same(cnnviz, five, scene, tmp_path):
    (tmp_path / "cnnviz.yaml").write_text(
        f"model: {five}\ninput_size: 24x40\nmean: {list(MEAN)}\nstd: {list(STD)}\n"
        "range: [100, 2000]\ndisplay_channels: [4, 3, 2]\n"
    )
    status, _out, err = cnnviz("explain", "scenes/array.npy", "-m", ".", "-o", "out", "--arrays")
    assert status == 0, err
    assert "displayed by channels 4, 3 and 2 as red, green and blue" in err
    with np.load(tmp_path / "out/array.npz") as arrays:
        np.testing.assert_allclose(arrays["input"], fed(scene, 100, 2000), atol=4e-5)


def test_what_does_not_fit_is_a_sentence_and_the_rest_goes_on(
    cnnviz, five, scene, tmp_path, write_image
):
    write_image(tmp_path / "photo.png")
    np.save(tmp_path / "float.npy", scene.astype(np.float32))
    np.save(tmp_path / "broken.npy", np.where(scene == scene.max(), np.nan, scene))
    status, out, err = cnnviz(
        *("explain", "photo.png", "float.npy", "scenes/array.npy", "-m", five, *NUMBERS)
    )
    assert status == 1
    assert "photo.png: it has 3 channels, and the network takes 5: give images with as many" in err
    assert "float.npy: its values are float32, and nothing says which of them are black and" in err
    assert "scenes/array.npy" in out
    status, _out, err = cnnviz("explain", "broken.npy", "-m", five, *NUMBERS, "--range", "0:4095")
    assert status == 1
    assert "values are NaN or infinite" in err or "values is NaN or infinite" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--range", "5:1"), "'5:1' is not a range: expected the values that become 0 and 1, LOW"),
        (("--range", "4095"), "'4095' is not a range"),
        (("--display-channels", "0,1"), "'0,1' is not valid: expected the indices of three"),
        (("--display-channels", "0,1,5"), "There is no channel 5 to display"),
        (("--channels", "bgr"), "5 channels takes no colors in any order"),
    ],
)
def test_wrong_options_are_told(cnnviz, five, scene, options, said):
    status, _out, err = cnnviz("explain", "scenes", "-m", five, *NUMBERS, *options)
    assert status == 2
    assert said in err


@pytest.mark.parametrize("size", [(24, 40), (40, 24), (96, 160), (33, 57)])
def test_networks_of_any_size_take_several(cnnviz, five, scene, tmp_path, size):
    asked = (*NUMBERS[:-1], "{}x{}".format(*size), "--range", "0:4095")
    for resize in ("stretch", "crop"):
        status, _out, err = cnnviz(
            *("explain", "scenes/array.npy", "-m", five, *asked, "-o", resize, "--arrays"),
            *("--resize", resize),
        )
        assert status == 0, err
        with np.load(tmp_path / f"{resize}/array.npz") as arrays:
            assert arrays["input"].shape == (5, *size)
            height, width = ((side - 2) // 2 - 2 for side in size)  # 3x3, pooled by two, 3x3
            assert arrays["gradcam"].shape == (height, width)
        assert Image.open(tmp_path / f"{resize}/array_gradcam.png").size == SIZE[::-1]
    for command in ("layers", "summary"):
        status, out, err = cnnviz(command, five, *asked[:-2])
        assert status == 0, err
    assert "5×{}×{}".format(*size) in out


def test_from_python(five, scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {"input_size": SIZE, "mean": MEAN, "std": STD}
    for given in (scene, scene.transpose(1, 2, 0), "scenes/array.npy", "scenes/pages.tif"):
        (found,) = explain(given, five, range="0:4095", display_channels=4, **known)
        np.testing.assert_allclose(found.prepared.input, fed(scene, 0, 4095), atol=4e-6)
        original = found.images["original"]
        assert np.abs(original - np.rint(scene[4, :, :, None] / 4095 * 255)).max() <= 1
    (found,) = explain((scene / 4095).astype(np.float32), five, **known)
    np.testing.assert_allclose(found.prepared.input, fed(scene, 0, 4095), atol=4e-6)
    with pytest.raises(ImageError, match="give their range, range=LOW:HIGH"):
        explain(scene.astype(np.int32), five, **known)
    for wrong in ((1,), "0-1", (5, 1), 7, (None, 1)):
        with pytest.raises(UsageError, match=r"^range is two numbers, the lower one first"):
            explain(scene, five, range=wrong, **known)
    with pytest.raises(UsageError, match="no channel 9 to display"):
        explain(scene, five, display_channels=9, **known)
    with pytest.raises(UsageError, match=r"^display_channels is the indices of"):
        explain(scene, five, display_channels="all", **known)
