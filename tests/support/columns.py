"""A network of our making, as a file: score k is how much of column k is bright, less 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.mxnet import import_mxnet

#: What the command has to be told of it.
SCALE = ("--input-size", "8", "--mean", "0", "--std", "1")


def sigma(logit: float) -> float:
    """The sigmoid, by its formula."""
    return float(1 / (1 + np.exp(-logit)))


def write_columns(folder: Path, name: str, classes: int, end: Callable[[Any], Any]) -> None:
    """Write ``NAME-symbol.json`` and its parameters.

    One convolution passes the brightness on, from 0 to 1 a place.

    Args:
        folder: where to.
        name: of the network.
        classes: how many scores there are.
        end: what follows them, in MXNet's symbols.
    """
    mx = import_mxnet()
    x = mx.sym.Convolution(mx.sym.var("data"), kernel=(1, 1), num_filter=1, name="conv")
    x = mx.sym.Activation(x, act_type="relu", name="relu")
    symbol = end(mx.sym.FullyConnected(x, num_hidden=classes, name="fc"))
    symbol.save(str(folder / f"{name}-symbol.json"))
    columns = np.zeros((classes, 8, 8), np.float32)
    for index in range(classes):
        columns[index, :, index] = 1
    parameters = {
        "conv_weight": np.ones((1, 1, 1, 1)),
        "conv_bias": np.zeros(1),
        "fc_weight": columns.reshape(classes, 64),
        "fc_bias": np.full(classes, -1.0),
    }
    arrays = {f"arg:{key}": mx.nd.array(value) for key, value in parameters.items()}
    mx.nd.save(str(folder / f"{name}-0000.params"), arrays)


def write_bright(path: Path, *counts: int) -> None:
    """Write an image in which so many places of column 0, 1, ... are white; the rest is black."""
    image = np.zeros((8, 8), np.uint8)
    for column, count in enumerate(counts):
        image[:count, column] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
