"""What methods are given: activations and gradients of a batch, collected once for all of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cnnviz.attribution import rounding
from cnnviz.attribution.queries import ModelQueries
from cnnviz.engines.base import STANDARD, GradientRequest, GradientResult, ReluRule
from cnnviz.engines.network import ForwardPass, Targets, choose_targets
from cnnviz.engines.target_functions import ClassLogit, TargetFunction
from cnnviz.graph.architecture import Layer
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float32, Float64

#: What says by the logits (N, K) of a batch which targets each of its images has: N sequences.
TargetRows = Callable[[Float32], Sequence[Sequence[TargetFunction]]]


class Needs(Protocol):
    """What has to be known about a method to collect its context."""

    @property
    def uses_layer(self) -> bool:
        """Whether it needs the target layer's activations."""
        ...

    @property
    def layer_rules(self) -> tuple[ReluRule, ...]:
        """The ReLU rules under which it needs the gradient at the target layer."""
        ...

    @property
    def input_rules(self) -> tuple[ReluRule, ...]:
        """The ReLU rules under which it needs the gradient at the input."""
        ...


@dataclass(frozen=True)
class AttributionContext:
    """What is known of a batch of N images, for one target each and one layer.

    Attributes:
        inputs: (N, channels, H, W) float32, as fed to the network.
        logits: (N, K) float32, before any softmax.
        targets: what is explained of each image.
        layer: the target layer.
        activations: (N, C, h, w) float32, its output as maps; None unless a method uses the layer.
        layer_gradients: for each ReLU rule that was asked for, (N, C, h, w) float32, the gradient
            of the target at the layer.
        input_gradients: for each ReLU rule that was asked for, (N, channels, H, W) float32.
        relus_guided: for each rule other than the derivative how many ReLUs it acted on.
        relus_total: ReLUs in the network.
        spec: what the network expects as input, for methods that make inputs of their own.
        model: the network, for methods that need more passes.
        terms: for each ReLU rule that was asked for, (N,) float32, the size of the terms that
            canceled in the backward pass, see :class:`cnnviz.engines.base.GradientResult`.
        recompute: computes one image's context again, rounded differently, as that of
            ``rounding.TIMES`` images (:mod:`cnnviz.attribution.rounding`); None in what it returns.
        activation: turns logits into probabilities.
        images: the places of these images in the batch that was collected, which may be more.
    """

    inputs: Float32
    logits: Float32
    targets: tuple[TargetFunction, ...]
    layer: Layer
    activations: Float32 | None
    layer_gradients: Mapping[ReluRule, Float32]
    input_gradients: Mapping[ReluRule, Float32]
    relus_guided: Mapping[ReluRule, int]
    relus_total: int
    spec: InputSpec
    model: ModelQueries
    terms: Mapping[ReluRule, Float32] = field(default_factory=dict)
    recompute: Callable[[int], AttributionContext] | None = None
    activation: Activation = SOFTMAX
    images: tuple[int, ...] = ()

    def place(self, index: int) -> int:
        """Where an image of these stands in the batch that was collected."""
        return self.images[index] if self.images else index

    def layer_terms(self, rule: ReluRule = STANDARD) -> Float64:
        """The mean over the layer's positions of Σ_k |∂y/∂A_k · A_k|, (N,)."""
        assert self.activations is not None  # asked only by methods that use the layer
        return _mean_terms(self.layer_gradients[rule], self.activations)

    def input_terms(self, rule: ReluRule = STANDARD) -> Float64:
        """The mean over the pixels of Σ_c |∂y/∂x_c| · max |x_c|, (N,)."""
        return _mean_terms(
            self.input_gradients[rule], rounding.largest_inputs(self.spec)[:, None, None]
        )

    def logit_rounding(self, index: int, cache_key: Hashable) -> Float64:
        """How much rounding may change an image's logits, (K,).

        This takes ``rounding.TIMES`` forward passes; for ``cache_key`` see
        :meth:`ModelQueries.logits`.
        """
        image = self.inputs[index]
        jittered = rounding.jittered(image, rounding.largest_inputs(self.spec))
        recomputed = self.model.logits(jittered, cache_key)
        return rounding.logit_bound(self.logits[index], recomputed)


def collect(
    model: ModelQueries,
    batch: Float32,
    targets: Sequence[Targets] | TargetRows,
    layers: Sequence[Layer],
    methods: Sequence[Needs],
    spec: InputSpec | None = None,
    extra_targets: Sequence[Targets] = (),
) -> list[list[AttributionContext]]:
    """Everything that ``methods`` need to know about a batch, with as few passes as possible.

    There is one forward pass, whatever the number of targets and layers.

    Args:
        model: the network.
        batch: (N, C, H, W) float32, preprocessed.
        targets: each one target an image, see :data:`cnnviz.engines.network.Targets`; or what says
            by the logits which targets each image has.
        layers: the target layers.
        methods: the methods that will be run.
        spec: what the network expects as input; the default suits ImageNet networks.
        extra_targets: more targets, for which only the gradient at the last layer is wanted.

    Returns:
        For each of ``targets`` a list with the context at each of ``layers``; then for each of
        ``extra_targets`` a list with that at the last one. Where images have targets of their own,
        the first list is of their first ones, and so on; images that have fewer are not in it.
    """
    last_layer = tuple(layers[-1:]) if extra_targets else ()
    target_layers = tuple(layers) if any(method.uses_layer for method in methods) else ()
    kept = target_layers or last_layer
    requests = _requests(methods, target_layers)
    forward = model.network.run(batch, kept, record=bool(requests or extra_targets))
    shared = _Shared(
        model,
        InputSpec() if spec is None else spec,
        batch,
        forward,
        {layer: forward.activations(layer) for layer in kept},
    )
    columns = [(one, requests, layers) for one in _columns(targets, forward.logits)]
    to_last = [_request(STANDARD, last_layer, to_input=False)] if last_layer else []
    columns += [(one, to_last, last_layer) for one in _columns(extra_targets, forward.logits)]
    found = []
    for number, (chosen, asked, places) in enumerate(columns, 1):
        more = number < len(columns)
        results = forward.gradients(chosen, asked, retain_graph=more) if asked else []
        by_rule = _by_rule(asked, results)
        found.append([_without_noise(shared.context(chosen, layer, by_rule)) for layer in places])
    if not columns:
        forward.release()
    return found


def _columns(
    targets: Sequence[Targets] | TargetRows, logits: Float32
) -> list[list[TargetFunction | None]]:
    """One target an image, several times; None for images that have no more."""
    if not callable(targets):
        return [list(map(ClassLogit, map(int, choose_targets(one, logits)))) for one in targets]
    return [list(column) for column in zip_longest(*targets(logits))]


@dataclass(frozen=True)
class _Shared:
    """What the contexts of one forward pass have in common."""

    model: ModelQueries
    spec: InputSpec
    inputs: Float32
    forward: ForwardPass
    activations: Mapping[Layer, Float32]

    def context(
        self,
        targets: Sequence[TargetFunction | None],
        layer: Layer,
        by_rule: Mapping[ReluRule, GradientResult],
    ) -> AttributionContext:
        """The context at one layer, of the images with a target, from the gradients of all."""
        model, activations = self.model, self.activations.get(layer)
        own = {place: target for place, target in enumerate(targets) if target is not None}

        def of_own(values: Float32) -> Float32:
            return values if len(own) == len(targets) else values[list(own)]

        return AttributionContext(
            inputs=of_own(self.inputs),
            logits=of_own(self.forward.logits),
            targets=tuple(own.values()),
            layer=layer,
            activations=None if activations is None else of_own(activations),
            layer_gradients={
                rule: of_own(model.unscaled(found.at[layer.value]))
                for rule, found in by_rule.items()
                if layer.value in found.at
            },
            input_gradients={
                rule: of_own(model.unscaled(found.input))
                for rule, found in by_rule.items()
                if found.input is not None
            },
            relus_guided={
                rule: found.relus_changed
                for rule, found in by_rule.items()
                if not rule.is_derivative
            },
            relus_total=model.network.relus,
            spec=self.spec,
            model=model,
            activation=model.network.architecture.activation,
            terms={rule: of_own(model.unscaled(found.terms)) for rule, found in by_rule.items()},
            images=tuple(own),
        )


def _requests(methods: Sequence[Needs], layers: Sequence[Layer]) -> list[GradientRequest]:
    """The gradients that methods need: one request a rule, at layers and at the input."""
    at_layers = dict.fromkeys(rule for method in methods for rule in method.layer_rules)
    at_input = dict.fromkeys(rule for method in methods for rule in method.input_rules)
    return [
        _request(rule, layers if rule in at_layers else (), rule in at_input)
        for rule in {**at_layers, **at_input}
    ]


def _request(rule: ReluRule, layers: Iterable[Layer], to_input: bool) -> GradientRequest:
    return GradientRequest(rule, tuple(layer.value for layer in layers), to_input)


def _by_rule(
    requests: Sequence[GradientRequest], results: Sequence[GradientResult]
) -> dict[ReluRule, GradientResult]:
    return {request.rule: result for request, result in zip(requests, results, strict=True)}


def _recomputed(context: AttributionContext, index: int) -> AttributionContext:
    """One image's context, computed again; see :mod:`cnnviz.attribution.rounding`."""
    network = context.model.network
    inputs = rounding.jittered(context.inputs[index], rounding.largest_inputs(context.spec))
    targets = [context.targets[index]] * len(inputs)
    layers = () if context.activations is None else (context.layer,)
    requests = [
        _request(
            rule,
            layers if rule in context.layer_gradients else (),
            rule in context.input_gradients,
        )
        for rule in context.terms
    ]
    forward = network.run(inputs, layers, record=bool(requests))
    activations = {layer: forward.activations(layer) for layer in layers}
    scale = rounding.SCALE
    results = (
        forward.gradients(targets, requests, scale=scale, retain_graph=False) if requests else []
    )
    model = ModelQueries(network, scale=scale)
    return _Shared(model, context.spec, inputs, forward, activations).context(
        targets, context.layer, _by_rule(requests, results)
    )


def _without_noise(context: AttributionContext) -> AttributionContext:
    """The context with zeros for gradients and activations that are nothing but rounding."""
    recompute = cache(partial(_recomputed, context))
    at_layer, at_input = dict(context.layer_gradients), dict(context.input_gradients)
    for rule, terms in context.terms.items():
        if rule in at_layer:
            sums = context.layer_terms(rule) * math.prod(context.layer.map_shape[1:])
            for index in rounding.suspected(sums, terms):
                if rounding.is_noise(at_layer[rule][index], recompute(index).layer_gradients[rule]):
                    at_layer[rule] = rounding.zeroed(at_layer[rule], index)
        if rule in at_input:
            sums = context.input_terms(rule) * math.prod(context.inputs.shape[2:])
            for index in rounding.suspected(sums, terms):
                if rounding.is_noise(at_input[rule][index], recompute(index).input_gradients[rule]):
                    at_input[rule] = rounding.zeroed(at_input[rule], index)
    activations = context.activations
    if activations is not None:
        # Gradients would not do here: a max pooling of equal values hands them to any of these.
        uniform = [rounding.is_uniform(image, context.spec) for image in context.inputs]
        for index in map(int, np.flatnonzero(uniform)):
            if rounding.is_noise(activations[index], recompute(index).activations):
                activations = rounding.zeroed(activations, index)
    return dataclasses.replace(
        context,
        activations=activations,
        layer_gradients=at_layer,
        input_gradients=at_input,
        recompute=recompute,
    )


def _mean_terms(gradients: Float32, values: npt.NDArray[np.floating[Any]]) -> Float64:
    """The mean over the positions of Σ_k |gradients_k · values_k|, (N,)."""
    positions = math.prod(gradients.shape[2:])
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported later
        products = np.abs(gradients * values.astype(np.float32, copy=False))
        sums: Float64 = products.sum(axis=(1, 2, 3), dtype=np.float64)
    return sums / positions
