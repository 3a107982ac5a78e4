"""Reading the manifest of a run, and refusing what is none, with a reason that helps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cnnviz.errors import UsageError
from cnnviz.runs.manifest import MANIFEST, VERSION
from cnnviz.structure import NUMBER, TEXT, check, no_constant

_CLASS = {"index": int, "name": TEXT, "logit": NUMBER, "probability": (*NUMBER, type(None))}
_FILES = {str: str}
# What the report reads, and no more: a manifest may hold other things.
_RUN = {
    "parameters": dict,
    "versions": {str: object},
    "network": {
        "name": str,
        "device": str,
        "layers": [{"name": str}],
    },
    "methods": [{"key": str, "title": str, "drawings": {str: str}, "guided": bool}],
    "seconds": NUMBER,
    "started": str,
}
_SUMMARY = {"images": int, "ok": int, "failed": int}
_FAILED = {"path": str, "status": str, "error": str}
_EXPLANATION = {"target": _CLASS, "files": _FILES, "blank": [str]}
_IMAGE = {"path": str, "status": str, "top5": [_CLASS], "explanations": [_EXPLANATION]}
_CONTRAST = {"a": _CLASS, "b": _CLASS, "file": str}
_LOCATION = {
    "border": NUMBER,
    "corners": [NUMBER],
    "box": [NUMBER],
    "map": {"shape": [int], "data": str},
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the run that wrote to a folder.

    Everything that the report takes from it is there and of the right type.

    Raises:
        UsageError: there is none, it is another version's, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"There is no {MANIFEST} in {folder}. A run of `cnnviz explain` writes it when all "
            "images are done; give the folder that was its --output."
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        manifest = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(manifest, dict) or "cnnviz_manifest" not in manifest:
        raise UsageError(f"{path} was not written by cnnviz: it has no `cnnviz_manifest`.")
    version = manifest["cnnviz_manifest"]
    if version != VERSION:
        raise UsageError(
            f"{path} has version {version!r} of the manifest, and this cnnviz knows version "
            f"{VERSION}. Use the cnnviz that wrote it, or run `cnnviz explain` again."
        )
    try:
        _check_manifest(manifest)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    return manifest


def _damaged(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} is damaged: {what}. Run `cnnviz explain` again.")


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    check(manifest, {"run": _RUN, "summary": _SUMMARY, "images": [dict]}, "the manifest")
    check(manifest["run"]["network"].get("labels", []), [str], "run.network.labels")
    weights = manifest["run"]["network"].get("weights")
    if weights is not None:
        check(weights, {"sha256": TEXT}, "run.network.weights")
    for number, image in enumerate(manifest["images"]):
        where = f"images[{number}]"
        if image.get("status") == "failed":
            check(image, _FAILED, where)
            continue
        check(image, _IMAGE, where)
        if image["status"] != "ok":
            raise ValueError(f"{where} is neither ok nor failed")
        if not image["top5"] or not image["explanations"]:
            raise ValueError(f"{where} has no answer or no explanation")
        if image.get("truth") is not None:
            check(image["truth"], _CLASS, f"{where}.truth")
        for key in ("loss", "margin", "seconds"):
            check(image.get(key), (*NUMBER, type(None)), f"{where}.{key}")
        check(image.get("size"), (list, type(None)), f"{where}.size")
        check(image.get("contrasts", []), [_CONTRAST], f"{where}.contrasts")
        check(image.get("panel"), TEXT, f"{where}.panel")
        for contrast in image.get("contrasts", []):
            _check_inside(contrast["file"], where)
        if image.get("panel") is not None:
            _check_inside(image["panel"], where)
        for explanation in image["explanations"]:
            for file in explanation["files"].values():
                _check_inside(file, where)
            if explanation.get("location") is not None:
                _check_location(explanation["location"], f"{where}.location")
            check(explanation.get("ranges", {}), {str: list}, f"{where}.ranges")
            check(explanation.get("facts", {}), {str: dict}, f"{where}.facts")


def _check_location(location: Any, where: str) -> None:
    check(location, _LOCATION, where)
    if len(location["corners"]) != 4 or len(location["box"]) != 4:
        raise ValueError(f"{where} has not four corners, or no box")
    if len(location["map"]["shape"]) != 2:
        raise ValueError(f"{where}.map has no height and width")


def _check_inside(file: str, where: str) -> None:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\0" in file or not path.name:
        raise ValueError(f"{where} names {file!r}, which is no file below the folder")
    try:
        os.fsencode(file)
    except UnicodeEncodeError:
        raise ValueError(f"{where} names {file!r}, which no file can have") from None
