"""Infidelity: does the map predict what removing parts of the image does to the score?"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnviz.attribution.options import option
from cnnviz.attribution.plain_colors import plain_input
from cnnviz.attribution.queries import MadeInputs, PassCount
from cnnviz.metrics.base import SCORES, Case, Measurement, Metric, Subject
from cnnviz.metrics.sums import inner
from cnnviz.types import Float32, Float64

#: The sides of squares, as parts of the input's shorter side: 1 to 10 of the paper's 28 pixels.
_SMALLEST, _LARGEST = 1 / 28, 10 / 28


@dataclass(frozen=True)
class Infidelity(Metric):
    """Infidelity (Yeh et al. 2019, definition 2.1): how far the map mispredicts the score's change.

    mean over I of (β · I·S - (f(x) - f(x - I)))², with f the target's logit, x - I the image with
    something removed and I·S what the map S says that this costs. At least 0, in squares of the
    logit; low is good. β is the factor that makes it least, mean((f(x) - f(x - I)) · I·S) /
    mean((I·S)²), and 0 for a map that is 0 wherever something is removed: always, for without it
    the number measures the map's scale. (The authors' code does so; the formula in the paper has
    none.) So the map has to be right in the *proportions* of what it says, with no constant to
    help: a map that says the same of everything removed predicts the mean change only.

    ``perturbation=square``: a square is replaced by ``fill``; its side is drawn from 1/28 to 10/28
    of the input's shorter side, as the paper's squares of 1 to 10 pixels on digits of 28, and its
    place from all there are (the paper takes each of them). I·S is the sum of the map in the
    square. Maps with a value for each channel are summed over channels; gradients are first
    multiplied by x - fill, the change that is made. Maps with one value a pixel count as they are,
    as shares of the score.

    ``perturbation=noise``, the paper's noisy baseline: all pixels are replaced by ``fill`` with
    normal noise, cut off where pixels end, at 0 and 1. I is x less that, number by number: I·S is
    Σ I · gradient, or Σ I / (x - fill) · contribution, or Σ I · S with I in the image's own units,
    from 0 to 1, and S the same for all channels.

    β may come out negative: a map with the wrong sign everywhere is then as good as the right one.
    The details tell: ``scale``, β; ``explained``, the part of the squared changes that the map
    explains, 1 - infidelity / mean((f(x) - f(x - I))²), from 0 to 1, which, unlike the value, can
    be compared between networks (None where nothing changes); ``change``, the mean of f(x) -
    f(x - I). What is removed is the same for every map of an image, and for every image of a size.
    """

    name = "infidelity"
    title = "infidelity"
    paper = "Yeh et al. 2019, definition 2.1"
    formula = "mean over I of (β · I·S - (f(x) - f(x - I)))²"
    group = "faithfulness"
    direction = "lower"
    cost = "a forward pass a sample, 100 by default, shared by all maps of an image"

    perturbation: str = option(
        "square",
        "what is removed: a square, or all, with noise in its place",
        choices=("square", "noise"),
    )
    samples: int = option(100, "number of perturbed images", least=1)
    fill: str = option(
        "mean",
        "what stands for what is removed: the network's mean color, black, gray or white",
        choices=("mean", "black", "gray", "white"),
    )
    noise: float = option(0.2, "standard deviation of that noise, of values from 0 to 1", least=0.0)
    score: str = option(
        "logit", "what is measured of the target: its probability, or its logit", choices=SCORES
    )
    seed: int = option(0, "of the squares or the noise", least=0, most=2**32 - 1)

    def image_passes(self, input_shape: tuple[int, int, int]) -> dict[Hashable, PassCount]:
        """One a sample."""
        return {self: PassCount(forwards=self.samples)}

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """Compare what the map says with what the network does."""
        if self.perturbation == "square":
            corners, sides = self._squares(*case.input.shape[1:])
            inputs = self._without_squares(case, corners, sides)
            said = _sums(self._shares(case, subject), corners, sides)
        else:
            inputs = self._with_noise(case)
            said = self._said_of_noise(case, subject, inputs)
        logits = case.queries.logits(inputs, cache_key=self)
        changes = case.scores(case.logits, self.score) - case.scores(logits, self.score)
        squares = float(said @ said)
        scale = float(changes @ said) / squares if squares > 0 else 0.0
        value = float(np.square(scale * said - changes).mean())
        whole = float(np.square(changes).mean())
        return Measurement(
            value,
            details={
                "scale": scale,
                "explained": 1 - value / whole if whole > 0 else None,
                "change": float(changes.mean()),
            },
        )

    def _squares(
        self, height: int, width: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The squares' upper left corners, (samples, 2), and their sides."""
        random = np.random.default_rng(self.seed)
        shorter = min(height, width)
        least, most = (max(1, round(part * shorter)) for part in (_SMALLEST, _LARGEST))
        sides = random.integers(least, most + 1, self.samples)
        rooms = np.array([height, width]) - sides[:, None] + 1
        return random.integers(0, rooms), sides

    def _without_squares(
        self, case: Case, corners: npt.NDArray[np.int64], sides: npt.NDArray[np.int64]
    ) -> MadeInputs:
        fill = self._fill(case).astype(np.float32)

        def write(number: int, out: Float32) -> None:
            (top, left), side = corners[number], sides[number]
            out[:] = case.input
            out[:, top : top + side, left : left + side] = fill

        return MadeInputs(self.samples, case.input.shape, write)

    def _shares(self, case: Case, subject: Subject) -> Float64:
        """What the map says that each pixel adds to the score, (H, W)."""
        if subject.gradient is not None:
            removed = case.input.astype(np.float64) - self._fill(case)
            shares = (subject.gradient * removed).sum(axis=0)
        elif subject.contributions is not None:
            shares = subject.contributions.sum(axis=0, dtype=np.float64)
        else:
            shares = subject.values
        return np.asarray(shares, np.float64)

    def _with_noise(self, case: Case) -> MadeInputs:
        spec = case.spec
        mean, std = (np.array(one)[:, None, None] for one in (spec.mean, spec.std))
        around = self._fill(case) * std + mean

        def write(number: int, out: Float32) -> None:
            random = np.random.default_rng((self.seed, number))
            drawn = spec.swapped(random.standard_normal(out.shape))
            out[:] = (np.clip(around + self.noise * drawn, 0, 1) - mean) / std

        return MadeInputs(self.samples, case.input.shape, write)

    def _said_of_noise(self, case: Case, subject: Subject, inputs: MadeInputs) -> Float64:
        """I·S for each of the noisy images."""
        image = case.input.astype(np.float64)
        weights: Float64
        if subject.gradient is not None:
            weights = subject.gradient.astype(np.float64)
        elif subject.contributions is not None:
            whole = image - self._fill(case)
            weights = np.divide(
                subject.contributions, whole, out=np.zeros_like(whole), where=whole != 0
            )
        else:
            weights = subject.values * np.array(case.spec.std)[:, None, None]
        noisy = np.empty(inputs.shape, np.float32)
        said = np.empty(inputs.count)
        for number in range(inputs.count):  # made once more: all of them would take much memory
            inputs.write(number, noisy)
            said[number] = inner(weights, image - noisy)
        return said

    def _fill(self, case: Case) -> Float64:
        return plain_input(self.fill, case.spec)


def _sums(shares: Float64, corners: npt.NDArray[np.int64], sides: npt.NDArray[np.int64]) -> Float64:
    """The sum of a map in each of some squares."""
    table = np.zeros((shares.shape[0] + 1, shares.shape[1] + 1))
    table[1:, 1:] = shares.cumsum(axis=0).cumsum(axis=1)
    (top, left), (bottom, right) = corners.T, corners.T + sides
    return np.asarray(
        table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    )
