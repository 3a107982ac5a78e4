"""Which of an ONNX file's inputs takes the images, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cnnviz.errors import NetworkError
from cnnviz.importers.onnx_checks import shown
from cnnviz.text import listed
from cnnviz.types import Shape

#: Images have at most so many channels where nothing else says which axis these are.
_FEW = 4
#: These take images with their channels first.
_CHANNELS_FIRST = {
    *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool"),
    *("GlobalMaxPool", "InstanceNormalization", "LRN", "MaxPool", "QLinearConv"),
}
#: What may stand before the first layer that tells.
_AHEAD = {
    *("Add", "Cast", "Clip", "DequantizeLinear", "Div", "Identity", "Mul", "Neg", "Pad"),
    *("QuantizeLinear", "Resize", "Slice", "Sub"),
}
_TO_CHANNELS_FIRST = [0, 3, 1, 2]


@dataclass(frozen=True)
class OnnxInput:
    """The input that takes the images.

    Attributes:
        name: its own.
        size: (C, H, W); None for what the file leaves open.
        layout: which axis is which in the file; a graph's are always NCHW.
        dtype: what the file says it takes: ``float32``, ``float16``, ``uint8``, ...
        batch: for how many images the file was made; 1 if for any number.
    """

    name: str
    size: tuple[int | None, int | None, int | None]
    layout: Literal["NCHW", "NHWC"]
    dtype: str
    batch: int

    def file_shape(self, size: Shape) -> Shape:
        """The shape of one image of a size (C, H, W), as the file has it."""
        channels, height, width = size
        if self.layout == "NCHW":
            return (1, channels, height, width)
        return (1, height, width, channels)


def find_input(graph: Any, needed: set[str], stored: Mapping[str, Shape]) -> OnnxInput:
    """The input that takes the images.

    Args:
        graph: the file's ``GraphProto``.
        needed: names of the values that its outputs are computed from.
        stored: shapes of the weights by name; older files list these among the inputs.

    Raises:
        NetworkError: there is none, or there are several.
    """
    inputs = [one for one in graph.input if one.name not in stored and one.name in needed]
    if not inputs:
        raise NetworkError("its outputs depend on no input")
    images = [one for one in inputs if len(_dimensions(one)) == 4]
    if len(inputs) > 1:
        names = listed([shown(one.name) for one in inputs])
        raise NetworkError(
            f"it has {len(inputs)} inputs ({names}), and cnnviz explains networks with one, the "
            "images"
        )
    if not images:
        axes = len(_dimensions(inputs[0]))
        raise NetworkError(
            f"its input {shown(inputs[0].name)} has {axes} axes, and images have four: batch, "
            "channels, height and width"
        )
    (image,) = images
    dimensions = _dimensions(image)
    batch, *sizes = dimensions
    weight = _first_weight(graph, image.name, stored)
    layout = _layout(graph, image.name, sizes)
    channels, height, width = sizes if layout == "NCHW" else (sizes[2], sizes[0], sizes[1])
    if channels is None and layout == "NCHW":
        channels = weight
    return OnnxInput(image.name, (channels, height, width), layout, _dtype(image), batch or 1)


def _dimensions(value: Any) -> list[int | None]:
    """What an input's declaration says; None for a dimension that is open."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return []
    found: list[int | None] = []
    for dimension in kind.shape.dim:
        size = dimension.dim_value if dimension.HasField("dim_value") else 0
        if size > 1_000_000:
            raise NetworkError(f"its input {shown(value.name)} has an axis of {size:,}")
        found.append(size if size > 0 else None)
    return found


def _dtype(value: Any) -> str:
    from onnx import helper

    code = value.type.tensor_type.elem_type
    try:
        dtype = helper.tensor_dtype_to_np_dtype(code)
    except (KeyError, ValueError, TypeError):
        dtype = None
    if dtype is None or (dtype.kind not in "fiu" and dtype.name != "bfloat16"):
        raise NetworkError(f"its input {shown(value.name)} takes no numbers")
    return str(dtype.name)


def _ahead(graph: Any, name: str) -> Sequence[Any]:
    """The first operators that the images come to, in order, up to those that tell their layout."""
    reached = {name}
    found = []
    for node in graph.node:
        if reached.intersection(node.input):
            found.append(node)
            if node.op_type in _AHEAD:
                reached.update(node.output)
    return found


def _layout(graph: Any, name: str, sizes: Sequence[int | None]) -> Literal["NCHW", "NHWC"]:
    """By the first layer, else by which axis is short."""
    for node in _ahead(graph, name):
        if node.op_type in _CHANNELS_FIRST:
            return "NCHW"
        if node.op_type == "Transpose":
            order = next((list(at.ints) for at in node.attribute if at.name == "perm"), [])
            if order == _TO_CHANNELS_FIRST:
                return "NHWC"
    first, _, last = sizes
    if last is not None and last <= _FEW and (first is None or first > _FEW):
        return "NHWC"
    return "NCHW"


def _first_weight(graph: Any, name: str, stored: Mapping[str, Shape]) -> int | None:
    """How many channels the first convolution takes."""
    for node in _ahead(graph, name):
        if node.op_type == "Conv" and len(node.input) > 1 and node.input[1] in stored:
            groups = next((at.i for at in node.attribute if at.name == "group"), 1)
            shape = stored[node.input[1]]
            return shape[1] * int(groups) if len(shape) == 4 else None
    return None
