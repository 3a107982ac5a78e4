"""The test with random parameters, on the first images of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cnnviz.attribution import ModelQueries
from cnnviz.engines.network import Network
from cnnviz.engines.target_functions import TargetFunction
from cnnviz.errors import ItemError
from cnnviz.explainer import Explainer
from cnnviz.metrics.randomization import Randomization
from cnnviz.metrics.randomization_result import RandomizationResult
from cnnviz.runs.goals import Goals
from cnnviz.runs.items import Item
from cnnviz.runs.stream import Loader
from cnnviz.runs.subjects import MapMaker, make_maps, map_makers
from cnnviz.text import joined
from cnnviz.types import Float32


@dataclass(frozen=True)
class RandomizationTest:
    """Explains some images again, by networks whose parameters are random.

    Attributes:
        test: how these are made.
        explainer: the network and methods.
        goals: what is explained.
    """

    test: Randomization
    explainer: Explainer
    goals: Goals

    @cached_property
    def makers(self) -> tuple[MapMaker, ...]:
        """The methods that take part: those whose maps do not take too many passes."""
        most = self.test.most_passes
        return tuple(one for one in map_makers(self.explainer) if one.cost.total() <= most)

    @property
    def left_out(self) -> str | None:
        """A sentence about methods that do not."""
        taking_part = {maker.key for maker in self.makers}
        others = [one.title for one in map_makers(self.explainer) if one.key not in taking_part]
        if not others:
            return None
        return (
            f"Not made again with random parameters, for it would take more than "
            f"{self.test.most_passes} passes a map: {joined(others, 'and')} "
            "(--metric-option randomization.most_passes=N)."
        )

    @property
    def passes_each(self) -> int:
        """Passes with one network, for one image."""
        return sum(maker.cost.total() for maker in self.makers)

    def passes(self, images: int) -> int:
        """All passes, where there are so many images."""
        if not self.makers:
            return 0
        networks = 1 + self.test.networks(self.explainer.network.architecture)
        return networks * self.passes_each * min(images, self.test.images)

    def run(
        self, items: Iterable[Item], loader: Loader, on_progress: Callable[[int], None]
    ) -> RandomizationResult | None:
        """Explain the first images that can be read and have a target.

        Args:
            items: images that were evaluated.
            loader: reads them.
            on_progress: called with a number of passes whenever that many are done.

        Returns:
            None if there is no such image, or no method.

        Raises:
            UsageError: the network has no parameters.
            NetworkError: the engine fails (out of memory).
        """
        inputs: list[Float32] = []
        targets: list[TargetFunction] = []
        architecture = self.explainer.network.architecture
        for item in items:
            if len(inputs) == self.test.images or not self.makers:
                break
            try:
                prepared, _ = item.load(loader, lambda _text: None)
            except ItemError:  # it is no longer there: the next one
                continue
            logits = self.explainer.network.logits(prepared.input[None])[0]
            chosen = self.goals.of_image(logits, architecture.activation, item.truth)
            if chosen:
                inputs.append(prepared.input)
                targets.append(chosen[0])
        if not inputs:
            return None
        each = self.passes_each * len(inputs)

        def attribute(
            network: Network, batch: Float32, asked: Sequence[TargetFunction]
        ) -> dict[str, Float32]:
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite does not count
                return make_maps(self.makers, ModelQueries(network), batch, asked)

        return self.test.measure(
            self.explainer.network,
            np.stack(inputs),
            targets,
            attribute,
            lambda networks: on_progress(networks * each),
        )
