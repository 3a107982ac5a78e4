"""Images that excite a network most: activation maximization.

Erhan et al. 2009 climb the gradient of one unit from noise; Simonyan et al. 2014 (section 2) that
of a class's logit, argmax_I S_c(I) - λ·|I|². Without regularization such an image looks like noise
to people. What keeps it readable here:

- the image is parameterized by its cosine spectrum, and low frequencies move more than high ones,
  as 1/f**blur, so that large shapes come first (Yosinski et al. 2015 blur the image between steps
  instead);
- the network sees it randomly shifted and shrunk, in several views a step, so that only what holds
  at every place and size grows (Mordvintsev et al. 2015 shift; Olah et al. 2017 do both);
- it fades into the mean color toward its corners, which leaves room for one object rather than
  a pattern of many;
- total variation and |I|² are penalized (Mahendran & Vedaldi 2016; Simonyan et al. 2014);
- a sigmoid keeps colors between 0 and 1, around the mean of the network's training images.

Where this differs from Simonyan et al.: the gradient of the logit is scaled to a root mean square
of 1 in every step before the penalties are added, so that the same options suit logits of 10 and of
600; and the penalties grow over the first half of the steps, once there is something to penalize.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnviz.engines.network import Network
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.images.input_spec import InputSpec
from cnnviz.inspection.objectives import Objective
from cnnviz.inspection.spectrum import SpectralParameterization, resampling, variation_gradient
from cnnviz.types import Float32

_DECAYS = (0.9, 0.99)  # of Adam's two means; the second forgets sooner than usual: few steps
_SMALLEST = 1e-12  # added to what is divided by


@dataclass(frozen=True)
class AscentOptions:
    """How an image is found.

    Attributes:
        steps: how often the gradient is followed.
        rate: learning rate (Adam, Kingma & Ba 2015).
        jitter: largest shift of the image in a step, as a fraction of its sides.
        zoom: largest factor by which the image is shrunk in a step; what excites the network
            becomes up to this many times larger in the image.
        views: random shifts and sizes in each step, whose gradients are averaged.
        window: the distance from the middle, as a fraction of the sides, at which the image has
            faded to 61 % of its strength; 0 for no fading.
        blur: how much slower fine detail moves than coarse: a cosine of frequency f by 1/f**blur.
        tv: weight of total variation, against a gradient of the logit of root mean square 1.
        l2: likewise of the squared distance from the mean color.
        seed: of the initial noise, and of shifts and sizes.
    """

    steps: int = 96
    rate: float = 0.07
    jitter: float = 0.07
    zoom: float = 2.6
    views: int = 2
    window: float = 0.42
    blur: float = 1.15
    tv: float = 0.9
    l2: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("views", 1),
            ("window", 0),
            ("blur", 0),
            ("tv", 0),
            ("l2", 0),
            ("seed", 0),
        ):
            if not least <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is at least {least}; got {getattr(self, name)}.")
        if not 0 < self.rate < math.inf:
            raise UsageError(f"rate is above 0; got {self.rate}.")
        if not 0 <= self.jitter <= 1:
            raise UsageError(f"jitter is a share of the image's side, 0 to 1; got {self.jitter}.")
        if not 1 <= self.zoom <= 16:
            raise UsageError(f"zoom is between 1 and 16; got {self.zoom}.")


@dataclass(frozen=True)
class Progress:
    """The state of an ascent after a step.

    Attributes:
        step: steps done; 0 is the initial noise.
        images: float32 (N, H, W, 3), or (N, H, W) in gray, from 0 to 1: of networks with other
            channels those displayed.
    """

    step: int
    images: Float32

    def pixels(self) -> list[npt.NDArray[np.uint8]]:
        """The images as uint8, (H, W, 3) in RGB or (H, W)."""
        return list(np.rint(self.images * 255).astype(np.uint8))


@dataclass(frozen=True)
class MaximizedImage:
    """An image that was found. Values and logits are those of the image in 8 bits.

    Attributes:
        image: uint8 (H, W, 3) RGB, or (H, W); of a network with other channels those displayed.
        value: what was maximized.
        initial_value: the same of the noise that the ascent began with.
        logits: (K,) float32.
        has_gradient: whether there ever was a gradient to follow.
        activation: turns the logits into probabilities.
    """

    image: npt.NDArray[np.uint8]
    value: float
    initial_value: float
    logits: Float32
    has_gradient: bool
    activation: Activation = SOFTMAX

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(K,), of the classes; see :meth:`Activation.outputs`."""
        return self.activation.outputs(self.logits)

    @property
    def prediction(self) -> int:
        """The class with the highest logit."""
        return int(self.logits.argmax())


def maximize(
    network: Network,
    spec: InputSpec,
    objective: Objective,
    options: AscentOptions | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> list[MaximizedImage]:
    """Find the images of an objective; all go through the network as one batch.

    The same options give the same images on the same machine. An image does not depend
    on those beside it: all begin with the same noise and are shifted alike.

    Args:
        network: the network.
        spec: what the network is fed.
        objective: what to maximize.
        options: how; the defaults suit ImageNet networks and small ones.
        on_step: called before the first step and after each.

    Raises:
        NetworkError: a gradient is not finite, or the engine fails (out of memory).
    """
    options = AscentOptions() if options is None else options
    random = np.random.default_rng(options.seed)
    parameters = SpectralParameterization(spec, options.blur, options.window)
    spectra = np.repeat(parameters.noise(random), len(objective), axis=0)
    ascend = _Adam(options.rate)
    has_gradient = np.zeros(len(objective), np.bool_)
    initial = parameters.images(spectra)
    images = initial
    _report(on_step, 0, parameters.displayed(images))
    for step in range(1, options.steps + 1):
        gradients = _mean_gradients(
            network, objective, parameters.normalize(images), random_views(spec, options, random)
        )
        if not np.isfinite(gradients).all():
            raise NetworkError(
                f"The gradient is not finite in step {step}: the network's weights may be broken, "
                "or the rate too high."
            )
        nonzero = gradients.any(axis=(1, 2, 3))
        has_gradient |= nonzero
        uphill = _unit_rms(parameters.image_gradients(gradients))
        ramp = min(1.0, 2 * step / options.steps) ** 2
        if options.tv:
            uphill -= np.float32(ramp * options.tv) * variation_gradient(images)
        if options.l2:
            uphill -= np.float32(ramp * options.l2) * (images - parameters.mean)
        # Without a gradient an image keeps its noise: another view of it may give one.
        uphill *= nonzero[:, None, None, None]
        spectra = spectra + ascend(parameters.spectrum_gradients(uphill, images))
        images = parameters.images(spectra)
        _report(on_step, step, parameters.displayed(images))
    return _finish(network, parameters, objective, (initial, images), has_gradient)


def _mean_gradients(
    network: Network, objective: Objective, batch: Float32, views: Sequence[tuple[Float32, Float32]]
) -> Float32:
    """Gradients at the network's input, (N, C, H, W); every view has the same weight."""
    total = np.zeros_like(batch)
    for down, across in views:
        seen = np.ascontiguousarray(down @ batch @ across.T)
        _, gradients = objective.gradients(network, seen)
        total += _unit_rms(down.T @ gradients @ across)
    return total


def _finish(
    network: Network,
    parameters: SpectralParameterization,
    objective: Objective,
    ends: tuple[Float32, Float32],
    has_gradient: npt.NDArray[np.bool_],
) -> list[MaximizedImage]:
    pixels = Progress(0, parameters.displayed(ends[1])).pixels()
    in_bits = np.rint(ends[1] * 255) / np.float32(255)
    initial, _ = objective.values(network, parameters.normalize(ends[0]))
    values, logits = objective.values(network, parameters.normalize(in_bits))
    activation = network.architecture.activation
    return [
        MaximizedImage(
            pixels[i],
            float(values[i]),
            float(initial[i]),
            logits[i],
            bool(has_gradient[i]),
            activation,
        )
        for i in range(len(objective))
    ]


class _Adam:
    """Gradient ascent by Adam (Kingma & Ba 2015, algorithm 1)."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._steps = 0
        self._mean: Float32 = np.zeros((), np.float32)
        self._square: Float32 = np.zeros((), np.float32)

    def __call__(self, gradient: Float32) -> Float32:
        """The step to take."""
        first, second = _DECAYS
        self._steps += 1
        self._mean = np.float32(first) * self._mean + np.float32(1 - first) * gradient
        self._square = np.float32(second) * self._square + np.float32(1 - second) * gradient**2
        root = np.sqrt(self._square / np.float32(1 - second**self._steps)) + np.float32(_SMALLEST)
        step: Float32 = np.float32(self._rate / (1 - first**self._steps)) * self._mean / root
        return step


def random_views(
    spec: InputSpec, options: AscentOptions, random: np.random.Generator
) -> list[tuple[Float32, Float32]]:
    """The random views of a step: for each, the matrices that resample rows and columns.

    Sizes are spread evenly over the views of a step, on a logarithmic scale.
    """
    views = []
    for number in range(options.views):
        factor = float(options.zoom ** ((number + random.random()) / options.views))
        vertical, horizontal = random.uniform(-options.jitter, options.jitter, 2)
        rows = resampling(spec.height, factor, vertical * spec.height)
        views.append((rows, resampling(spec.width, factor, horizontal * spec.width)))
    return views


def _unit_rms(gradients: Float32) -> Float32:
    """Each image's gradient at a root mean square of 1; zero stays zero."""
    level = np.sqrt(np.mean(gradients**2, axis=(1, 2, 3), keepdims=True))
    scaled: Float32 = gradients / np.where(level > 0, level, 1)
    return scaled


def _report(on_step: Callable[[Progress], None] | None, step: int, images: Float32) -> None:
    if on_step is not None:
        on_step(Progress(step, images))
