"""Small ONNX files, written by a test; what they compute by ONNX's own reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnviz.engines.base import Device
from cnnviz.engines.registry import build_engine
from cnnviz.importers.onnx_program import OnnxProgram, read_onnx


def model_of(
    nodes: Sequence[NodeSpec],
    shape: Sequence[Any] = (1, 3, 6, 6),
    *,
    stored: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    dtype: int = 1,
    **more: Any,
) -> Any:
    """A model of nodes that read ``x`` and the stored arrays.

    Args:
        nodes: made by :func:`node`.
        shape: of the input x; names or None for what is open.
        stored: the initializers, by name.
        outputs: names of what comes out.
        opset: the version of the operators.
        dtype: ONNX's number of the input's type; 1 is float32.
        more: for ``make_model``.
    """
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        [each.made() for each in nodes],
        "test",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (stored or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **more)


@dataclass(frozen=True)
class NodeSpec:
    """An operator as a test writes it down, where the onnx package may be missing."""

    kind: str
    inputs: str
    outputs: str
    name: str
    attributes: Mapping[str, Any]
    metadata: Mapping[str, str]
    domain: str

    def made(self) -> Any:
        from onnx import helper

        inputs, outputs = (
            ["" if each == "-" else each for each in text.split()]
            for text in (self.inputs, self.outputs)
        )
        found = helper.make_node(
            self.kind, inputs, outputs, name=self.name, domain=self.domain, **self.attributes
        )
        for key, value in self.metadata.items():
            entry = found.metadata_props.add()
            entry.key, entry.value = key, value
        return found


def node(
    kind: str,
    inputs: str,
    outputs: str = "y",
    name: str = "",
    *,
    metadata: Mapping[str, str] | None = None,
    domain: str = "",
    **attributes: Any,
) -> NodeSpec:
    """An operator; names of its inputs and outputs are separated by spaces, ``-`` for none."""
    return NodeSpec(kind, inputs, outputs, name, attributes, metadata or {}, domain)


def saved(model: Any, folder: Path, name: str = "net.onnx") -> Path:
    """The model in a file, unchecked: damaged ones are wanted, too."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def converted(model: Any, folder: Path, size: tuple[int, int, int] | None = None) -> OnnxProgram:
    """The model's graph, for images of its own size."""
    file = read_onnx(saved(model, folder))
    return file.program(size or tuple(each or 6 for each in file.input.size))


def computed(program: OnnxProgram, batch: Any) -> Any:
    """What an engine that can run the graph gives for a batch."""
    graph = program.program.graph
    engine = build_engine(graph, program.program.parameters, Device("cpu"))
    return np.asarray(engine.run(batch, [], record=False).output)


def reference(model: Any, x: Any, output: str | None = None) -> Any:
    """What ONNX's own reference operators give for an input."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run([output] if output else None, {"x": x})[0]
