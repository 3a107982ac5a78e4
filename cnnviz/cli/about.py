"""``cnnviz about``: what a file that cnnviz wrote shows, and of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from cnnviz.cli.console import json_line, put, say
from cnnviz.cli.option_types import FilePath
from cnnviz.errors import ExitCode, ImageError
from cnnviz.text import class_name, printable

_MOST_NAMED = 16  # of channels


@click.command(name="about")
@click.argument("files", nargs=-1, required=True, type=FilePath(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
def command(files: tuple[Path, ...], as_json: bool) -> int:
    """Say what an image or .npz written by cnnviz shows, and of which network and image.

    Each file records the image and its SHA-256, the network and its weights' SHA-256, the layer,
    the method with its options and ReLU rule, and the class.
    """
    from cnnviz.outputs.provenance import about

    failed = False
    for path in files:
        try:
            found = about(path)
        except ImageError as error:
            failed = True
            say(f"Error: {error}")
            if as_json:
                put(json_line({"path": str(path), "status": "failed", "error": str(error)}))
            continue
        if as_json:
            put(json_line({"path": str(path), "status": "ok", **found}))
        else:
            put(printable(f"{path}: {found['shows']}"))
            for name, text in _lines(found):
                put(printable(f"    {name:<8} {text}"))
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What it is of, each with its name."""
    image, network = found.get("image"), found["network"]
    if image is not None:
        yield "image", _with_digest(image["name"], image["sha256"])
    yield "network", _with_digest(network["name"], network["weights"], "weights ")
    if found["layers"]:
        yield "layer", ", ".join(found["layers"])
    for method in found["methods"]:
        yield "method", _method(method)
    if found["classes"]:
        yield "class", "; ".join(class_name(one["index"], one["name"]) for one in found["classes"])
    for other in found.get("similar_to", []):
        yield "similar to", _with_digest(other["name"], other["sha256"])
    channels = found.get("channels", [])
    if channels:
        more = [f"and {len(channels) - _MOST_NAMED} more"] * (len(channels) > _MOST_NAMED)
        yield "channel", ", ".join([*map(str, channels[:_MOST_NAMED]), *more])
    yield "cnnviz", found["cnnviz"]


def _with_digest(name: str, sha256: str | None, whose: str = "") -> str:
    return name if sha256 is None else f"{name}, {whose}SHA-256 {sha256}"


def _method(method: Mapping[str, Any]) -> str:
    """``Grad-CAM (gradcam), ReLU rule standard``."""
    said = [f"{method['title']} ({method['name']})"]
    said += [f"{name} {value}" for name, value in method["options"].items() if name != "relu"]
    if method["relu"]:
        said.append(f"ReLU rule {' and '.join(method['relu'])}")
    return ", ".join(said)
