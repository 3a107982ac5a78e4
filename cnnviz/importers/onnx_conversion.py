"""The operators of an ONNX file, one by one, as a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cnnviz.errors import CnnvizError, NetworkError, WeightsError
from cnnviz.importers import (
    onnx_attention,
    onnx_elementwise,
    onnx_layers,
    onnx_quantization,
    onnx_recurrent,
    onnx_refused,
    onnx_resizing,
    onnx_shapes,
)
from cnnviz.importers.onnx_checks import STANDARD, first_line, shown
from cnnviz.importers.onnx_folding import MOST_BYTES, constant_of, fold
from cnnviz.importers.onnx_step import Given, Rule, Step, attributes_of
from cnnviz.importers.tensors import Constant, Operand, Tensor, TensorGraph
from cnnviz.types import Array

_RULES: Mapping[str, Rule] = {
    **onnx_attention.RULES,
    **onnx_elementwise.RULES,
    **onnx_layers.RULES,
    **onnx_quantization.RULES,
    **onnx_recurrent.RULES,
    **onnx_resizing.RULES,
    **onnx_shapes.RULES,
}
#: What a damaged file, or one that was made to do harm, may bring about in a rule.
_DAMAGE = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class Conversion:
    """A file's operators, becoming those of a graph.

    Attributes:
        quantized: whether activations were rounded by the file; the graph's are not.
    """

    def __init__(
        self, graph: TensorGraph, stored: Callable[[str], Constant | None], opset: int, batch: int
    ) -> None:
        """Begin.

        Args:
            graph: what is added to.
            stored: the file's weights, by name.
            opset: the version of the file's operators.
            batch: for how many images the file was made; 1 if for any number.
        """
        self._graph = graph
        self._stored = stored
        self._opset = opset
        self._batch = batch
        self._values: dict[str, Operand] = {}
        self._computed = 0
        self.quantized = False

    def give(self, name: str, value: Operand) -> None:
        """A value that is there from the beginning."""
        self._values[name] = value

    def value(self, name: str) -> Operand:
        """A value by its name.

        Raises:
            NetworkError: nothing before gave it.
        """
        if name not in self._values:
            constant = self._stored(name)
            if constant is None:
                raise NetworkError(f"it reads {shown(name)}, which nothing before it gives")
            self._values[name] = constant
        return self._values[name]

    def run(self, nodes: Sequence[Any], names: Sequence[Sequence[str]]) -> None:
        """Convert nodes, each behind what it reads.

        Raises:
            NetworkError: one cannot be converted; the text says which, and why.
        """
        for node, called in zip(nodes, names, strict=True):
            name = shown(called[0] if called else node.op_type)
            try:
                with self._graph.scope(called[-1] if called else node.op_type.lower()):
                    outputs = self._outputs(node)
            except WeightsError:
                raise
            except CnnvizError as error:
                text = str(error).rstrip(".")
                raise NetworkError(f"operator {node.op_type} {name}: {text}.") from error
            except _DAMAGE as error:
                raise NetworkError(
                    f"operator {node.op_type} {name}: it is damaged ({first_line(error)})."
                ) from error
            for place, (output, value) in enumerate(zip(node.output, outputs, strict=False)):
                if output and value is not None:
                    self._values[output] = value
                    if isinstance(value, Tensor):
                        self._graph.call(value, *(called if place == 0 else (output,)))

    def _outputs(self, node: Any) -> Sequence[Operand | None]:
        attributes = attributes_of(node)
        if node.domain not in STANDARD:
            raise NetworkError(onnx_refused.reason(node.op_type, node.domain))
        if node.op_type == "Constant":
            value = constant_of(node, attributes)
            return [self._constant(value)]
        inputs = tuple(self.value(name) if name else None for name in node.input)
        if node.op_type == "If":
            return self._branch(inputs[0], attributes)
        if all(one is None or isinstance(one, Constant) for one in inputs):
            return self._folded(node, attributes, inputs)
        self.quantized |= node.op_type in onnx_quantization.RULES
        rule = _RULES.get(node.op_type)
        if rule is None:
            raise NetworkError(onnx_refused.reason(node.op_type, node.domain))
        if self._batch > 1:
            inputs = tuple(_of_one_image(inputs, self._batch))
        outputs = max((place for place, name in enumerate(node.output) if name), default=-1) + 1
        step = Step(
            self._graph, node.op_type, inputs, attributes, outputs, self._opset, self._batch
        )
        return _listed(rule(step))

    def _constant(self, value: Any) -> Constant:
        if isinstance(value, np.ndarray):
            return Constant(value)
        from cnnviz.importers.onnx_checks import array_in

        return Constant(array_in(value))

    def _folded(
        self, node: Any, attributes: Mapping[str, Any], inputs: Sequence[Operand | None]
    ) -> list[Operand | None]:
        if node.op_type in ("Identity", "Dropout") and inputs:
            return [inputs[0]]  # a weight keeps its name
        arrays: list[Array | None] = [
            one.array if isinstance(one, Constant) else None for one in inputs
        ]
        found = fold(node, attributes, arrays, self._opset)
        self._computed += sum(array.nbytes for array in found if array is not None)
        if self._computed > 8 * MOST_BYTES:
            raise NetworkError("the file computes too much out of stored numbers")
        return [None if array is None else Constant(array) for array in found]

    def _branch(
        self, condition: Operand | None, attributes: Mapping[str, Any]
    ) -> list[Operand | None]:
        """The branch that a stored condition takes."""
        if not isinstance(condition, Constant) or condition.number is None:
            raise NetworkError(onnx_refused.reason("If", ""))
        graph = attributes["then_branch" if condition.number else "else_branch"]
        for tensor in graph.initializer:
            self._values[tensor.name] = self._constant(tensor)
        self.run(graph.node, [tuple(node.output[:1]) for node in graph.node])
        return [self.value(output.name) for output in graph.output]


def _listed(given: Given) -> Sequence[Operand]:
    return [given] if isinstance(given, (Tensor, Constant)) else given


def _of_one_image(inputs: Sequence[Operand | None], batch: int) -> Iterator[Operand | None]:
    """Constants that were written out for each image of a batch, for one."""
    ranks = {len(one.shape) for one in inputs if isinstance(one, Tensor) and one.shape[:1] == (1,)}
    for one in inputs:
        if (
            isinstance(one, Constant)
            and len(one.shape) in ranks
            and one.shape[0] == batch
            and (one.array == one.array[:1]).all()
        ):
            yield Constant(one.array[:1])
        else:
            yield one
