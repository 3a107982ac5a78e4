"""What is in an ONNX file, and the graph of what it computes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnviz.errors import NetworkError, UsageError, WeightsError
from cnnviz.importers.fusing import fused
from cnnviz.importers.onnx_checks import (
    STANDARD,
    array_of,
    check_nodes,
    import_onnx,
    opset_of,
    path_beside,
    read_model,
    shown,
)
from cnnviz.importers.onnx_conversion import Conversion
from cnnviz.importers.onnx_input import OnnxInput, find_input
from cnnviz.importers.onnx_names import names_of
from cnnviz.importers.tensors import (
    Constant,
    Tensor,
    TensorGraph,
    TensorProgram,
    reshape,
    transpose,
)
from cnnviz.text import did_you_mean, listed
from cnnviz.types import Shape

#: The numbers that these choose from are explained, if the network ends with them.
_CHOOSING = ("ArgMax", "Hardmax", "TopK")
#: What may stand behind them.
_BEHIND = ("Cast", "Flatten", "Gather", "Identity", "Reshape", "Squeeze", "Unsqueeze")

#: These bring pixels to another scale or layout, or leave them as they are.
_SCALING = {
    *("Add", "Cast", "DequantizeLinear", "Div", "Identity", "Mul", "QuantizeLinear", "Reshape"),
    *("Squeeze", "Sub", "Transpose", "Unsqueeze"),
}


@dataclass(frozen=True)
class OnnxProgram:
    """What an ONNX file computes of images of one size.

    Attributes:
        program: as a graph.
        output: the name of the value that it gives.
        remarks: sentences about what was left out or assumed.
        quantized: whether the file rounds activations, which the graph does not.
    """

    program: TensorProgram
    output: str
    remarks: tuple[str, ...]
    quantized: bool


@dataclass(frozen=True)
class OnnxFile:
    """A file that was read.

    Attributes:
        path: where it is.
        model: its message; functions are inlined, weights beside the file not yet read.
        input: what takes the images.
        outputs: names of the outputs.
        opset: the version of its operators.
        producer: what wrote it, as it says.
    """

    path: Path
    model: Any = field(repr=False)
    input: OnnxInput
    outputs: tuple[str, ...]
    opset: int
    producer: str

    def program(self, size: Shape, head: str | None = None) -> OnnxProgram:
        """The graph for images of a size.

        Args:
            size: (C, H, W).
            head: an output, or another value or operator, that is to be explained; None for the
                only output.

        Raises:
            UsageError: there is no such value; there are several outputs, and none was chosen; or
                the file wants another size.
            NetworkError: an operator cannot be converted.
            WeightsError: weights are missing or damaged.
        """
        self._check_size(size)
        output, remarks = self._output(head)
        program, quantized = self._graph(output, size)
        if quantized:
            remarks.append(
                f"{self.path} rounds what its layers compute (QuantizeLinear); that has no "
                "gradient and is left out, so that logits differ a little from the file's."
            )
        return OnnxProgram(fused(program), output, tuple(remarks), quantized)

    def _graph(self, output: str, size: Shape) -> tuple[TensorProgram, bool]:
        """Down to a value, and whether activations were rounded on the way."""
        nodes = self._needed({output})
        graph = TensorGraph(tuple(size))
        conversion = Conversion(graph, self._weight, self.opset, self.input.batch)
        images = graph.images
        if self.input.layout == "NHWC":
            images = transpose(graph, images, (0, 2, 3, 1))
        conversion.give(self.input.name, images)
        names = self._names
        indices = [index for index, _ in nodes]
        try:
            conversion.run([node for _, node in nodes], [names[index] for index in indices])
            value = conversion.value(output)
            if not isinstance(value, Tensor):
                raise NetworkError(f"its output {shown(output)} does not depend on the images.")
            if value.omitted != 0 and value.shape[:1] == (1,):
                value = reshape(graph, value, value.shape)
            program = graph.finish(value, len(self.outputs))
        except (NetworkError, WeightsError) as error:
            raise type(error)(f"{self.path}: {error}") from error
        return program, conversion.quantized

    def beginning(self, size: Shape) -> list[TensorProgram]:
        """The graph's beginning, where pixels are at most brought to another scale or layout.

        One for each place where something else begins.
        """
        reached = {self.input.name}
        ends: dict[str, None] = {}
        for node in self.model.graph.node:
            if reached.isdisjoint(node.input):
                continue
            if node.op_type in _SCALING and node.domain in STANDARD:
                reached.update(node.output)
            elif node.op_type == "BatchNormalization":  # which tells what it has seen
                ends.update(dict.fromkeys(node.output[:1]))
            else:
                ends.update(dict.fromkeys(name for name in node.input if name in reached))
        return [self._graph(end, size)[0] for end in ends]

    @cached_property
    def is_half(self) -> bool:
        """Whether something in it is computed in half precision."""
        half = {10, 16}  # float16, bfloat16
        return any(tensor.data_type in half for tensor in self.model.graph.initializer) or any(
            node.op_type == "Cast" and any(at.i in half for at in node.attribute if at.name == "to")
            for node in self.model.graph.node
        )

    def giving(self, output: str) -> str | bytes | None:
        """The file as something that gives a value, for whatever runs ONNX files.

        Returns:
            Its path if the value is an output; else the bytes of a copy, or None where weights lie
            beside the file, which a copy would not find.
        """
        if output in self.outputs:
            return str(self.path)
        if any(tensor.data_location for tensor in self.model.graph.initializer):
            return None
        from onnx import helper

        copy = type(self.model)()
        copy.CopyFrom(self.model)
        del copy.graph.output[:]
        copy.graph.output.append(helper.make_tensor_value_info(output, 1, None))
        found: bytes = copy.SerializeToString()
        return found

    def _check_size(self, size: Shape) -> None:
        wanted = self.input.size
        if any(own is not None and own != given for own, given in zip(wanted, size, strict=True)):
            shape = "×".join("any" if own is None else str(own) for own in wanted)
            given = "×".join(map(str, size))
            raise UsageError(
                f"{self.path} takes images of {shape}; {given} was asked for: leave out "
                "--input-size, or export the network for that size."
            )

    # --- what is explained -----------------------------------------------------------------------

    def _output(self, head: str | None) -> tuple[str, list[str]]:
        """The value that is explained, and what to say of it."""
        if head is not None:
            return self._chosen(head), []
        found: dict[str, str] = {}  # what is explained for each output
        for name in self.outputs:
            found.setdefault(self._before_choice(name), name)
        if len(found) > 1:
            # Others give the class beside the probabilities, as a whole number.
            plain = {before: name for before, name in found.items() if before == name}
            found = plain if len(plain) == 1 else found
        if len(found) > 1:
            raise UsageError(
                f"{self.path} has {len(self.outputs)} outputs: choose one with --head "
                f"({', '.join(map(shown, self.outputs))})."
            )
        ((before, name),) = found.items()
        if before == name or before in self.outputs:
            return before, []
        kind = self._giving[name].op_type if name in self._giving else ""
        return before, [
            f"{self.path} ends with a choice ({kind}), which has no gradient: what it chooses from "
            f"is explained, {shown(before)}."
        ]

    def _before_choice(self, name: str) -> str:
        """What an output is chosen from; itself if it is not."""
        place = name
        while (node := self._giving.get(place)) is not None:
            if node.op_type in _CHOOSING:
                return str(node.input[0])
            if node.op_type not in _BEHIND:
                break
            place = node.input[0]
        return name

    def _chosen(self, head: str) -> str:
        if head in self._giving:
            return head
        for node, names in zip(self.model.graph.node, self._names, strict=True):
            if head in names and node.output:
                return str(node.output[0])
        values = [name for names in self._names for name in names]
        advice = did_you_mean(head, values) or f"Its outputs are {listed(self.outputs, 8)}."
        raise UsageError(f"{self.path} has no output or operator '{head}'. {advice}")

    @cached_property
    def _giving(self) -> dict[str, Any]:
        """The node that gives each value."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @cached_property
    def _names(self) -> list[tuple[str, ...]]:
        return names_of(self.model.graph.node, self._stored)

    def _needed(self, wanted: set[str]) -> list[tuple[int, Any]]:
        return _needed(self.model.graph, wanted)

    # --- weights ---------------------------------------------------------------------------------

    @cached_property
    def beside(self) -> tuple[Path, ...]:
        """The files with weights that lie beside it, by name; those that may not be read are not
        among them, which reading their weights says."""
        found = set()
        for tensor in self._stored.values():
            if tensor.data_location:
                with suppress(WeightsError):
                    found.add(path_beside(tensor, self.path))
        return tuple(sorted(found))

    @cached_property
    def _stored(self) -> dict[str, Any]:
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    def _weight(self, name: str) -> Constant | None:
        tensor = self._stored.get(name)
        return None if tensor is None else Constant(array_of(tensor, self.path), shown(name))


def read_onnx(path: Path) -> OnnxFile:
    """Read what an ONNX file is: cheap, weights beside it are not read yet.

    Raises:
        NetworkError: the ``onnx`` package is missing; or the file cannot be read, is none, asks for
            too much, or takes no images.
    """
    import_onnx()
    model = read_model(path)
    check_nodes(model, path)
    graph = model.graph
    given = {name for node in graph.node for name in node.output}
    outputs = tuple(output.name for output in graph.output)
    missing = [name for name in outputs if name not in given]
    if not outputs or missing:
        raise NetworkError(
            f"{path} is damaged: nothing gives its output {shown(missing[0] if missing else '')}."
        )
    needed = {name for _, node in _needed(graph, set(outputs)) for name in _read_by(node)}
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    try:
        found = find_input(graph, needed, stored)
    except NetworkError as error:
        raise NetworkError(f"{path} cannot be explained: {error}.") from error
    producer = shown(f"{model.producer_name} {model.producer_version}".strip())
    return OnnxFile(path, model, found, outputs, opset_of(model), producer)


def _needed(graph: Any, wanted: set[str]) -> list[tuple[int, Any]]:
    """The nodes that some values are computed with, with their places, in order."""
    needed = set(wanted)
    found = []
    for index, node in reversed(list(enumerate(graph.node))):
        if needed.intersection(node.output):
            found.append((index, node))
            needed.update(_read_by(node))
    return found[::-1]


def _read_by(node: Any) -> Sequence[str]:
    """What a node reads, and what the branches inside it do."""
    names = list(node.input)
    for attribute in node.attribute:
        inside = (attribute.g,) if attribute.HasField("g") else ()
        for graph in (*inside, *attribute.graphs):
            for inner in graph.node:
                names.extend(_read_by(inner))
            names.extend(output.name for output in graph.output)
    return [name for name in names if name]
