"""The embedded network ``demo``: a small VGG for generated scenes whose ground truth is known.

It knows eight kinds of object, which the scene generator draws together with a mask of each. So
everything works without any download, and whether an explanation points at the right thing can be
measured. On scenes never trained on: all of 200 with one object are classified correctly, with
a mean top probability of 0.970; of 400 Grad-CAM maps for 200 scenes with two objects, one map
for each class, 98.0 % have their maximum inside the right object, none inside the other one and
2.0 % inside neither. ``python tests/benchmarks/localization.py`` measures it again.

Importing this package loads neither MXNet nor OpenCV.
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

#: Channels of the network's convolutions, block by block; a 2x2 max pooling stands between blocks.
CHANNELS: tuple[tuple[int, ...], ...] = ((16,), (32,), (64, 64), (96, 96), (128, 128))


def weights_path() -> Path:
    """The weights file that ships with the package, in Gluon's ``save_parameters`` format."""
    return Path(str(files(__name__).joinpath("demo.params")))
