"""RISE's masks (Petsiuk et al. 2018, section 3.2), and sums over them.

Both take longer than a small network's forward pass on a GPU, so several threads share them. A mask
is the same whoever makes it, and every pixel is summed in the order of the masks: results do not
depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.attribution.queries import helpers
from cnnviz.types import Float32, Float64

#: Masks that are held at once while they are summed: so few that they stay in the caches.
_BLOCK = 16


@dataclass(frozen=True)
class RandomMasks:
    """Coarse grids of open and closed cells, each enlarged, softened and shifted.

    Attributes:
        grids: (M, cells, cells) float32, 1 where a cell is open, else 0.
        shifts: (M, 2), by how many pixels each is shifted up and to the left.
        height: of a mask.
        width: of a mask.
    """

    grids: Float32
    shifts: npt.NDArray[np.int64]
    height: int
    width: int

    @classmethod
    def drawn(
        cls, count: int, cells: int, open: float, seed: int, height: int, width: int
    ) -> RandomMasks:
        """Draw them.

        Args:
            count: number of masks.
            cells: of a grid, each way.
            open: the probability that a cell is open.
            seed: of the generator.
            height: of a mask.
            width: of a mask.
        """
        random = np.random.RandomState(seed)
        tall, wide = _cell(height, width, cells)
        grids = np.empty((count, cells, cells), np.float32)
        shifts = np.empty((count, 2), np.int64)
        for grid, shift in zip(grids, shifts, strict=True):
            grid[:] = random.random_sample(grid.shape) < open
            shift[:] = random.randint(tall + 1), random.randint(wide + 1)
        return cls(grids, shifts, height, width)

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, index: int) -> Float32:
        """A mask: (height, width), from 0 to 1."""
        cells = self.grids.shape[1]
        tall, wide = _cell(self.height, self.width, cells)
        size = ((cells + 1) * wide, (cells + 1) * tall)  # OpenCV's order
        enlarged = cv2.resize(self.grids[index], size, interpolation=cv2.INTER_LINEAR)
        top, left = self.shifts[index]
        mask: Float32 = enlarged.reshape(size[::-1])[
            top : top + self.height, left : left + self.width
        ]
        return mask

    def __iter__(self) -> Iterator[Float32]:
        return map(self.__getitem__, range(len(self)))

    def sums(self, scores: Float64, center: float) -> tuple[Float64, Float64, Float64]:
        """Σ M_i, Σ s_i (M_i - center) and Σ (s_i (M_i - center))², each (height, width).

        Terms are float32, sums float64.

        Args:
            scores: (M,), s_i.
            center: subtracted from the masks.
        """
        seen, total, squares = (np.zeros((self.height, self.width)) for _ in range(3))
        weights = scores.astype(np.float32)[:, None, None]
        block = np.empty((_BLOCK, self.height, self.width), np.float32)

        def make(start: int, place: int) -> None:
            block[place] = self[start + place]

        def add(start: int, masks: Float32, rows: slice) -> None:
            terms = masks[:, rows] - np.float32(center)
            terms *= weights[start : start + len(masks)]
            for mask, term in zip(masks, terms, strict=True):
                cv2.accumulate(mask[rows], seen[rows])
                cv2.accumulate(term, total[rows])
            terms *= terms
            for term in terms:
                cv2.accumulate(term, squares[rows])

        with helpers() as (threads, count):
            bands = _bands(self.height, count)
            for start in range(0, len(self), _BLOCK):
                held = block[: len(self) - start]
                list(threads.map(partial(make, start), range(len(held))))
                list(threads.map(partial(add, start, held), bands))
        return seen, total, squares


def _cell(height: int, width: int, cells: int) -> tuple[int, int]:
    """A cell's height and width in pixels."""
    return math.ceil(height / cells), math.ceil(width / cells)


def _bands(height: int, count: int) -> list[slice]:
    """Rows in as many parts, or one for each row."""
    edges = [height * number // count for number in range(count + 1)]
    return [slice(top, end) for top, end in pairwise(edges) if top < end]
