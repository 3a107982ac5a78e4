"""What of an ONNX file does not depend on the images is computed while it is read.

ONNX's own reference operators compute it; those that exporters write by the hundred around shapes
are here in NumPy. A few bytes can ask for any amount of memory (``Expand``, ``Range``), so that
the size of a result is known before it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.importers.onnx_checks import first_line, import_onnx
from cnnviz.types import Array, Shape

#: Of all that is computed from stored numbers, beyond what the file itself holds.
MOST_BYTES = 2**30

#: How many numbers a matrix may have that resizes along an axis; it is made in seconds.
_LARGEST_MATRIX = 2**18

# fmt: off
#: The result is no larger than what goes in (or a few numbers).
_NO_LARGER = {
    "Abs", "Acos", "Acosh", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh",
    "BatchNormalization", "BitwiseNot", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Compress",
    "Concat", "Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Det", "Dropout", "Elu",
    "Erf", "Exp", "EyeLike", "Flatten", "Floor", "GatherElements", "Gelu", "GlobalAveragePool",
    "HardSigmoid", "HardSwish", "Hardmax", "Identity", "InstanceNormalization", "IsInf", "IsNaN",
    "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Mish", "Neg",
    "NonZero", "Not", "QuantizeLinear", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "ReverseSequence", "Round", "ScatterElements",
    "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice",
    "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Swish", "Tan",
    "Tanh", "ThresholdedRelu", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze",
}
#: What goes in is stretched to one shape.
_STRETCHED = {
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu",
    "Pow", "Sub", "Sum", "Where", "Xor",
}
# fmt: on


def _matrix_product(left: Shape, right: Shape) -> int:
    """Rows times columns, for each of the matrices; a vector has one of them only."""
    many = np.broadcast_shapes(left[:-2], right[:-2])
    return math.prod(many) * math.prod(left[-2:-1]) * (right[-1] if len(right) > 1 else 1)


def _einsum(attributes: Mapping[str, Any], arrays: Sequence[Array]) -> int:
    """Not more than every letter's size, together."""
    terms = str(attributes.get("equation", "")).split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, array in zip(terms, arrays, strict=True):
        sizes.update(zip(term.strip(), array.shape, strict=True))
    return math.prod(sizes.values())


def _new_sizes(attributes: Mapping[str, Any], data: Array, wanted: Array) -> list[int]:
    """What ``Resize`` brings each axis to, by sizes, which are whole numbers, or by factors."""
    found = list(data.shape)
    for axis, one in zip(attributes.get("axes", range(data.ndim)), wanted, strict=True):
        found[axis] = int(one) if wanted.dtype.kind == "i" else math.floor(found[axis] * float(one))
    return found


#: How many numbers come out of operators that may give more than they take.
_SIZES: Mapping[str, Callable[[Mapping[str, Any], Sequence[Array]], int]] = {
    "Conv": lambda at, a: (
        a[1].shape[0] * _product(np.asarray(a[0].shape[2:]) + sum(map(abs, at.get("pads", [])), 2))
    ),
    "ConstantOfShape": lambda _, a: _product(a[0]),
    "Einsum": _einsum,
    "Expand": lambda _, a: _product(
        [max(pair) for pair in zip_longest(a[0].shape[::-1], a[1].tolist()[::-1], fillvalue=1)]
    ),
    "Gather": lambda at, a: a[1].size * a[0].size // max(1, a[0].shape[int(at.get("axis", 0))]),
    "GatherND": lambda _, a: a[1].size * math.prod(a[0].shape[a[1].shape[-1] :]),
    "Gemm": lambda at, a: a[0].shape[bool(at.get("transA"))] * a[1].shape[not at.get("transB")],
    "MatMul": lambda _, a: _matrix_product(a[0].shape, a[1].shape),
    "OneHot": lambda _, a: a[0].size * int(a[1].reshape(-1)[0]),
    "Pad": lambda at, a: _product(
        np.asarray(a[0].shape)
        + np.abs(np.reshape(at.get("pads", a[1] if len(a) > 1 else 0), (2, -1))).sum(0).max()
    ),
    "Range": lambda _, a: math.ceil(max(0.0, float((a[1] - a[0]) / a[2]))),
    "Resize": lambda at, a: _product(_new_sizes(at, a[0], a[-1])),
    "Tile": lambda _, a: math.prod(a[0].shape) * _product(np.maximum(a[1], 1)),
}


def fold(node: Any, attributes: Mapping[str, Any], inputs: Sequence[Any], opset: int) -> list[Any]:
    """An operator's outputs, computed.

    Args:
        node: its message.
        attributes: likewise, as Python values.
        inputs: arrays; None for what is left out.
        opset: the version of the standard operators.

    Raises:
        NetworkError: it is not computed ahead of time, fails, or would take too much memory.
    """
    arrays = [array for array in inputs if array is not None]
    size = _size(node.op_type, attributes, arrays)
    width = max((array.itemsize for array in arrays), default=4)
    if size * max(width, 4) > MOST_BYTES:
        raise NetworkError(f"it makes {size:,} numbers out of stored ones, which no network does")
    if node.op_type == "Resize":
        return [_resized(node, attributes, arrays[0], arrays[-1], opset)]
    quick = _IN_NUMPY.get(node.op_type)
    found = None if quick is None else quick(attributes, *inputs)
    return _by_reference(node, inputs, opset) if found is None else [np.asarray(found)]


def _by_reference(node: Any, inputs: Sequence[Any], opset: int) -> list[Any]:
    """An operator's outputs as ONNX's own reference computes them."""
    onnx = import_onnx()
    helper = onnx.helper
    graph = helper.make_graph(
        [node],
        "constant",
        [
            helper.make_tensor_value_info(name, 0, None)
            for name in dict.fromkeys(node.input)
            if name
        ],
        [helper.make_tensor_value_info(name, 0, None) for name in node.output if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    fed = {name: array for name, array in zip(node.input, inputs, strict=True) if name}
    try:
        from onnx.reference import ReferenceEvaluator

        found = iter(ReferenceEvaluator(model).run(None, fed))
    except Exception as error:
        raise NetworkError(f"it cannot be computed: {first_line(error)}") from error
    return [np.asarray(next(found)) if name else None for name in node.output]


def _size(kind: str, attributes: Mapping[str, Any], arrays: Sequence[Array]) -> int:
    """How many numbers come out, at most."""
    try:
        if kind in _NO_LARGER:
            return sum(array.size for array in arrays)
        if kind in _STRETCHED:
            return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
        if kind in _SIZES:
            return _SIZES[kind](attributes, arrays)
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise NetworkError(f"it cannot be computed: {first_line(error)}") from error
    raise NetworkError(
        "it is computed from stored numbers alone, which cnnviz does not do with this operator"
    )


def _product(sizes: Any) -> int:
    """Of any size: NumPy's own would go round."""
    return math.prod(max(0, int(size)) for size in np.asarray(sizes).reshape(-1))


def _resized(
    node: Any, attributes: Mapping[str, Any], data: Array, wanted: Array, opset: int
) -> Array:
    """Along one axis after the other, as products with a matrix each.

    The matrix is what the reference makes of an identity: it computes number by number, in Python,
    and would take minutes for a whole array.
    """
    plain = attributes.get("keep_aspect_ratio_policy", "stretch") == "stretch"
    crops = attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    sizes = _new_sizes(attributes, data, wanted)
    matrices = (new * old for new, old in zip(sizes, data.shape, strict=True) if new != old)
    if opset < 11 or crops or not plain or max(matrices, default=0) > _LARGEST_MATRIX:
        raise NetworkError("it resizes stored numbers in a way that cnnviz does not compute")
    alone = type(node)()
    alone.CopyFrom(node)
    del alone.input[:], alone.attribute[:]
    by_sizes = wanted.dtype.kind == "i"
    alone.input.extend(["data", "", "", "wanted"] if by_sizes else ["data", "", "wanted"])
    alone.attribute.extend(one for one in node.attribute if one.name != "axes")
    found = data
    for axis, one in zip(attributes.get("axes", range(data.ndim)), wanted, strict=True):
        size = data.shape[axis]
        if sizes[axis] != size:
            kept = np.asarray([one, size if by_sizes else 1], wanted.dtype)
            identity = np.eye(size, dtype=np.float32)
            fed = [identity, None, None, kept] if by_sizes else [identity, None, kept]
            (matrix,) = _by_reference(alone, fed, opset)
            found = np.moveaxis(np.tensordot(matrix, found, (1, axis)), 0, axis)
    return found.astype(data.dtype)


# --- in NumPy: the usual ones around shapes, of which a file may have thousands -------------------


def _cast(at: Mapping[str, Any], data: Array) -> Array | None:
    to = _PLAIN_TYPES.get(int(at.get("to", 0)))
    return None if to is None or data.dtype.kind not in "biuf" else data.astype(to)


def _unsqueezed(at: Mapping[str, Any], data: Array, axes: Array | None = None) -> Array:
    places = at["axes"] if axes is None else axes.tolist()
    return np.expand_dims(data, tuple(places))


def _sliced(
    _: Mapping[str, Any],
    data: Array,
    begin: Array | None = None,
    end: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array | None:
    if begin is None or end is None:  # older versions have attributes
        return None
    places = range(len(begin)) if axes is None else axes.tolist()
    strides = [1] * len(begin) if steps is None else steps.tolist()
    found = [slice(None)] * data.ndim
    for axis, *part in zip(places, begin.tolist(), end.tolist(), strides, strict=True):
        found[axis] = slice(*part)
    return data[tuple(found)]


def _reshaped(_: Mapping[str, Any], data: Array, shape: Array) -> Array | None:
    return data.reshape(shape.tolist()) if shape.all() else None  # 0 has a meaning of its own


def _gathered(at: Mapping[str, Any], data: Array, indices: Array) -> Array:
    return np.take(data, indices.astype(np.int64), int(at.get("axis", 0)))


def _gathered_nd(at: Mapping[str, Any], data: Array, indices: Array) -> Array | None:
    return None if at.get("batch_dims") else np.asarray(data[tuple(np.moveaxis(indices, -1, 0))])


def _dequantized(
    at: Mapping[str, Any], data: Array, scale: Array, zero: Array | None = None
) -> Array | None:
    """(x - zero) · scale; ONNX's reference has it in newer revisions only."""
    if at.get("block_size"):
        return None
    shape = [1] * data.ndim
    if scale.size > 1:  # one for each place of an axis
        shape[int(at.get("axis", 1))] = scale.size
    centered = data.astype(np.float32)
    if zero is not None:
        centered = centered - zero.astype(np.float32).reshape(shape)
    return np.asarray(centered * scale.astype(np.float32).reshape(shape))


#: Of ONNX's numbers for types those that NumPy has, too, and casts to as ONNX does.
_PLAIN_TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
#: Functions of attributes and inputs; None where it is left to ONNX's reference.
_IN_NUMPY: Mapping[str, Callable[..., Array | None]] = {
    "Add": lambda _, a, b: np.add(a, b),
    "Cast": _cast,
    "Concat": lambda at, *parts: np.concatenate(parts, int(at["axis"])),
    "DequantizeLinear": _dequantized,
    "Equal": lambda _, a, b: np.equal(a, b),
    "Expand": lambda _, data, shape: np.broadcast_to(
        data, np.broadcast_shapes(data.shape, tuple(shape.tolist()))
    ),
    "Gather": _gathered,
    "GatherND": _gathered_nd,
    "Identity": lambda _, data: data,
    "Mul": lambda _, a, b: np.multiply(a, b),
    "Reshape": _reshaped,
    "Shape": lambda at, data: np.asarray(data.shape[at.get("start") : at.get("end")], np.int64),
    "Slice": _sliced,
    "Sub": lambda _, a, b: np.subtract(a, b),
    "Unsqueeze": _unsqueezed,
    "Where": lambda _, condition, a, b: np.where(condition, a, b),
}


def constant_of(node: Any, attributes: Mapping[str, Any]) -> Any:
    """What a ``Constant`` holds: an array, or a message that has one."""
    for name, value in attributes.items():
        if name == "value":
            return value
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise NetworkError("it holds texts or a sparse array, which no network of images needs")
