"""The contract of every engine: what runs a graph, and differentiates it under a ReLU rule.

An engine takes a graph of typed operators and its parameters, and speaks NumPy: float32 in, float32
out, images first. It knows nothing of layers' names, classes or probabilities; that is what
:class:`cnnviz.engines.network.Network` adds, which also checks shapes and types before an engine
sees an array. Only ``engines/X`` imports the framework X.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.graph import Graph, Value
from cnnviz.types import Float32


@dataclass(frozen=True)
class ReluRule:
    """What passes a ReLU f = max(0, z) backward, R' being what arrives at f.

    It holds for every ReLU between the input and what is differentiated. In clipped ones (ReLU6)
    the derivative takes the place of (z > 0).

    Attributes:
        name: as it is asked for.
        gate_by_input: whether only what the ReLU let through forward passes: (z > 0).
        gate_by_gradient: whether only what is positive passes: (R' > 0).
        formula: R, what leaves.
        paper: where it was published; empty for the derivative.
    """

    name: str
    gate_by_input: bool
    gate_by_gradient: bool
    formula: str
    paper: str = ""

    @property
    def is_derivative(self) -> bool:
        """Whether this is the derivative itself, which no paper changed."""
        return self.gate_by_input and not self.gate_by_gradient


STANDARD = ReluRule("standard", True, False, "R = (z > 0) · R'")
GUIDED = ReluRule(
    "guided", True, True, "R = (z > 0) · (R' > 0) · R'", "Springenberg et al. 2015, fig. 1"
)
DECONVNET = ReluRule(
    "deconvnet", False, True, "R = (R' > 0) · R'", "Zeiler & Fergus 2014, sec. 2.1"
)
RELU_RULES: Mapping[str, ReluRule] = MappingProxyType(
    {rule.name: rule for rule in (STANDARD, GUIDED, DECONVNET)}
)


@dataclass(frozen=True)
class Device:
    """A device by name: ``cpu``, the ``index``-th ``gpu``, or ``mps``; it may not be there.

    A ``gpu`` is one that CUDA (or ROCm) can use; ``mps`` is the graphics of a Mac.
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.kind == "gpu" else self.kind


def parse_device(spec: str) -> Device:
    """Read ``cpu``, ``gpu``, ``gpu:N``, ``gpu(N)``, the same with ``cuda``, or ``mps``.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(
        r"(cpu|gpu|cuda|mps)(?::?(\d{1,4})|\((\d{1,4})\))?", str(spec).strip().lower()
    )  # frameworks' own devices read like this, too
    if match is None:
        raise UsageError(f"There is no device '{spec}'. Try cpu, gpu, gpu:1, gpu(1) or mps.")
    if match[1] in ("cpu", "mps"):
        return Device(match[1])
    return Device("gpu", int(match[2] or match[3] or 0))


#: What convolutions and matrix products are computed in: IEEE float32; float32 of which factors
#: keep 10 bits behind the point (TF32); bfloat16, which keeps 7. All else, and what comes out, is
#: float32.
PRECISIONS = ("fp32", "tf32", "bf16")
FP32 = "fp32"


def check_changed(graph: Graph, changed: Mapping[str, Float32]) -> None:
    """Make sure that parameters are those of a graph.

    Raises:
        NetworkError: it has none of that name, or not of that shape.
    """
    for name, values in changed.items():
        wanted = graph.parameters.get(name)
        if wanted is None:
            raise NetworkError(f"The network has no parameter {name}.")
        if values.shape != wanted:
            raise NetworkError(
                f"The network's parameter {name} has shape {wanted}; got {values.shape}."
            )


def check_precision(precision: str, device: Device) -> None:
    """Make sure that there is a precision, and that a device of this kind has it.

    Raises:
        UsageError: it is not so.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"There is no precision '{precision}': use {', '.join(PRECISIONS)}.")
    if precision == "tf32" and device.kind != "gpu":
        raise UsageError(
            f"Precision tf32 was asked for, but only GPUs have it: use fp32 on {device}."
        )


@dataclass(frozen=True)
class GradientRequest:
    """One way back through a recorded pass: under which rule, and where gradients are wanted.

    Attributes:
        rule: what passes the ReLUs.
        at: the values at which the gradient is wanted, other than the input and constants.
        to_input: whether it is wanted at the input too; without it nothing below the lowest of
            ``at`` need be computed.
    """

    rule: ReluRule = STANDARD
    at: tuple[Value, ...] = ()
    to_input: bool = True

    def __post_init__(self) -> None:
        if not self.at and not self.to_input:
            raise ValueError("a request has to ask for a gradient")


@dataclass(frozen=True)
class GradientResult:
    """What one request gave, for N images.

    Attributes:
        at: for each value asked for the gradient there, (N, \\*shape) float32; zeros where nothing
            leads from it to where the gradients start.
        input: (N, C, H, W) float32, or None where it was not asked for.
        relus_changed: how many ReLUs were passed under a rule other than the derivative.
        terms: (N,) float32, for each image the largest Σ |gradient · value| met where terms cancel:
            behind normalizations, softmaxes, differences and quotients, and before dense layers.
            Gradients far below it may be nothing but rounding.
    """

    at: Mapping[Value, Float32]
    input: Float32 | None
    relus_changed: int
    terms: Float32


class Recording(Protocol):
    """What one forward pass gave, and, if it was recorded, any number of ways back through it."""

    @property
    def output(self) -> Float32:
        """What the graph outputs, (N, \\*shape) float32."""
        ...

    def activation(self, at: Value) -> Float32:
        """A value that was to be kept, (N, \\*shape) float32.

        Raises:
            KeyError: it was not to be kept.
        """
        ...

    def gradients(
        self,
        start: Value,
        seed: Float32,
        requests: Sequence[GradientRequest],
        *,
        retain_graph: bool = True,
    ) -> list[GradientResult]:
        """Take gradients at a value back, (∂value/∂·)ᵀ · seed, once for each request.

        Args:
            start: where they arrive: the graph's output, or any value that depends on the input;
                it need not have been kept.
            seed: (N, \\*shape) float32, of the shape of ``start``.
            requests: under which rules, and where to; together they are cheaper than one by one.
            retain_graph: whether the recording can be asked again. Otherwise its memory is given
                back on the way, and nothing is left afterward but :attr:`output`.

        Returns:
            One result a request, in their order.

        Raises:
            NetworkError: the pass's memory was given back, or the framework fails (out of memory).
        """
        ...

    def release(self) -> None:
        """Give the pass's memory back; nothing is left afterward but :attr:`output`."""
        ...


class Engine(Protocol):
    """A graph with its parameters on a device, ready to be run."""

    #: As it is chosen: ``mxnet``, ``torch``.
    name: ClassVar[str]
    device: Device
    graph: Graph
    #: One of :data:`PRECISIONS`.
    precision: str

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Any],
        device: Device,
        *,
        precision: str = FP32,
    ) -> None:
        """Bring parameters to a device.

        Args:
            graph: in inference form.
            parameters: by name, NumPy's arrays or the framework's own; never written to.
            device: where to run.
            precision: what convolutions and matrix products are computed in.

        Raises:
            UsageError: the engine cannot compute with such a precision on this device.
            NetworkError: a parameter is missing, or the engine lacks an operator.
            DeviceError: see :meth:`obstacle`.
        """
        ...

    @staticmethod
    def version() -> str:
        """The framework's version."""
        ...

    @staticmethod
    def obstacle(device: Device) -> str | None:
        """Why a device cannot be used, in a clause: ``this build of PyTorch has no CUDA``.

        None if it can. The framework is imported for it; that it cannot be is such a reason, too.
        """
        ...

    @staticmethod
    def lacks(graph: Graph) -> tuple[str, ...]:
        """The names of a graph's operators that it cannot run; the framework is not needed."""
        ...

    @staticmethod
    def free_memory(device: Device) -> int:
        """Bytes that a program may still take on a device; 0 if the system does not tell.

        Raises:
            DeviceError: there is no such GPU.
        """
        ...

    def run(self, batch: Float32, keep: Sequence[Value] = (), *, record: bool) -> Recording:
        """Run a batch forward.

        Args:
            batch: (N, C, H, W) float32, of the graph's input size.
            keep: values that will be read; others are given up as soon as nobody needs them.
            record: whether gradients will be asked for.

        Raises:
            NetworkError: the framework fails (out of memory).
        """
        ...

    def run_from(self, at: Value, activations: Float32, *, context: Float32) -> Float32:
        """What the graph would output if a value were something else.

        Only what lies between the value and the output is run; where branches lead past the value
        (it lies inside a residual branch, say) these are run as well.

        Args:
            at: the value.
            activations: (M, \\*shape) float32, M of them to go on from.
            context: (C, H, W) float32, the input, for branches that lead past.

        Returns:
            (M, \\*shape of the output) float32.

        Raises:
            NetworkError: the framework fails (out of memory).
        """
        ...

    def constant(self, value: Value) -> Float32 | None:
        """A copy of a parameter, or of what layers read that is computed from parameters alone.

        Returns:
            float32; None if the value depends on the input.
        """
        ...

    def with_parameters(self, changed: Mapping[str, Float32]) -> Engine:
        """Another engine of the same graph, on the same device, in the same precision.

        Args:
            changed: the parameters that have other values there, by name. All others are shared
                with this engine, which stays as it is.

        Raises:
            NetworkError: the graph has no such parameter, or not of this shape.
        """
        ...
