"""Does Grad-CAM point at the object that it is asked about? Measured where the truth is known.

Scenes with two objects come with a mask of what can be seen of each. For either class in turn the
map's maximum must lie inside that object, not inside the other one and not on the background.
The scenes' seeds are apart from those that the demo network was trained on. Run it with::

    python -m cnnviz.metrics.localization --scenes 200
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.attribution.cam import grad_cam
from cnnviz.demo import CLASSES
from cnnviz.demo.scenes import Scene, scene
from cnnviz.engines.mxnet.backward import Walk
from cnnviz.engines.mxnet.engine import Network
from cnnviz.errors import CnnvizError, UsageError
from cnnviz.images.preprocessing import prepare, to_image
from cnnviz.models.config import ModelConfig
from cnnviz.models.resolve import find_model

ONE_OBJECT_SEED = 2_000_000  #: first seed of the scenes with one object
TWO_OBJECT_SEED = 3_000_000  #: first seed of the scenes with two
_BATCH = 10


@dataclass(frozen=True)
class Classification:
    """How well scenes with one object are named: a share, 0..1, and the mean top probability."""

    scenes: int
    accuracy: float
    confidence: float


@dataclass(frozen=True)
class Localization:
    """Where the maxima of the maps lay; the three shares, 0..1, add up to 1.

    ``maps`` is twice the number of scenes, a map for each of the two classes. ``right`` counts
    maxima inside the object asked about, ``wrong`` those inside the other, ``neither`` the rest
    (a map without any positive value among them). ``layer`` is the layer that was explained.
    """

    maps: int
    right: float
    wrong: float
    neither: float
    layer: str


def demo_network() -> Network:
    """The demo network with the weights that ship, on the processor."""
    network, _ = find_model(ModelConfig("demo")).load("cpu")
    return network


def one_object_scenes(number: int, first_seed: int = ONE_OBJECT_SEED) -> list[Scene]:
    """Scenes with one object each, all kinds in turn."""
    return [scene(first_seed + i, [CLASSES[i % len(CLASSES)]]) for i in range(number)]


def two_object_scenes(number: int, first_seed: int = TWO_OBJECT_SEED) -> list[Scene]:
    """Scenes with two objects each, all ordered pairs of kinds in turn."""
    pairs = [(a, b) for a in CLASSES for b in CLASSES if a != b]
    # 13 and the 56 pairs have no common factor: every pair has its turn, neighbors differ.
    return [scene(first_seed + i, pairs[13 * i % len(pairs)]) for i in range(number)]


def classify(network: Network, scenes: Sequence[Scene]) -> Classification:
    """Name the one object of each scene; see :class:`Classification`."""
    _check(scenes, 1)
    right, certainty = 0, 0.0
    for part, batch in _batches(scenes):
        logits = network.logits(batch)
        certainty += float(network.architecture.activation.outputs(logits).max(axis=1).sum())
        truth = np.array([drawn.objects[0].index for drawn in part])
        right += int((logits.argmax(axis=1) == truth).sum())
    return Classification(len(scenes), right / len(scenes), certainty / len(scenes))


def localize(network: Network, scenes: Sequence[Scene], layer: str | None = None) -> Localization:
    """Look where the maximum of Grad-CAM lies, for each of the two classes of every scene.

    The map of a layer (default: the network's own choice) is brought to the image's 224 x 224
    bilinearly and in float; its maximum is looked up in the objects' masks as they are.
    """
    _check(scenes, 2)
    target = network.layer(layer)
    counts = {"right": 0, "wrong": 0, "neither": 0}
    for part, batch in _batches(scenes):
        recorded = network.forward(batch, [target])
        activations = recorded.activations(target)
        walk = Walk(layers=(target,), inputs=False)
        for asked in (0, 1):
            classes = np.array([drawn.objects[asked].index for drawn in part])
            (walked,) = recorded.backward(classes, [walk], final=asked == 1)
            gradients = walked.layer_gradients[target.name]
            for drawn, cam in zip(part, grad_cam(activations, gradients), strict=True):
                counts[_verdict(drawn, asked, cam)] += 1
    maps = 2 * len(scenes)
    return Localization(
        maps, counts["right"] / maps, counts["wrong"] / maps, counts["neither"] / maps, target.name
    )


def _verdict(drawn: Scene, asked: int, cam: npt.NDArray[np.float32]) -> str:
    if not cam.max() > 0:
        return "neither"
    shape = drawn.image.shape[:2]
    large, _ = to_image(cam, prepare(drawn.image).geometry, (shape[0], shape[1]))
    peak = np.unravel_index(int(large.argmax()), large.shape)
    if drawn.objects[asked].mask[peak]:
        return "right"
    return "wrong" if drawn.objects[1 - asked].mask[peak] else "neither"


def _batches(
    scenes: Sequence[Scene],
) -> Iterator[tuple[Sequence[Scene], npt.NDArray[np.float32]]]:
    for start in range(0, len(scenes), _BATCH):
        part = scenes[start : start + _BATCH]
        yield part, np.stack([prepare(drawn.image).input for drawn in part])


def _check(scenes: Sequence[Scene], objects: int) -> None:
    if not scenes:
        raise UsageError("At least one scene is needed; there is none.")
    for drawn in scenes:
        if len(drawn.objects) != objects:
            raise UsageError(
                f"Every scene here has {objects} object(s); one has {len(drawn.objects)}."
            )


def report(named: Classification, pointed: Localization) -> str:
    """The figures in plain words, five lines."""
    return "\n".join(
        [
            f"one object, {named.scenes} scenes: {named.accuracy:.1%} named rightly, "
            f"mean top probability {named.confidence:.3f}",
            f"two objects, {pointed.maps // 2} scenes: {pointed.maps} Grad-CAM maps of layer "
            f"{pointed.layer}, one for each class; the maximum lies",
            f"  inside the right object   {pointed.right:6.1%}",
            f"  inside the wrong object   {pointed.wrong:6.1%}",
            f"  inside neither            {pointed.neither:6.1%}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the demo network's figures: ``python -m cnnviz.metrics.localization --help``."""
    parser = argparse.ArgumentParser(
        prog="python -m cnnviz.metrics.localization",
        description="Measure on generated scenes whether Grad-CAM points at the right object.",
    )
    parser.add_argument(
        "--scenes", type=int, default=200, help="scenes of either sort (default %(default)s)"
    )
    options: Any = parser.parse_args(arguments)
    try:
        network = demo_network()
        print(
            report(
                classify(network, one_object_scenes(options.scenes)),
                localize(network, two_object_scenes(options.scenes)),
            )
        )
    except CnnvizError as problem:
        parser.exit(int(problem.exit_code), f"{problem}\n")


if __name__ == "__main__":
    main()
