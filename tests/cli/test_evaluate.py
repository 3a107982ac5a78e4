"""`cnnviz evaluate`: a table, a file of records, a table of images; resumed, isolated."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from cnnviz.metrics.registry import METRICS
from cnnviz.runs.evaluate import EVALUATION
from cnnviz.runs.evaluation_records import Evaluation
from cnnviz.structure import decode
from tests.support.shortcut import write_shortcut

OPTIONS = ("-m", "demo", "--input-size", "96", "-o", "out")
OPTIONS += ("--method", "gradcam,saliency", "--metric", "sparseness")


def read(folder):
    text = (folder / "evaluation.json").read_bytes()
    return decode(Evaluation, json.loads(text), "the evaluation")


@pytest.fixture
def evaluate(cnnviz, photos):
    """Run the command on three photos; what it printed."""

    def call(*options, status=0):
        ended, out, err = cnnviz("evaluate", photos, *OPTIONS, *options)
        assert ended == status, err
        return out, err

    return call


def test_the_table_holds_the_means_of_the_records(evaluate, tmp_path):
    out, err = evaluate()
    found = read(tmp_path / "out")
    assert [subject.key for subject in found.summary.subjects] == [
        *("gradcam", "saliency", "random", "gaussian", "ones", "gradient_magnitude")
    ]
    assert [one.baseline for one in found.summary.subjects] == [False] * 2 + [True] * 4
    for subject in found.summary.subjects:
        values = [one.measurements[subject.key]["sparseness"].value for one in found.images]
        cell = found.summary.cell(subject.key, "sparseness")
        assert cell.images == 3
        assert cell.value == pytest.approx(np.mean(values), abs=1e-12)
        assert cell.low <= cell.value <= cell.high
        (line,) = [line for line in out.splitlines() if line.startswith(f"{subject.key} ")]
        assert f"{cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}]" in line
    assert "3 evaluated" in err
    assert found.cnnviz_evaluation == EVALUATION.version
    assert not (tmp_path / "out" / EVALUATION.journal).exists()


def test_the_csv_has_a_row_an_image(evaluate, tmp_path):
    evaluate()
    found = read(tmp_path / "out")
    with open(tmp_path / "out" / "evaluation.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["cnnviz_image"] for row in rows] == [one.path for one in found.images]
    for row, image in zip(rows, found.images, strict=True):
        value = image.measurements["gradcam"]["sparseness"].value
        assert float(row["gradcam.sparseness"]) == value
        assert row["status"] == "ok"


def test_agreement_is_the_rank_correlation_of_the_maps(evaluate, cnnviz, photos, tmp_path):
    evaluate("--method", "guided-gradcam")
    found = read(tmp_path / "out")
    pairs = {(one.a, one.b): one for one in found.summary.agreement}
    # Saliency is by default the magnitude of guided Grad-CAM: the same map.
    assert pairs["saliency", "guided_gradcam"].value == pytest.approx(1, abs=1e-12)
    assert -1 <= pairs["gradcam", "saliency"].value < 1
    assert {"gradcam", "saliency"} == set(found.images[0].agreement)


def test_what_is_done_is_not_done_again(evaluate, tmp_path):
    first, _ = evaluate()
    before = read(tmp_path / "out")
    again, err = evaluate()
    assert "3 evaluated (3 of them already done)" in err
    assert again == first
    assert read(tmp_path / "out").images == before.images
    _, err = evaluate("--metric", "complexity")  # measures more
    assert "already done" not in err


def test_another_image_does_not_change_a_result(cnnviz, photos, tmp_path):
    options = ("-m", "demo", "--input-size", "96", "--metric", "sparseness", "--batch-size", "3")
    cnnviz("evaluate", photos, *options, "-o", "all")
    one = next(path for path in sorted(photos.iterdir()) if path.suffix == ".jpg")
    cnnviz("evaluate", one, *options, "-o", "one")
    (alone,) = read(tmp_path / "one").images
    (among,) = [image for image in read(tmp_path / "all").images if image.sha256 == alone.sha256]
    for subject, by_metric in alone.measurements.items():
        for metric, own in by_metric.items():
            # A batch of three is summed in another order than one image.
            other = among.measurements[subject][metric]
            assert other.value == pytest.approx(own.value, abs=1e-5)


def test_a_bad_image_fails_alone(evaluate, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    _, err = evaluate(status=1)
    assert "bad.png" in err
    assert "3 evaluated, 1 failed" in err
    found = read(tmp_path / "out")
    (failed,) = [one for one in found.images if not one.ok]
    assert failed.relative == "bad.png"
    assert failed.error
    assert failed.measurements == {}
    assert found.summary.failed == 1


def test_json_is_an_object_an_image(evaluate):
    out, _ = evaluate("--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["status"] for record in records] == ["ok"] * 3
    assert records[0]["measurements"]["gradcam"]["sparseness"]["value"] is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--metric", "sparsness"), "There is no metric 'sparsness'. Did you mean sparseness?"),
        (("--metric-option", "steps=3"), "None of the chosen metrics has an option 'steps'"),
        (("--target", "top2"), "one target an image"),
        (("--target", "0,1"), "one target"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(evaluate, tmp_path, options, said):
    _, err = evaluate(*options, status=2)
    assert said in err
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_a_file_of_somebody_else_is_left_alone(evaluate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "evaluation.json").write_text("{}")
    _, err = evaluate(status=2)
    assert "was not written by cnnviz" in err
    assert (tmp_path / "out" / "evaluation.json").read_text() == "{}"


def test_metrics_lists_all(cnnviz):
    status, out, _ = cnnviz("metrics")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 100
    for name in METRICS:
        assert any(line.startswith(name) for line in out.splitlines())
        status, full, _ = cnnviz("metrics", name)
        assert status == 0
        assert METRICS[name].title in full
    _, out, _ = cnnviz("metrics", "--json")
    assert [one["name"] for one in json.loads(out)] == list(METRICS)


def test_explain_judges_by_what_costs_little(cnnviz, photos, tmp_path):
    options = ("-m", "demo", "--input-size", "96", "--method", "gradcam,saliency")
    status, _, err = cnnviz("explain", photos, *options, "--evaluate", "-o", "explained")
    assert status == 0, err
    manifest = json.loads((tmp_path / "explained" / "manifest.json").read_text())
    cheap = {name for name, metric in METRICS.items() if metric.cheap and not metric.needs_region}
    cnnviz("evaluate", photos, *options, "--metric", ",".join(cheap), "-o", "evaluated")
    evaluated = {one.sha256: one for one in read(tmp_path / "evaluated").images}
    for image in manifest["images"]:
        (explanation,) = image["explanations"]
        assert set(explanation["measurements"]) == {"gradcam", "saliency"}
        for subject, by_metric in explanation["measurements"].items():
            assert set(by_metric) == cheap
            for metric, one in by_metric.items():
                other = evaluated[image["sha256"]].measurements[subject][metric]
                assert one["value"] == pytest.approx(other.value, abs=1e-6)


def test_methods_that_random_parameters_do_not_change_are_named(evaluate, tmp_path):
    options = ("--method", "guided-backprop", "--metric", "randomization")
    options += ("--metric-option", "levels=6", "--metric-option", "randomization.images=2")
    out, err = evaluate(*options)
    assert "passes to explain images again with random parameters" in err
    found = read(tmp_path / "out").summary.randomization
    assert found.images == 2
    assert set(found.cascade) == {"gradcam", "saliency", "guided_backprop"}
    assert {len(curve) for curve in found.cascade.values()} == {6}
    assert "guided_backprop" in found.unchanged
    assert "gradcam" not in found.unchanged
    assert "Not changed by random parameters: " in out
    before = (tmp_path / "out" / "evaluation.json").stat().st_size
    evaluate(*options)  # nothing is done again
    assert read(tmp_path / "out").summary.randomization == found
    assert (tmp_path / "out" / "evaluation.json").stat().st_size == pytest.approx(before, abs=20)


@pytest.mark.parametrize("shortcut", [True, False])
def test_a_planted_shortcut_is_said(cnnviz, tmp_path, shortcut):
    paths = write_shortcut(tmp_path / "network", shortcut)
    status, out, err = cnnviz(
        *("evaluate", paths.photos, "--model", paths.symbol, "--labels", paths.labels),
        *("--input-size", 64, "--truth", "folders", "--method", "gradcam", "--metric", "corner"),
        *("-o", "out", "--batch-size", 8),
    )
    assert status == 0, err
    said = "the bottom right corner alone, where Grad-CAM has most, restores that prediction"
    assert (said in out) is shortcut


def test_images_whose_ground_truth_has_changed_are_judged_again(evaluate, photos, tmp_path):
    names = [path.relative_to(photos).as_posix() for path in photos.rglob("*") if path.is_file()]
    truth = tmp_path / "truth.csv"
    truth.write_text("path,label\n" + "".join(f"{name},0\n" for name in names))
    _, err = evaluate("--truth", truth)
    assert "already done" not in err
    first = {one.relative: one.correct for one in read(tmp_path / "out").images}
    _, err = evaluate("--truth", truth)
    assert "3 evaluated (3 of them already done)" in err
    predicted = next(one for one in read(tmp_path / "out").images if not one.correct)
    new = "".join(
        f"{name},{predicted.prediction.index if name == predicted.relative else 0}\n"
        for name in names
    )
    truth.write_text("path,label\n" + new)
    _, err = evaluate("--truth", truth)
    assert "3 evaluated (2 of them already done)" in err
    second = {one.relative: one.correct for one in read(tmp_path / "out").images}
    assert second == {**first, predicted.relative: True}
