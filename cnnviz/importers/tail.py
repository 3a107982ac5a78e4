"""What a typed graph ends with: where its logits stand, and what makes probabilities of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cnnviz.errors import NetworkError
from cnnviz.graph.ends import ONE_OUTPUT, SOFTMAX, Activation, End
from cnnviz.graph.graph import Graph, Value, in_order, shape_text
from cnnviz.graph.operators import (
    Activation as ActivationOperator,
)
from cnnviz.graph.operators import (
    Affine,
    Clip,
    Divide,
    Expand,
    Flatten,
    Identity,
    Log,
    Power,
    Reshape,
    Sigmoid,
    Softmax,
    Sum,
    Transpose,
)
from cnnviz.types import Shape

if TYPE_CHECKING:
    import numpy.typing as npt

    from cnnviz.types import Float32, Float64

_ORDER_KEPT = (Flatten, Identity, Reshape)
#: What a length goes through before numbers are divided by it; the bound keeps it from being 0.
_OF_LENGTHS = (Clip, Expand, *_ORDER_KEPT)
#: What is said of outputs that are divided by their length.
EMBEDDING = (
    "The network's outputs are divided by their length, as embeddings are, and taken as numbers: "
    "--target similarity:OTHER.jpg explains how alike two images are to it; --activation softmax "
    "takes the outputs as logits of classes."
)
_LEAST = 1e-37  # of which the logarithm is still finite, in float32
_NEXT_TO_ONE = 2.0**-24
_CLIPS_TO = 1e-3  # bounds of probabilities that keep a logarithm finite differ from 0 and 1 by less


@dataclass(frozen=True)
class Headed:
    """A graph down to its logits.

    Attributes:
        graph: it.
        end: how the logits are read.
        moved: from nodes of the whole graph to those of this one.
        squashed: what the whole graph makes of them itself; no steps if it outputs the logits.
    """

    graph: Graph
    end: End
    moved: Mapping[int, int]
    squashed: Activation

    def paths(self, paths: Mapping[Value, Sequence[str]]) -> dict[Value, Sequence[str]]:
        """Names of the whole graph's values as those of this one's."""
        return {
            Value(self.moved[value.node], value.output): names
            for value, names in paths.items()
            if value.node in self.moved
        }

    def compared(self, logits: Float32, *, rounded: bool = False) -> Float64:
        """One image's logits, as numbers to compare with what another program outputs for it.

        Args:
            logits: (1, K).
            rounded: whether that is rounded to half precision, where small probabilities are 0:
                then probabilities are compared, if there are any.

        Returns:
            The logits (less their mean where only the ratios of probabilities are output), or
            after two steps the probabilities; one a class, or a single one.
        """
        rows: Float64 = logits[0].astype("float64")
        if len(self.end.factors) > 1:  # minus and plus the only number
            rows = rows[1:] / self.end.factors[1]
        if len(self.squashed.steps) > 1 or (rounded and self.squashed.steps):
            return self.squashed.outputs(rows)
        return rows - rows.mean() if self.squashed.steps == ("softmax",) else rows

    def compared_output(self, output: npt.NDArray[Any], *, rounded: bool = False) -> Float64:
        """What the whole graph, or another program, outputs for one image, in the same form."""
        import numpy as np

        values = output.astype(np.float64).ravel()
        if rounded and len(self.squashed.steps) == 1:
            return values if values.min() >= 0 else np.exp(values)  # of logarithms
        if self.squashed.steps == ("softmax",):
            if values.min() >= 0:  # else they are logarithms
                values = np.log(np.maximum(values, _LEAST))
            found: Float64 = values - values.mean()
            return found
        if self.squashed.steps == ("sigmoid",) and values.min() >= 0:
            values = np.clip(values, _LEAST, 1 - _NEXT_TO_ONE)
            odds: Float64 = np.log(values / (1 - values))
            return odds
        return values


def read_tail(graph: Graph, wanted: str | None = None, *, outputs: int = 1) -> Headed:
    """Look through a softmax or sigmoid at the end, and through logarithms and bounds behind it.

    Of two in a row the logits stand before both, and what comes out of both is the probability.

    Args:
        graph: in inference form.
        wanted: one of :data:`cnnviz.graph.ends.ACTIVATIONS`, which then holds whatever the graph
            says; or None.
        outputs: how many outputs the network has, of which the graph's is one.

    Raises:
        NetworkError: the output is not one number a class.
        UsageError: ``wanted`` does not go with the number of outputs.
    """
    count = _count(graph.shape(graph.output), outputs)
    head, steps = _squashed(graph, graph.output)
    if not steps:
        end = _bare(graph, head, count, wanted)
    else:
        end = End(Activation(tuple(steps)), remark=_remark(steps, count))
    kept, moved = in_order(graph.nodes, head)
    return Headed(kept, end.settled(count, wanted), moved, Activation(tuple(steps)))


def _count(shape: Shape, outputs: int) -> int:
    if len([size for size in shape if size > 1]) > 1:
        others = " --head chooses another of its outputs." if outputs > 1 else ""
        raise NetworkError(
            f"The network gives {shape_text(shape)} for an image, not one number a class; cnnviz "
            f"explains classifiers.{others}"
        )
    return math.prod(shape)


def _squashed(graph: Graph, head: Value) -> tuple[Value, list[str]]:
    """The logits, and what is done to them, in this order; nothing if that is not known."""
    steps: list[str] = []
    logits = place = head
    while True:
        node = graph.nodes[place.node]
        operator = node.operator
        if isinstance(operator, Softmax) and _over_classes(graph, place, operator):
            steps.insert(0, "softmax")
            logits = place = node.inputs[0]
        elif isinstance(operator, Sigmoid):
            steps.insert(0, "sigmoid")
            logits = place = node.inputs[0]
        elif isinstance(operator, _ORDER_KEPT) or (
            not steps and (isinstance(operator, Log) or _keeps_probabilities(operator))
        ):
            place = node.inputs[0]
        else:
            return logits, steps


def _over_classes(graph: Graph, place: Value, softmax: Softmax) -> bool:
    shape = graph.shape(place)
    return shape[softmax.axis] == math.prod(shape)


def _keeps_probabilities(operator: object) -> bool:
    """Whether it only bounds probabilities, or makes percentages of them."""
    if isinstance(operator, Clip):
        return operator.lower <= _CLIPS_TO and operator.upper >= 1 - _CLIPS_TO
    return isinstance(operator, Affine) and operator.scale in (1.0, 100.0) and operator.shift == 0


def _remark(steps: Sequence[str], outputs: int) -> str | None:
    """What to say of what was recognized; nothing of what everybody expects."""
    if outputs == 1:
        if steps == ["softmax"]:
            return "The network has one output, and a softmax of one is always 1."
        return "The network says yes or no: the probability is the sigmoid of its one logit."
    if steps == ["sigmoid"]:
        return "Each class has a probability of its own, the sigmoid of its logit."
    if len(steps) > 1:
        return (
            f"The network outputs the {' of the '.join(reversed(steps))} of its logits; these are "
            "explained, and that is shown as the probability."
        )
    return None


def _bare(graph: Graph, head: Value, outputs: int, wanted: str | None) -> End:
    """The end of a network whose outputs are not known to be probabilities."""
    if wanted is not None:
        return End(Activation.named(wanted))
    last = head
    while isinstance(graph.nodes[last.node].operator, (*_ORDER_KEPT, Transpose)):
        last = graph.nodes[last.node].inputs[0]
    operator = graph.nodes[last.node].operator
    squeezes = isinstance(operator, ActivationOperator)
    if outputs == 1 and squeezes:
        return End(
            Activation(()),
            remark=f"The network has one output, out of {operator.kind}, which is taken as a "
            "number; --activation sigmoid takes it as the logit of a yes or no.",
        )
    if outputs == 1:
        return End(Activation(("sigmoid",)), remark=ONE_OUTPUT)
    if _has_length_one(graph, last):
        return End(Activation(()), remark=EMBEDDING)
    remark = (
        f"The network's outputs come out of {operator.kind} and are taken for logits; the "
        "probabilities are their softmax. --activation says otherwise."
    )
    return replace(End(SOFTMAX), remark=remark if squeezes else None)


def _has_length_one(graph: Graph, value: Value) -> bool:
    """Whether numbers are divided by the root of the sum of their squares."""
    node = graph.nodes[value.node]
    if not isinstance(node.operator, Divide):
        return False
    numbers, length = node.inputs
    while isinstance(graph.nodes[length.node].operator, _OF_LENGTHS):
        (length,) = graph.nodes[length.node].inputs
    for wanted in (Power(0.5), Sum, Power(2.0)):
        node = graph.nodes[length.node]
        if node.operator != wanted and type(node.operator) is not wanted:
            return False
        length = node.inputs[0]
    return length == numbers
