"""Scenes as PNG files: ``python -m cnnviz.demo.scenes --help``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2

from cnnviz.demo import CLASSES
from cnnviz.demo.scenes import scene
from cnnviz.errors import UsageError


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
    options = parser.parse_args(arguments)
    try:
        for seed in range(options.seed, options.seed + options.count):
            drawn = scene(seed, options.kinds)
            name = "_and_".join(thing.kind for thing in drawn.objects)
            if options.count > 1:
                name += f"_{seed}"
            options.folder.mkdir(parents=True, exist_ok=True)
            file = options.folder / f"{name}.png"
            done, data = cv2.imencode(".png", drawn.image[:, :, ::-1])
            if not done:
                raise UsageError(f"OpenCV cannot write PNG files here, so {file} was not made.")
            file.write_bytes(data.tobytes())
            print(file)
    except (UsageError, OSError) as problem:
        parser.error(str(problem))


if __name__ == "__main__":
    main()
