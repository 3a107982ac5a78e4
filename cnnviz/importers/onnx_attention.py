"""ONNX's attention, an operator of its own since opset 23, in the operators it is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import Add
from cnnviz.importers.onnx_step import Rule, Step, scaled
from cnnviz.importers.tensor_layers import matmul
from cnnviz.importers.tensor_shapes import softmax
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    arithmetic,
    reshape,
    transpose,
)


def _attention(step: Step) -> Operand:
    """softmax(q · kᵀ · scale + mask) · v, for each head."""
    graph = step.graph
    if step.outputs > 1 or any(step.optional(place) is not None for place in (4, 5, 6)):
        raise NetworkError("it remembers what came before, as in texts, which is not run")
    if step.number("softcap", 0.0) != 0 or step.integer("qk_matmul_output_mode", 0):
        raise NetworkError("it bounds its scores (softcap), which is not run")
    query, key, value = (step.tensor(place) for place in range(3))
    together = len(query.shape) == 3
    if together:
        heads = step.integer("q_num_heads", 0), step.integer("kv_num_heads", 0)
        query, key, value = (
            _apart(graph, each, count)
            for each, count in zip((query, key, value), (heads[0], *heads[1:] * 2), strict=True)
        )
    if query.shape[1] != key.shape[1]:
        raise NetworkError("its heads share keys, which is not run")
    root = math.sqrt(step.number("scale", 1 / math.sqrt(query.shape[-1])))
    # Scaling both, by the root, is how ONNX has it: smaller products.
    scores = matmul(
        graph,
        scaled(graph, query, root),
        transpose(graph, scaled(graph, key, root), (0, 1, 3, 2)),
    )
    mask = _mask(step, scores.shape[-2], scores.shape[-1])
    if mask is not None:
        scores = arithmetic(graph, Add, scores, mask)
    found = matmul(graph, softmax(graph, scores, -1), value)
    if not together:
        return found
    batch, count, tokens, width = found.shape
    return reshape(graph, transpose(graph, found, (0, 2, 1, 3)), (batch, tokens, count * width))


def _apart(graph: TensorGraph, x: Tensor, heads: int) -> Tensor:
    """(1, tokens, heads · width) as (1, heads, tokens, width)."""
    batch, tokens, width = x.shape
    if heads < 1 or width % heads:
        raise NetworkError(f"{width} numbers do not divide into {heads} heads")
    apart = reshape(graph, x, (batch, tokens, heads, width // heads))
    return transpose(graph, apart, (0, 2, 1, 3))


def _mask(step: Step, rows: int, columns: int) -> Operand | None:
    """What is added to the scores."""
    given = step.optional(3)
    if isinstance(given, Constant) and given.array.dtype == np.bool_:
        given = Constant(np.where(given.array, 0, -np.inf).astype(np.float32))
    if not step.integer("is_causal", 0):
        return given
    ahead = np.triu(np.full((rows, columns), -np.inf, np.float32), 1)
    if given is None:
        return Constant(ahead)
    if isinstance(given, Tensor):
        raise NetworkError("it has a mask that is computed from the images, and is causal, too")
    return Constant(given.array + ahead)


RULES: Mapping[str, Rule] = {"Attention": _attention}
