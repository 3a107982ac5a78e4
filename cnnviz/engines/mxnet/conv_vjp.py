"""The input VJP of convolutions that is a convolution again, so that nothing has to be recorded.

A convolution is linear: its vector-Jacobian product with respect to its input needs nothing of the
forward pass. For stride 1 it is itself a convolution, with every kernel flipped on both axes and
the two kinds of channels exchanged. Run for inference, oneDNN brings both sets of weights into an
order of its own once; a recorded convolution has its weights reordered anew in every pass, forward
and backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnnviz.engines.mxnet.symbol import Entry, Node, numbers
from cnnviz.types import Float32

#: To make fewer channels than this, oneDNN leaves its fast kernels: it is quicker to make this
#: many and to drop those that nobody asked for. Three colors in the first layer of most networks.
_FEWEST_CHANNELS = 16


@dataclass(frozen=True)
class ConvInputVjp:
    """The input VJP of a convolution of stride 1.

    Attributes:
        node: the operator that takes the gradient at the output, (N, O, h', w'), and the flipped
            weights to the gradient at the input, (N, I, h, w).
        groups: of both convolutions.
        channels: I; what the operator makes beyond these is nothing.
    """

    node: Node
    groups: int
    channels: int

    def flipped(self, weights: Float32) -> Float32:
        """The operator's weights from the convolution's.

        Args:
            weights: (O, I / groups, k, k) float32.

        Returns:
            (I, O / groups, k, k) float32, or more than I where that is the quicker way; zeros then.
        """
        outputs, per_group, *kernel = weights.shape
        grouped = weights.reshape(self.groups, outputs // self.groups, per_group, *kernel)
        flipped = np.flip(grouped.swapaxes(1, 2), axis=tuple(range(3, grouped.ndim)))
        made = int(self.node.attrs["num_filter"])
        result = np.zeros((made, outputs // self.groups, *kernel), np.float32)
        result[: self.channels] = flipped.reshape(self.channels, outputs // self.groups, *kernel)
        return result


def conv_input_vjp(node: Node, weights: Sequence[int]) -> ConvInputVjp | None:
    """The input VJP of an operator, where that is a convolution and faster than a recorded one.

    Args:
        node: any operator.
        weights: the shape of its second argument; (O, I / groups, k, k) of a convolution.
    """
    if node.op != "Convolution":
        return None
    groups = int(node.attrs.get("num_group", "1"))
    channels = weights[1] * groups
    kernel = numbers(node.attrs, "kernel")
    stride = numbers(node.attrs, "stride") or (1,) * len(kernel)
    dilate = numbers(node.attrs, "dilate") or (1,) * len(kernel)
    pad = numbers(node.attrs, "pad") or (0,) * len(kernel)
    # What a kernel reaches beyond the padding is padding on the way back, and the reverse.
    around = tuple(d * (k - 1) - p for k, d, p in zip(kernel, dilate, pad, strict=True))
    plain = node.attrs.get("layout", "None") in ("None", "NCHW")
    if not plain or len(kernel) != 2 or any(s != 1 for s in stride) or min(around) < 0:
        return None
    attrs = {
        "kernel": str(kernel),
        "stride": str(stride),
        "dilate": str(dilate),
        "pad": str(around),
        "num_filter": str(channels if groups > 1 else max(channels, _FEWEST_CHANNELS)),
        "num_group": str(groups),
        "no_bias": "True",
    }
    return ConvInputVjp(
        Node("Convolution", f"{node.name}_input_vjp", attrs, (Entry(0), Entry(1))), groups, channels
    )
