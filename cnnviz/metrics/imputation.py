"""Removed pixels made up from those around them: the sparse linear imputation of ROAD.

Each removed pixel is the weighted mean of its eight neighbors, 1/6 for those at its sides and 1/12
for those at its corners, be they removed or not (Rong et al. 2022, section 5); neighbors beyond the
image's border do not count. So the removed region is filled smoothly from its rim, and where it was
cut out can no longer be seen from an edge.

That is a linear system with an unknown for each removed pixel. It is symmetric and positive
definite, for every removed region has a rim, and is solved by conjugate gradients. What makes them
fast is a coarse-to-fine cycle (multigrid) as preconditioner: a step of Jacobi's settles what
differs from pixel to pixel, and the rest is settled likewise on a grid of half as many pixels each
way, where a pixel is unknown if all four that it stands for are. Fewer than ten rounds reach
:data:`ACCURACY`, whatever the region looks like.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cnnviz.types import Float32, Mask

#: How far a value may be from the exact solution, as a part of the range of the image's values: a
#: fortieth of what 8 bits tell apart, and a hundredth of the noise that ROAD adds.
ACCURACY = 1e-4

_WEIGHTS = (np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12).astype(np.float32)
#: Before the mean of four: together what bilinear enlarging is, transposed, 1/4 3/4 3/4 1/4 along
#: each axis. (OpenCV takes ten times as long for four numbers at once.)
_SMOOTHED = (np.array([1, 2, 1]) / 2).astype(np.float32)
#: On the coarsest grid there is nothing to go down to.
_COARSEST_STEPS = 6
#: Ten are usual; conjugate gradients need no more than there are unknowns.
_MOST_ROUNDS = 200


def impute(image: Float32, removed: Mask, accuracy: float = ACCURACY) -> Float32:
    """The image with its removed pixels made up from the others.

    Args:
        image: (C, H, W) float32, in any units; what it has in removed pixels changes nothing.
        removed: (H, W) bool. If all are, there is nothing to go by but what was there: they become
            the mean of each channel.
        accuracy: see :data:`ACCURACY`. In large regions float32 ends at about 1e-5.

    Returns:
        (C, H, W) float32.
    """
    if removed.all():
        return np.broadcast_to(image.mean(axis=(1, 2), keepdims=True), image.shape).copy()
    kept = (~removed).astype(np.uint8)
    ends = np.array([cv2.minMaxLoc(one, kept)[:2] for one in image], np.float32)
    # Around 0, where float32 is finest; a plane of one color is exactly 0, and solved at once.
    middle = ends.mean(axis=1)[:, None, None]
    planes = np.where(removed, np.float32(0), image - middle).transpose(1, 2, 0)
    extent = float(np.ptp(ends, axis=1).max())
    found = _solve(_grids(removed, len(image)), np.ascontiguousarray(planes), accuracy * extent)
    return np.where(removed, found.transpose(2, 0, 1) + middle, image)


@dataclass(frozen=True)
class _Grid:
    """The system at one resolution; arrays are (h, w, C), for the channels are solved together.

    Attributes:
        unknown: 1 where a value is unknown, 0 elsewhere.
        inverse: 1 by the sum of the weights of a pixel's neighbors, where it is unknown; 0
            elsewhere.
    """

    unknown: Float32
    inverse: Float32


def _grids(removed: Mask, channels: int) -> list[_Grid]:
    """From the image's own resolution to the coarsest at which anything is unknown."""
    grids = []
    while removed.any():
        unknown = removed.astype(np.float32)
        inverse = unknown / _from_neighbors(np.ones_like(unknown))
        shape = (*removed.shape, channels)
        grids.append(
            _Grid(*(np.repeat(one, channels).reshape(shape) for one in (unknown, inverse)))
        )
        if min(removed.shape) <= 2:
            break
        even = np.pad(removed, [(0, side % 2) for side in removed.shape], mode="edge")
        height, width = even.shape
        removed = even.reshape(height // 2, 2, width // 2, 2).all(axis=(1, 3))
    return grids


def _solve(grids: list[_Grid], known: Float32, tolerance: float) -> Float32:
    """The unknown values, 0 elsewhere: by conjugate gradients, until a cycle changes no more."""
    if not grids:
        return np.zeros_like(known)
    own = grids[0]
    diagonal = _from_neighbors(np.ones_like(known)) * own.unknown
    residual = _from_neighbors(known) * own.unknown
    found = np.zeros_like(known)
    correction = _cycle(grids, residual)
    direction = correction.copy()
    size = float(np.vdot(residual, correction))
    for _ in range(_MOST_ROUNDS):
        # A cycle nearly solves the system: what it would still change is about the error.
        if cv2.norm(correction, cv2.NORM_INF) <= tolerance:
            break
        image = _from_neighbors(direction)
        image *= own.unknown
        scaled = diagonal * direction
        np.subtract(scaled, image, out=image)
        step = np.float32(size / float(np.vdot(direction, image)))
        found += np.multiply(direction, step, out=scaled)
        residual -= np.multiply(image, step, out=scaled)
        correction = _cycle(grids, residual)
        before, size = size, float(np.vdot(residual, correction))
        direction *= np.float32(size / before)
        direction += correction
    return found + correction


def _cycle(grids: list[_Grid], right: Float32) -> Float32:
    """About the solution for a right-hand side: one way down the grids and up again."""
    own, coarser = grids[0], grids[1:]
    found = own.inverse * right
    if not coarser:
        for _ in range(_COARSEST_STEPS):
            found = _settled(own, found, right)
        return found
    residual = _from_neighbors(found)
    residual *= own.unknown
    found += _enlarged(_cycle(coarser, _gathered(residual, coarser[0])), own)
    return _settled(own, found, right)


def _settled(grid: _Grid, found: Float32, right: Float32) -> Float32:
    """One step of Jacobi's."""
    after = _from_neighbors(found)
    after += right
    after *= grid.inverse
    return after


def _from_neighbors(values: Float32) -> Float32:
    """The weighted sum of each pixel's neighbors, (h, w) or (h, w, C)."""
    summed = cv2.filter2D(values, -1, _WEIGHTS, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(summed, np.float32).reshape(values.shape)


def _gathered(residual: Float32, coarser: _Grid) -> Float32:
    """What is left to settle, on a grid of half the size."""
    height, width = (2 * side for side in coarser.unknown.shape[:2])
    below, beside = height - residual.shape[0], width - residual.shape[1]
    if below or beside:
        residual = np.pad(residual, ((0, below), (0, beside), (0, 0)))
    smooth = cv2.sepFilter2D(residual, -1, _SMOOTHED, _SMOOTHED, borderType=cv2.BORDER_REPLICATE)
    halved = cv2.resize(smooth, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
    return np.asarray(halved.reshape(coarser.unknown.shape) * coarser.unknown, np.float32)


def _enlarged(values: Float32, finer: _Grid) -> Float32:
    """A coarse grid's values on the finer one, bilinear."""
    height, width = values.shape[:2]
    double = cv2.resize(values, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    rows, columns = finer.unknown.shape[:2]
    wanted = double.reshape(2 * height, 2 * width, -1)[:rows, :columns]
    wanted *= finer.unknown
    return np.asarray(wanted, np.float32)
