"""Does Grad-CAM point at the object that it is asked about? Measured where the truth is known.

Scenes with two objects come with a mask of what can be seen of each. The map of either class must
have its maximum inside that object, not inside the other one and not on the background (the
pointing game, :class:`cnnviz.metrics.regions.PointingGame`, without its tolerance).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cnnviz.attribution.cam import grad_cam
from cnnviz.demo.scenes import Scene
from cnnviz.engines.base import GradientRequest
from cnnviz.engines.network import Network
from cnnviz.errors import UsageError
from cnnviz.images.preprocessing import prepare, to_image
from cnnviz.metrics.regions import hits
from cnnviz.metrics.seen_region import SeenRegion
from cnnviz.types import Float32

_BATCH = 10


@dataclass(frozen=True)
class Classification:
    """How well the one object of each scene is recognized.

    Attributes:
        scenes: how many there were.
        accuracy: the share of them, 0..1, whose object has the highest logit.
        confidence: the mean probability of the top class, 0..1.
    """

    scenes: int
    accuracy: float
    confidence: float


@dataclass(frozen=True)
class Localization:
    """Where the maxima of the maps lie. The three shares, 0..1, add up to 1.

    Attributes:
        maps: their number, two for each scene: one for each class.
        own: the share of them with the maximum inside the object asked about.
        other: inside the other object.
        neither: elsewhere, or a map without any positive value.
        layer: the layer that was explained.
    """

    maps: int
    own: float
    other: float
    neither: float
    layer: str


def classify(network: Network, scenes: Sequence[Scene]) -> Classification:
    """Classify scenes with one object each.

    Raises:
        UsageError: there is no scene, or one has not exactly one object.
    """
    _check(scenes, 1)
    correct, confidence = 0, 0.0
    for part, batch in _batches(scenes):
        logits = network.logits(batch)
        confidence += float(network.architecture.activation.outputs(logits).max(axis=1).sum())
        truth = np.array([drawn.objects[0].index for drawn in part])
        correct += int((logits.argmax(axis=1) == truth).sum())
    return Classification(len(scenes), correct / len(scenes), confidence / len(scenes))


def localize(network: Network, scenes: Sequence[Scene], layer: str | None = None) -> Localization:
    """Find where Grad-CAM has its maximum, for each of the two classes of every scene.

    The map of a layer (default: the network's own choice) is brought to the image's 224 x 224
    bilinearly and in float; its maximum is looked up in the objects' masks as they are. Of equal
    maxima the share counts.

    Raises:
        UsageError: there is no scene, or one has not exactly two objects; or no such layer.
    """
    _check(scenes, 2)
    target = network.layer(layer)
    own, other = 0.0, 0.0
    for part, batch in _batches(scenes):
        forward = network.run(batch, [target], record=True)
        activations = forward.activations(target)
        request = GradientRequest(at=(target.value,), to_input=False)
        for asked in (0, 1):
            classes = np.array([drawn.objects[asked].index for drawn in part])
            (result,) = forward.gradients(classes, [request], retain_graph=asked == 0)
            cams = grad_cam(activations, result.at[target.value])
            for drawn, cam in zip(part, cams, strict=True):
                own += share_inside(drawn, asked, cam)
                other += share_inside(drawn, 1 - asked, cam)
    maps = 2 * len(scenes)
    own, other = own / maps, other / maps
    return Localization(maps, own, other, 1 - own - other, target.name)


def share_inside(scene: Scene, which: int, cam: Float32) -> float:
    """The share of a map's maxima, 0..1, that lie inside an object; 0 if no value is positive.

    Args:
        scene: the scene.
        which: the object's place in it.
        cam: float (h, w), at least 0.
    """
    geometry = prepare(scene.image).geometry
    large, _ = to_image(cam, geometry, geometry.network)
    return hits(large, SeenRegion(scene.objects[which].mask, geometry), tolerance=0)[0]


def _batches(scenes: Sequence[Scene]) -> Iterator[tuple[Sequence[Scene], Float32]]:
    for start in range(0, len(scenes), _BATCH):
        part = scenes[start : start + _BATCH]
        yield part, np.stack([prepare(drawn.image).input for drawn in part])


def _check(scenes: Sequence[Scene], objects: int) -> None:
    if not scenes:
        raise UsageError("At least one scene is needed; there is none.")
    for drawn in scenes:
        if len(drawn.objects) != objects:
            raise UsageError(
                f"Every scene must have {objects} object(s); one has {len(drawn.objects)}."
            )
