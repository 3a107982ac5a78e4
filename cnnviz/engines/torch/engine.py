"""PyTorch behind the contract of the engines: NumPy in, NumPy out.

One forward pass is recorded with the input as the only thing to differentiate by; parameters are
frozen, and batch norms folded into the convolutions before them where nobody asks for what comes
between. Which rule holds at the ReLUs is chosen when going back: a hook on a ReLU's own node of the
recorded pass changes what leaves it, so that one recording serves every rule. Of values that are
not kept only their places in the recorded pass (gradient edges) are held, not their memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cnnviz import machine
from cnnviz.engines.base import FP32, Device, Recording, check_changed, check_precision
from cnnviz.engines.torch.captured import CapturedPasses, Replay
from cnnviz.engines.torch.folding import Programs
from cnnviz.engines.torch.lowering import unknown_operators
from cnnviz.engines.torch.program import Program
from cnnviz.engines.torch.recording import CapturedPass, CapturedRecording, TorchRecording, to_host
from cnnviz.engines.torch.runtime import import_torch, obstacle, torch_device
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import Parameter
from cnnviz.types import Float32


class TorchEngine:
    """See :class:`cnnviz.engines.base.Engine`."""

    name: ClassVar[str] = "torch"

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Any],
        device: Device,
        *,
        precision: str = FP32,
        capture: bool = True,
    ) -> None:
        """See :class:`cnnviz.engines.base.Engine`.

        Args:
            graph: likewise.
            parameters: likewise; tensors are shared where they are float32 and on the device.
            device: likewise.
            precision: likewise; no CPU has tf32.
            capture: whether passes that come again are replayed as CUDA graphs on a GPU, which
                takes memory for each size of batch.
        """
        self.graph = graph
        self.device = device
        check_precision(precision, device)
        self.precision = precision
        self._programs = Programs(Program(graph, parameters, device, precision))
        # A CPU launches nothing: there a captured pass would only hold its memory. (mps has none.)
        self._captures = capture and device.kind == "gpu"
        self._passes: CapturedPasses[CapturedPass] = CapturedPasses(self._captures)
        self._replays: CapturedPasses[Replay] = CapturedPasses(self._captures)

    @staticmethod
    def version() -> str:
        """PyTorch's version, with what it was built for: ``2.11.0+cu130``."""
        return str(import_torch().__version__)

    @staticmethod
    def obstacle(device: Device) -> str | None:
        """See :meth:`cnnviz.engines.base.Engine.obstacle`."""
        return obstacle(device)

    @staticmethod
    def lacks(graph: Graph) -> tuple[str, ...]:
        """See :meth:`cnnviz.engines.base.Engine.lacks`."""
        return unknown_operators(graph)

    @staticmethod
    def free_memory(device: Device) -> int:
        """See :meth:`cnnviz.engines.base.Engine.free_memory`."""
        place = torch_device(device)
        if device.kind != "gpu":  # a Mac's graphics share its memory
            return machine.free_memory()
        free, _total = import_torch().cuda.mem_get_info(place)
        return int(free)

    def run(self, batch: Float32, keep: Sequence[Value] = (), *, record: bool) -> Recording:
        """See :meth:`cnnviz.engines.base.Engine.run`."""
        program = self._programs.with_values(keep)
        kept = frozenset((*keep, *program.weighed, self.graph.input) if record else keep)
        with program.running(record=record):
            images = program.array(batch)
            captured = self._captured_pass(program, len(batch), kept, record)
            if captured is None:
                passed = program.forward(images, kept, record)
                return TorchRecording(program, passed, keep, self._programs.whole)
            recording = CapturedRecording(program, captured, images, keep, self._programs.whole)
            if not record:  # what will be read is on its way to the host: the next pass may begin
                recording.release()
            return recording

    def run_from(self, at: Value, activations: Float32, *, context: Float32) -> Float32:
        """See :meth:`cnnviz.engines.base.Engine.run_from`."""
        program = self._programs.with_values([at])
        order = program.graph.between(at)
        with program.running(record=False):
            given = program.array(activations)
            image = program.array(context[None])

            def run(given: Any, image: Any) -> Any:
                values = {at: given, self.graph.input: image}
                output = program.run(values, order, frozenset(), None, len(given))
                return output.expand(len(given), *output.shape[1:])

            replay = self._replays.get(
                (at, len(given)), lambda: Replay(run, given.clone(), image.clone())
            )
            return to_host(run(given, image) if replay is None else replay(given, image))

    def constant(self, value: Value) -> Float32 | None:
        """See :meth:`cnnviz.engines.base.Engine.constant`."""
        found = self._programs.whole.constants.get(value)
        return None if found is None else to_host(found).copy()

    def with_parameters(self, changed: Mapping[str, Float32]) -> TorchEngine:
        """See :meth:`cnnviz.engines.base.Engine.with_parameters`."""
        check_changed(self.graph, changed)
        own = {
            node.name: self._programs.whole.constants[Value(index)]
            for index, node in enumerate(self.graph.nodes)
            if isinstance(node.operator, Parameter)
        }
        return TorchEngine(
            self.graph,
            {**own, **changed},
            self.device,
            precision=self.precision,
            capture=self._captures,
        )

    def _captured_pass(
        self, program: Program, images: int, keep: frozenset[Value], record: bool
    ) -> CapturedPass | None:
        """A captured pass that nobody uses at present, if there is one for these."""
        captured = self._passes.get(
            (images, keep, record), lambda: CapturedPass(program, images, keep, record)
        )
        return None if captured is None or captured.is_lent else captured
