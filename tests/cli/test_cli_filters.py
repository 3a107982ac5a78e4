"""``cnnviz filters`` from end to end."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cnnviz import demo
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn


@pytest.fixture
def weights():
    """The demo network's, as they lie in its file."""
    return {name: array.asnumpy() for name, array in mx.nd.load(str(demo.weights_path())).items()}


def test_the_first_layer_by_default(cnnviz, tmp_path, weights):
    status, out, err = cnnviz("filters", "demo", "--json")

    assert status == 0
    record = json.loads(out)
    assert record["model"] == "demo"
    assert record["layer"] == "features.0"
    assert record["shape"] == [16, 3, 3, 3]
    assert record["file"] == "filters/demo_features.0_filters.png"
    first = weights["features.0.weight"].astype(np.float64)
    norms = np.sqrt((first**2).sum(axis=(1, 2, 3)))
    order = np.argsort(-norms)
    assert [one["index"] for one in record["filters"]] == list(order)
    for one in record["filters"]:
        own = first[one["index"]]
        assert one["norm"] == pytest.approx(norms[one["index"]])
        assert (one["min"], one["max"]) == (pytest.approx(own.min()), pytest.approx(own.max()))
    image = cv2.imread(record["file"])[:, :, ::-1]
    # In the first cell, framed, the largest filter: gray 128 and 127 up or down to the largest.
    largest = np.moveaxis(first[order[0]], 0, 2)
    expected = np.rint(128 + 127 * largest / np.abs(first).max())
    top = next(row for row in range(100) if (image[row, :98] == 128).all())
    shown = image[top + 17 : top + 97 : 32, 17:97:32]
    assert np.abs(shown - expected).max() <= 1  # rounding of float32
    assert "SHA-256" in err


def test_another_format(cnnviz):
    assert cnnviz("filters", "demo", "-q")[0] == 0
    status, out, _ = cnnviz("filters", "demo", "--json", "--format", "jpg")
    assert status == 0
    file = json.loads(out)["file"]
    assert file == "filters/demo_features.0_filters.jpg"
    same = cv2.imread("filters/demo_features.0_filters.png").astype(int)
    assert np.abs(cv2.imread(file) - same).mean() < 2


def test_layers_asked_for_and_a_batch_norm_for_its_convolution(cnnviz, tmp_path):
    status, out, _ = cnnviz(
        *("filters", "demo", "-o", "out", "--layer", "features.26", "--layer", "features[4]"),
        *("--layer", "features.25", "--top", "3", "--slices", "2", "--scale", "filter"),
    )

    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("out/demo_features.25_filters.png: 3 of 128 filters of features.25")
    assert lines[1].startswith("out/demo_features.4_filters.png: 3 of 32 filters of features.4")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "demo_features.25_filters.png",
        "demo_features.4_filters.png",
    ]


def test_mistakes_are_told_before_anything_is_written(cnnviz, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (("demo", "--layer", "output"), "output (Dense) has no filters"),
        (("demo", "--layer", "features.2"), "features.2 (ReLU) has no filters"),
        (("demo", "--layer", "nowhere"), "no layer 'nowhere'"),
        (("nothing",), "nothing"),
        (("demo", "-o", "file"), "file is not a folder"),
        (("demo", "--scale", "run"), "layer, filter"),
        (("demo", "--top", "0"), "--top"),
        (("demo", "--json", "--quiet"), "choose one"),
    ):
        status, out, err = cnnviz("filters", *arguments)
        assert (status, out) == (2, "")
        assert words in err
    status, _, err = cnnviz("filters", "demo", "--weights", "file")
    assert status == 3
    assert "file" in err
    assert not (tmp_path / "filters").exists()


def test_foreign_files_stay(cnnviz, tmp_path):
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters/demo_features.0_filters.png").write_text("mine")
    status, _, err = cnnviz("filters", "demo")

    assert status == 1
    assert "not written by cnnviz" in err
    assert (tmp_path / "filters/demo_features.0_filters.png").read_text() == "mine"


def test_exported_networks(cnnviz, tmp_path):
    net = nn.HybridSequential(prefix="own/")
    with net.name_scope():
        net.add(nn.Conv2D(2, 3, in_channels=1), nn.Dense(2, in_units=72))
    net.initialize(mx.init.One())
    net.hybridize()
    net(mx.nd.zeros((1, 1, 8, 8)))
    net.export(str(tmp_path / "own"))

    status, out, err = cnnviz("filters", "own-symbol.json", "--input-size", "8", "--quiet")
    assert (status, out, err) == (0, "", "")
    (written,) = (tmp_path / "filters").iterdir()
    assert written.name == "own_own_conv0_fwd_filters.png"


@pytest.mark.subprocess
def test_help_comes_without_mxnet():
    code = (
        "import sys; from cnnviz.cli import run; run(['filters', '--help']);"
        "sys.exit('mxnet' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--slices" in done.stdout
