"""`cnnviz summary`: the table, the object for programs, and files with a drawing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cnnviz.outputs.marks import written_by_cnnviz
from tests.support.mxnet import import_mxnet

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"

needs_dot = pytest.mark.needs("dot")


@pytest.fixture
def no_dot(monkeypatch, tmp_path):
    """A machine without Graphviz."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def table(out):
    """The rows, and the notes below them."""
    rows, _, notes = out.partition("\n\n")
    return rows.splitlines(), notes


def test_table_of_vgg16(cnnviz):
    status, out, err = cnnviz("summary", "vgg16")
    assert (status, err) == (0, "")
    rows, notes = table(out)
    assert rows[0].split() == ["LAYER", "KIND", "WINDOW", "OUTPUT", "PARAMETERS", "MULTIPLY-ADDS"]
    # Simonyan & Zisserman 2015, table 1, D: 64 filters of 3×3×3, at 224×224 places.
    assert rows[1].split() == [
        "features.0", "Convolution", "3×3", "64×224×224", "1,792", "86,704,128"
    ]  # fmt: skip
    assert rows[2].split() == ["features.1", "ReLU", "64×224×224"]
    assert rows[5].split() == ["features.4", "MaxPool", "2×2/2", "64×112×112"]
    assert rows[-2].split() == ["output", "Dense", "1000", "4,097,000", "4,096,000"]
    assert rows[-1].split() == ["36", "layers", "138,357,544", "15,470,264,320"]
    assert "Input: 3×224×224" in notes
    assert "Weights: 553.4 MB" in notes  # 4 bytes each
    assert "Not counted: ReLU, MaxPool." in " ".join(notes.split())
    assert "Fixed" not in notes
    # Numbers end below one another.
    assert len({len(row) for row in rows[1:] if "," in row}) == 1


@pytest.mark.parametrize("name", ["resnet152_v1", "inceptionv3", "mobilenetv2_1.0"])
def test_no_line_is_longer_than_100(cnnviz, name):
    out = cnnviz("summary", name)[1]
    assert max(map(len, out.splitlines())) <= 100


def test_json(cnnviz):
    status, out, err = cnnviz("summary", "mobilenet1.0", "--json")
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert (record["model"], record["input"]) == ("mobilenet1.0", [3, 224, 224])
    layers = {layer["name"]: layer for layer in record["layers"]}
    # Howard et al. 2017, table 1: the first depthwise convolution, 3×3×32 at 112×112 places.
    assert layers["features.3"] == {
        "name": "features.3",
        "kind": "Convolution",
        "shape": [32, 112, 112],
        "kernel": [3, 3],
        "stride": [1, 1],
        "dilation": [1, 1],
        "groups": 32,
        "parameters": 288,
        "fixed": 0,
        "shared": [],
        "multiply_adds": 3_612_672,
        "default": False,
        "stage": False,
    }
    assert layers["features.4"]["fixed"] == 64
    assert [layer["name"] for layer in record["layers"] if layer["default"]] == ["features.79"]
    totals = record["totals"]
    assert (totals["layers"], totals["parameters"]) == (len(layers), 4_231_976)
    for key in ("parameters", "fixed", "multiply_adds"):
        assert totals[key] == sum(layer[key] for layer in layers.values())
    assert totals["weight_bytes"] == 4 * (totals["parameters"] + totals["fixed"])
    assert "BatchNorm" in record["multiply_adds_counted_as_none"]
    assert record["diagram"] is None


@pytest.fixture
def exported(tmp_path):
    """A network of a user: gray images, shared weights, a name that steers nothing."""
    mx = import_mxnet()
    weight = mx.sym.var("w", shape=(4, 4, 3, 3))
    net = mx.sym.Convolution(mx.sym.var("data"), kernel=(3, 3), num_filter=4, name="a" * 120)
    for name in ("one", "two"):
        net = mx.sym.Convolution(net, weight, kernel=(3, 3), num_filter=4, no_bias=True, name=name)
    net = mx.sym.FullyConnected(net, num_hidden=3, name="<b>&")
    path = tmp_path / "net-symbol.json"
    net.save(str(path))
    return path


def test_exported_without_weights(cnnviz, exported):
    status, out, _ = cnnviz("summary", exported, "--input-size", 12)
    assert status == 0
    rows, notes = table(out)
    assert max(map(len, out.splitlines())) <= 100
    assert rows[1].startswith("aaaa")
    assert "…" in rows[1].split()[0]
    # 12 pixels lose two with each convolution; 4 by 4 channels at 3×3 for each place.
    assert rows[2].split() == ["one", "Convolution", "3×3", "4×8×8", "144", "9,216"]
    assert rows[3].split() == ["two", "Convolution", "3×3", "4×6×6", "(shared)", "5,184"]
    assert rows[-1].split()[2] == f"{(3 * 4 * 9 + 4) + 144 + (4 * 36 * 3 + 3):,}"
    assert "Shared parameters count once" in notes
    assert cnnviz("summary", exported)[0] == 2  # how large its images are is not known


@pytest.mark.needs("mxnet")
@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real is not here")
def test_a_trained_exported_network(cnnviz):
    status, out, _ = cnnviz(
        "summary", REAL / "cifar_resnet56-symbol.json", "--input-size", 32, "--json"
    )
    assert status == 0
    # He et al. 2016, section 4.2, with n = 9 and 1×1 convolutions for shortcuts. Batch norm has
    # two learned numbers a channel.
    weights = [(3 * 16 * 9, 16, 32)] + [(16 * 16 * 9, 16, 32)] * 18
    for width, size in ((32, 16), (64, 8)):
        weights += [(width // 2 * width * 9, width, size), (width // 2 * width, width, size)]
        weights += [(width * width * 9, width, size)] * 17
    totals = json.loads(out)["totals"]
    assert totals["parameters"] == sum(count + 2 * width for count, width, _ in weights) + 650
    assert totals["multiply_adds"] == sum(count * size**2 for count, _, size in weights) + 640


def test_names_in_any_language(cnnviz, tmp_path):
    sym = import_mxnet().sym
    net = sym.Convolution(sym.var("data"), kernel=(3, 3), num_filter=4, name="größe×2 層")
    path = tmp_path / "net-symbol.json"
    sym.FullyConnected(net, num_hidden=3, name="out").save(str(path))
    status, out, err = cnnviz("summary", path, "--input-size", 12, "--diagram", "net.dot")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].startswith("größe×2 層 ")
    assert "explained by default: größe×2 層<" in (tmp_path / "net.dot").read_text()


def test_wrong_names_are_usage_errors(cnnviz, tmp_path):
    status, out, err = cnnviz("summary", "vgg17")
    assert (status, out) == (2, "")
    assert "vgg17" in err
    status, out, err = cnnviz("summary", "demo", "--diagram", "demo.jpeg")
    assert (status, out) == (2, "")
    assert err == (
        "Error: demo.jpeg does not say what kind of file the diagram is to be: give a name that "
        "ends in .svg, .png, .pdf or .dot.\n"
    )
    (tmp_path / "file").write_text("")
    status, out, err = cnnviz("summary", "demo", "--diagram", "file/demo.dot")
    assert (status, out) == (2, "")
    assert "file is not a folder" in err


def test_dot_file_needs_no_graphviz(cnnviz, tmp_path, no_dot):
    status, out, err = cnnviz("summary", "demo", "--diagram", "new/Demo.DOT")
    assert (status, err) == (0, "")
    assert out.startswith("LAYER")
    path = tmp_path / "new" / "Demo.DOT"
    assert path.read_text().startswith("digraph")
    assert written_by_cnnviz(path)
    first = path.read_bytes()
    assert cnnviz("summary", "demo", "--diagram", "new/Demo.DOT")[0] == 0  # our own is replaced
    assert path.read_bytes() == first


@pytest.mark.parametrize("kind", ["svg", "dot"])
def test_a_file_of_the_users_is_left_alone(cnnviz, tmp_path, kind):
    path = tmp_path / f"mine.{kind}"
    path.write_text("digraph { mine }\n")
    status, out, err = cnnviz("summary", "demo", "--diagram", path.name)
    assert (status, out) == (2, "")
    assert "was not written by cnnviz" in err
    assert path.read_text() == "digraph { mine }\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.subprocess
def test_without_graphviz_the_text_is_written(cnnviz, tmp_path, no_dot):
    status, out, err = cnnviz("summary", "demo", "--diagram", "demo.svg", "--json")
    assert status == 1
    assert json.loads(out)["diagram"] == "demo.dot"
    assert err == (
        "Error: A diagram as SVG needs Graphviz's program `dot`, which is not installed (on Debian "
        "and Ubuntu: `apt-get install graphviz`). The drawing is in demo.dot as text, for `dot` to "
        "draw.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["demo.dot"]
    assert out.startswith("{")
    # Nor does it get in the way of somebody's file.
    (tmp_path / "demo.dot").write_text("digraph { mine }")
    status, _, err = cnnviz("summary", "demo", "--diagram", "demo.svg")
    assert status == 2
    assert "apt-get install graphviz" in err
    assert "was not written by cnnviz" in err


@pytest.mark.subprocess
@needs_dot
@pytest.mark.parametrize(
    ("kind", "beginning"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_drawings(cnnviz, tmp_path, kind, beginning):
    for _ in range(2):  # the second over the first
        status, out, err = cnnviz("summary", "demo", "--diagram", f"demo.{kind}", "--json")
        assert (status, err) == (0, "")
        assert json.loads(out)["diagram"] == f"demo.{kind}"
    path = tmp_path / f"demo.{kind}"
    assert path.read_bytes().startswith(beginning)
    assert written_by_cnnviz(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.subprocess
@needs_dot
def test_marked_files_are_still_what_they_were(cnnviz, tmp_path):
    import xml.etree.ElementTree as ElementTree

    import cv2

    for kind in ("svg", "png", "dot"):
        assert cnnviz("summary", "demo", "--diagram", f"demo.{kind}")[0] == 0
    root = ElementTree.parse(tmp_path / "demo.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    image = cv2.imread(str(tmp_path / "demo.png"))
    again = subprocess.run(
        ["dot", "-Tpng", tmp_path / "demo.dot"], check=True, capture_output=True
    ).stdout
    (tmp_path / "again.png").write_bytes(again)
    assert (image == cv2.imread(str(tmp_path / "again.png"))).all()
    assert not written_by_cnnviz(tmp_path / "again.png")
