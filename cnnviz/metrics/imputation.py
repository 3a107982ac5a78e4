"""Removed pixels made up from those around them: the sparse linear imputation of ROAD.

Each removed pixel is the weighted mean of its eight neighbors, 1/6 for those at its sides and 1/12
for those at its corners, be they removed or not (Rong et al. 2022, section 5); neighbors beyond the
image's border do not count. So the removed region is filled smoothly from its rim, and where it was
cut out can no longer be seen from an edge.

That is a linear system with an unknown for each removed pixel. It is symmetric and positive
definite, for every removed region has a rim, and is solved by conjugate gradients. What makes them
fast is a coarse-to-fine cycle (multigrid) as preconditioner: a step of Jacobi's settles what
differs from pixel to pixel, and the rest is settled likewise on a grid of half as many pixels each
way. There a pixel is unknown if any of the four that it stands for is, and the known ones among
these and beside them hold it down to 0. About six rounds reach :data:`ACCURACY`, whatever the
region looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cnnviz.metrics.sums import inner
from cnnviz.types import Float32, Mask

#: How far a value may be from the exact solution, as a part of the range of the image's values: a
#: fortieth of what 8 bits tell apart, and a hundredth of the noise that ROAD adds, which hides
#: whatever is left.
ACCURACY = 1e-4

_WEIGHTS = (np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12).astype(np.float32)
#: Before the mean of four: together what bilinear enlarging is, transposed, 1/4 3/4 3/4 1/4 along
#: each axis. (OpenCV takes ten times as long for four numbers at once.)
_SMOOTHED = (np.array([1, 2, 1]) / 2).astype(np.float32)
#: How much of the weight of known pixels holds the pixels of a coarse grid, whose middles lie
#: farther from them. Measured: with 0.7 or 0.9 it takes more rounds.
_HELD = np.float32(0.8)
#: The longest side of the coarsest grid, whose system is solved exactly.
_COARSEST_SIDE = 10
#: Six are usual; conjugate gradients need no more than there are unknowns.
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
    imputed = np.array(image, order="C")
    if not removed.any():
        return imputed
    kept, gone = (~removed).view(np.uint8), removed.view(np.uint8)
    ends = [cv2.minMaxLoc(plane, kept)[:2] for plane in imputed]
    # Around 0, where float32 is finest; a plane of one color is exactly 0, and solved at once.
    middles = [np.float32((least + most) / 2) for least, most in ends]
    part = _part(removed)
    known = [
        _framed(cv2.copyTo(plane[part] - middle, kept[part]))
        for plane, middle in zip(imputed, middles, strict=True)
    ]
    grids = _grids(removed, part, len(image))
    found = _solve(grids, cv2.merge(known), accuracy * max(most - least for least, most in ends))
    rows, columns = gone[part].shape
    for plane, values, middle in zip(imputed, cv2.split(found), middles, strict=True):
        cv2.copyTo(values[:rows, :columns] + middle, gone[part], plane[part])
    return imputed


@dataclass(frozen=True)
class _Grid:
    """The system at one resolution.

    Arrays are (h, w, C), for the channels are solved together, or (h, w) if there is one.

    Attributes:
        unknown: 1 where a value is unknown, 0 elsewhere.
        diagonal: the sum of the weights of a pixel's neighbors, where it is unknown; 0 elsewhere.
        inverse: 1 by that, where it is unknown; 0 elsewhere.
        exact: the inverse of the matrix, of the coarsest grid.
    """

    unknown: Float32
    diagonal: Float32
    inverse: Float32
    exact: Float32 | None = None


def _part(removed: Mask) -> tuple[slice, slice]:
    """The box of all removed pixels and their neighbors: nothing else has a say."""
    rows, columns = (np.flatnonzero(removed.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, rows[0] - 1), rows[-1] + 2),
        slice(max(0, columns[0] - 1), columns[-1] + 2),
    )


def _halvings(height: int, width: int) -> int:
    """How often a grid is halved, until it is the coarsest."""
    return ((max(height, width) - 1) // _COARSEST_SIDE).bit_length()


def _framed(plane: Float32) -> Float32:
    """With zeros below and beside it, so that it can be halved to the end."""
    unit = 2 ** _halvings(*plane.shape)
    below, beside = (-side % unit for side in plane.shape)
    framed = cv2.copyMakeBorder(plane, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(framed, np.float32)


def _grids(removed: Mask, part: tuple[slice, slice], channels: int) -> list[_Grid]:
    """From the image's own resolution to the coarsest."""
    around = _from_neighbors(np.ones(removed.shape, np.float32))[part]
    gone = removed[part]
    unknown = _framed(gone.astype(np.float32))
    diagonal = _framed(around) * unknown
    held = _from_neighbors(_framed((~gone).astype(np.float32))) * unknown
    grids = [_grid(unknown, diagonal, channels)]
    for _ in range(_halvings(*gone.shape)):
        held = cv2.sepFilter2D(
            held, -1, _HELD * _SMOOTHED, _SMOOTHED, borderType=cv2.BORDER_REPLICATE
        )
        unknown = (_halved(unknown) > 0).astype(np.float32)
        held = _halved(held) * unknown
        diagonal = _from_neighbors(unknown) * unknown + held
        grids.append(_grid(unknown, diagonal, channels))
    grids[-1] = replace(grids[-1], exact=_exact(unknown, diagonal))
    return grids


def _grid(unknown: Float32, diagonal: Float32, channels: int) -> _Grid:
    """From arrays of (h, w)."""
    inverse = np.divide(unknown, diagonal, out=np.zeros_like(unknown), where=diagonal > 0)
    repeated = (cv2.merge(channels * [one]) for one in (unknown, diagonal, inverse))
    return _Grid(*(np.asarray(one, np.float32) for one in repeated))


def _exact(unknown: Float32, diagonal: Float32) -> Float32:
    """The inverse of the matrix of the whole system, from arrays of (h, w)."""
    ones = (2 * np.eye(side) + np.eye(side, k=1) + np.eye(side, k=-1) for side in unknown.shape)
    weights = (np.kron(*ones) - 4 * np.eye(unknown.size)) / 12
    both = np.outer(unknown, unknown)
    matrix = np.diag(np.where(diagonal > 0, diagonal, 1).ravel()) - weights * both
    # NumPy's would start threads, which spin for longer than it takes.
    _, inverse = cv2.invert(matrix, flags=cv2.DECOMP_LU)
    return np.asarray(inverse, np.float32)


def _solve(grids: Sequence[_Grid], known: Float32, tolerance: float) -> Float32:
    """The unknown values, 0 elsewhere: by conjugate gradients, until a cycle changes no more."""
    own = grids[0]
    found = np.zeros_like(known)
    residual = _from_neighbors(known)
    residual *= own.unknown
    direction = correction = _cycle(grids, residual)
    size = inner(residual, correction)
    for _ in range(_MOST_ROUNDS):
        # A cycle nearly solves the system: what it changes is about the error, and what is left
        # then was in no trial more than one and a half times as much.
        if cv2.norm(correction, cv2.NORM_INF) <= tolerance / 2:
            break
        image = own.diagonal * direction
        image -= _from_neighbors(direction)
        image *= own.unknown
        step = size / inner(direction, image)
        cv2.scaleAdd(direction, step, found, dst=found)
        cv2.scaleAdd(image, -step, residual, dst=residual)
        correction = _cycle(grids, residual)
        # Polak and Ribière's, for a cycle is not quite symmetric.
        turn = -step * inner(image, correction) / size
        size = inner(residual, correction)
        direction = np.asarray(cv2.scaleAdd(direction, turn, correction), np.float32)
    return found + correction


def _cycle(grids: Sequence[_Grid], right: Float32) -> Float32:
    """About the solution for a right-hand side: one way down the grids and up again."""
    own, coarser = grids[0], grids[1:]
    if own.exact is not None:
        return (own.exact @ right.reshape(len(own.exact), -1)).reshape(right.shape)
    found = own.inverse * right
    residual = _from_neighbors(found)
    residual *= own.unknown
    # A pixel's weights are as many on either grid, but stand for four times the area: hence the
    # sum of four.
    correction = _cycle(coarser, 4 * _halved(residual))
    height, width = own.unknown.shape[:2]
    enlarged = cv2.resize(correction, (width, height), interpolation=cv2.INTER_LINEAR)
    cv2.accumulateProduct(enlarged, own.unknown, found)
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
    return np.asarray(summed, np.float32)


def _halved(values: Float32) -> Float32:
    """The mean of each four pixels, on a grid of half the size."""
    height, width = values.shape[:2]
    halved = cv2.resize(values, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
    return np.asarray(halved, np.float32)
