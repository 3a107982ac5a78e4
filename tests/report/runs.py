"""Runs that never were: manifests with their images, for tests of the report.

By hand, a large one to look at: ``python -m tests.report.runs DIR 2000``.
"""

from __future__ import annotations

import base64
import colorsys
import copy
import json
import os
import sys
from pathlib import Path, PurePosixPath

import numpy as np

from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_png, encode_run_file
from cnnviz.runs.manifest import MANIFEST_FILE
from cnnviz.runs.records import Manifest
from cnnviz.structure import decode

NAMES = ("volcano", "spider web", "tabby, tabby cat", "lighthouse", "crane")
METHODS = [
    {
        "name": "gradcam",
        "key": "gradcam",
        "title": "Grad-CAM",
        "paper": "Selvaraju et al. 2017",
        "map_kinds": {"gradcam": "heat"},
        "options": {},
        "guided": False,
    },
    {
        "name": "guided-gradcam",
        "key": "guided_gradcam",
        "title": "Guided Grad-CAM",
        "paper": "Selvaraju et al. 2017",
        "map_kinds": {"guided_gradcam": "signed"},
        "options": {},
        "guided": True,
    },
]

#: What computed the images.
ENGINE = {"name": "mxnet", "version": "1.9.1", "device": "cpu", "precision": "fp32"}


def score(index, probability, names=NAMES):
    """A class of a record."""
    return {
        "index": index,
        "name": names[index] if names else None,
        "logit": round(10 * probability, 3),
        "probability": probability,
    }


def located(border=0.36, corners=(0.04,) * 4, cells=((255, 0), (0, 0))):
    """Where a map lies."""
    values = np.array(cells, np.uint8)
    return {
        "border": border,
        "corners": list(corners),
        "box": [4, 3, 20, 15],
        "heatmap": {
            "shape": list(values.shape),
            "data": base64.b64encode(values.tobytes()).decode(),
        },
    }


def image(
    path,
    answer=0,
    probability=0.8,
    truth=None,
    *,
    blank=False,
    location=None,
    methods=METHODS,
    names=NAMES,
):
    """The record of an image that went well."""
    stem = str(PurePosixPath(path).with_suffix(""))
    rest = round((1 - probability) / 2, 4)
    others = [index for index in range(3) if index != answer][:2]
    files = {"original": f"{stem}_original.png"}
    files.update({key: f"{stem}_{key}.png" for one in methods for key in one["map_kinds"]})
    known = truth is not None
    of_truth = probability if truth == answer else rest
    return {
        "stem": stem,
        "path": f"photos/{path}",
        "relative": path,
        "sha256": "ab" * 32,
        "size": [36, 48],
        "status": "ok",
        "error": None,
        "crashed": False,
        "remark": None,
        "top5": [score(answer, probability, names), *(score(i, rest, names) for i in others)],
        "ground_truth": score(truth, probability if truth == answer else rest, names)
        if known
        else None,
        "correct": truth == answer if known else None,
        "loss": round(-float(np.log(of_truth)), 4) if known else None,
        "margin": round(probability - rest, 4),
        "engine": dict(ENGINE),
        "relus_guided": None,
        "explanations": [
            {
                "target": score(answer, probability, names),
                "files": files,
                "blank": ["gradcam"] if blank else [],
                "diagnostics": {},
                "ranges": {"gradcam": [0.0, 0.0 if blank else 3.21]},
                "location": None if blank else (location or located()),
                "measurements": {},
            }
        ],
        "contrasts": [],
        "panel": None,
        "seconds": 0.31,
        "true_classes": None,
        "predicted_classes": None,
    }


def failed(path, error="It is no image: the file is empty."):
    """The record of an image that failed."""
    return {
        "stem": path,
        "path": f"photos/{path}",
        "relative": path,
        "sha256": None,
        "size": None,
        "status": "failed",
        "error": error,
        "crashed": False,
        "remark": None,
        "top5": [],
        "ground_truth": None,
        "correct": None,
        "loss": None,
        "margin": None,
        "engine": None,
        "relus_guided": None,
        "explanations": [],
        "contrasts": [],
        "panel": None,
        "seconds": 0.01,
        "true_classes": None,
        "predicted_classes": None,
    }


def manifest(images, *, methods=METHODS, **network):
    """The manifest of a run, counts and all."""
    good = [one for one in images if one["status"] == "ok"]
    correct = sum(one["correct"] is True for one in good)
    incorrect = sum(one["correct"] is False for one in good)
    return {
        "cnnviz_manifest": 4,
        "run": {
            "parameters": {"model": "vgg16", "colormap": "jet", "target": ["top1"]},
            "versions": {"cnnviz": "0.1.0"},
            "network": {
                "name": "vgg16",
                "classes": len(NAMES),
                "activation": "softmax",
                "input": {
                    "height": 224,
                    "width": 224,
                    "mean": [0.5],
                    "std": [0.5],
                    "channels": "gray",
                    "resize": "stretch",
                    "range": None,
                    "displayed": [],
                },
                "symbol": None,
                "labels": list(NAMES),
                "layers": [{"name": "features.28", "kind": "batch norm", "shape": [512, 14, 14]}],
                "check": None,
                "weights": {
                    "path": "/weights/vgg16.params",
                    "source": "Gluon model store",
                    "sha256": "0123456789abcdef" * 4,
                },
                **network,
            },
            "engine": dict(ENGINE),
            "engine_reason": "PyTorch is not installed",
            "methods": copy.deepcopy(methods),
            "notes": [],
            "ground_truth": {"source": "folders", "known": correct + incorrect}
            if correct + incorrect
            else None,
            "fingerprint": "12" * 32,
            "seconds": 83.4,
            "started": "2026-11-21T16:40:00+00:00",
        },
        "summary": {
            "images": len(images),
            "ok": len(good),
            "failed": len(images) - len(good),
            "blank": sum(any(each["blank"] for each in one["explanations"]) for one in good),
            "correct": correct,
            "incorrect": incorrect,
            "accuracy": correct / (correct + incorrect) if correct + incorrect else None,
            "confusions": [],
            "scanned": None,
            "skipped_own": 0,
            "left_behind": [],
            "mean_average_precision": None,
            "average_precisions": [],
        },
        "images": list(images),
    }


def typed(record):
    """A manifest as it is read."""
    return decode(Manifest, json.loads(json.dumps(record)), "the manifest")


def write_run(folder, record, *, files=True):
    """Write a manifest and, unless told not to, the images that it names."""
    folder = Path(folder)
    output = OutputFolder(folder)
    output.write(PurePosixPath("manifest.json"), encode_run_file([json.dumps(record).encode()]))
    if files:
        for number, one in enumerate(record["images"]):
            for explanation in one.get("explanations", ()):
                for key, file in explanation["files"].items():
                    output.write(PurePosixPath(file), encode_png(_pixels(number, key)))
    return folder


def write_lines(folder, record, *, pictures=12):
    """Write a manifest as a run does, an image a line; all images share the files of a few."""
    record = copy.deepcopy(record)
    output = OutputFolder(folder)
    for number, one in enumerate(record["images"]):
        for explanation in one["explanations"]:
            for key in explanation["files"]:
                explanation["files"][key] = f"shared/{number % pictures}_{key}.png"
    for number in range(pictures):
        for key in ("original", "gradcam", "guided_gradcam"):
            output.write(
                PurePosixPath(f"shared/{number}_{key}.png"), encode_png(_pixels(number, key))
            )
    lines = MANIFEST_FILE.lines(
        record["run"], record["summary"], (json.dumps(one).encode() for one in record["images"])
    )
    output.write(PurePosixPath("manifest.json"), encode_run_file(lines))
    return record


def _pixels(number, key, height=36, width=48):
    """Stripes whose color tells the image, with a bright disc where the map is."""
    hue = (0.61803 * number) % 1
    color = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.5, 0.9))
    y, x = np.mgrid[:height, :width]
    stripes = 0.6 + 0.4 * ((x + y) // max(1, width // 12) % 2)
    pixels = stripes[..., None] * color
    if key != "original":
        near = np.exp(-((x / width - 0.6) ** 2 + (y / height - 0.4) ** 2) * 12)[..., None]
        pixels = 0.5 * pixels + 0.5 * np.concatenate([255 * near, 80 * near, 255 * (1 - near)], 2)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def large(count, seed=0):
    """A run of many images, some wrong for a mark in a corner, some failed or blank."""
    random = np.random.default_rng(seed)
    images = []
    for number in range(count):
        truth = int(random.integers(5))
        path = f"{NAMES[truth].partition(',')[0]}/{number:05d}.jpg"
        if number % 97 == 5:
            images.append(failed(path))
            continue
        answer = truth if random.random() < 0.85 else int(random.integers(5))
        marked = truth == 0 and answer == 1
        cells = random.integers(0, 120, (14, 14))
        at = (1, 12) if marked else random.integers(3, 11, 2)
        y, x = np.mgrid[:14, :14]
        cells = np.clip(
            cells * 0.4 + 255 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 6), 0, 255
        )
        shares = (0.02, 0.71, 0.01, 0.01) if marked else (0.03, 0.04, 0.02, 0.05)
        images.append(
            image(
                path,
                answer,
                round(float(random.uniform(0.4, 0.999)), 4),
                truth,
                blank=number % 211 == 7,
                location=located(0.8 if marked else 0.25, shares, cells.astype(np.uint8)),
            )
        )
    return manifest(images)


if __name__ == "__main__":
    target, count = Path(os.fsdecode(sys.argv[1])), int(sys.argv[2])
    _small = _pixels
    _pixels = lambda number, key: _small(number, key, 300, 400)  # noqa: E731
    write_run(target, large(count))
