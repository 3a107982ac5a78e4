"""Whether a map is real, or what float32 left of terms that cancel.

A map that should be zero comes out as the rounding of whatever cancels in it: the gradient before
an instance norm whose output is averaged, the mean of a gradient that sums to zero. Rendered on its
own scale that looks like an explanation. No bound on the map alone can tell: how far errors grow
depends on the network. So there are two steps. A map is *suspected* where it is far below the terms
that it is a sum of (:func:`suspected`), which costs a sum and holds for next to no map of a real
network. Only then is it computed again, in a way that exact arithmetic could not tell from the
first and float32 rounds differently everywhere: the input changed in its last bits
(:func:`jittered`) and, going back, the logit multiplied by :data:`SCALE`. A map that does not come
out the same is rounding (:func:`is_noise`); one that does is real, however small it is.

Nothing here has a unit: a network whose logits are a million times as large gets the same result.
The changes are the same for every image of a shape, whatever its neighbors are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float32, Float64

_EPSILON = float(np.finfo(np.float32).eps)

#: How often a suspected map is computed again.
TIMES = 3

#: The logit's factor in the backward pass: no power of two, which would round as 1 does.
SCALE = 0.7

#: Maps are suspected below so much of their terms. Rounding is 1e-7 of them, 1e-5 where a
#: normalization makes it 100 times as large; maps of photos are 1e-2 and more.
_SUSPECTED = 1e-4

#: What a change of the map by more than this part of its highest value shows to be rounding.
#: Rounding changes by about as much as it is, real maps by the little that a few ReLUs turn.
_NOISE = 0.25

#: The last bits that are changed, as a part of the largest value that the input can have.
_JITTER = 2 * _EPSILON

#: What two logits may differ by through rounding, over the most that any was seen to change by
#: when computed again. In 216 networks whose logits are constant, but for rounding (instance norm,
#: softmax or a subtracted mean, then averaged; 1, 2 and 5 classes), those of masked images
#: differed by up to 24 times that, for what is left of these is flatter.
_LOGIT_FACTOR = 64.0


def largest_inputs(spec: InputSpec) -> Float64:
    """The largest value that each channel of the network's input can have, (C,)."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    highest: Float64 = np.maximum(np.abs(mean), np.abs(1 - mean)) / std
    return highest


def jittered(values: Float32, size: npt.ArrayLike) -> Float32:
    """Values (C, h, w) changed in their last bits, :data:`TIMES` over: (TIMES, C, h, w).

    ``size`` says for each channel, or for all, how large values are whose last bits these are.
    """
    random = np.random.RandomState(0)
    noise = random.uniform(-1, 1, (TIMES, *values.shape))
    scale = _JITTER * np.reshape(np.asarray(size, np.float64), (-1, 1, 1))
    changed: Float32 = (values + scale * noise).astype(np.float32)
    return changed


def is_uniform(image: Float32, spec: InputSpec) -> bool:
    """Whether an input (C, H, W) has one color: differences of its activations may be rounding.

    Up to rounding: it may have been resized.
    """
    span = image.max(axis=(1, 2)) - image.min(axis=(1, 2))
    return bool((span <= 4 * _EPSILON * largest_inputs(spec)).all())


def suspected(
    sizes: npt.NDArray[np.floating[Any]], terms: npt.NDArray[np.floating[Any]]
) -> list[int]:
    """Which of (N,) sizes are not zero, but far below the terms (N,) that they are sums of."""
    return [int(index) for index in np.flatnonzero((sizes > 0) & (sizes <= _SUSPECTED * terms))]


def is_noise(found: Float32, recomputed: Float32 | None) -> bool:
    """Whether an array (...) differs from what it is when computed again, (TIMES, ...)."""
    assert recomputed is not None  # as the first was not
    change = np.abs(recomputed.astype(np.float64) - found).max(initial=0)
    return bool(change > _NOISE * np.abs(found).max(initial=0))


def logit_bound(logits: Float32, recomputed: Float32) -> Float64:
    """How much rounding may change logits (K,), (K,).

    ``recomputed``, (TIMES, K), are these computed again. Changes of all classes are taken together:
    there may be few of them, and some are zero by chance.
    """
    seen = np.abs(recomputed.astype(np.float64) - logits).max()
    bound: Float64 = _LOGIT_FACTOR * np.maximum(seen, _EPSILON / 2 * np.abs(logits))
    return bound


def zeroed(values: Float32, index: int) -> Float32:
    """A copy of maps (N, ...) with zeros for one image."""
    copied = values.copy()
    copied[index] = 0
    return copied
