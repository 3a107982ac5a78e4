"""Images that excite a network most: activation maximization.

Erhan et al. 2009 climb the gradient of one unit from noise; Simonyan et al. 2014 (section 2) that
of a class's logit, argmax_I S_c(I) - λ·|I|². Left alone such an image is noise that means nothing
to anybody. What keeps it readable here:

- an image is a spectrum of cosines, and slow ones are moved more than fast ones, as 1/f**blur: so
  large shapes come first (Yosinski et al. 2015 blur the image between steps instead);
- the network sees it shifted and shrunk by chance, in several views a step, so that only what
  holds at every place and size grows (Mordvintsev et al. 2015 shift; Olah et al. 2017 do both);
- it fades into the mean color toward its corners, which leaves room for one object and not for
  a pattern of many;
- total variation and |I|² are held down (Mahendran & Vedaldi 2016; Simonyan et al. 2014);
- a sigmoid keeps colors between 0 and 1, around the mean of the network's training images.

Where this differs from Simonyan et al.: the gradient of the logit is brought to one length in every
step before the others are added, for logits of 10 and of 600 shall ask for the same options, and
these others come in over the first half of the steps, when there is something for them to hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cnnviz.engines.mxnet.backward import Observation, Walk
from cnnviz.engines.mxnet.engine import Network
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.architecture import Layer
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float32

PLACES = ("mean", "middle")
"""Of a channel: its mean over all places, or its value in the middle."""

_NOISE = 0.05  # the first spectrum's standard deviation, in what a step of rate 1 could move
_CONTRAST = 4.0  # how far a spectrum of unit variance spreads before the sigmoid
_DECAYS = (0.9, 0.99)  # of Adam's two means; the second forgets sooner than usual: few steps
_SMALLEST = 1e-12  # added to what is divided by
_ROUND = 1e-2  # of total variation: where differences of colors count as none
# In photos most of the variance is brightness, then blue against yellow-red, then green against
# magenta (Ohta et al. 1980). Moving these instead of red, green and blue keeps colors believable.
_AXES = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]], np.float32)
_SPREADS = np.array([1.0, 0.35, 0.22], np.float32)


@dataclass(frozen=True)
class Ascent:
    """How an image is found.

    Attributes:
        steps: how often the gradient is followed.
        rate: length of a step (Adam, Kingma & Ba 2015).
        jitter: how far the image is shifted at most in a step, in shares of its sides.
        zoom: to which part of its size it is shrunk at most in a step, 2 being half; what the
            network likes becomes up to so many times larger in the image.
        views: how many shifts and sizes are looked at in each step, whose gradients are averaged.
        window: the distance from the middle, in shares of the sides, at which the image has
            faded to 61 % of its strength; 0 for no fading.
        blur: how much slower fine detail moves than coarse: a cosine of frequency f by 1/f**blur.
        tv: weight of total variation, against a gradient of the logit of root mean square 1.
        l2: likewise of the squared distance from the mean color.
        seed: of the first noise, and of shifts and sizes.
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


class Goals(Protocol):
    """What is maximized, one value an image."""

    def __len__(self) -> int:
        """The number of images."""

    def values(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The value of each image (N,), and the logits (N, K)."""

    def climb(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The value of each image (N,), and its gradient (N, channels, H, W)."""


@dataclass(frozen=True)
class ClassGoals:
    """An image for each of some classes: its logit, not its probability.

    A probability also grows when other classes are pushed down (Simonyan et al. 2014, section 2).
    """

    indices: tuple[int, ...]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.indices)

    def values(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The classes' logits (N,), and all logits (N, K)."""
        logits = network.logits(batch)
        values: Float32 = logits[np.arange(len(self)), self.indices]
        return values, logits

    def climb(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The classes' logits (N,), and their gradients (N, channels, H, W)."""
        recorded = network.forward(batch)
        (walked,) = recorded.backward(np.array(self.indices), [Walk()], final=True)
        assert walked.input_gradients is not None  # inputs were asked for
        return recorded.logits[np.arange(len(self)), self.indices], walked.input_gradients


@dataclass(frozen=True)
class ChannelGoals:
    """An image for each of some channels of a layer's output.

    Attributes:
        layer: the layer.
        channels: indices, in range.
        place: ``mean`` over all places, or the one in the ``middle``: what a single unit looks for.
    """

    layer: Layer
    channels: tuple[int, ...]
    place: str = "mean"

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise UsageError(f"There is no place '{self.place}': use {' or '.join(PLACES)}.")
        available = self.layer.shape[0]
        for channel in self.channels:
            if not 0 <= channel < available:
                raise UsageError(
                    f"Layer {self.layer.name} has no channel {channel}: it has {available}, "
                    f"numbered from 0 to {available - 1}."
                )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.channels)

    @property
    def weights(self) -> Float32:
        """(N, C, h, w): the value is the sum of the layer's outputs times these."""
        weights = np.zeros((len(self), *self.layer.shape), np.float32)
        rows = np.arange(len(self))
        sides = self.layer.shape[1:]
        if self.place == "middle":
            weights[(rows, self.channels, *(side // 2 for side in sides))] = 1
        else:
            weights[rows, self.channels] = 1 / math.prod(sides)
        return weights

    def values(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The channels' values (N,), and the logits (N, K)."""
        observed = network.observe(batch, [self.layer])
        return self._read(observed), observed.logits

    def climb(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The channels' values (N,), and their gradients (N, channels, H, W)."""
        recorded = network.forward(batch, [self.layer])
        values = self._read(recorded)
        return values, recorded.input_gradients_from(self.layer, self.weights, final=True)

    def _read(self, observed: Observation) -> Float32:
        product: Float32 = observed.activations(self.layer) * self.weights
        values: Float32 = product.reshape(len(self), -1).sum(axis=1)
        return values


@dataclass(frozen=True)
class Progress:
    """Where an ascent stands after a step.

    Attributes:
        step: steps done, from 0 (the first noise) to all.
        images: float32 (N, H, W, 3), or (N, H, W) of a gray network, from 0 to 1.
    """

    step: int
    images: Float32

    def drawn(self) -> list[npt.NDArray[np.uint8]]:
        """The images as uint8, (H, W, 3) in RGB or (H, W)."""
        return list(np.rint(self.images * 255).astype(np.uint8))


@dataclass(frozen=True)
class Maximized:
    """An image that was found. Values and logits are those of the image in 8 bits.

    Attributes:
        image: uint8 (H, W, 3) RGB, or (H, W).
        value: what was maximized.
        before: the same of the noise that it began with.
        logits: (K,) float32, what the network says of it.
        moved: whether there ever was a gradient to follow.
        activation: what makes probabilities of the logits.
    """

    image: npt.NDArray[np.uint8]
    value: float
    before: float
    logits: Float32
    moved: bool
    activation: Activation = SOFTMAX

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(K,), what the network says of each class; see :meth:`Activation.outputs`."""
        return self.activation.outputs(self.logits)

    @property
    def answer(self) -> int:
        """The class with the highest logit."""
        return int(self.logits.argmax())


def maximize(
    network: Network,
    spec: InputSpec,
    goals: Goals,
    ascent: Ascent | None = None,
    observe: Callable[[Progress], None] | None = None,
) -> list[Maximized]:
    """Find an image for each goal; all go through the network as one batch.

    The same options give the same images on the same machine. An image's goal alone decides on
    it, not those beside it: all begin with the same noise and are shifted alike.

    Args:
        network: the network.
        spec: what it is fed; its mean is the color of nothing.
        goals: what to maximize.
        ascent: how; the defaults suit ImageNet networks and small ones.
        observe: called before the first step and after each.

    Raises:
        NetworkError: a gradient is not finite, or MXNet fails (out of memory, say).
    """
    ascent = Ascent() if ascent is None else ascent
    random = np.random.default_rng(ascent.seed)
    canvas = _Canvas(spec, ascent.blur, ascent.window)
    spectra = np.repeat(canvas.noise(random), len(goals), axis=0)
    follow = _Adam(ascent.rate)
    moved = np.zeros(len(goals), np.bool_)
    first = canvas.images(spectra)
    images = first
    _tell(observe, 0, images)
    for step in range(1, ascent.steps + 1):
        gradients = _mean_gradients(
            network, goals, canvas.normalized(images), _views(spec, ascent, random)
        )
        if not np.isfinite(gradients).all():
            raise NetworkError(
                f"The gradient is not finite in step {step}: the network's weights may be broken, "
                "or the rate too high."
            )
        answers = gradients.any(axis=(1, 2, 3))
        moved |= answers
        uphill = _levelled(canvas.to_images(gradients))
        held = min(1.0, 2 * step / ascent.steps) ** 2
        if ascent.tv:
            uphill -= np.float32(held * ascent.tv) * variation_gradient(images)
        if ascent.l2:
            uphill -= np.float32(held * ascent.l2) * (images - canvas.mean)
        # What does not answer yet keeps its noise, so that it may answer to another view of it.
        uphill *= answers[:, None, None, None]
        spectra = spectra + follow(canvas.to_spectra(uphill, images))
        images = canvas.images(spectra)
        _tell(observe, step, images)
    return _finish(network, canvas, goals, (first, images), moved)


def _mean_gradients(
    network: Network, goals: Goals, batch: Float32, views: Sequence[tuple[Float32, Float32]]
) -> Float32:
    """The gradients at what is fed, (N, C, H, W), each view's as strong as another's."""
    total = np.zeros_like(batch)
    for down, across in views:
        seen = np.ascontiguousarray(down @ batch @ across.T)
        _, gradients = goals.climb(network, seen)
        total += _levelled(down.T @ gradients @ across)
    return total


def _finish(
    network: Network,
    canvas: _Canvas,
    goals: Goals,
    ends: tuple[Float32, Float32],
    moved: npt.NDArray[np.bool_],
) -> list[Maximized]:
    drawn = Progress(0, _channels_last(ends[1])).drawn()
    in_bits = np.rint(ends[1] * 255) / np.float32(255)
    before, _ = goals.values(network, canvas.normalized(ends[0]))
    values, logits = goals.values(network, canvas.normalized(in_bits))
    said = network.architecture.activation
    return [
        Maximized(drawn[i], float(values[i]), float(before[i]), logits[i], bool(moved[i]), said)
        for i in range(len(goals))
    ]


class _Canvas:
    """Images (N, C, H, W), RGB from 0 to 1, as functions of spectra of the same shape.

    x = sigmoid(logit(mean) + w ∘ M · Dᵀ(s ∘ z)): z the spectrum, D the cosine transform, s the
    share that a frequency may move, M the way from axes of color to red, green and blue, and w the
    window, exp(-(r / window)⁴ / 2) at a distance r from the middle.
    """

    def __init__(self, spec: InputSpec, blur: float, window: float) -> None:
        channels, height, width = spec.shape
        self._shape = (1, channels, height, width)
        self._spec = spec
        self.mean: Float32 = np.asarray(spec.ordered(spec.mean), np.float32)[:, None, None]
        self.std: Float32 = np.asarray(spec.ordered(spec.std), np.float32)[:, None, None]
        middle = np.clip(self.mean, 0.05, 0.95)  # a network's mean may be 0
        self._middle = np.log(middle / (1 - middle))
        self._down, self._across = cosines(height), cosines(width)
        rows, columns = np.arange(height)[:, None] / height, np.arange(width) / width
        # In half waves a side; the constant counts as the slowest wave.
        frequencies = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
        share = frequencies**-blur
        self._share = (share / np.sqrt(np.mean(share**2))).astype(np.float32)
        down, across = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        distances = np.hypot(down[:, None] - 0.5, across - 0.5)
        fading = np.exp(-0.5 * (distances / window) ** 4) if window else np.ones_like(distances)
        self._window: Float32 = fading.astype(np.float32)
        self._colors = np.eye(channels, dtype=np.float32)
        if channels == 3:
            lengths = np.linalg.norm(_AXES, axis=1)
            self._colors = (_AXES / lengths[:, None] * _SPREADS[:, None]).T

    def noise(self, random: np.random.Generator) -> Float32:
        """A first spectrum, (1, C, H, W)."""
        return (_NOISE * random.standard_normal(self._shape)).astype(np.float32)

    def images(self, spectra: Float32) -> Float32:
        """The images of spectra."""
        axes = self._down.T @ (self._share * spectra) @ self._across
        colors = _mixed(self._colors, axes) * self._window
        images: Float32 = 1 / (1 + np.exp(-_CONTRAST * colors - self._middle))
        return images

    def to_spectra(self, gradients: Float32, images: Float32) -> Float32:
        """Gradients with respect to images as gradients with respect to their spectra."""
        inner = gradients * images * (1 - images) * (np.float32(_CONTRAST) * self._window)
        axes = _mixed(self._colors.T, inner)
        spectra: Float32 = self._share * (self._down @ axes @ self._across.T)
        return spectra

    def normalized(self, images: Float32) -> Float32:
        """As the network is fed them."""
        fed: Float32 = self._spec.swapped((images - self.mean) / self.std)
        return np.ascontiguousarray(fed, np.float32)

    def to_images(self, gradients: Float32) -> Float32:
        """Gradients with respect to what the network is fed as such with respect to images."""
        found: Float32 = self._spec.swapped(gradients) / self.std
        return found


class _Adam:
    """Kingma & Ba 2015, algorithm 1, upwards."""

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


def _mixed(matrix: Float32, images: Float32) -> Float32:
    """Every pixel's channels times a matrix (C, C), (N, C, H, W)."""
    mixed: Float32 = (matrix @ images.reshape(*images.shape[:2], -1)).reshape(images.shape)
    return mixed


def cosines(length: int) -> Float32:
    """The cosine transform (DCT-II) as an orthonormal matrix (length, length), a wave a row.

    Of cosines, and not of Fourier's waves, an image does not go on at its other side.
    """
    waves, places = np.arange(length)[:, None], np.arange(length) + 0.5
    matrix = np.sqrt(2 / length) * np.cos(np.pi / length * waves * places)
    matrix[0] /= np.sqrt(2)
    single: Float32 = matrix.astype(np.float32)
    return single


def resampling(length: int, factor: float, shift: float) -> Float32:
    """A line of pixels seen at 1/factor of its size and moved by ``shift`` pixels, as a matrix.

    A pixel becomes a triangle that is as wide as shrinking needs (bilinear where nothing shrinks);
    beyond the ends there is zero, which is the mean color. Both lines have ``length`` pixels.
    """
    half = length / 2
    centers = (np.arange(length) + 0.5 - half) * factor + half - 0.5 + shift
    reach = max(1.0, factor)
    triangles = np.maximum(0, 1 - np.abs(centers[:, None] - np.arange(length)) / reach) / reach
    return triangles.astype(np.float32)


def variation_gradient(images: Float32) -> Float32:
    """The gradient of total variation, Σ √(Δx² + Δy² + ε²), for each image and channel apart.

    Mahendran & Vedaldi 2016, eq. 6 with β = 1; ε = 0.01 keeps it smooth where colors are alike.
    """
    down = np.diff(images, axis=2, append=images[:, :, -1:])
    across = np.diff(images, axis=3, append=images[..., -1:])
    length = np.sqrt(down**2 + across**2 + np.float32(_ROUND**2))
    down /= length
    across /= length
    gradient: Float32 = -down - across
    gradient[:, :, 1:] += down[:, :, :-1]
    gradient[..., 1:] += across[..., :-1]
    return gradient


def _views(
    spec: InputSpec, ascent: Ascent, random: np.random.Generator
) -> list[tuple[Float32, Float32]]:
    """How the network sees the image in a step: matrices for rows and columns of each view.

    Sizes are spread evenly over the views of a step, on a scale of ratios.
    """
    views = []
    for number in range(ascent.views):
        factor = float(ascent.zoom ** ((number + random.random()) / ascent.views))
        vertical, horizontal = random.uniform(-ascent.jitter, ascent.jitter, 2)
        rows = resampling(spec.height, factor, vertical * spec.height)
        views.append((rows, resampling(spec.width, factor, horizontal * spec.width)))
    return views


def _levelled(gradients: Float32) -> Float32:
    """Each image's gradient at a root mean square of 1; zero stays zero."""
    level = np.sqrt(np.mean(gradients**2, axis=(1, 2, 3), keepdims=True))
    levelled: Float32 = gradients / np.where(level > 0, level, 1)
    return levelled


def _tell(observe: Callable[[Progress], None] | None, step: int, images: Float32) -> None:
    if observe is not None:
        observe(Progress(step, _channels_last(images)))


def _channels_last(images: Float32) -> Float32:
    turned: Float32 = images.transpose(0, 2, 3, 1)
    return turned[..., 0] if turned.shape[3] == 1 else turned
