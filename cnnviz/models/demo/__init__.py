"""The embedded network ``demo``: a small VGG for generated scenes, whose truth is known.

It knows eight kinds of object, which the scene generator draws together with a mask of each. So
everything works without any download, and whether an explanation points at the right thing is
a matter of measurement. Importing this package loads neither MXNet nor OpenCV.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

#: What the network tells apart, in the order of its logits.
CLASSES: tuple[str, ...] = (
    "butterfly",
    "fish",
    "mushroom",
    "sailboat",
    "snail",
    "starfish",
    "teapot",
    "umbrella",
)


def weights_path() -> Path:
    """The weights file that ships with the package, in Gluon's ``save_parameters`` format."""
    return Path(str(files(__name__).joinpath("demo.params")))
