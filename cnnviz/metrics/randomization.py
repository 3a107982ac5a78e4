"""Whether maps change when the network forgets what it learned (Adebayo et al. 2018).

A map that looks the same whatever the parameters are shows the image, not what the network made of
it. So parameters are made random, and the maps of the changed networks compared with those of the
trained one. It is a check, and no measure of how good a map is: a method whose maps turn to noise
at once looks best in it (Binder et al. 2023). Nothing should be sorted by these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnviz.attribution.options import Configurable, option
from cnnviz.engines.network import Network
from cnnviz.engines.target_functions import TargetFunction
from cnnviz.graph.architecture import Architecture
from cnnviz.metrics.base import Direction, Group
from cnnviz.metrics.randomization_networks import (
    HOW,
    Drawing,
    RandomNetwork,
    cascade,
    find_levels,
    one_by_one,
    spaced,
)
from cnnviz.metrics.randomization_result import Curve, LevelSimilarity, RandomizationResult
from cnnviz.metrics.similarity import Similarity, similarity
from cnnviz.types import Float32

#: What makes maps of N inputs (N, C, H, W) and their N targets by a network: by the method's key,
#: (N, H, W), as a metric judges them (:attr:`cnnviz.metrics.base.Subject.values`).
Attribute = Callable[[Network, Float32, Sequence[TargetFunction]], Mapping[str, Float32]]

BOTH = "both"
_MAKERS = {"cascade": cascade, "independent": one_by_one}
ORDERS = (*_MAKERS, BOTH)


@dataclass(frozen=True)
class Randomization(Configurable):
    """Similarity to the maps of networks whose parameters are random (Adebayo et al. 2018).

    In the cascade the layer at the logits is made random first, then the one below it as well, and
    so on down to the input (section 3.1.1 there); independent is each layer by itself, the others
    being as trained (3.1.2). The class that is explained stays that of the trained network.
    Similarity is Spearman's rank correlation, of the maps' values and of their magnitudes, and SSIM
    (:mod:`cnnviz.metrics.similarity`). An image whose map is the same everywhere to begin with does
    not count; a map that becomes so has similarity 0. A map with values that are not finite, which
    random parameters may lead to, does not count either.
    """

    noun = "metric"
    name = "randomization"
    title: ClassVar[str] = "parameter randomization"
    paper: ClassVar[str] = "Adebayo et al. 2018"
    formula: ClassVar[str] = "ρ(rank |S(x; θ)|, rank |S(x; random θ)|)"
    group: ClassVar[Group] = "randomization"
    direction: ClassVar[Direction | None] = None
    cost: ClassVar[str] = "a run of the method for each random network"

    cheap: ClassVar[bool] = False
    needs_region: ClassVar[bool] = False

    how: str = option("permute", "how parameters become random: permute or he", choices=HOW)
    order: str = option(
        "cascade",
        "which layers are random at a time: cascade, independent or both",
        choices=ORDERS,
    )
    levels: int = option(10, "how many layers are looked at, at most, evenly spaced", least=1)
    images: int = option(8, "how many images are explained again: the first ones", least=1)
    most_passes: int = option(
        100, "methods that need more passes than this for a map are left out", least=1
    )
    seed: int = option(0, "of the random numbers", least=0)

    def networks(self, architecture: Architecture) -> int:
        """How many random networks explain every image, beyond the trained one.

        Raises:
            UsageError: the network has no parameters.
        """
        levels = len(spaced(len(find_levels(architecture)), self.levels))
        return levels * (2 if self.order == BOTH else 1)

    def measure(
        self,
        network: Network,
        inputs: Float32,
        targets: Sequence[TargetFunction],
        attribute: Attribute,
        on_progress: Callable[[int], None] = lambda _count: None,
    ) -> RandomizationResult:
        """Compare maps of the network with those of random ones, which are made one at a time.

        Args:
            network: as it was trained; it stays as it is.
            inputs: N images as fed to it, (N, C, H, W) float32.
            targets: what is explained of each.
            attribute: makes the maps.
            on_progress: called with 1 whenever a network has explained all images: the trained one
                and each of :meth:`networks`.

        Raises:
            UsageError: the network has no parameters.
            NetworkError: the engine fails (out of memory).
        """
        levels = find_levels(network.architecture)
        originals = dict(attribute(network, inputs, targets))
        on_progress(1)

        def curves(networks: Iterator[RandomNetwork]) -> dict[str, Curve]:
            found: dict[str, list[LevelSimilarity]] = {key: [] for key in originals}
            for random in networks:
                maps = attribute(random.network, inputs, targets)
                for key, original in originals.items():
                    found[key].append(_level(random, original, maps[key]))
                del random, maps  # before the next network is made
                on_progress(1)
            return {key: tuple(curve) for key, curve in found.items()}

        drawing = Drawing(self.how, self.seed)
        made = {
            order: curves(make(network, levels, drawing, self.levels))
            if self.order in (order, BOTH)
            else {}
            for order, make in _MAKERS.items()
        }
        return RandomizationResult(self.how, self.seed, len(levels), len(inputs), **made)


def _level(random: RandomNetwork, originals: Float32, changed: Float32) -> LevelSimilarity:
    """The means over images."""
    found = list(_similarities(originals, changed))
    return LevelSimilarity(
        random.layer,
        random.share,
        len(found),
        _mean([one.spearman for one in found]),
        _mean([one.absolute for one in found]),
        _mean([one.ssim for one in found if one.ssim is not None]),
    )


def _similarities(originals: Float32, changed: Float32) -> Iterator[Similarity]:
    for original, other in zip(originals, changed, strict=True):
        if np.isfinite(original).all() and np.isfinite(other).all():
            one = similarity(original, other)
            if one is not None:
                yield one


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
