"""Operators whose inputs are stretched to one shape, as MXNet's.

MXNet counts axes from the last, the batch with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnviz.engines.mxnet.operators import Named, Rule, Step, in_steps
from cnnviz.graph import operators as op
from cnnviz.types import Shape


def elementwise(kind: str) -> Rule:
    """MXNet's faster operator where nothing is stretched."""
    stretched = stretching(f"broadcast_{kind}")

    def rule(o: op.Operator, inputs: Sequence[Shape]) -> Named:
        left, right = inputs
        return (f"elemwise_{kind}", {}) if left == right else stretched(o, inputs)

    return rule


def stretching(name: str) -> Rule:
    """An operator that stretches its inputs, counting axes from the last, the batch with them."""

    def rule(o: op.Operator, inputs: Sequence[Shape]) -> Named:
        axes = len(_output(o, inputs)) + 1
        steps: list[Step] = []
        reads = list(range(len(inputs)))
        for place, shape in enumerate(inputs):
            if _is_data(shape) and len(shape) < axes:
                reads[place] = len(inputs) + len(steps)
                steps.append(Step("Reshape", {"shape": _longer(shape, axes)}, (place,)))
        return in_steps(*steps, Step(name, {}, tuple(reads))) if steps else (name, {})

    return rule


def matmul(o: op.MatMul, inputs: Sequence[Shape]) -> Named:
    """MXNet's goes back wrongly to what it stretches itself, so that this comes before."""
    further = _output(o, inputs)[:-2]
    steps: list[Step] = []
    reads = [0, 1]
    for place, shape in enumerate(inputs):
        if _is_data(shape) and shape[1:-2] != further:
            longer = Step("Reshape", {"shape": _longer(shape, len(further) + 3)}, (place,))
            stretched = {"shape": (0, *further, *shape[-2:])}
            steps += [longer, Step("broadcast_to", stretched, (len(steps) + 2,))]
            reads[place] = len(steps) + 1
    product = "_npi_matmul"
    return in_steps(*steps, Step(product, {}, tuple(reads))) if steps else (product, {})


def _is_data(shape: Shape) -> bool:
    return shape[:1] == (0,)


def _output(o: op.Operator, inputs: Sequence[Shape]) -> Shape:
    """The shape of what comes out of an operator that stretches its inputs, without the batch."""
    own = [shape[_is_data(shape) :] for shape in inputs]
    return o.shape(*op.without_batch(o, own, [not _is_data(shape) for shape in inputs]))


def _longer(shape: Shape, axes: int) -> Shape:
    """A shape with the batch, with axes of size 1 behind that."""
    return (0, *(1,) * (axes - len(shape)), *shape[1:])


def expand(o: op.Expand, inputs: Sequence[Shape]) -> Named:
    """Axes are added in front, before they are stretched."""
    return in_steps(
        Step("Reshape", {"shape": _longer(inputs[0], len(o.size) + 1)}, (0,)),
        Step("broadcast_to", {"shape": (0, *o.size)}, (1,)),
    )
