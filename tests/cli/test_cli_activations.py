"""``cnnviz activations`` from end to end."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn


def files_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def planted(tmp_path):
    """A gray network of 8 x 8, whose three channels are the brightness times 1, 3 and -1."""
    net = nn.HybridSequential(prefix="p_")
    with net.name_scope():
        net.add(nn.Conv2D(3, 1, in_channels=1), nn.Activation("relu"), nn.Dense(2, in_units=192))
    net.initialize(mx.init.Zero())
    net[0].weight.set_data(mx.nd.array([1, 3, -1]).reshape((3, 1, 1, 1)))
    net.hybridize()
    net(mx.nd.zeros((1, 1, 8, 8)))
    net.export(str(tmp_path / "p"))
    image = np.zeros((8, 8), np.uint8)
    image[:2, :4] = 255
    cv2.imwrite(str(tmp_path / "corner.png"), image)
    return ("-m", "p-symbol.json", "--input-size", "8", "--mean", "0", "--std", "1")


def test_one_image(cnnviz, photos, tmp_path):
    status, out, err = cnnviz("activations", photos / "10.jpg", "-m", "demo")

    assert status == 0
    assert files_below(tmp_path / "activations") == ["10_features.26_activations.png"]
    assert out.startswith(f"{photos / '10.jpg'}: features.26: channels ")
    assert out.count(",") == 5
    assert "SHA-256" in err
    assert "1 shown" in err


def test_another_format(cnnviz, photos, tmp_path):
    status, _, _ = cnnviz("activations", photos / "10.jpg", "-m", "demo", "--format", "webp")
    assert status == 0
    assert files_below(tmp_path / "activations") == ["10_features.26_activations.webp"]
    status, out, _ = cnnviz("about", "activations/10_features.26_activations.webp")
    assert (status, out.splitlines()[0].split(": ")[1]) == (0, "activations")


def test_numbers_are_those_of_the_planted_network(cnnviz, planted, tmp_path):
    status, out, _ = cnnviz(
        *("activations", "corner.png", *planted, "-o", "out", "--json", "--arrays"),
        *("--layer", "p_conv0_fwd", "--layer", "p_relu0_fwd", "--top", "2"),
    )

    assert status == 0
    record = json.loads(out)
    assert (record["path"], record["status"]) == ("corner.png", "ok")
    for layer, name in zip(record["layers"], ("p_conv0_fwd", "p_relu0_fwd"), strict=True):
        assert layer["layer"] == name
        assert layer["shape"] == [3, 8, 8]
        assert layer["by"] == "mean"
        assert layer["blank"] is False
        # 8 of 64 pixels are white.
        assert layer["channels"] == [
            {"index": 1, "mean": 0.375, "max": 3.0},
            {"index": 0, "mean": 0.125, "max": 1.0},
        ]
        assert layer["file"] == f"out/corner_{name}_activations.png"
    assert record["arrays"] == "out/corner_activations.npz"
    assert len(files_below(tmp_path / "out")) == 3
    with np.load(record["arrays"]) as arrays:
        expected = np.zeros((8, 8))
        expected[:2, :4] = 3
        np.testing.assert_array_equal(arrays["activations@p_conv0_fwd"][0], expected)
        assert arrays["channels@p_relu0_fwd"].tolist() == [1, 0]


def test_folders_with_bad_images(cnnviz, photos, tmp_path):
    (photos / "1_broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    status, out, err = cnnviz(
        *("activations", photos, "-m", "demo", "--top", "2", "--size", "40", "--json"),
    )

    assert status == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["status"] for record in records] == ["failed", "ok", "ok", "ok"]
    assert f"Error: {photos / '1_broken.png'}: {records[0]['error']}" in err
    assert "3 shown, 1 failed" in err
    name = "features.26_activations.png"
    assert files_below(tmp_path / "activations") == [f"10_{name}", f"2_{name}", f"sub/cat_{name}"]


def test_stages_and_images_of_one_name(cnnviz, photos, tmp_path, write_image):
    write_image(photos / "10.png", 7)
    status, out, _ = cnnviz(
        *("activations", photos / "10.jpg", photos / "10.png", "-m", "demo", "-o", "out"),
        *("--layer", "stages", "--top", "1", "--size", "32", "--overlay", "--by", "max"),
    )

    assert status == 0
    stages = [f"features.{index}" for index in (1, 5, 12, 19, 26)]
    assert files_below(tmp_path / "out") == sorted(
        f"{stem}_{stage}_activations.png" for stem in ("10.jpg", "10.png") for stage in stages
    )
    assert len(out.splitlines()) == 10


def test_blank_layers_are_told(cnnviz, planted, tmp_path):
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((8, 8), np.uint8))
    status, out, err = cnnviz("activations", "black.png", *planted, "--json")

    assert status == 0
    assert "black.png: p_conv0_fwd blank: no channel shown is anywhere above 0." in err
    assert json.loads(out)["layers"][0]["blank"] is True


def test_files_of_an_image_are_all_there_or_none(cnnviz, planted, tmp_path):
    (tmp_path / "activations").mkdir()
    foreign = tmp_path / "activations/corner_p_relu0_fwd_activations.png"
    foreign.write_text("mine")
    status, out, err = cnnviz(
        "activations", "corner.png", *planted, "--layer", "p_conv0_fwd", "--layer", "p_relu0_fwd"
    )

    assert status == 1
    assert out == ""
    assert "not written by cnnviz" in err
    assert files_below(tmp_path / "activations") == [foreign.name]
    assert foreign.read_text() == "mine"


def test_mistakes_are_told_before_anything_is_written(cnnviz, photos, tmp_path):
    image = photos / "2.png"
    for arguments, words in (
        (("nowhere.png",), "no image or folder nowhere.png"),
        ((image, "--layer", "nowhere"), "no layer 'nowhere'"),
        ((image, "--layer", "output"), "without height and width"),
        ((image, "--by", "median"), "mean, max"),
        ((image, "--top", "0"), "--top"),
        ((image, "--colormap", "pink"), "pink"),
        ((image, "--json", "--quiet"), "choose one"),
        ((image, "--ctx", "tpu"), "tpu"),
    ):
        status, out, err = cnnviz("activations", *arguments, "-m", "demo")
        assert (status, out) == (2, "")
        assert words in err
    assert not (tmp_path / "activations").exists()


def test_quiet_is_quiet(cnnviz, planted):
    assert cnnviz("activations", "corner.png", *planted, "--quiet") == (0, "", "")


@pytest.mark.subprocess
def test_help_comes_without_mxnet():
    code = (
        "import sys; from cnnviz.cli import run; run(['activations', '--help']);"
        "sys.exit('mxnet' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--no-overlay" in done.stdout
