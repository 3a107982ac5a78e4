"""What a file says of the true classes of images, whatever its format is."""

from __future__ import annotations

from typing import NamedTuple

from cnnviz.labels.label_sets import LabelSet

#: What columns and keys are called, as :func:`cnnviz.text.folded` has it.
PATH_TITLES = (
    *("path", "file", "filename", "file name", "filepath", "file path", "image", "image path"),
    *("imagepath", "image file", "image name", "imagename", "img", "img path", "picture", "photo"),
    *("image id", "imageid", "image index", "id"),
)
LABEL_TITLES = (
    *("label", "class", "truth", "target", "y", "category", "ground truth", "true label"),
    *("true class", "class name", "classname", "label name", "class id", "class index"),
    *("label id", "y true", "gt", "labels", "classes", "tags", "label names", "class names"),
    *("true classes", "true labels", "categories", "labelname", "finding labels", "findings"),
)


class Row(NamedTuple):
    """What a file says of one image, or a part of that."""

    where: str  # "line 3"
    path: str
    #: As they stand there: one, several (a list), none at all (an empty list); empty texts and the
    #: like are no labels.
    labels: tuple[str, ...]
    #: Whether the labels are those of a list, of which each is one label.
    is_list: bool = False
    #: What columns of 0 and 1 say, one for each class.
    indicators: LabelSet | None = None
    #: Whether the image does not belong to the class: a confidence of 0.
    is_negative: bool = False


class Table(NamedTuple):
    """What a file says of images.

    Attributes:
        rows: in order.
        notes: what the user should know of how it was read, a sentence each.
        has_negatives: whether it says of images what they do not belong to, so that nothing is
            known of classes that it does not name.
    """

    rows: list[Row]
    notes: tuple[str, ...] = ()
    has_negatives: bool = False
