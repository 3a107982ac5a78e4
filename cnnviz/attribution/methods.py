"""What a method is, and what it is given: the evidence of one batch.

A method is one class: its name, paper, formula, how its map is drawn, what it needs from the
network, its options as fields, and :meth:`Method.attribute`. It touches no image. The evidence
that all chosen methods need together is gathered once (:func:`gather_all`), so that Grad-CAM,
guided Grad-CAM and saliency share one forward pass and one backward pass through the trunk, and
several targets and layers share the forward pass. Who needs more passes than these asks for them
(:class:`Ask`).
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cnnviz.attribution import rounding
from cnnviz.engines.base import RELU_RULES, STANDARD, GradientRequest, GradientResult, ReluRule
from cnnviz.engines.network import Network, Targets, choose_targets
from cnnviz.errors import UsageError
from cnnviz.graph.architecture import Layer
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float32, Float64, MapKind

Drawing = MapKind

#: Numbers that the two largest layers of a batch may take together when a method asks for passes
#: of its own.
_VALUES_TOGETHER = 1 << 26
_MOST_TOGETHER = 64


@dataclass(frozen=True)
class Passes:
    """Passes through the network for one image, beyond the one that all methods share.

    Forward passes answer for all targets; backward passes are each for one.
    """

    forwards: int = 0
    backwards: int = 0  #: each with a forward pass of its own, for each target
    partial: int = 0  #: forward passes from the target layer on

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.partial + other.partial,
        )

    def total(self, targets: int = 1) -> int:
        """All of them, whatever they cost."""
        return self.forwards + self.partial + targets * self.backwards


class Ask:
    """A network, for methods that need passes of their own.

    What is asked goes through the network in batches that fit into a bounded memory, never together
    with what another image asks: so an image's answers do not depend on its neighbors.
    """

    def __init__(
        self, network: Network, tick: Callable[[int], None] | None = None, seed: float = 1.0
    ) -> None:
        """``tick`` is called with a number of passes whenever so many are done.

        Gradients are computed of the logit times ``seed`` and divided by it: see
        :mod:`cnnviz.attribution.rounding`.
        """
        self.network = network
        self.seed = seed
        self._tick = tick if tick is not None else lambda _count: None
        self._known: dict[Hashable, Float32] = {}

    def logits(self, inputs: Iterable[Float32], once: Hashable = None) -> Float32:
        """The logits of M inputs.

        Args:
            inputs: each (C, H, W) float32.
            once: a name for these inputs. They go through the network once: who asks for the same
                name again, for another target, is given the same answers.

        Returns:
            (M, K) float32.
        """
        return self._collected(
            (self.network.logits(chunk) for chunk in self._chunks(inputs, self.network.layers)),
            once,
        )

    def logits_from(
        self,
        layer: Layer,
        activations: Iterable[Float32],
        context: Float32,
        once: Hashable = None,
    ) -> Float32:
        """The logits that the network would give if a layer put out something else.

        Only what comes after the layer is computed, and what the rest of it needs beside.

        Args:
            layer: the layer.
            activations: M outputs of it, each (C, h, w) float32.
            context: (C, H, W) float32, the network's input, for what leads past the layer.
            once: see :meth:`logits`.

        Returns:
            (M, K) float32.
        """
        after = [other for other in self.network.layers if other.index >= layer.index]
        return self._collected(
            (
                self.network.logits_from(layer, chunk, context=context)
                for chunk in self._chunks(activations, after)
            ),
            once,
        )

    def gradients(
        self, inputs: Iterable[Float32], target: int, rule: ReluRule = STANDARD
    ) -> Iterator[tuple[Float32, Float32, Float32]]:
        """Logits, input gradients and their terms of M inputs, batch by batch.

        Args:
            inputs: each (C, H, W) float32.
            target: the class whose logit is differentiated.
            rule: what passes the ReLUs on the way back.

        Yields:
            (m, K) logits, (m, C, H, W) gradients and (m,) terms (see
            :class:`cnnviz.engines.base.GradientResult`), float32, in the order of the inputs.
        """
        for chunk in self._chunks(inputs, self.network.layers):
            recorded = self.network.run(chunk, record=True)
            targets = np.full(len(chunk), target, np.int64)
            (result,) = recorded.gradients(
                targets, [GradientRequest(rule)], scale=self.seed, retain_graph=False
            )
            assert result.input is not None  # it was asked for
            yield (
                recorded.logits,
                _divided(result.input, self.seed),
                _divided(result.terms, self.seed),
            )
            self._tick(len(chunk))

    def _collected(self, parts: Iterable[Float32], once: Hashable = None) -> Float32:
        if once in self._known:
            return self._known[once]
        found = []
        for part in parts:
            found.append(part)
            self._tick(len(part))
        if not found:
            return np.empty((0, self.network.architecture.classes), np.float32)
        logits = np.concatenate(found)
        if once is not None:
            self._known[once] = logits
        return logits

    @staticmethod
    def _chunks(arrays: Iterable[Float32], layers: Sequence[Layer]) -> Iterator[Float32]:
        largest = max(math.prod(layer.shape) for layer in layers)
        together = min(_MOST_TOGETHER, max(1, _VALUES_TOGETHER // (2 * largest)))
        waiting = iter(arrays)
        while True:
            chunk = list(islice(waiting, together))
            if not chunk:
                return
            yield np.stack(chunk).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Evidence:
    """What the network said about a batch of N images, for one target each and one layer.

    Attributes:
        inputs: (N, channels, H, W) float32, as fed to the network.
        logits: (N, K) float32, before any softmax.
        targets: (N,) int64.
        layer: the target layer.
        activations: (N, C, h, w) float32, its output; None unless a method uses the layer.
        layer_gradients: for each ReLU rule that was asked for, (N, C, h, w) float32, the gradient
            of the target's logit at the layer.
        input_gradients: for each ReLU rule that was asked for, (N, channels, H, W) float32.
        relus_guided: for each rule other than the derivative how many ReLUs it acted on.
        relus_total: ReLUs in the network.
        spec: what the network's input is made of, for methods that make inputs of their own.
        ask: the network, for methods that need more passes.
        terms: for each ReLU rule that was asked for, (N,) float32, how large the terms are that
            canceled on the way back, see :class:`cnnviz.engines.base.GradientResult`.
        again: asks for an image's evidence again, rounded differently: that of ``TIMES`` images
            (:mod:`cnnviz.attribution.rounding`); None in what it gives.
        activation: what makes probabilities of the logits.
    """

    inputs: Float32
    logits: Float32
    targets: npt.NDArray[np.int64]
    layer: Layer
    activations: Float32 | None
    layer_gradients: Mapping[ReluRule, Float32]
    input_gradients: Mapping[ReluRule, Float32]
    relus_guided: Mapping[ReluRule, int]
    relus_total: int
    spec: InputSpec
    ask: Ask
    terms: Mapping[ReluRule, Float32] = field(default_factory=dict)
    again: Callable[[int], Evidence] | None = None
    activation: Activation = SOFTMAX

    def layer_terms(self, rule: ReluRule = STANDARD) -> Float64:
        """The mean over the layer's places of Σ_k |∂y/∂A_k · A_k|, (N,)."""
        assert self.activations is not None  # asked only by methods that use the layer
        return _sizes(self.layer_gradients[rule], self.activations)

    def input_terms(self, rule: ReluRule = STANDARD) -> Float64:
        """The mean over the input's places of Σ_c |∂y/∂x_c| · max |x_c|, (N,)."""
        return _sizes(self.input_gradients[rule], rounding.largest(self.spec)[:, None, None])

    def rounding_of_logits(self, index: int, once: Hashable) -> Float64:
        """What an image's logits may differ by through rounding, (K,).

        That takes ``rounding.TIMES`` forward passes; for ``once`` see :meth:`Ask.logits`.
        """
        image = self.inputs[index]
        again = self.ask.logits(rounding.jittered(image, rounding.largest(self.spec)), once)
        return rounding.of_logits(self.logits[index], again)


@dataclass(frozen=True)
class Attribution:
    """What a method found out about a batch of N images.

    Attributes:
        maps: by key, (N, ...) float32, finite, with no normalization.
        facts: by name, for each image a value that JSON can hold.
        terms: for maps that are sums in which terms may cancel, by key, (N,): how large these are.
    """

    maps: Mapping[str, Float32]
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    terms: Mapping[str, Float64] = field(default_factory=dict)


def option(
    default: Any,
    help: str,
    *,
    choices: Iterable[str] = (),
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A field of a method that its user may set (``--option NAME=VALUE``).

    Args:
        default: its value otherwise; the type of this is the type of all values.
        help: one line that says what it is, with its unit.
        choices: the words that it may be.
        least: the least number that it may be.
        most: the highest.
    """
    return field(
        default=default,
        metadata={"help": help, "choices": tuple(choices), "least": least, "most": most},
    )


RELU_HELP = "what passes a ReLU on the way back: standard, guided or deconvnet"


@dataclass(frozen=True)
class Method(ABC):
    """One way to attribute a network's score to the pixels of its input."""

    name: ClassVar[str]  #: as on the command line; ``-`` becomes ``_`` in names of files and arrays
    title: ClassVar[str]
    paper: ClassVar[str]
    formula: ClassVar[str]
    drawing: ClassVar[Drawing]
    cost: ClassVar[str] = "none"  #: what it takes beyond the shared passes, in words
    class_specific: ClassVar[bool] = True  #: whether another target gives another map
    #: Values of its options in place of the defaults, for networks without ReLU.
    without_relu: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        """Refuse options that are out of range.

        Raises:
            UsageError: the text names the method and the option.
        """
        for own in dataclasses.fields(self):
            value, rules = getattr(self, own.name), own.metadata
            if rules["choices"] and value not in rules["choices"]:
                wanted = f"one of {', '.join(rules['choices'])}"
            elif rules["least"] is not None and not value >= rules["least"]:
                wanted = f"at least {rules['least']:g}"
            elif rules["most"] is not None and not value <= rules["most"]:
                wanted = f"at most {rules['most']:g}"
            else:
                continue
            raise UsageError(f"The option {own.name} of {self.name} is {wanted}; got {value!r}.")

    @property
    def parts(self) -> tuple[Method, ...]:
        """Methods that it is composed of; their maps are saved with its own."""
        return ()

    @property
    def input_rules(self) -> tuple[ReluRule, ...]:
        """The ReLU rules under which it needs the gradient at the input."""
        return ()

    @property
    def layer_rules(self) -> tuple[ReluRule, ...]:
        """The ReLU rules under which it needs the gradient at the target layer."""
        return ()

    @property
    def guided(self) -> bool:
        """Whether it, or a part of it, lets something else pass a ReLU than the derivative."""
        return any(not rule.is_derivative for rule in self.relu_rules)

    @property
    def relu_rules(self) -> tuple[ReluRule, ...]:
        """The ReLU rules that it, or a part of it, needs; none if it takes no gradients."""
        # Its own is that of passes that it may ask for itself.
        own = (RELU_RULES[self.relu],) if hasattr(self, "relu") else ()
        parts = (self, *self.parts)
        rules = (rule for part in parts for rule in (*part.layer_rules, *part.input_rules))
        return tuple(dict.fromkeys((*own, *rules)))

    @property
    def uses_layer(self) -> bool:
        """Whether another target layer gives another map."""
        return bool(self.layer_rules)

    @abstractmethod
    def attribute(self, evidence: Evidence) -> Float32:
        """The maps of a batch: (N, ...) float32, finite, with no normalization."""

    def terms(self, evidence: Evidence) -> Float64 | None:
        """How large the terms are that its map is a sum of, (N,); None if they cannot cancel."""
        return None

    def explain(self, evidence: Evidence) -> Attribution:
        """All maps and facts of a batch; its own and those of its parts."""
        terms = self.terms(evidence)
        return Attribution(
            {
                **{part.key: part.settled(evidence).maps[part.key] for part in self.parts},
                self.key: self.attribute(evidence),
            },
            terms={} if terms is None else {self.key: terms},
        )

    def settled(self, evidence: Evidence) -> Attribution:
        """What :meth:`explain` found, zero where that is nothing but rounding."""
        found = self.explain(evidence)
        again = evidence.again
        if again is None:
            return found
        maps = dict(found.maps)
        explain_again = cache(lambda index: self.explain(again(index)).maps)
        for key, terms in found.terms.items():
            for index in rounding.suspected(_peaks(maps[key]), terms):
                if rounding.unsettled(maps[key][index], explain_again(index)[key]):
                    maps[key] = _zeroed(maps[key], index)
        return dataclasses.replace(found, maps=maps)

    def passes(self, input_shape: tuple[int, int, int], layer: Layer) -> Passes:
        """The passes that it asks for itself, for one image."""
        return Passes()

    @property
    def key(self) -> str:
        """The method's name in the names of files and arrays."""
        rule = getattr(self, "relu", STANDARD.name)
        return self.name.replace("-", "_") + ("" if rule == STANDARD.name else f"_{rule}")

    @property
    def drawings(self) -> Mapping[str, Drawing]:
        """The maps that are drawn, by key, and how."""
        return {self.key: self.drawing}


def gather_all(
    network: Network,
    batch: Float32,
    targets: Sequence[Targets],
    layers: Sequence[Layer],
    methods: Sequence[Method],
    spec: InputSpec | None = None,
    tick: Callable[[int], None] | None = None,
    beside: Sequence[Targets] = (),
) -> list[list[Evidence]]:
    """Everything that ``methods`` need to know about a batch, with as few passes as possible.

    There is one forward pass, whatever the number of targets and layers.

    Args:
        network: the network.
        batch: (N, C, H, W) float32, preprocessed.
        targets: each one target an image, see :data:`cnnviz.engines.network.Targets`.
        layers: the target layers.
        methods: the methods that will be asked.
        spec: what the network's input is made of; the default suits ImageNet networks.
        tick: see :class:`Ask`.
        beside: more targets, of which no more than the gradient at the last layer is wanted.

    Returns:
        For each of ``targets`` a list with the evidence at each of ``layers``; then for each of
        ``beside`` a list with that at the last one.
    """
    on_layer = _each(rule for method in methods for rule in method.layer_rules)
    at_input = _each(rule for method in methods for rule in method.input_rules)
    last_layer = tuple(layers[-1:]) if beside else ()
    watched = tuple(layers) if any(method.uses_layer for method in methods) else ()
    # One backward pass takes the layers on its way to the input.
    requests = [
        _request(rule, watched if rule in on_layer else (), rule in at_input)
        for rule in _each([*on_layer, *at_input])
    ]
    seen = watched or last_layer
    forward = network.run(batch, seen, record=bool(requests or beside))
    activations = {layer: forward.activations(layer) for layer in seen}
    spec = InputSpec() if spec is None else spec
    ask = Ask(network, tick)
    columns = [(wanted, requests, layers) for wanted in targets]
    to_last = [_request(STANDARD, last_layer, to_input=False)] if beside else []
    columns += [(wanted, to_last, last_layer) for wanted in beside]
    found = []
    for number, (wanted, asked, places) in enumerate(columns, 1):
        chosen = choose_targets(wanted, forward.logits)
        more = number < len(columns)
        results = forward.gradients(chosen, asked, retain_graph=more) if asked else []
        found.append(
            [
                _settled(
                    _evidence(
                        ask,
                        spec,
                        batch,
                        forward.logits,
                        chosen,
                        layer,
                        activations.get(layer),
                        _by_rule(asked, results),
                    )
                )
                for layer in places
            ]
        )
    return found


def _evidence(
    ask: Ask,
    spec: InputSpec,
    inputs: Float32,
    logits: Float32,
    targets: npt.NDArray[np.int64],
    layer: Layer,
    activations: Float32 | None,
    by_rule: Mapping[ReluRule, GradientResult],
) -> Evidence:
    """The evidence at one layer and at the input, from the gradients of one target an image."""
    return Evidence(
        inputs=inputs,
        logits=logits,
        targets=targets,
        layer=layer,
        activations=activations,
        layer_gradients={
            rule: _divided(found.at[layer.value], ask.seed)
            for rule, found in by_rule.items()
            if layer.value in found.at
        },
        input_gradients={
            rule: _divided(found.input, ask.seed)
            for rule, found in by_rule.items()
            if found.input is not None
        },
        relus_guided={
            rule: found.relus_changed for rule, found in by_rule.items() if not rule.is_derivative
        },
        relus_total=ask.network.relus,
        spec=spec,
        ask=ask,
        activation=ask.network.architecture.activation,
        terms={rule: _divided(found.terms, ask.seed) for rule, found in by_rule.items()},
    )


def _again(evidence: Evidence, index: int) -> Evidence:
    """One image's evidence, asked for again; see :mod:`cnnviz.attribution.rounding`."""
    network = evidence.ask.network
    inputs = rounding.jittered(evidence.inputs[index], rounding.largest(evidence.spec))
    targets = np.full(len(inputs), evidence.targets[index])
    layers = () if evidence.activations is None else (evidence.layer,)
    requests = [
        _request(
            rule,
            layers if rule in evidence.layer_gradients else (),
            rule in evidence.input_gradients,
        )
        for rule in evidence.terms
    ]
    forward = network.run(inputs, layers, record=bool(requests))
    (activations,) = map(forward.activations, layers) if layers else (None,)
    seed = rounding.SEED
    results = (
        forward.gradients(targets, requests, scale=seed, retain_graph=False) if requests else []
    )
    return _evidence(
        Ask(network, seed=seed),
        evidence.spec,
        inputs,
        forward.logits,
        targets,
        evidence.layer,
        activations,
        _by_rule(requests, results),
    )


def _request(rule: ReluRule, layers: Iterable[Layer], to_input: bool) -> GradientRequest:
    return GradientRequest(rule, tuple(layer.value for layer in layers), to_input)


def _by_rule(
    requests: Sequence[GradientRequest], results: Sequence[GradientResult]
) -> dict[ReluRule, GradientResult]:
    return {request.rule: result for request, result in zip(requests, results, strict=True)}


def _settled(evidence: Evidence) -> Evidence:
    """Without gradients and activations that are nothing but rounding: zero instead."""
    again = cache(partial(_again, evidence))
    on_layer, at_input = dict(evidence.layer_gradients), dict(evidence.input_gradients)
    for rule, terms in evidence.terms.items():
        if rule in on_layer:
            sums = evidence.layer_terms(rule) * math.prod(evidence.layer.shape[1:])
            for index in rounding.suspected(sums, terms):
                if rounding.unsettled(on_layer[rule][index], again(index).layer_gradients[rule]):
                    on_layer[rule] = _zeroed(on_layer[rule], index)
        if rule in at_input:
            sums = evidence.input_terms(rule) * math.prod(evidence.inputs.shape[2:])
            for index in rounding.suspected(sums, terms):
                if rounding.unsettled(at_input[rule][index], again(index).input_gradients[rule]):
                    at_input[rule] = _zeroed(at_input[rule], index)
    activations = evidence.activations
    if activations is not None:
        # Gradients would not do here: a max pooling of equal values hands them to any of these.
        flat = [rounding.flat(image, evidence.spec) for image in evidence.inputs]
        for index in map(int, np.flatnonzero(flat)):
            if rounding.unsettled(activations[index], again(index).activations):
                activations = _zeroed(activations, index)
    return dataclasses.replace(
        evidence,
        activations=activations,
        layer_gradients=on_layer,
        input_gradients=at_input,
        again=again,
    )


def _peaks(maps: Float32) -> Float32:
    """The largest magnitude of each image's map, (N,)."""
    peaks: Float32 = np.abs(maps).reshape(len(maps), -1).max(axis=1)
    return peaks


def _zeroed(values: Float32, index: int) -> Float32:
    """A copy whose part ``index`` is zero."""
    copied = values.copy()
    copied[index] = 0
    return copied


def _divided(values: Float32, seed: float) -> Float32:
    return values if seed == 1 else values / np.float32(seed)


def _sizes(gradients: Float32, values: npt.NDArray[np.floating[Any]]) -> Float64:
    """The mean over the places of Σ_k |gradients_k · values_k|, (N,)."""
    places = math.prod(gradients.shape[2:])
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told later
        products = np.abs(gradients * values.astype(np.float32, copy=False))
        sums: Float64 = products.sum(axis=(1, 2, 3), dtype=np.float64)
    return sums / places


def gather(
    network: Network,
    batch: Float32,
    targets: Targets,
    layer: Layer,
    methods: Sequence[Method],
    spec: InputSpec | None = None,
) -> Evidence:
    """The evidence for one target an image at one layer; see :func:`gather_all`."""
    ((evidence,),) = gather_all(network, batch, [targets], [layer], methods, spec)
    return evidence


def _each(rules: Iterable[ReluRule]) -> list[ReluRule]:
    """Each once, in order."""
    return list(dict.fromkeys(rules))
