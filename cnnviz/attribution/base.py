"""What an attribution method is.

A method is one frozen dataclass: its name, paper and formula, what kind of map it makes, the
gradients that it needs, its options as fields, and :meth:`Method.attribute`. What all chosen
methods need together is collected once (:func:`cnnviz.attribution.context.collect`), so that
Grad-CAM, guided Grad-CAM and saliency share one forward pass and one backward pass through the
network, and several targets and layers share the forward pass. A method that needs more passes asks
for them (:class:`cnnviz.attribution.queries.ModelQueries`).
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import numpy as np

from cnnviz.attribution import rounding
from cnnviz.attribution.context import AttributionContext
from cnnviz.attribution.options import Configurable
from cnnviz.attribution.queries import PassCount
from cnnviz.engines.base import RELU_RULES, STANDARD, ReluRule
from cnnviz.graph.architecture import Layer
from cnnviz.types import Float32, Float64, MapKind


@dataclass(frozen=True)
class Attribution:
    """What a method returns for a batch of N images.

    Attributes:
        maps: by key, (N, ...) float32, finite, with no normalization.
        diagnostics: by name, for each image a value that JSON can hold.
        terms: by key, for maps that are sums in which terms may cancel, (N,): the size of these.
    """

    maps: Mapping[str, Float32]
    diagnostics: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    terms: Mapping[str, Float64] = field(default_factory=dict)


RELU_HELP = "how gradients pass ReLUs: standard, guided or deconvnet"


@dataclass(frozen=True)
class Method(Configurable):
    """One way to attribute a network's score to the pixels of its input."""

    noun = "method"
    #: As on the command line; ``-`` becomes ``_`` in names of files and arrays.
    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    formula: ClassVar[str]
    kind: ClassVar[MapKind]
    cost: ClassVar[str] = "none"  #: in words, beyond the passes that all methods share
    class_specific: ClassVar[bool] = True  #: whether another target gives another map
    #: Values of its options in place of the defaults, for networks without ReLU.
    without_relu: ClassVar[Mapping[str, Any]] = {}

    @property
    def components(self) -> tuple[Method, ...]:
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
        """Whether it, or a component, passes ReLUs under another rule than the derivative."""
        return any(not rule.is_derivative for rule in self.relu_rules)

    @property
    def relu_rules(self) -> tuple[ReluRule, ...]:
        """The ReLU rules that it, or a component, needs; none if it takes no gradients."""
        # Its own is that of passes that it may ask for itself.
        own = (RELU_RULES[self.relu],) if hasattr(self, "relu") else ()
        methods = (self, *self.components)
        rules = (rule for method in methods for rule in (*method.layer_rules, *method.input_rules))
        return tuple(dict.fromkeys((*own, *rules)))

    @property
    def uses_layer(self) -> bool:
        """Whether another target layer gives another map."""
        return bool(self.layer_rules)

    @abstractmethod
    def attribute(self, context: AttributionContext) -> Float32:
        """The maps of a batch: (N, ...) float32, finite, with no normalization."""

    def terms(self, context: AttributionContext) -> Float64 | None:
        """The size of the terms that its map is a sum of, (N,); None if they cannot cancel."""
        return None

    def explain(self, context: AttributionContext) -> Attribution:
        """All maps and diagnostics of a batch: its own, and its components' maps."""
        terms = self.terms(context)
        return Attribution(
            {
                **{
                    part.key: part.explain_checked(context).maps[part.key]
                    for part in self.components
                },
                self.key: self.attribute(context),
            },
            terms={} if terms is None else {self.key: terms},
        )

    def explain_checked(self, context: AttributionContext) -> Attribution:
        """What :meth:`explain` returns, with zeros for maps that are nothing but rounding."""
        found = self.explain(context)
        recompute = context.recompute
        if recompute is None:
            return found
        maps = dict(found.maps)
        explain_again = cache(lambda index: self.explain(recompute(index)).maps)
        for key, terms in found.terms.items():
            peaks = np.abs(maps[key]).reshape(len(maps[key]), -1).max(axis=1)
            for index in rounding.suspected(peaks, terms):
                if rounding.is_noise(maps[key][index], explain_again(index)[key]):
                    maps[key] = rounding.zeroed(maps[key], index)
        return dataclasses.replace(found, maps=maps)

    def passes(self, input_shape: tuple[int, int, int], layer: Layer) -> PassCount:
        """The passes that it asks for itself, for one image."""
        return PassCount()

    @property
    def key(self) -> str:
        """The method's name in the names of files and arrays."""
        rule = getattr(self, "relu", STANDARD.name)
        return self.name.replace("-", "_") + ("" if rule == STANDARD.name else f"_{rule}")

    @property
    def full_title(self) -> str:
        """Its title, with the ReLU rule if that is not the usual one: two rules are two methods."""
        rule = getattr(self, "relu", STANDARD.name)
        return self.title + ("" if rule == STANDARD.name else f" with {rule} ReLUs")

    @property
    def map_kinds(self) -> Mapping[str, MapKind]:
        """The maps that are rendered, by key, and how."""
        return {self.key: self.kind}
