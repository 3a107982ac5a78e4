"""What the commands say of networks that end with something other than a softmax."""

import json

import cv2
import numpy as np
import pytest

from tests.support.columns import SCALE, sigma, write_columns
from tests.support.mxnet import import_mxnet

mx = import_mxnet()


@pytest.fixture
def network(tmp_path):
    """A function that writes a network of K scores with an end, beside an image."""
    image = np.zeros((8, 8), np.uint8)
    image[2:6, 0] = 255  # four bright places in column 0, two in column 1
    image[2:4, 1] = 255
    cv2.imwrite(str(tmp_path / "bright.png"), image)

    def write(name, classes, end):
        write_columns(tmp_path, name, classes, end)
        return ("--model", f"{name}-symbol.json", *SCALE)

    return write


def test_pooling_that_mxnet_cannot_run(cnnviz, network):
    def same(x):
        x = mx.sym.reshape(x, shape=(0, 1, 1, -1))
        x = mx.sym.Pooling(x, kernel=(1, 1), pooling_convention="same", name="shrink")
        return mx.sym.flatten(x)

    status, out, err = cnnviz("explain", "bright.png", *network("net", 2, same))
    assert (status, out) == (3, "")
    assert "shrink is a Pooling with pooling_convention=same, which MXNet 1.9.1 cannot run" in err


def test_yes_or_no(cnnviz, network, tmp_path):
    options = network("net", 1, mx.sym.sigmoid)
    arguments = ("explain", "bright.png", *options, "-o", "out", "--method", "gradcam")
    status, out, err = cnnviz(*arguments, "--json", "--target", "top2")
    assert status == 0
    assert "the probability is the sigmoid of its one logit" in err
    record = json.loads(out)
    (yes, no) = record["top5"]
    assert (yes["index"], yes["name"], no["index"], no["name"]) == (1, "positive", 0, "negative")
    assert (yes["logit"], no["logit"]) == (3, -3)
    assert yes["probability"] == pytest.approx(sigma(3.0), rel=1e-12)
    assert no["probability"] == pytest.approx(sigma(-3.0), rel=1e-12)
    # What speaks for yes: the bright column; nothing speaks for no.
    assert [one["blank"] for one in record["explanations"]] == [[], ["gradcam"]]
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["run"]["network"]["activation"] == "sigmoid"
    assert manifest["run"]["network"]["labels"] == ["negative", "positive"]
    assert any("sigmoid" in note for note in manifest["run"]["notes"])
    assert cnnviz(*arguments)[1] == "bright.png: positive (1) 0.95\n"


def test_names_of_yes_and_no(cnnviz, network, tmp_path):
    options = network("net", 1, mx.sym.sigmoid)
    (tmp_path / "one.txt").write_text("cat\n")
    (tmp_path / "two.txt").write_text("dog\ncat\n")
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    arguments = ("explain", "bright.png", *options, "-o", "out", "--method", "gradcam")
    for labels, no in (("one.txt", "not cat"), ("two.txt", "dog")):
        status, out, _ = cnnviz(*arguments, "--labels", labels, "--target", no, "--force")
        assert (status, out) == (0, f"bright.png: cat (1) 0.95; explained: {no} (0) 0.05\n")
    status, _, err = cnnviz(*arguments, "--labels", "three.txt")
    assert status == 2
    assert "3 class names were given, but net has 2 classes" in err


def test_bare_score_is_a_yes_or_no_unless_told_otherwise(cnnviz, network):
    options = network("net", 1, lambda x: x)
    arguments = ("explain", "bright.png", *options, "-o", "out", "--method", "gradcam")
    status, out, err = cnnviz(*arguments)
    assert (status, out) == (0, "bright.png: positive (1) 0.95\n")
    assert "taken as the logit of a yes or no; --activation none" in err
    status, out, err = cnnviz(*arguments, "--activation", "none")
    assert (status, out) == (0, "bright.png: output 0 3\n")
    status, _, err = cnnviz(*arguments, "--activation", "softmax")
    assert status == 2
    assert "a softmax is always 1" in err


def test_each_class_by_itself(cnnviz, network, tmp_path):
    options = network("net", 3, mx.sym.sigmoid)
    arguments = ("explain", "bright.png", "-o", "out", "--method", "gradcam", "-v", "--json")
    _, out, _ = cnnviz(*arguments, *options)
    said = {one["index"]: one["probability"] for one in json.loads(out)["top5"]}
    assert said == pytest.approx({0: sigma(3.0), 1: sigma(1.0), 2: sigma(-1.0)}, rel=1e-12)
    bare = network("bare", 3, lambda x: x)
    (tmp_path / "cnnviz.yaml").write_text("model: bare-symbol.json\nactivation: sigmoid\n")
    for more in ((*bare, "--activation", "sigmoid"), ("--model", "cnnviz.yaml", *SCALE)):
        record = json.loads(cnnviz(*arguments, *more, "--force")[1])
        assert {one["index"]: one["probability"] for one in record["top5"]} == said


def test_loss_of_the_truth(cnnviz, network, tmp_path):
    options = network("net", 3, mx.sym.sigmoid)
    (tmp_path / "truth.csv").write_text("path,label\nbright.png,2\n")
    arguments = ("explain", "bright.png", *options, "-o", "out", "--method", "gradcam", "--json")
    record = json.loads(cnnviz(*arguments, "--truth", "truth.csv", "--sort", "loss")[1])
    # Logits 3, 1, -1, of which only the last is true: the mean of the binary cross entropies.
    losses = [-np.log(sigma(-3.0)), -np.log(sigma(-1.0)), -np.log(sigma(-1.0))]
    assert record["loss"] == pytest.approx(np.mean(losses), rel=1e-12)
    assert record["margin"] == pytest.approx(sigma(3.0) - sigma(1.0), rel=1e-12)


def test_a_number_is_shown_as_one(cnnviz, network, tmp_path):
    def age(x):
        return mx.sym.LinearRegressionOutput(x * 10 + 8.25, name="age")

    options = network("net", 1, age)
    arguments = ("explain", "bright.png", *options, "-o", "out", "--method", "gradcam")
    more = ("--method", "occlusion", "--panel", "--report")
    status, out, err = cnnviz(*arguments, *more)
    assert (status, out) == (0, "bright.png: output 0 38.25\n")
    assert "trained for regression" in err
    (image,) = json.loads((tmp_path / "out/manifest.json").read_text())["images"]
    assert image["top5"] == [{"index": 0, "name": None, "logit": 38.25, "probability": None}]
    facts = image["explanations"][0]["diagnostics"]["occlusion"]
    assert facts["probability"] == 38.25
    assert facts["largest_drop"] == 5  # a bright place becomes gray
    status, _, err = cnnviz(*arguments, "--only", "uncertain")
    assert status == 2
    assert "needs probabilities, and net gives numbers" in err


def test_maximized(cnnviz, network, tmp_path):
    options = network("net", 1, mx.sym.sigmoid)[1:]
    status, out, err = cnnviz(
        "maximize", *options, "--target", "positive", "--steps", "2", "--json"
    )
    assert status == 0
    target = json.loads(out)["target"]
    assert target["probability"] == pytest.approx(sigma(target["logit"]), rel=1e-12)
    assert "sigmoid of its one logit" in err
    options = network("number", 1, mx.sym.relu)[1:]
    status, out, _ = cnnviz("maximize", *options, "--target", "0", "--steps", "2", "--json")
    assert (status, json.loads(out)["target"]["probability"]) == (0, None)


def test_what_is_no_classifier_is_refused_by_every_command(cnnviz, network, tmp_path):
    """A line of text: a row for each column of the image, where the batch should be."""

    def rows(x):
        return mx.sym.transpose(x)

    (_, model, *scale) = network("net", 5, rows)
    for command in (
        ("explain", "bright.png", "--model", model, *scale, "-o", "out"),
        ("layers", model, *scale),
        ("summary", model, *scale),
        ("filters", model, *scale, "-o", "filters"),
        ("activations", "bright.png", "--model", model, *scale, "-o", "activations"),
        ("maximize", model, *scale, "--target", "0"),
    ):
        status, out, err = cnnviz(*command)
        assert (status, out) == (3, "")
        assert "an array of shape (5, 1) for one image, whose first axis is not the batch" in err


@pytest.mark.parametrize("output", [0, 1])
def test_a_part_of_a_split_can_be_the_head(cnnviz, network, output):
    options = network("net", 4, lambda x: mx.sym.SliceChannel(x, num_outputs=2, name="split"))
    head = ("--head", f"split_output{output}")
    arguments = ("explain", "bright.png", *options, *head, "-o", "out", "--method", "gradcam")
    record = json.loads(cnnviz(*arguments, "--json")[1])
    expected = {0: {0: 3, 1: 1}, 1: {0: -1, 1: -1}}[output]
    assert {one["index"]: one["logit"] for one in record["top5"]} == expected
