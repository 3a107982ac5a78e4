"""PyTorch's products of matrices: dense layers, attention, ``einsum``."""

from __future__ import annotations

from collections.abc import Sequence

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import Add
from cnnviz.importers import tensor_products as products
from cnnviz.importers.tensor_arithmetic import arithmetic
from cnnviz.importers.tensor_functions import scaled
from cnnviz.importers.tensors import Constant, Operand, Tensor, TensorGraph
from cnnviz.importers.torch_table import Table, images

PRODUCTS = Table()


@PRODUCTS.named("linear")
def _linear(graph: TensorGraph, x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    if isinstance(weight, Constant) and (bias is None or isinstance(bias, Constant)):
        return products.linear(graph, images(x), weight, bias)
    product = products.matmul(graph, x, products.turned(graph, weight))
    return product if bias is None else arithmetic(graph, Add, product, bias)


@PRODUCTS.named("matmul", "mm", "bmm", "mv", "dot")
def _matmul(graph: TensorGraph, left: Operand, right: Operand) -> Tensor:
    return products.matmul(graph, left, right)


@PRODUCTS.named("addmm", "baddbmm")
def _addmm(
    graph: TensorGraph,
    bias: Operand,
    left: Operand,
    right: Operand,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> Tensor:
    product = scaled(graph, products.matmul(graph, left, right), alpha)
    if beta != 1:
        raise NetworkError("a product is added to a part of another value")
    return arithmetic(graph, Add, product, bias)


@PRODUCTS.named("scaled_dot_product_attention")
def _attention(
    graph: TensorGraph,
    query: Operand,
    key: Operand,
    value: Operand,
    mask: Operand | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Operand | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    **_dropout: float,
) -> Tensor:
    mask = attn_mask if mask is None else mask
    if enable_gqa:
        raise NetworkError("attention shares keys between heads")
    return products.attention(graph, query, key, value, mask, scale=scale, causal=is_causal)


@PRODUCTS.named("einsum")
def _einsum(
    graph: TensorGraph, equation: str, operands: Sequence[Operand], path: object = None
) -> Tensor:
    return products.einsum(graph, equation, operands)
