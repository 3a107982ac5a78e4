"""The page of an evaluation: its tables, curves and words."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from cnnviz.errors import UsageError
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_run_file
from cnnviz.report import build, build_report
from cnnviz.report.evaluation import evaluation_view
from cnnviz.runs.evaluate import EVALUATION
from cnnviz.runs.evaluation_records import EvaluatedImageRecord, Evaluation
from cnnviz.runs.image_records import MeasurementRecord
from cnnviz.structure import decode, encode
from tests.report.runs import image, manifest, write_run
from tests.report.test_build import EVIL, Page, words


def cell(subject, value, *, better=None, curve=(), low=0.1, high=0.9):
    return {
        **{"subject": subject, "metric": "deletion", "value": value, "images": 4, "low": low},
        **{"high": high, "over_gaussian": None, "over_gaussian_low": None, "curve": list(curve)},
        **{"over_gaussian_high": None, "better_than_gaussian": better},
    }


def level(value):
    return {
        **{"layer": "features.0", "share": 0.5, "images": 4, "spearman": value},
        **{"absolute": value, "ssim": None},
    }


def evaluation(title="Grad-CAM", layers=((1.0, 0.5, 0.0), (1.0, 0.9, 0.8))):
    """Two methods and a baseline by deletion, and by random parameters."""
    curves = ((1.0, 0.5, 0.0), (1.0, 1.0, 0.5), (0.0, 0.0, 0.0))
    keys = ("gradcam", "saliency", "gaussian")
    titles = (title, "saliency", "centered Gaussian")
    return {
        "cnnviz_evaluation": 1,
        "run": manifest([])["run"],
        "summary": {
            **{"images": 5, "ok": 4, "failed": 1},
            "metrics": [
                {
                    **{"name": "deletion", "title": "deletion", "paper": "Petsiuk et al. 2018"},
                    **{"group": "faithfulness", "direction": "lower", "options": {}},
                    **{"mean_over_classes": False, "curve_over": "share of pixels removed"},
                }
            ],
            "subjects": [
                {"key": key, "title": one, "baseline": key == "gaussian"}
                for key, one in zip(keys, titles, strict=True)
            ],
            "cells": [
                cell("gradcam", 0.25, better=True, curve=curves[0]),
                cell("saliency", 0.875, better=False, curve=curves[1]),
                cell("gaussian", 0.5, curve=curves[2], low=None, high=None),
            ],
            "agreement": [{"a": "gradcam", "b": "saliency", "value": -0.25, "images": 4}],
            "randomization": {
                **{"how": "permute", "seed": 0, "levels": 3, "images": 4, "independent": {}},
                "cascade": {
                    key: [level(one) for one in curve]
                    for key, curve in zip(keys, layers, strict=False)
                },
            },
            "findings": ["Saliency is not shown to be better."],
        },
        "images": [],
    }


def typed(record):
    return decode(Evaluation, json.loads(json.dumps(record)), "the evaluation")


def write(folder, record):
    OutputFolder(folder).write(
        PurePosixPath("evaluation.json"), encode_run_file([json.dumps(record).encode()])
    )


def test_a_page_of_an_evaluation_alone(tmp_path):
    write(tmp_path, evaluation())
    text = build_report(tmp_path).read_text()
    said = words(text)
    assert "How far maps of vgg16 can be believed 5 images evaluated" in said
    assert (
        "Grad-CAM 0.250 0.100 to 0.900 saliency 0.875 0.100 to 0.900 not better than the " in said
    )
    assert said.index("centered Gaussian 0.500") > said.index("saliency 0.875")
    assert "Gomez et al. 2022" in said
    assert "Saliency is not shown to be better." in said
    assert "Not changed by random parameters: saliency." in said
    assert "Grad-CAM 1.00 -0.25 saliency -0.25 1.00" in said
    assert "Filter and sort" not in text
    assert "style=" not in text


def test_curves_stand_where_their_shares_are():
    """Of three values over 0 to 1 the middle one stands in the middle; heights from 206 to 10."""
    (group,) = evaluation_view(typed(evaluation())).groups
    (chart,) = group.charts
    assert [chart.points(line) for line in chart.lines] == [
        *("44.0,10.0 187.0,108.0 330.0,206.0", "44.0,10.0 187.0,10.0 330.0,108.0"),
        "44.0,206.0 187.0,206.0 330.0,206.0",
    ]
    assert [line.style for line in chart.lines] == ["c0 d0", "c1 d0", "baseline b0"]
    (cascade,) = evaluation_view(typed(evaluation())).randomized
    assert cascade.lines[0].points == ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))


def test_beside_a_manifest_it_is_a_section(tmp_path):
    write_run(tmp_path, manifest([image("a.jpg")]))
    assert "can be believed" not in words(build_report(tmp_path).read_text())
    write(tmp_path, evaluation())
    said = words(build_report(tmp_path).read_text())
    assert "Where vgg16 looked" in said
    assert said.index("Agreement") < said.index("Path contains")


def test_titles_cannot_break_out():
    page = Page(build.render_page(None, typed(evaluation(EVIL))))
    clean = Page(build.render_page(None, typed(evaluation())))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]


def test_a_damaged_evaluation_says_what_to_do(tmp_path):
    write(tmp_path, {**evaluation(), "cnnviz_evaluation": 9})
    with pytest.raises(UsageError, match=r"version 9 .* or run `cnnviz evaluate` again"):
        build_report(tmp_path)


def test_of_many_images_only_the_first_are_read(tmp_path):
    """Where the values of curves stand is said by each of them; all else by the summary."""
    one = MeasurementRecord(0.5, None, (1.0, 0.5, 0.0), None, {"shares": [0.0, 0.25, 1.0]})
    maps = {key: {"deletion": one} for key in ("gradcam", "saliency", "gaussian")}
    images = [
        EvaluatedImageRecord(
            *(f"{number}", f"{number}.jpg", f"{number}.jpg", "ok", None, 0.1), measurements=maps
        )
        for number in range(5)
    ]
    record = evaluation()
    lines = EVALUATION.lines(record["run"], record["summary"], map(encode, images))
    OutputFolder(tmp_path).write(PurePosixPath("evaluation.json"), encode_run_file(lines))
    whole = build_report(tmp_path, whole=5).read_text()
    assert "115.5," in whole  # a quarter of the way from 44 to 330
    assert build_report(tmp_path, whole=2).read_text() == whole
    path = tmp_path / "evaluation.json"
    path.write_bytes(path.read_bytes().replace(b'"0.jpg"', b"0"))
    with pytest.raises(UsageError, match=r"images\[0\].*Run `cnnviz evaluate` again"):
        build_report(tmp_path, whole=2)
