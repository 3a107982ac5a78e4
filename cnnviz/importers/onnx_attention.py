"""ONNX's attention, an operator of its own since opset 23."""

from __future__ import annotations

from collections.abc import Mapping

from cnnviz.errors import NetworkError
from cnnviz.importers.onnx_step import Rule, Step
from cnnviz.importers.tensor_products import attention
from cnnviz.importers.tensors import Operand, Tensor, TensorGraph, reshape, transpose


def _attention(step: Step) -> Operand:
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
    scale = step.attributes.get("scale")
    found = attention(
        graph,
        query,
        key,
        value,
        step.optional(3),
        scale=None if scale is None else float(scale),
        causal=bool(step.integer("is_causal", 0)),
    )
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


RULES: Mapping[str, Rule] = {"Attention": _attention}
