"""What a method is, and what it is given: the evidence of one batch.

A method is one class: its name, paper, formula, how its map is drawn, what it needs from the
network, and :meth:`Method.attribute`. It touches no network and no picture. The evidence that all
chosen methods need together is gathered once (:func:`gather`), so that Grad-CAM, guided Grad-CAM
and saliency share one forward pass and one backward pass through the trunk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from cnnviz.network import Layer, Network, ReluRule, Walk, choose_targets
from cnnviz.network.engine import Targets

Float32 = npt.NDArray[np.float32]

#: How a map is drawn: ``heat``, at least 0, as a colour overlay; ``signed``, around 0, three
#: channels, in colour on mid-grey; ``magnitude``, at least 0, in grey.
Drawing = Literal["heat", "signed", "magnitude"]


@dataclass(frozen=True)
class Evidence:
    """What the network said about a batch of N pictures, for one target each.

    Attributes:
        inputs: (N, channels, H, W) float32, as fed to the network.
        logits: (N, K) float32, before any softmax.
        targets: (N,) int64.
        layer: the target layer.
        activations: (N, C, h, w) float32, its output.
        layer_gradients: (N, C, h, w) float32, the true gradient of the target's logit there.
        input_gradients: for each ReLU rule that was asked for, (N, channels, H, W) float32.
        relus_guided: for each of these rules how many ReLUs it acted on.
        relus_total: ReLUs in the network.
    """

    inputs: Float32
    logits: Float32
    targets: npt.NDArray[np.int64]
    layer: Layer
    activations: Float32
    layer_gradients: Float32
    input_gradients: Mapping[ReluRule, Float32]
    relus_guided: Mapping[ReluRule, int]
    relus_total: int


class Method(ABC):
    """One way to attribute a network's score to the pixels of its input."""

    name: ClassVar[str]  #: as on the command line; ``-`` becomes ``_`` in names of files and arrays
    title: ClassVar[str]
    paper: ClassVar[str]
    formula: ClassVar[str]
    drawing: ClassVar[Drawing]
    relu_rules: tuple[ReluRule, ...] = ()  #: the rules under which it needs the input gradient
    parts: tuple[Method, ...] = ()  #: methods that it is composed of; their maps are saved with it

    @abstractmethod
    def attribute(self, evidence: Evidence) -> Float32:
        """The maps of a batch: (N, ...) float32, finite, with no normalisation."""

    @property
    def key(self) -> str:
        """The method's name in the names of files and arrays."""
        return self.name.replace("-", "_")


def gather(
    network: Network,
    batch: Float32,
    targets: Targets,
    layer: Layer,
    methods: Sequence[Method],
) -> Evidence:
    """Everything that ``methods`` need to know about a batch, with as few passes as possible.

    Args:
        network: the network.
        batch: (N, C, H, W) float32, preprocessed.
        targets: as in :meth:`cnnviz.network.Network.gradients`.
        layer: the target layer.
        methods: the methods that will be asked.
    """
    rules: list[ReluRule] = list(dict.fromkeys(rule for m in methods for rule in m.relu_rules))
    recorded = network.forward(batch, [layer])
    chosen = choose_targets(targets, recorded.logits)
    activations = recorded.activations(layer)
    # The standard rule passes the layer on its way to the input; no walk of its own is needed.
    walks = [Walk(layers=(layer,), inputs="standard" in rules)]
    walks += [Walk(rule) for rule in rules if rule != "standard"]
    walked = recorded.backward(chosen, walks, final=True)
    reached = {
        walk.relu_rule: (gradients.input_gradients, gradients.relus_guided)
        for walk, gradients in zip(walks, walked)
        if gradients.input_gradients is not None
    }
    return Evidence(
        inputs=batch,
        logits=recorded.logits,
        targets=chosen,
        layer=layer,
        activations=activations,
        layer_gradients=walked[0].layer_gradients[layer.name],
        input_gradients={rule: gradients for rule, (gradients, _) in reached.items()},
        relus_guided={rule: guided for rule, (_, guided) in reached.items()},
        relus_total=network.relus,
    )
