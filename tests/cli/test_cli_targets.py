"""Targets of which each image has its own number, and similarities to other images."""

import json

import numpy as np
import pytest

from tests.engines.contract.conftest import ENGINES
from tests.support.columns import SCALE, write_bright, write_columns
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
OPTIONS = ("--method", "gradcam", "-o", "out")


@pytest.fixture(params=ENGINES)
def network(request, tmp_path):
    """Options of a network of three classes that do not exclude one another; images a, b, c."""
    write_columns(tmp_path, "net", 3, mx.sym.sigmoid)
    write_bright(tmp_path / "in" / "a.png", 4, 2, 0)  # logits 3, 1, -1
    write_bright(tmp_path / "in" / "b.png", 0, 0, 0)  # -1, -1, -1
    write_bright(tmp_path / "in" / "c.png", 0, 0, 8)  # -1, -1, 7
    return ("--model", "net-symbol.json", *SCALE, "--engine", request.param, *OPTIONS)


def test_all_classes_above_a_probability(cnnviz, network, tmp_path):
    more = ("--target", "above:0.5", "--json", "--report", "--panel", "--arrays")
    status, out, err = cnnviz("explain", "in", *network, *more)
    assert status == 0
    explained = {
        record["path"]: [one["target"]["index"] for one in record["explanations"]]
        for record in map(json.loads, out.splitlines())
    }
    assert explained == {"in/a.png": [0, 1], "in/b.png": [], "in/c.png": [2]}
    assert "in/b.png: no class has a probability above 0.5\n" in err
    names = {path.name for path in (tmp_path / "out").glob("*_gradcam.png")}
    assert names == {"a_0_gradcam.png", "a_1_gradcam.png", "c_2_gradcam.png"}
    assert (tmp_path / "out" / "a_0-1_panel.png").exists()
    assert (tmp_path / "out" / "c_2_panel.png").exists()
    (nothing,) = [one for one in map(json.loads, out.splitlines()) if "b.png" in one["path"]]
    assert nothing["status"] == "ok"
    assert nothing["remark"] == "no class has a probability above 0.5"
    # Each map is its own image's and class's: column k is what class k sees.
    for name, column, bright in (("a_0", 0, 4), ("a_1", 1, 2), ("c_2", 2, 8)):
        raw = np.load(tmp_path / "out" / f"{name}.npz")
        assert raw["target"] == column
        # Grad-CAM: A is the brightness, 0 or 1; the weight is the mean of ∂y/∂A over 64 places,
        # which is 1 where this column is bright and the ReLU after A is open.
        total = raw["gradcam"].sum(axis=0)[column]
        np.testing.assert_allclose(total, bright * bright / 64, rtol=1e-6)
    again = cnnviz("explain", "in", *network, *more)[2]
    assert "3 explained (3 of them already done)" in again


@pytest.mark.parametrize("method", ["occlusion", "rise", "scorecam", "smoothgrad"])
def test_methods_with_passes_of_their_own_tell_images_apart(cnnviz, network, tmp_path, method):
    """What was computed for one image's first target does not pass for another's second.

    a has the classes 0 and 1, b only 0, c 0 and 2: of those with a second, c stands where b stood.
    """
    few = ("-O", "rise.masks=20") if method == "rise" else ()
    more = ("--arrays", "--method", method, *few, "--batch-size", "3", "--target")
    assert cnnviz("explain", "in", *network, *more, "0,above:0.5")[0] == 0
    assert cnnviz("explain", "in/c.png", *network, *more, "2", "-o", "alone")[0] == 0
    together, alone = (
        np.load(tmp_path / folder / "c_2.npz")[method] for folder in ("out", "alone")
    )
    np.testing.assert_allclose(together, alone, atol=1e-5 * np.abs(alone).max())


def test_a_probability_is_asked_for(cnnviz, network):
    for wrong in ("above:1", "above:-0.1", "above:x", "above:", "above:nan"):
        status, out, err = cnnviz("explain", "in", *network, "--target", wrong)
        assert (status, out) == (2, "")
        assert "takes a probability, from 0 to below 1" in err
    status, _, err = cnnviz("explain", "in", *network, "--target=above:0", "--activation", "none")
    assert status == 2
    assert "needs probabilities, and net gives numbers" in err


def test_similarity_to_another_image(cnnviz, network, tmp_path):
    write_bright(tmp_path / "dog-2.png", 8, 2, 0)  # logits 7, 1, -1
    more = ("--target", "similarity:dog-2.png", "--target", "0", "--arrays", "--panel", "--report")
    status, out, _ = cnnviz("explain", "in/a.png", *network, *more)
    own, other = np.array([3.0, 1, -1]), np.array([7.0, 1, -1])
    cosine = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
    assert status == 0
    assert out == (
        "in/a.png: class 0 0.95, class 1 0.73; "
        f"explained: similarity to dog-2.png {cosine:.2f}, class 0 0.95\n"
    )
    raw = np.load(tmp_path / "out" / "a_similarity_dog_2.npz")
    assert raw["similarity"] == pytest.approx(cosine, rel=1e-6)
    np.testing.assert_allclose(raw["reference"], other, rtol=1e-6)
    assert "target" not in raw
    # ∂cos/∂A at a bright place of column k is ∂cos/∂e_k, elsewhere the ReLU is closed; Grad-CAM's
    # weight is its mean over 64 places, and A is the brightness, 0 or 1.
    slopes = other / np.linalg.norm(other) / np.linalg.norm(own) - cosine * own / (own @ own)
    weight = (4 * slopes[0] + 2 * slopes[1]) / 64
    bright = np.zeros((8, 8))
    bright[:4, 0] = bright[:2, 1] = 1
    np.testing.assert_allclose(raw["gradcam"], np.maximum(weight * bright, 0), atol=1e-7)
    (image,) = json.loads((tmp_path / "out/manifest.json").read_text())["images"]
    (target, _) = (one["target"] for one in image["explanations"])
    assert target["other"] == "dog-2.png"
    assert target["cosine"] == pytest.approx(cosine, rel=1e-6)
    assert len(target["sha256"]) == 64
    assert (tmp_path / "out" / "a_similarity_dog_2-0_panel.png").exists()
    _, out, _ = cnnviz("about", "out/a_similarity_dog_2_gradcam.png")
    assert "similar to dog-2.png, SHA-256" in out


def test_another_image_that_changes_is_another_run(cnnviz, network, tmp_path):
    command = ("explain", "in/a.png", *network, "--target", "similarity:other.png")
    write_bright(tmp_path / "other.png", 8)
    cnnviz(*command)
    assert "1 explained (1 of them already done)" in cnnviz(*command)[2]
    write_bright(tmp_path / "other.png", 0, 8)
    assert "already done" not in cnnviz(*command)[2]


def test_an_image_is_like_itself_and_nothing_changes_that(cnnviz, network):
    more = ("--target", "similarity:in/a.png", "--method", "gradcam,gradient")
    status, out, err = cnnviz("explain", "in/a.png", *network, *more)
    assert (status, out) == (
        0,
        "in/a.png: class 0 0.95, class 1 0.73; explained: similarity to a.png 1.00\n",
    )
    assert "gradcam, gradient blank: nothing in this layer speaks for similarity to a.png" in err


def test_blank_maps_of_many_images_are_counted(cnnviz, tmp_path):
    """A network of columns sees nothing of a class whose channel is dark."""
    write_columns(tmp_path, "net", 3, mx.sym.softmax)
    for number in range(5):
        write_bright(tmp_path / "in" / f"{number}.png", 4, 0, 0)
    command = ("explain", "in", "--model", "net-symbol.json", *SCALE, "--method", "gradcam")
    _, out, err = cnnviz(*command, "-o", "out", "--target", "1,2")
    blank = [line for line in err.splitlines() if "blank" in line]
    assert blank[:3] == [
        f"in/{number}.png: gradcam blank: nothing in this layer speaks for class 1 or class 2. Try "
        "another --layer or --target."
        for number in range(3)
    ]
    assert blank[3:] == [
        "5 of 5 images have a blank map; only the first 3 are named above, the manifest and "
        "--report have all"
    ]
    assert len(out.splitlines()) == 5
    assert "blank" not in cnnviz(*command, "-o", "out", "--target", "1,2", "--quiet")[2]


def test_other_images_that_cannot_be_used(cnnviz, network, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    for path, reason in (
        (
            "none.png",
            "none.png, to which the similarity is to be explained, cannot be read: No such",
        ),
        ("in", "it is not a file"),
        ("text.png", "it is a text file, not an image"),
        ("", "similarity:FILE needs the file of another image"),
    ):
        status, out, err = cnnviz("explain", "in/a.png", *network, "--target", f"similarity:{path}")
        assert (status, out) == (2, "")
        assert reason in err


def test_one_number_has_no_direction(cnnviz, network, tmp_path):
    write_columns(tmp_path, "one", 1, lambda x: x)
    options = ("--model", "one-symbol.json", *SCALE, *OPTIONS)
    for more in ((), ("--activation", "none")):
        status, out, err = cnnviz(
            "explain", "in/a.png", *options, *more, "--target", "similarity:in/c.png"
        )
        assert (status, out) == (2, "")
        assert "two numbers or more" in err
