"""Where in a run's images the objects are: from boxes around them, or from masks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cnnviz.errors import UsageError
from cnnviz.images.source import Source
from cnnviz.labels.boxes import read_boxes
from cnnviz.labels.classes import Classes
from cnnviz.labels.masks import find_masks
from cnnviz.storage.paths import shown_path
from cnnviz.text import printable
from cnnviz.types import Mask


class Marked(Protocol):
    """One image in which objects are marked."""

    def region(self, target: int | None, shape: tuple[int, int]) -> Mask:
        """The pixels of a class's objects, bool (H, W) for an image of this shape."""
        ...


@dataclass(frozen=True)
class Regions:
    """Where the objects are in the images of a run.

    Attributes:
        source: the file or folder, as it is shown to the user.
        images: what is marked in each image; None where nothing is known of it.
        is_labeled: whether it is said of which class the objects are.
        notes: what the user should know of it, a sentence each.
    """

    source: str
    images: tuple[Marked | None, ...]
    is_labeled: bool
    notes: tuple[str, ...]

    @property
    def known(self) -> int:
        """How many images are marked."""
        return sum(one is not None for one in self.images)

    def region(
        self, position: int, target: int | None, source_shape: tuple[int, int]
    ) -> Mask | None:
        """Where in an image the objects of a class are.

        Args:
            position: of the image in the run.
            target: the class; None if what is explained is not a class.
            source_shape: (H, W) of the image, upright (``Geometry.source``).

        Returns:
            bool of this shape: the union of the class's objects, or of all where it is not said of
            which class they are. All false where the image is marked but has no object of the
            class, or only difficult ones. None where nothing is known.

        Raises:
            ImageError: what is marked does not fit the image, or its mask cannot be read.
        """
        marked = self.images[position]
        if marked is None or (self.is_labeled and target is None):
            return None
        return marked.region(target, source_shape)


def read_regions(
    boxes: str | None,
    masks: str | None,
    sources: Sequence[Source],
    labels: Sequence[str],
    classes: int,
) -> Regions:
    """Read where the objects are, from either of two options.

    ``boxes``: a CSV file with a header and a row for each object: ``path``, ``label``, and ``x0``,
    ``y0``, ``x1``, ``y1``, its left, top, right and bottom edges in pixels of the image, upright,
    so that right and bottom are exclusive (or ``xmin`` and so on, or ``x1``, ``y1``, ``x2``,
    ``y2``). A row without numbers is of an image in which there is no object. An optional column
    ``difficult`` of 0 and 1 says, as PASCAL VOC has it, which objects do not count by themselves: a
    class of which an image has only difficult ones is not judged there. With optional columns
    ``width`` and ``height``, the image's, another size is noticed. Or a JSON file in COCO's
    format: ``bbox`` is [left, top, width, height]; the outlines in ``segmentation`` are not used;
    ``iscrowd`` counts as difficult. Paths mean images as in
    :func:`cnnviz.labels.ground_truth.read_ground_truth`.

    ``masks``: a folder with a gray or indexed PNG for each image, of the image's own size, at the
    same path below it as the image has below the folder of images: ``a/1.jpg.png`` or ``a/1.png``
    for ``a/1.jpg``. Whatever is not 0 is the object, of whatever class is explained; unless the
    folder has a file ``classes.csv``, with columns ``value`` and ``label``: then a pixel belongs to
    the class that its value stands for, and values that are not listed count for none.

    Labels are indices, whole names, synonyms or WordNet IDs of classes. Those of no class are not
    used, which is a note; a file without labels is of all classes.

    Args:
        boxes: a file; None if ``masks`` is given.
        masks: a folder; None if ``boxes`` is given.
        sources: the images.
        labels: the classes' names by index; may be empty.
        classes: the number of the network's classes.

    Raises:
        UsageError: both are given, or neither; one cannot be read or understood, has a label that
            fits several classes or none that fits any, or is of none of the images.
    """
    if boxes is not None and masks is not None:
        raise UsageError("Give --boxes or --masks, not both.")
    known = Classes(labels, classes)
    if boxes is not None:
        return Regions(shown_path(boxes), *read_boxes(boxes, sources, known))
    if masks is not None:
        return Regions(printable(masks), *find_masks(masks, sources, known))
    raise UsageError("Where objects are is said by --boxes or --masks.")
