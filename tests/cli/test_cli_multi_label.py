"""Networks whose classes do not exclude one another: ground truth, what is printed and recorded."""

import json
import re

import numpy as np
import pytest

from tests.engines.contract.conftest import ENGINES
from tests.support.columns import SCALE, sigma, write_bright, write_columns
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
OPTIONS = ("--method", "gradcam", "-o", "out")
TRUTH = "path,label\na.png,0|1\nb.png,\nc.png,0;2\nd.png,1\n"


@pytest.fixture(params=ENGINES)
def network(request, tmp_path):
    """Options of a network of three classes, behind a sigmoid; four images and their labels."""
    write_columns(tmp_path, "net", 3, mx.sym.sigmoid)
    write_bright(tmp_path / "in" / "a.png", 4, 2, 0)  # logits 3, 1, -1
    write_bright(tmp_path / "in" / "b.png", 0, 0, 0)  # -1, -1, -1
    write_bright(tmp_path / "in" / "c.png", 0, 0, 8)  # -1, -1, 7
    write_bright(tmp_path / "in" / "d.png", 3, 0, 0)  # 2, -1, -1
    (tmp_path / "in" / "truth.csv").write_text(TRUTH)
    return ("--model", "net-symbol.json", *SCALE, "--engine", request.param, *OPTIONS)


# Class 0: a 3 (true), d 2, b and c -1 (c true): 1 · 1/2 + 2/4 · 1/2 = 3/4.
# Class 1: a 1 (true), the others -1, d among them: 1 · 1/2 + 2/4 · 1/2 = 3/4. Class 2: c alone: 1.
MEAN = (3 / 4 + 3 / 4 + 1) / 3


def test_accuracy_is_mean_average_precision(cnnviz, network, tmp_path):
    more = ("--truth", "in/truth.csv", "--report")
    status, out, err = cnnviz("explain", "in", *network, *more)
    assert status == 0
    assert out.splitlines() == [
        "in/a.png: class 0 0.95, class 1 0.73",
        "in/b.png: no class above 0.5, the highest is class 0 0.27",
        "in/c.png: class 2 1.00; incorrect: the true classes are class 0 0.27, class 2 1.00",
        "in/d.png: class 0 0.88; incorrect: the true classes are class 1 0.27",
    ]
    assert "mean average precision 0.8333; over 3 of 3 classes" in err
    assert "exactly the true classes are above 0.5 in 2 of 4 images" in err
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    summary, images = manifest["summary"], manifest["images"]
    assert summary["mean_average_precision"] == pytest.approx(MEAN, rel=1e-12)
    assert (summary["correct"], summary["incorrect"], summary["accuracy"]) == (2, 2, None)
    assert summary["confusions"] == []
    assert summary["average_precisions"] == [
        {"name": f"class {index}", "index": index, "images": 4, "positives": positives}
        | {"average_precision": pytest.approx(precision, rel=1e-12)}
        for index, positives, precision in ((0, 2, 3 / 4), (1, 2, 3 / 4), (2, 1, 1))
    ]
    a, b, c, _ = images
    assert [one["index"] for one in a["true_classes"]["positive"]] == [0, 1]
    assert a["true_classes"]["logits"] == [3, 1, -1]
    assert [one["index"] for one in c["predicted_classes"]] == [2]
    assert (a["correct"], b["correct"], c["correct"], a["ground_truth"]) == (
        True,
        True,
        False,
        None,
    )
    assert b["loss"] == pytest.approx(-np.log(sigma(1)), rel=1e-12)
    assert a["loss"] == pytest.approx(np.log1p(np.exp([-3, -1, -1])).mean(), rel=1e-12)
    page = (tmp_path / "out/index.html").read_text()
    assert "Mean average precision 0.8333" in page
    assert "Confusion matrix" not in page
    # Of images that are done already the manifest knows enough.
    err = cnnviz("explain", "in", *network, *more)[2]
    assert "4 explained (4 of them already done)" in err
    assert "mean average precision 0.8333" in err
    # Other true classes are another record.
    (tmp_path / "in" / "truth.csv").write_text(TRUTH.replace("d.png,1", "d.png,0"))
    assert "4 explained (3 of them already done)" in cnnviz("explain", "in", *network, *more)[2]


def test_a_merge_of_parts_ranks_the_images_of_all(cnnviz, network, tmp_path):
    command = ("explain", "in", *network, "--truth", "in/truth.csv", "--batch-size", "1")
    cnnviz(*command, "-o", "whole")
    own = []
    for number in (2, 1):
        _, _, err = cnnviz(*command, "-o", "parts", "--shard", f"{number}/2")
        own.append(re.search(r"(\d) explained", err)[1])
    assert "0" not in own
    whole, merged = (
        json.loads((tmp_path / folder / "manifest.json").read_text())
        for folder in ("whole", "parts")
    )
    assert merged["summary"] == whole["summary"]
    assert merged["summary"]["mean_average_precision"] == pytest.approx(MEAN, rel=1e-12)
    assert [{**one, "seconds": None} for one in merged["images"]] == [
        {**one, "seconds": None} for one in whole["images"]
    ]
    status, _, err = cnnviz("merge", "parts", "--fail-under", "map=0.9")
    assert (status, "mean average precision: 0.8333" in err) == (4, True)
    status, _, err = cnnviz("merge", "parts", "--fail-under", "accuracy=0.9")
    assert (status, "may belong to several classes" in err) == (2, True)


def test_images_are_chosen_by_all_their_classes(cnnviz, network):
    truth = ("--truth", "in/truth.csv")

    def chosen(*more):
        _, out, err = cnnviz("explain", "in", *network, *truth, *more, "--force")
        return [line.partition(":")[0] for line in out.splitlines()], err

    assert chosen("--only", "right")[0] == ["in/a.png", "in/b.png"]
    wrong, err = chosen("--only", "wrong")
    assert wrong == ["in/c.png", "in/d.png"]
    assert "of 4 images looked at: mean average precision 0.8333" in err
    # Mean binary cross entropies: a .22, b .31, c (1.31 + .31 + .0009) / 3 = .54, d 1.25.
    assert chosen("--sort", "loss")[0] == ["in/d.png", "in/c.png", "in/b.png", "in/a.png"]


def test_the_truth_is_all_true_classes(cnnviz, network):
    more = ("--truth", "in/truth.csv", "--target", "truth", "--json")
    status, out, err = cnnviz("explain", "in", *network, *more)
    assert status == 0
    records = [json.loads(line) for line in out.splitlines()]
    found = [[one["target"]["index"] for one in record["explanations"]] for record in records]
    assert found == [[0, 1], [], [0, 2], [1]]
    assert "in/b.png: the image has no true class to explain" in err


def test_each_true_class_is_judged(cnnviz, network, tmp_path):
    """As in a run for that class alone; an image counts once, with the mean of its classes."""
    metrics = ("--metric", "sparseness,deletion,pointing-game", "--boxes", "in/boxes.csv")
    metrics += ("--metric-option", "deletion.steps=4", "--truth", "in/truth.csv", "--quiet")
    boxes = "path,label,x0,y0,x1,y1\n"
    boxes += "".join(f"{name}.png,{index},0,0,9,9\n" for name in "acd" for index in range(3))
    (tmp_path / "in" / "boxes.csv").write_text(boxes)

    def evaluate(target):
        command = ("evaluate", "in", *network, "--target", target, *metrics, "-o", f"out-{target}")
        status, _, err = cnnviz(*command)
        assert status == 0, err
        return json.loads((tmp_path / f"out-{target}/evaluation.json").read_text())

    found = evaluate("truth")
    alone = [evaluate(str(index))["images"] for index in range(3)]
    classes = ([0, 1], [], [0, 2], [1])
    deletion, sparseness, pointing = [], [], []
    for place, (image, true) in enumerate(zip(found["images"], classes, strict=True)):
        judged = [image, *image["others"]] if true else []
        assert [one["target"]["index"] for one in judged] == true
        for one, index in zip(judged, true, strict=True):
            other = alone[index][place]
            for key in ("target", "measurements", "agreement", "region_share"):
                assert one[key] == other[key]
            pointing.append((index, one["measurements"]["gradcam"]["pointing-game"]["value"]))
        measured = [one["measurements"]["gradcam"] for one in judged]
        sparseness.append([one["sparseness"]["value"] for one in measured])
        deletion.append([one["deletion"]["value"] for one in measured])
    cells = {
        cell["metric"]: cell for cell in found["summary"]["cells"] if cell["subject"] == "gradcam"
    }
    for name, values in (("deletion", deletion), ("sparseness", sparseness)):
        there = [[value for value in one if value is not None] for one in values]
        images = [np.mean(one) for one in there if one]
        assert cells[name]["images"] == len(images) >= 2  # c's map of class 0 is blank, and d's
        assert cells[name]["value"] == pytest.approx(np.mean(images), rel=1e-12)
    # Of the pointing game there is a mean for each class, over the images that belong to it.
    assert cells["pointing-game"]["images"] == 5
    of_class = [np.mean([hit for one, hit in pointing if one == index]) for index in range(3)]
    assert cells["pointing-game"]["value"] == pytest.approx(np.mean(of_class), rel=1e-12)
    rows = (tmp_path / "out-truth/evaluation.csv").read_text().splitlines()[1:]
    targets = [row.split(",")[3] for row in rows]
    assert targets == ["class 0", "class 1", "", "class 0", "class 2", "class 1"]
    # Only what belongs to other classes now is judged again.
    (tmp_path / "in" / "truth.csv").write_text(TRUTH.replace("0;2", "2"))
    before = found["images"]
    now = evaluate("truth")["images"]
    assert [one["seconds"] == other["seconds"] for one, other in zip(now, before, strict=True)] == [
        *(True, True, False, True)
    ]
    assert (now[2]["target"]["index"], now[2]["others"]) == (2, [])


def test_columns_of_the_classes(cnnviz, network, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\nbird\n")
    rows = "Path,Age,cat,dog\nin/a.png,3,1,1\nin/b.png,4,0,-1\nin/c.png,5,,0\n"
    (tmp_path / "labels.csv").write_text(rows)
    more = ("--truth", "labels.csv", "--labels", "names.txt")
    status, _, err = cnnviz("explain", "in", *network, *more)
    assert status == 0
    assert "1 column of labels.csv is called like no class, and not used: 'Age'." in err
    assert "1 class has no column in labels.csv" in err
    # cat: a first; dog: a before c, b is not counted; nothing is known of bird.
    assert "mean average precision 1.0000; over 2 of 3 classes, those with images, and 3 i" in err
    assert "exactly the true classes are above 0.5 in 3 of 3 images" in err


def test_a_network_that_predicts_one_class_takes_no_more(cnnviz, network):
    more = ("--truth", "in/truth.csv", "--activation", "softmax")
    status, out, err = cnnviz("explain", "in", *network, *more)
    assert (status, out) == (2, "")
    assert "Line 2 of in/truth.csv ('a.png'): this is 2 labels, and the network predicts one" in err
