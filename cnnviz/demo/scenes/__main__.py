"""Scenes as PNG files: ``python -m cnnviz.demo.scenes --help``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.demo import CLASSES
from cnnviz.demo.scenes import Object, Scene, scene
from cnnviz.errors import UsageError
from cnnviz.labels.masks import VALUES_FILE


def main(arguments: Sequence[str] | None = None) -> None:
    """Write scenes as PNG files: ``python -m cnnviz.demo.scenes --help``."""
    parser = argparse.ArgumentParser(
        prog="python -m cnnviz.demo.scenes",
        description="Write generated scenes to a folder, named after what is in them.",
    )
    parser.add_argument("folder", type=Path, help="where the PNG files go; made if missing")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first scene (default 0)")
    parser.add_argument("--count", type=int, default=1, help="how many, seeds counting up")
    parser.add_argument(
        "--kinds", nargs="+", metavar="KIND", help="one or two of: " + ", ".join(CLASSES)
    )
    parser.add_argument(
        "--masks",
        action="store_true",
        help="also say where the objects are: images go to FOLDER/images, masks of what can be "
        "seen of each object to FOLDER/masks, the boxes around that to FOLDER/boxes.csv",
    )
    options = parser.parse_args(arguments)
    boxes = []
    try:
        for seed in range(options.seed, options.seed + options.count):
            drawn = scene(seed, options.kinds)
            name = "_and_".join(thing.kind for thing in drawn.objects)
            if options.count > 1:
                name += f"_{seed}"
            images = options.folder / "images" if options.masks else options.folder
            print(_write(images / f"{name}.png", drawn.image[:, :, ::-1]))
            if options.masks:
                _write(options.folder / "masks" / f"{name}.png", _mask(drawn))
                boxes += [_box_row(f"images/{name}.png", thing) for thing in drawn.objects]
        if options.masks:
            values = [f"{value},{kind}" for value, kind in enumerate(CLASSES, 1)]
            _write_lines(options.folder / "masks" / VALUES_FILE, ["value,label", *values])
            _write_lines(options.folder / "boxes.csv", ["path,label,x0,y0,x1,y1", *boxes])
    except (UsageError, OSError) as problem:
        parser.error(str(problem))


def _mask(drawn: Scene) -> npt.NDArray[np.uint8]:
    """uint8 (224, 224): 0, or 1 + the index of the object's class."""
    mask = np.zeros(drawn.image.shape[:2], np.uint8)
    for thing in drawn.objects:
        mask[thing.mask] = thing.index + 1
    return mask


def _box_row(path: str, thing: Object) -> str:
    """A row of the boxes' file."""
    rows, columns = (np.flatnonzero(thing.mask.any(axis=axis)) for axis in (1, 0))
    return f"{path},{thing.kind},{columns[0]},{rows[0]},{columns[-1] + 1},{rows[-1] + 1}"


def _write(file: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """A PNG, its folder made if missing; colors are blue, green, red."""
    file.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise UsageError(f"OpenCV cannot write PNG files here, so {file} was not made.")
    file.write_bytes(data.tobytes())
    return file


def _write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
