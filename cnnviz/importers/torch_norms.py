"""PyTorch's normalization: of batches, layers, groups, instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.importers import tensor_layers as layers
from cnnviz.importers.tensors import Constant, Tensor, TensorGraph
from cnnviz.importers.torch_table import Table

NORMS = Table()


@NORMS.named("batch_norm", "cudnn_batch_norm")
def _batch_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    mean: Constant | None,
    variance: Constant | None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_how: bool,
) -> Tensor:
    if training or mean is None or variance is None:
        raise NetworkError(
            "a batch norm takes its statistics from the batch, so that what it says of one image "
            "depends on the others; call module.eval() before it is exported"
        )
    channels = mean.shape
    return layers.batch_norm(
        graph, x, scale or _full(channels, 1), shift or _full(channels, 0), mean, variance, eps
    )


@NORMS.named("_native_batch_norm_legit_no_training", "_batch_norm_no_update")
def _native_batch_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    mean: Constant,
    variance: Constant,
    momentum: float,
    eps: float,
) -> list[Tensor | None]:
    return [
        _batch_norm(graph, x, scale, shift, mean, variance, False, momentum, eps),
        None,
        None,
    ]


@NORMS.named("native_batch_norm", "_native_batch_norm_legit")
def _whole_batch_norm(graph: TensorGraph, x: Tensor, *args: Any) -> list[Tensor | None]:
    return [_batch_norm(graph, x, *args), None, None]


def _full(shape: Sequence[int], value: float) -> Constant:
    return Constant(np.full(shape, value, np.float32))


@NORMS.named("layer_norm")
def _layer_norm(
    graph: TensorGraph,
    x: Tensor,
    normalized: Sequence[int],
    scale: Constant | None = None,
    shift: Constant | None = None,
    eps: float = 1e-5,
    *_how: bool,
) -> Tensor:
    return layers.layer_norm(graph, x, len(normalized), scale, shift, eps)


@NORMS.named("native_layer_norm")
def _native_layer_norm(
    graph: TensorGraph,
    x: Tensor,
    normalized: Sequence[int],
    scale: Constant | None,
    shift: Constant | None,
    eps: float,
) -> list[Tensor | None]:
    return [layers.layer_norm(graph, x, len(normalized), scale, shift, eps), None, None]


@NORMS.named("rms_norm")
def _rms_norm(
    graph: TensorGraph,
    x: Tensor,
    normalized: Sequence[int],
    weight: Constant | None = None,
    eps: float | None = None,
) -> Tensor:
    eps = float(np.finfo(np.float32).eps) if eps is None else eps
    return layers.rms_norm(graph, x, len(normalized), weight, eps)


@NORMS.named("group_norm")
def _group_norm(
    graph: TensorGraph,
    x: Tensor,
    groups: int,
    scale: Constant | None = None,
    shift: Constant | None = None,
    eps: float = 1e-5,
    *_how: bool,
) -> Tensor:
    return layers.group_norm(graph, x, groups, scale, shift, eps)


@NORMS.named("native_group_norm")
def _native_group_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    images: int,
    channels: int,
    pixels: int,
    groups: int,
    eps: float,
) -> list[Tensor | None]:
    return [layers.group_norm(graph, x, groups, scale, shift, eps), None, None]


@NORMS.named("instance_norm")
def _instance_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    mean: Constant | None,
    variance: Constant | None,
    from_input: bool,
    momentum: float,
    eps: float,
    *_how: bool,
) -> Tensor:
    if not from_input:
        return _batch_norm(graph, x, scale, shift, mean, variance, False, momentum, eps)
    return layers.instance_norm(graph, x, scale, shift, eps)
