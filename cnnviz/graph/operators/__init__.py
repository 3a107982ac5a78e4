"""The operators that networks are made of: typed fields, and the shape of what comes out.

Names are PyTorch's. Semantics are ONNX's, which are written down: pads are (top, left, bottom,
right), and with ``ceil_mode`` a pooling window that would start in the bottom or right padding is
left out. Shapes are without the batch. Parameters are inputs like any other, so that a weight may
be computed from others; an operator's inputs are named in :attr:`Operator.inputs`.

A new operator is one class in this package, a line in each importer that meets it, and a line in
the lowering of each engine.
"""

from __future__ import annotations

from cnnviz.graph.operators.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    HardSigmoid,
    LeakyReLU,
    PReLU,
    ReLU,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)
from cnnviz.graph.operators.arithmetic import (
    Add,
    Affine,
    Divide,
    Mean,
    Multiply,
    Subtract,
    Sum,
)
from cnnviz.graph.operators.base import (
    Input,
    Opaque,
    Operator,
    Pads,
    Pair,
    Parameter,
    ShapeError,
    Trait,
)
from cnnviz.graph.operators.layout import (
    Concat,
    Flatten,
    Identity,
    Pad2d,
    Reshape,
    Slice,
    Split,
    Transpose,
)
from cnnviz.graph.operators.linear import (
    Conv2d,
    ConvTranspose2d,
    Linear,
)
from cnnviz.graph.operators.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    Normalization,
)
from cnnviz.graph.operators.pooling import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    MaxPool2d,
)

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "AdaptiveAvgPool2d",
    "Add",
    "Affine",
    "AvgPool2d",
    "BatchNorm",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Divide",
    "Flatten",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "GroupNorm",
    "HardSigmoid",
    "Identity",
    "Input",
    "InstanceNorm",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "Mean",
    "Multiply",
    "Normalization",
    "Opaque",
    "Operator",
    "PReLU",
    "Pad2d",
    "Pads",
    "Pair",
    "Parameter",
    "ReLU",
    "Reshape",
    "ShapeError",
    "Sigmoid",
    "Slice",
    "Softplus",
    "Softsign",
    "Split",
    "Subtract",
    "Sum",
    "Tanh",
    "Trait",
    "Transpose",
]
