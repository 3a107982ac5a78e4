"""The way back: what a forward pass recorded, and walks from there toward the input."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cnnviz.engines.mxnet.derivatives import Vjp
from cnnviz.engines.mxnet.runtime import arrays_of, first_line, import_mxnet, mxnet_lock
from cnnviz.engines.mxnet.symbol import Entry
from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import Layer
from cnnviz.types import Float32

if TYPE_CHECKING:
    from cnnviz.engines.mxnet.engine import Network

ReluRule = Literal["standard", "guided", "deconvnet"]
#: From all inputs, all outputs and the gradients at these to those at inputs, in MXNet's arrays.
MxnetVjp = Callable[[Sequence[Any], Sequence[Any], Sequence[Any]], list[Any]]
RELU_RULES: tuple[ReluRule, ...] = ("standard", "guided", "deconvnet")

#: Operators whose derivatives subtract: what arrives at them may cancel down to its rounding.
_CANCELLING = {
    *("InstanceNorm", "LayerNorm", "GroupNorm", "L2Normalization"),
    *("softmax", "log_softmax", "SoftmaxActivation"),
    *("broadcast_sub", "broadcast_minus", "elemwise_sub", "_sub", "_minus", "_npi_subtract"),
    *("broadcast_div", "elemwise_div", "_div", "_npi_true_divide"),
}


@dataclass(frozen=True)
class Walk:
    """One way back through a network: under which rule, how far, and what to note.

    The rule says what passes a ReLU f = max(0, z) backwards, R' being what arrives at f
    (Springenberg et al. 2015, fig. 1):

    - ``standard``: R = (z > 0) · R', the derivative;
    - ``deconvnet``: R = (R' > 0) · R';
    - ``guided``: R = (z > 0) · (R' > 0) · R'.

    It holds for every ReLU between input and logits, those in the head included. In clipped ones
    (ReLU6) the derivative takes the place of (z > 0).

    Attributes:
        relu_rule: ``standard``, ``guided`` or ``deconvnet``.
        layers: where to note the gradient on the way.
        inputs: whether to go on to the input; without it the walk ends at the first of the layers.
    """

    relu_rule: ReluRule = "standard"
    layers: tuple[Layer, ...] = ()
    inputs: bool = True


@dataclass(frozen=True)
class Backward:
    """What one walk gave.

    Attributes:
        layer_gradients: for each layer asked for, by name, (N, C, h, w) float32.
        input_gradients: (N, channels, H, W) float32, or None where it was not asked for.
        relus_guided: how many ReLUs were passed under a rule other than the derivative.
        terms: (N,) float32, for each image the largest Σ |gradient · value| that the walk met
            where terms cancel: behind normalizations and differences, and before dense layers.
            Gradients far below it may be nothing but rounding.
    """

    layer_gradients: Mapping[str, Float32]
    input_gradients: Float32 | None
    relus_guided: int
    terms: Float32


@dataclass
class Step:
    """One operator of a forward pass, and the way back through it.

    It was recorded: then there is a leaf for each input that depends on the data. Or there was no
    need to: it is a ReLU, of which the output says all, or ``vjp`` takes all of its inputs (which
    then are the leaves, if it reads them), its outputs and the gradients at these to those at the
    inputs that depend on the data. ``copies`` is how many times over the batch was recorded, so
    that as many walks can pass together.
    """

    index: int
    sources: list[Entry]
    leaves: list[Any]
    outputs: list[Any]
    vjp: MxnetVjp | None = None
    copies: int = 1


class _Walker:
    """A walk under way: the gradients that have arrived at entries not yet passed."""

    def __init__(self, network: Network, walk: Walk, start: Entry, seed: Any) -> None:
        self._network = network
        self._rule = walk.relu_rule
        self._noted = {Entry(layer.index): layer.name for layer in walk.layers}
        self._lowest = -1 if walk.inputs else min(entry.node for entry in self._noted)
        self._arrived: dict[Entry, Any] = {start: seed}
        self._found: dict[str, Float32] = {}
        self._guided = 0
        self._images = len(seed)
        self._terms: list[Any] = []

    def arrive(self, step: Step) -> list[Any] | None:
        """Take what has arrived at a step's outputs; None if it need not be passed."""
        if step.index < self._lowest:
            return None
        entries = [Entry(step.index, output) for output in range(len(step.outputs))]
        if entries[0] in self._noted:
            # Copied out at once: walks share the leaves' gradient arrays.
            gradient = self._arrived.get(entries[0])
            if gradient is None:  # another output of this operator leads to the logits
                gradient = import_mxnet().nd.zeros_like(step.outputs[0])
            self._found[self._noted[entries[0]]] = gradient.asnumpy()
        if step.index == self._lowest:
            return None
        gradients = [self._arrived.pop(entry, None) for entry in entries]
        return None if all(gradient is None for gradient in gradients) else gradients

    def leave(self, step: Step, passed: Sequence[Any]) -> None:
        """Hand on what has passed a step."""
        if self._network.operator(step.index) == "FullyConnected" and len(step.leaves) == 1:
            self._weigh(passed[0], step.leaves[0][: len(passed[0])])
        for entry, gradient in zip(step.sources, passed, strict=True):
            before = self._arrived.get(entry)
            self._arrived[entry] = gradient if before is None else before + gradient

    def pass_through(self, step: Step, *, keep: bool, copy: bool) -> None:
        """Arrive at a step, pass it under the rule, and leave.

        Args:
            step: the highest one not yet passed.
            keep: whether it will be passed once more.
            copy: whether another walk passes it before this one has passed the next.
        """
        gradients = self.arrive(step)
        if gradients is None:
            return
        if self._network.operator(step.index) in _CANCELLING and gradients[0] is not None:
            self._weigh(gradients[0], step.outputs[0])
        is_relu = self._network.is_relu(step.index)
        if step.vjp is not None:
            passed = step.vjp(step.leaves, step.outputs, gradients)
        elif is_relu and self._rule == "deconvnet":
            passed = [_positive(gradients[0])]
        elif not step.leaves:
            arrived = gradients[0] if self._rule == "standard" else _positive(gradients[0])
            passed = [_where_positive(arrived, step.outputs[0])]
        else:
            passed = _derivative(step, gradients, keep=keep)
            if is_relu and self._rule == "guided":
                passed = [_positive(passed[0])]
            if copy:
                passed = [gradient.copy() for gradient in passed]
        self._guided += is_relu and self._rule != "standard"
        self.leave(step, passed)

    def result(self) -> Backward:
        """What was found, after the last step."""
        inputs = self._arrived[self._network.entrance].asnumpy() if self._lowest < 0 else None
        terms = np.zeros(self._images, np.float32)
        for own in self._terms:
            np.maximum(terms, own.asnumpy(), out=terms)
        return Backward(self._found, inputs, self._guided, terms)

    def _weigh(self, gradient: Any, value: Any) -> None:
        """Note how large the terms of each image are at one place."""
        products = import_mxnet().nd.abs(gradient * value)
        self._terms.append(products.reshape((self._images, -1)).sum(axis=1))


class Observation:
    """What a network put out for a batch.

    Attributes:
        logits: (N, K) float32, before any softmax.
    """

    def __init__(self, network: Network, values: dict[Entry, Any], output: Any) -> None:
        self._network = network
        self._values = values
        self._output = output
        self.logits: Float32 = network.read_logits(output)

    def activations(self, layer: Layer) -> Float32:
        """The layer's output, (N, C, h, w) float32; KeyError if it was not asked for beforehand."""
        activations: Float32 = self._values[Entry(layer.index)].asnumpy()
        return activations


class ForwardPass(Observation):
    """One recorded forward pass of a batch, which any number of walks back can start from."""

    def __init__(
        self, network: Network, tape: list[Step], values: dict[Entry, Any], output: Any
    ) -> None:
        super().__init__(network, values, output)
        self._tape = tape

    def backward(
        self,
        targets: npt.NDArray[np.int64],
        walks: Sequence[Walk],
        *,
        final: bool = False,
        seed: float = 1.0,
    ) -> list[Backward]:
        """Differentiate each image's target logit, once for each walk.

        Walks that are asked for together share their way through the dense layers, where all the
        time goes into reading the weights.

        Args:
            targets: (N,) int64, in range.
            walks: what to differentiate under which rule.
            final: give the pass's memory back along the way; it can answer nothing afterward.
            seed: above 0, what the logit is multiplied by: all gradients come out so much larger.

        Raises:
            UsageError: there is no such rule.
            NetworkError: a rule other than the standard one is asked of a network without ReLUs,
                or MXNet fails (out of memory, say).
        """
        start = self._network.seed(targets, self._output) * np.float32(seed)
        return self._walk(self._network.head, start, walks, final=final)

    def input_gradients_from(
        self, layer: Layer, gradients: Float32, *, final: bool = False
    ) -> Float32:
        """Take gradients at a layer's output back to the input: (∂A/∂x)ᵀ · gradients.

        With 1 at one value of A, the layer's output, and 0 elsewhere that is this value's own
        gradient; with 1/(h·w) all over a channel that of its mean.

        Args:
            layer: the layer; it need not have been asked for beforehand.
            gradients: (N, C, h, w) float32, of the layer's shape.
            final: see :meth:`backward`.

        Returns:
            (N, channels, H, W) float32.

        Raises:
            NetworkError: the gradients are not of the layer's shape, or MXNet fails.
        """
        wanted = (len(self.logits), *layer.shape)
        if gradients.shape != wanted:
            raise NetworkError(
                f"Layer {layer.name} put out an array of shape {wanted}; these gradients have "
                f"shape {gradients.shape}."
            )
        (walked,) = self._walk(Entry(layer.index), gradients, [Walk()], final=final)
        assert walked.input_gradients is not None  # inputs were asked for
        return walked.input_gradients

    def forget(self) -> None:
        """Give the pass's memory back; it can answer nothing afterward."""
        self._values.clear()
        self._tape.clear()

    def _walk(
        self, start: Entry, seed: Float32, walks: Sequence[Walk], *, final: bool
    ) -> list[Backward]:
        """Walk back from one entry of the graph, where ``seed`` arrives."""
        network = self._network
        for walk in walks:
            network.check_rule(walk.relu_rule)
        mx = import_mxnet()
        if final:
            self._values.clear()
        with mxnet_errors():
            first = mx.nd.array(seed, ctx=self._output.context, dtype="float32")
            walkers = [_Walker(network, walk, start, first.copy()) for walk in walks]
            dense = [place for place, step in enumerate(self._tape) if step.copies > 1]
            together = dense[0] if dense else len(self._tape)
            for step in reversed(self._tape[together:]):
                if step.copies > 1:
                    _pass_together(walkers, step, keep=not final)
                else:
                    for walker in walkers:
                        last = walker is walkers[-1]
                        walker.pass_through(step, keep=not (final and last), copy=not last)
            results = []
            for walker in walkers:
                last = final and walker is walkers[-1]
                for step in reversed(self._tape[:together]):
                    walker.pass_through(step, keep=not last, copy=False)
                    if last:
                        step.leaves.clear()
                        step.outputs.clear()
                # At once: the next walk overwrites the first operator's gradient arrays.
                results.append(walker.result())
            return results


class SeparateObservations(Observation):
    """Observations of one image each, of a network that takes no more at a time."""

    def __init__(self, parts: Sequence[Observation]) -> None:
        self._parts = parts
        self.logits = np.concatenate([part.logits for part in parts])

    def activations(self, layer: Layer) -> Float32:
        """See :meth:`Observation.activations`."""
        return np.concatenate([part.activations(layer) for part in self._parts])


class SeparateForwardPasses(SeparateObservations, ForwardPass):
    """Forward passes of one image each, of a network that takes no more at a time.

    None of them can be walked as the final one is: MXNet would forget with it what it has noted
    about the parameters, which the others have recorded too.
    """

    def __init__(self, parts: Sequence[ForwardPass]) -> None:
        SeparateObservations.__init__(self, parts)
        self._passes = parts

    def backward(
        self,
        targets: npt.NDArray[np.int64],
        walks: Sequence[Walk],
        *,
        final: bool = False,
        seed: float = 1.0,
    ) -> list[Backward]:
        """See :meth:`ForwardPass.backward`."""
        walked = []
        for place, one in enumerate(self._passes):
            walked.append(one.backward(targets[place : place + 1], walks, seed=seed))
            if final:
                one.forget()
        return [_joined(of_one_walk) for of_one_walk in zip(*walked, strict=True)]

    def input_gradients_from(
        self, layer: Layer, gradients: Float32, *, final: bool = False
    ) -> Float32:
        """See :meth:`ForwardPass.input_gradients_from`."""
        found = []
        for place, one in enumerate(self._passes):
            found.append(one.input_gradients_from(layer, gradients[place : place + 1]))
            if final:
                one.forget()
        return np.concatenate(found)


def _joined(parts: Sequence[Backward]) -> Backward:
    """What one walk gave for several images, from what it gave for each."""
    inputs = [part.input_gradients for part in parts if part.input_gradients is not None]
    return Backward(
        {
            name: np.concatenate([part.layer_gradients[name] for part in parts])
            for name in parts[0].layer_gradients
        },
        np.concatenate(inputs) if inputs else None,
        parts[0].relus_guided,
        np.concatenate([part.terms for part in parts]),
    )


def _pass_together(walkers: Sequence[_Walker], step: Step, *, keep: bool) -> None:
    """Pass a step that was recorded several times over with as many walks at a time."""
    mx = import_mxnet()
    waiting = [
        (walker, gradients[0])
        for walker, gradients in ((walker, walker.arrive(step)) for walker in walkers)
        if gradients is not None
    ]
    for first in range(0, len(waiting), step.copies):
        group = waiting[first : first + step.copies]
        more = first + step.copies < len(waiting)
        filled = [gradient for _, gradient in group]
        filled += filled[:1] * (step.copies - len(filled))  # what comes of these is not read
        (passed,) = _derivative(step, [mx.nd.concat(*filled, dim=0)], keep=keep or more)
        rows = len(passed) // step.copies
        for place, (walker, _) in enumerate(group):
            own = passed[place * rows : (place + 1) * rows]
            walker.leave(step, [own.copy() if more else own])


def _positive(gradient: Any) -> Any:
    """What is above zero, 0 elsewhere; in the gradient's own memory and layout.

    Activation and not relu(): oneDNN computes it in whatever layout a convolution left, where
    relu() would first bring 13 million numbers of a VGG into plain order, and the next
    convolution back again.
    """
    return import_mxnet().nd.Activation(gradient, act_type="relu", out=gradient)


@cache
def _relu_backward() -> Callable[..., Any]:
    """MXNet's derivative of a ReLU as a function of its own.

    MXNet has one for every operator, but leaves those out of ``mx.nd``. Called through the tape it
    would need a recorded forward pass, with the ReLU's input kept beside its output.
    """
    mx = import_mxnet()
    handle = ctypes.c_void_p()
    mx.base.check_call(mx.base._LIB.NNGetOpHandle(b"_backward_Activation", ctypes.byref(handle)))
    return partial(mx.nd._internal._imperative_invoke, handle.value)


def _where_positive(gradient: Any, output: Any) -> Any:
    """A gradient where a ReLU's output is above zero, 0 elsewhere."""
    return _relu_backward()([gradient, output], ["act_type"], ["relu"], None, False, False)


def _derivative(step: Step, gradients: Sequence[Any], *, keep: bool) -> list[Any]:
    """One operator's backward: from the gradients at its outputs to those at its leaves."""
    mx = import_mxnet()
    mx.autograd.backward(
        step.outputs,
        [
            mx.nd.zeros_like(output) if gradient is None else gradient
            for output, gradient in zip(step.outputs, gradients, strict=True)
        ],
        retain_graph=keep,
        train_mode=True,
    )
    return [leaf.grad for leaf in step.leaves]


class _AsNumpy(Sequence[Float32]):
    """MXNet's arrays, of which those that are read are copied out."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, index: Any) -> Any:
        return self._arrays[index].asnumpy()


def through_numpy(vjp: Vjp, wanted: Sequence[int]) -> MxnetVjp:
    """A derivative in NumPy as one in MXNet's arrays.

    Args:
        vjp: what :func:`~cnnviz.engines.mxnet.derivatives.own_derivative` gave.
        wanted: at which of the inputs the gradient is asked for.
    """
    mx = import_mxnet()

    def apply(inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
        passed = vjp(_AsNumpy(inputs), _AsNumpy(outputs), _AsNumpy(gradients))
        return [
            mx.nd.array(passed[place], ctx=inputs[place].context, dtype="float32")
            if place < len(passed)
            else mx.nd.zeros_like(inputs[place])
            for place in wanted
        ]

    return apply


def recorded_anew(record: Callable[[Sequence[Any]], Step]) -> MxnetVjp:
    """MXNet's derivative, of an operator recorded each time on its inputs."""
    return lambda inputs, _outputs, gradients: _derivative(record(inputs), gradients, keep=False)


def _raised_by_mxnet(error: Exception) -> bool:
    """Whether an error came out of the library: as its own class, or as one of Python's."""
    base = import_mxnet().base
    if isinstance(error, base.MXNetError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == base.__name__


@contextmanager
def mxnet_errors() -> Iterator[None]:
    """Turn what MXNet raises inside the block into a sentence; one thread at a time is inside.

    There, shapes mean what they mean to ``mx.nd``, whatever ``npx.set_np()`` has made of them.
    """
    import_mxnet()  # first: a lock that another thread held when this process was forked stays shut
    try:
        with mxnet_lock, arrays_of(numpy=False):
            yield
    except Exception as error:
        if not _raised_by_mxnet(error):
            raise
        text = first_line(error)
        memory = "out of memory" in text.lower() or "alloc" in text.lower()
        hint = " Use a smaller batch, or smaller images." if memory else ""
        raise NetworkError(f"MXNet could not run the network: {text}.{hint}") from error
