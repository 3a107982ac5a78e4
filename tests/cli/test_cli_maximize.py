"""``cnnviz maximize`` from end to end, on a network small enough to know the answers."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn

MEAN, STD = 0.5, 0.25


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def halves(tmp_path):
    """A gray network of 8 x 8: a class likes light at the right, one on top, one nothing at all.

    Its ReLU's channels are the normalized brightness and its negative.
    """
    net = nn.HybridSequential(prefix="h_")
    with net.name_scope():
        net.add(nn.Conv2D(2, 1, in_channels=1), nn.Activation("relu"), nn.Dense(3, in_units=128))
    net.initialize(mx.init.Zero())
    net[0].weight.set_data(mx.nd.array([1, -1]).reshape((2, 1, 1, 1)))
    net[2].weight.set_data(mx.nd.array(weights().reshape(3, 128)))
    net.hybridize()
    net(mx.nd.zeros((1, 1, 8, 8)))
    net.export(str(tmp_path / "halves"))
    (tmp_path / "names.txt").write_text("right\ntop, upper half\nnothing\n", "utf-8")
    return (
        *("halves-symbol.json", "--input-size", "8", "--mean", str(MEAN), "--std", str(STD)),
        *("--labels", "names.txt"),
    )


def weights():
    """Of the dense layer, (3, 2, 8, 8): the second channel with a minus makes a line of a ReLU."""
    signs = np.full((3, 8, 8), -1.0)
    signs[0, :, 4:] = signs[1, :4] = 1
    signs[2] = 0
    return np.stack([signs, -signs], axis=1)


def seen(path):
    """What the network sees in a written image."""
    return (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 255 - MEAN) / STD


def test_classes(cnnviz, halves, tmp_path):
    status, out, err = cnnviz(
        *("maximize", *halves, "--target", "top", "--target", "0", "-o", "out", "--json"),
        *("--steps", "90", "--jitter", "0", "--zoom", "1", "--window", "0", "--seed", "3"),
    )

    assert status == 0
    assert files_below(tmp_path / "out") == [
        "halves_0_right_maximized.png",
        "halves_1_top_maximized.png",
        "halves_maximized.png",
    ]
    top, right = map(json.loads, out.splitlines())
    assert (top["model"], top["file"]) == ("halves", "out/halves_1_top_maximized.png")
    assert (top["steps"], top["jitter"], top["zoom"], top["seed"]) == (90, 0, 1, 3)
    assert right["file"] == "out/halves_0_right_maximized.png"
    for record, index in ((top, 1), (right, 0)):
        image = seen(tmp_path / record["file"])
        assert image.shape == (8, 8)
        # The numbers are the file's: worked out here from its pixels.
        logits = (weights()[:, 0] * image).sum(axis=(1, 2))
        assert record["value"] == pytest.approx(logits[index], rel=1e-4)
        assert record["value"] > record["value_of_noise"]
        assert record["value"] > 0.6 * 64 * 2  # were all black or white as it likes best: 64 * 2
        assert record["target"]["index"] == record["top"][0]["index"] == index
        assert [one["logit"] for one in record["top"]] == pytest.approx(
            sorted(logits, reverse=True), rel=1e-4, abs=1e-3
        )
        powers = np.exp(logits - logits.max())
        assert record["target"]["probability"] == pytest.approx(powers[index] / powers.sum())
        assert record["moved"] is True
    assert top["target"]["name"] == "top, upper half"
    # The sheet shows both, every pixel a square of 28, with words about them.
    sheet = cv2.imread(str(tmp_path / "out/halves_maximized.png"))
    assert sheet.shape[0] > 224
    assert sheet.shape[1] > 2 * 224
    assert "2 maximized" in err
    assert "SHA-256" in err


def test_what_is_printed(cnnviz, halves):
    arguments = ("maximize", *halves, "--target", "nothing,", "--steps", "2")
    status, out, err = cnnviz(*arguments)
    assert (status, out) == (2, "")
    assert "nothing," in err

    status, out, err = cnnviz("maximize", *halves, "--target", "0,2", "--steps", "40")
    assert status == 0
    first, second = out.splitlines()
    assert first.startswith("maximized/halves_0_right_maximized.png: right (0), logit ")
    assert first.endswith(", probability 1.000")
    # A class that nothing changes keeps the noise, and the user is told.
    assert second.startswith("maximized/halves_2_nothing_maximized.png: nothing (2), logit 0.0, ")
    assert "nothing (2): its gradient was zero in every step" in err
    assert "right (0): it never" not in err


def test_channels(cnnviz, halves, tmp_path):
    status, out, _ = cnnviz(
        *("maximize", *halves, "--layer", "h_relu0_fwd", "--channel", "1,0", "--json"),
        *(
            "--steps",
            "60",
            "--jitter",
            "0",
            "--zoom",
            "1",
            "--window",
            "0",
            "--l2",
            "0",
            "--tv",
            "0",
        ),
    )
    assert status == 0
    for line, index, sign in zip(out.splitlines(), (1, 0), (-1, 1), strict=True):
        record = json.loads(line)
        assert record["channel"] == {"layer": "h_relu0_fwd", "channel": index, "place": "mean"}
        assert record["file"] == f"maximized/halves_h_relu0_fwd_channel{index}_maximized.png"
        mean = np.maximum(sign * seen(tmp_path / record["file"]), 0).mean()
        assert record["value"] == pytest.approx(mean, rel=1e-4)
        assert record["value"] > 1

    status, out, _ = cnnviz(
        *("maximize", *halves, "--layer", "h_conv0_fwd", "--channel", "0", "--place", "middle"),
        *("--steps", "30", "-o", "middle"),
    )
    assert status == 0
    assert files_below(tmp_path / "middle") == [
        "halves_h_conv0_fwd_channel0_middle_maximized.png",
        "halves_maximized.png",
    ]
    assert "channel 0, value in the middle " in out
    assert "(noise: " in out
    assert seen(tmp_path / "middle/halves_h_conv0_fwd_channel0_middle_maximized.png")[4, 4] > 1


def test_the_way_there(cnnviz, halves, tmp_path):
    status, _, _ = cnnviz(
        *("maximize", *halves, "--target", "0,1", "--steps", "10", "--every", "4"),
        *("--frames", "way", "--gif", "films/way.gif"),
    )

    assert status == 0
    frames = ["00", "04", "08", "10"]
    assert files_below(tmp_path / "way") == [f"halves_step{step}.png" for step in frames]
    assert files_below(tmp_path / "films") == ["way.gif"]
    with Image.open(tmp_path / "films/way.gif") as film:
        assert film.n_frames == len(frames)
        first = cv2.imread(str(tmp_path / "way/halves_step00.png"))
        assert film.size == first.shape[1::-1]
    # The first is noise, and the last what is written, in the first cell: 8 times 28 pixels.
    last = cv2.imread(str(tmp_path / "way/halves_step10.png"), 0)
    image = cv2.imread(str(tmp_path / "maximized/halves_0_right_maximized.png"), 0)
    shown = image.repeat(28, 0).repeat(28, 1)
    cells = [slice(top, top + 224) for top in range(len(last) - 223)]
    assert any((last[cell, :224] == shown).all() for cell in cells)
    assert not any((first[cell, :224, 0] == shown).all() for cell in cells)


def test_another_format(cnnviz, halves, tmp_path):
    status, _, _ = cnnviz(
        *("maximize", *halves, "--target", "0", "--steps", "2", "--format", "webp"),
        *("--frames", "way", "--every", "2"),
    )
    assert status == 0
    assert files_below(tmp_path / "way") == ["halves_step0.webp", "halves_step2.webp"]
    assert files_below(tmp_path / "maximized") == [
        "halves_0_right_maximized.webp",
        "halves_maximized.webp",
    ]


def test_usually_there_are_about_sixteen_frames(cnnviz, halves, tmp_path):
    status, out, err = cnnviz(
        *("maximize", *halves, "--target", "0", "--steps", "35", "--frames", "way", "--quiet")
    )
    assert (status, out, err) == (0, "", "")
    frames = files_below(tmp_path / "way")
    assert len(frames) == 19  # every second, 0 to 34, and the last
    assert frames[-2:] == ["halves_step34.png", "halves_step35.png"]


def test_mistakes_are_told_before_anything_is_written(cnnviz, halves, tmp_path):
    (tmp_path / "file").write_text("")
    before = files_below(tmp_path)
    layer = ("--layer", "h_relu0_fwd")
    for arguments, words in (
        ((), "Say what to maximize"),
        (("--target", "0", *layer, "--channel", "0"), "Say what to maximize"),
        (("--channel", "0"), "Say what to maximize"),
        (("--target", "0", "--channel", "0"), "belong together"),
        (layer, "belong together"),
        (("--target", "bottom"), "bottom"),
        (("--target", "3"), "3"),
        (("--target", "top2"), "there is none yet"),
        (("--target", "predicted"), "there is none yet"),
        ((*layer, "--channel", "2"), "no channel 2: it has 2"),
        ((*layer, "--channel", "-1"), "number from 0 on; got '-1'"),
        ((*layer, "--channel", "0", "--place", "edge"), "mean, middle"),
        (("--layer", "nowhere", "--channel", "0"), "no layer 'nowhere'"),
        (("--target", "0", "--steps", "0"), "steps is at least 1"),
        (("--target", "0", "--rate", "nan"), "rate is above 0"),
        (("--target", "0", "--zoom", "0.5"), "zoom is between 1 and 16"),
        (("--target", "0", "--jitter", "2"), "jitter is a share"),
        (("--target", "0", "--views", "0"), "views is at least 1"),
        (("--target", "0", "--window", "-1"), "window is at least 0"),
        (("--target", "0", "--seed", "-1"), "seed is at least 0"),
        (("--target", "0", "--every", "2"), "--every says"),
        (("--target", "0", "--json", "--quiet"), "choose one"),
        (("--target", "0", "-o", "file"), "file is not a folder"),
        (("--target", "0", "--frames", "file"), "file is not a folder"),
        (("--target", "0", "--gif", "file/a.gif"), "file is not a folder"),
        (("--target", "0", "--ctx", "tpu"), "tpu"),
    ):
        status, out, err = cnnviz("maximize", *halves, *arguments)
        assert (status, out) == (2, ""), arguments
        assert words in err, arguments
    status, _, err = cnnviz("maximize", *halves, "--target", "0", "--weights", "file")
    assert status == 3
    assert "file" in err
    assert files_below(tmp_path) == before


def test_broken_weights_are_told(cnnviz, halves, tmp_path):
    parameters = mx.nd.load(str(tmp_path / "halves-0000.params"))
    parameters["arg:h_dense0_weight"][:] = np.nan
    mx.nd.save(str(tmp_path / "halves-0000.params"), parameters)
    status, out, err = cnnviz("maximize", *halves, "--target", "0")

    assert (status, out) == (3, "")
    assert "not finite" in err
    assert not (tmp_path / "maximized").exists()


@pytest.mark.parametrize(
    "name", ["maximized/halves_0_right_maximized.png", "maximized/halves_maximized.png", "a.gif"]
)
def test_foreign_files_stay(cnnviz, halves, tmp_path, name):
    (tmp_path / "maximized").mkdir()
    (tmp_path / name).write_text("mine")
    status, out, err = cnnviz(
        "maximize", *halves, "--target", "0", "--steps", "2", "--gif", "a.gif"
    )

    assert (status, out) == (1, "")
    assert "not written by cnnviz" in err
    assert (tmp_path / name).read_text() == "mine"


def test_own_files_are_replaced(cnnviz, halves, tmp_path):
    arguments = ("maximize", *halves, "--target", "0", "--steps", "2", "--gif", "a.gif")
    assert cnnviz(*arguments)[0] == 0
    first = (tmp_path / "maximized/halves_0_right_maximized.png").read_bytes()
    assert cnnviz(*arguments, "--seed", "1")[0] == 0
    assert (tmp_path / "maximized/halves_0_right_maximized.png").read_bytes() != first


@pytest.mark.subprocess
def test_help_comes_without_mxnet():
    code = (
        "import sys; from cnnviz.cli import run; run(['maximize', '--help']);"
        "sys.exit('mxnet' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--frames" in done.stdout
