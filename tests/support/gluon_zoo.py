"""The zoo's networks as Gluon builds them, each traced but once in a run of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from cnnviz.demo import architecture as demo
from cnnviz.graph.architecture import Architecture
from cnnviz.importers.gluon import architecture_of_block
from cnnviz.models import zoo
from tests.support.mxnet import import_mxnet


def build_block(name: str, classes: int | None = None) -> Any:
    """A network without its weights: an uninitialized ``HybridBlock``; demo has its own classes."""
    mx = import_mxnet()
    # A fresh name manager: layers are numbered from 0, whatever was built before.
    with mx.name.NameManager():
        if name == "demo":
            return demo.build()
        return mx.gluon.model_zoo.vision.get_model(name, prefix="", classes=classes or 1000)


def block_shapes(block: Any, shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Of a block's parameters, by structural name, with images of a shape (C, H, W)."""
    block.infer_shape(import_mxnet().nd.zeros((1, *shape)))
    return {name: tuple(p.shape) for name, p in block._collect_params_with_prefix().items()}


def assign(block: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Set all parameters of a block, initialized or not, by structural name."""
    mx = import_mxnet()
    block.collect_params().setattr("grad_req", "null")
    parameters = block._collect_params_with_prefix()
    assert parameters.keys() == arrays.keys()
    for name, array in arrays.items():
        parameters[name]._load_init(mx.nd.array(array, dtype="float32"), None)


@cache
def traced(name: str) -> tuple[Any, Architecture]:
    """The network with its usual classes, without weights: Gluon's block, and what it traces to."""
    block = build_block(name)
    return block, architecture_of_block(block, zoo.get(name).input.shape)
