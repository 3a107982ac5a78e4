"""A network ready to be explained: an architecture, and an engine that runs it.

Here are classes, logits and layers' names, and the checks that speak of them; whatever computes is
behind :class:`cnnviz.engines.base.Engine`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.engines.base import (
    Device,
    Engine,
    GradientRequest,
    GradientResult,
    Recording,
    ReluRule,
)
from cnnviz.engines.maps import from_maps, to_maps
from cnnviz.engines.target_functions import TargetFunction, as_target_function, seeds
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.architecture import Architecture, Layer
from cnnviz.graph.graph import Value, shape_text
from cnnviz.graph.operators import Conv2d, ConvTranspose2d, Linear
from cnnviz.text import counted
from cnnviz.types import Float32

#: N class indices, a function that makes them from the logits (N, K), or None for each image's
#: highest logit (the lowest index among equals).
Targets = Sequence[int] | npt.NDArray[Any] | Callable[[Float32], Any] | None


class ForwardPass:
    """One forward pass of a batch of N images, and any number of ways back if it was recorded."""

    def __init__(self, architecture: Architecture, parts: Sequence[Recording]) -> None:
        """Take recordings of parts of a batch: one of all, or one of each image."""
        self._architecture = architecture
        self._parts = parts

    @cached_property
    def logits(self) -> Float32:
        """(N, K) float32, before any softmax; only now the pass must have come to its end."""
        return self._architecture.end.logits(self._rows)

    @cached_property
    def _output(self) -> Float32:
        return _joined([part.output for part in self._parts])

    @property
    def _rows(self) -> Float32:
        return self._output.reshape(-1, self._architecture.outputs)

    def activations(self, layer: Layer) -> Float32:
        """A layer's output as maps, (N, C, h, w) float32; of no such layout in its own shape.

        Raises:
            KeyError: it was not asked for beforehand.
        """
        found = _joined([part.activation(layer.value) for part in self._parts])
        return found if layer.layout is None else to_maps(found, layer.layout)

    def gradients(
        self,
        targets: Sequence[int | TargetFunction | None] | npt.NDArray[np.int64],
        requests: Sequence[GradientRequest],
        *,
        scale: float = 1.0,
        retain_graph: bool = True,
    ) -> list[GradientResult]:
        """Differentiate each image's target, once for each request.

        Args:
            targets: N of them: a class, in range, for its logit; any function of the logits; or
                None for an image whose gradients are not wanted, and come out as 0.
            requests: under which rules, and where; together they are cheaper than one by one.
            scale: above 0, what the target is multiplied by: all gradients come out so much larger.
            retain_graph: whether more will be asked. Otherwise the pass's memory is given back.

        Returns:
            One result a request; what is at a layer is (N, C, h, w), as :meth:`activations` are.

        Raises:
            NetworkError: a rule other than the derivative is asked of a network without ReLUs, or
                the engine fails (out of memory).
        """
        for request in requests:
            check_rule(self._architecture, request.rule)
        functions = [None if one is None else as_target_function(one) for one in targets]
        at_logits, terms = seeds(functions, self.logits)
        seed = self._architecture.end.seed(at_logits, self._rows).reshape(self._output.shape)
        start = self._architecture.graph.output
        found = self._backward(start, seed * np.float32(scale), requests, retain_graph)
        terms *= np.float32(scale)
        return [dataclasses.replace(one, terms=np.maximum(one.terms, terms)) for one in found]

    def input_vjp(self, layer: Layer, gradients: Float32, *, retain_graph: bool = True) -> Float32:
        """Take gradients at a layer's output back to the input: (∂A/∂x)ᵀ · gradients.

        With 1 at one value of A, the layer's output, and 0 elsewhere that is this value's own
        gradient; with 1/(h·w) all over a channel that of its mean.

        Args:
            layer: the layer; it need not have been asked for beforehand.
            gradients: (N, C, h, w) float32, of the layer's maps.
            retain_graph: see :meth:`gradients`.

        Returns:
            (N, channels, H, W) float32.

        Raises:
            NetworkError: the gradients are not of the maps' shape, or the engine fails.
        """
        wanted = (len(self.logits), *layer.map_shape)
        if gradients.shape != wanted:
            raise NetworkError(
                f"The output of layer {layer.name} has shape {wanted}; these gradients have shape "
                f"{gradients.shape}."
            )
        if layer.layout is not None:
            gradients = from_maps(gradients, layer.layout)
        (found,) = self._backward(layer.value, gradients, [GradientRequest()], retain_graph)
        assert found.input is not None  # it was asked for
        return found.input

    def release(self) -> None:
        """Give the pass's memory back; nothing is left afterward but :attr:`logits`."""
        for part in self._parts:
            part.release()

    def _backward(
        self,
        start: Value,
        seed: Float32,
        requests: Sequence[GradientRequest],
        retain_graph: bool,
    ) -> list[GradientResult]:
        if len(self._parts) == 1:
            (part,) = self._parts
            found = part.gradients(start, seed, requests, retain_graph=retain_graph)
        else:
            found = self._one_by_one(start, seed, requests, retain_graph)
        return [self._with_maps(result) for result in found]

    def _one_by_one(
        self,
        start: Value,
        seed: Float32,
        requests: Sequence[GradientRequest],
        retain_graph: bool,
    ) -> list[GradientResult]:
        by_image = []
        for place, part in enumerate(self._parts):
            # MXNet would forget with one recording what others have noted about the parameters.
            by_image.append(part.gradients(start, seed[place : place + 1], requests))
            if not retain_graph:
                part.release()
        return [_result(of_one_request) for of_one_request in zip(*by_image, strict=True)]

    def _with_maps(self, result: GradientResult) -> GradientResult:
        layouts = self._architecture.layouts
        at = {v: to_maps(g, layouts[v]) if v in layouts else g for v, g in result.at.items()}
        return dataclasses.replace(result, at=at)


@dataclass(frozen=True)
class Check:
    """How a network was compared, when it was loaded, with what else runs it on this machine.

    Attributes:
        reference: that, with its version.
        difference: the largest one between the outputs for one random image, relative to the
            largest of them.
    """

    reference: str
    difference: float


class Network:
    """A network with weights on a device.

    Attributes:
        architecture: its layers, shapes and classes.
        engine: what runs it.
        reason: why no other engine does, in a clause; empty if this one was asked for.
        check: how it was compared with something else; None if nothing else was there.
        unchecked: a sentence that says why it was not, where something was there; or empty.
    """

    def __init__(self, architecture: Architecture, engine: Engine, reason: str = "") -> None:
        """Put the two together.

        Args:
            architecture: the network without weights.
            engine: runs the architecture's graph; see :func:`cnnviz.engines.registry.build_engine`.
            reason: for the record; see :class:`cnnviz.engines.registry.EngineChoice`.
        """
        self.architecture = architecture
        self.engine = engine
        self.reason = reason
        self.check: Check | None = None
        self.unchecked = ""

    def __repr__(self) -> str:
        shape = shape_text(self.architecture.input_shape)
        layers = counted(len(self.layers), "layer")
        return f"<Network of {layers}, {shape} in, {self.engine.name} on {self.device}>"

    @property
    def device(self) -> Device:
        """Where it runs."""
        return self.engine.device

    @property
    def relus(self) -> int:
        """The number of ReLUs between input and logits."""
        return self.architecture.relus

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers between input and logits, in order."""
        return self.architecture.layers

    @property
    def default_layer(self) -> Layer:
        """The layer that is explained when nobody names one."""
        return self.architecture.default_layer

    def layer(self, name: str | None) -> Layer:
        """The target layer called ``name``, or the default one; see :meth:`Architecture.layer`."""
        return self.default_layer if name is None else self.architecture.layer(name)

    def weights(self, layer: Layer) -> Float32:
        """A copy of the weights of a convolution, (O, I / groups, kh, kw), or dense layer, (O, I).

        Raises:
            UsageError: the layer has none, or they are not constant.
        """
        node = self.architecture.graph.nodes[layer.index]
        found = None
        if isinstance(node.operator, (Conv2d, ConvTranspose2d, Linear)):
            found = self.engine.constant(node.inputs[1])
        if found is None:
            raise UsageError(f"Layer {layer.name} ({layer.kind}) has no weights of its own.")
        return found

    def with_parameters(self, changed: Mapping[str, Float32]) -> Network:
        """The same network with other values of some parameters; this one stays as it is.

        Args:
            changed: these values, by the parameters' names; all others are shared.

        Raises:
            NetworkError: there is no such parameter, or not of this shape.
        """
        return Network(self.architecture, self.engine.with_parameters(changed), self.reason)

    def logits(self, batch: Float32) -> Float32:
        """The logits (N, K) float32 of a batch (N, C, H, W) float32, without recording anything."""
        return self.run(batch).logits

    def logits_from(self, layer: Layer, activations: Float32, *, context: Float32) -> Float32:
        """The logits that the network would give if a layer's output were something else.

        Only the operators between the layer and the logits are run; where branches lead past the
        layer (it lies inside a residual branch, say) these are run as well. Tokens that are no
        places in the image, a class token, say, stay what they are for the input.

        Args:
            layer: the layer.
            activations: (M, C, h, w) float32, M outputs of it, as maps, to go on from.
            context: (channels, H, W) float32, the network's input, for branches that lead past.

        Returns:
            (M, K) float32.

        Raises:
            NetworkError: the activations are not of the maps' shape, or the engine fails.
        """
        if activations.shape[1:] != layer.map_shape:
            raise NetworkError(
                f"The output of layer {layer.name} is {shape_text(layer.map_shape)} for each "
                f"image; these activations have shape {activations.shape}."
            )
        if layer.layout is not None:
            others = None
            if layer.layout.has_other_tokens:
                own = self.engine.run(context[None], [layer.value], record=False)
                others = own.activation(layer.value)
                own.release()
            activations = from_maps(activations, layer.layout, others)
        found = [
            self.engine.run_from(layer.value, part, context=context)
            for part in self._parts(activations)
        ]
        return self.architecture.end.logits(_joined(found).reshape(-1, self.architecture.outputs))

    def run(
        self, batch: Float32, layers: Sequence[Layer] = (), *, record: bool = False
    ) -> ForwardPass:
        """Run a batch forward.

        Args:
            batch: (N, C, H, W) float32, preprocessed as the network wants it.
            layers: whose activations will be asked for.
            record: whether gradients will be asked for.

        Raises:
            NetworkError: its shape or type does not fit, or the engine fails (out of memory).
        """
        batch = np.asarray(batch)
        self._check(batch)
        keep = [layer.value for layer in layers]
        recordings = [self.engine.run(part, keep, record=record) for part in self._parts(batch)]
        return ForwardPass(self.architecture, recordings)

    def _parts(self, batch: Float32) -> list[Float32]:
        """A batch as it can be run: as a whole, or image by image."""
        if self.architecture.takes_batches or len(batch) < 2:
            return [batch]
        return [one[None] for one in batch]

    def _check(self, batch: Float32) -> None:
        if batch.ndim != 4 or batch.shape[1:] != self.architecture.input_shape:
            wanted = ", ".join(map(str, self.architecture.input_shape))
            raise NetworkError(
                f"The network takes batches of shape (N, {wanted}); this one is {batch.shape}."
            )
        if batch.dtype != np.float32:
            raise NetworkError(f"The network takes float32; this batch is {batch.dtype}.")


def check_rule(architecture: Architecture, rule: ReluRule) -> None:
    """Make sure that a ReLU rule can be followed.

    Raises:
        NetworkError: it changes what passes the ReLUs, and the network has none.
    """
    if architecture.relus == 0 and not rule.is_derivative:
        raise NetworkError(
            f"0 of 0 ReLUs: this network has no ReLU for the {rule.name} rule to act on, so "
            "its gradient would be the plain one under another name. Use the standard rule."
        )


def choose_targets(targets: Targets, logits: Float32) -> npt.NDArray[np.int64]:
    """The class to explain in each image, (N,) int64, checked against the logits (N, K).

    Raises:
        UsageError: not one integer an image, or out of range.
    """
    images, classes = logits.shape
    if targets is None:
        targets = np.argmax(logits, axis=1)
    chosen = np.asarray(targets(logits) if callable(targets) else targets)
    if chosen.shape != (images,) or not np.issubdtype(chosen.dtype, np.integer):
        raise UsageError(
            f"One class index an image is needed, {images} in all; received an array of shape "
            f"{chosen.shape} and type {chosen.dtype}."
        )
    wrong = chosen[(chosen < 0) | (chosen >= classes)]
    if wrong.size:
        raise UsageError(
            f"There is no class {wrong[0]}: the network has {classes}, "
            f"numbered from 0 to {classes - 1}."
        )
    indices: npt.NDArray[np.int64] = chosen.astype(np.int64)
    return indices


def _joined(parts: Sequence[Float32]) -> Float32:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _result(parts: Sequence[GradientResult]) -> GradientResult:
    """What one request gave for several images, from what it gave for each."""
    inputs = [part.input for part in parts if part.input is not None]
    return GradientResult(
        {value: np.concatenate([part.at[value] for part in parts]) for value in parts[0].at},
        np.concatenate(inputs) if inputs else None,
        parts[0].relus_changed,
        np.concatenate([part.terms for part in parts]),
    )
