"""The other images that those of a run are compared with, as target functions."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from cnnviz.engines.target_functions import SINGLE_NUMBER, CosineSimilarity
from cnnviz.errors import ItemError, UsageError
from cnnviz.explainer import Explainer
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.images.loading import load_image
from cnnviz.labels.targets import AnyTarget, SimilarityTarget
from cnnviz.outputs.naming import similarity_words
from cnnviz.runs.manifest import file_sha256
from cnnviz.text import printable_path


def check_others(targets: Iterable[AnyTarget]) -> None:
    """Make sure that the other images are there, before a network is loaded for them.

    Raises:
        UsageError: one is not.
    """
    for target in _similarities(targets):
        try:
            if not stat.S_ISREG(os.stat(target.path).st_mode):
                raise _unusable(target, "it is not a file")
        except (OSError, ValueError) as error:
            raise _unusable(target, getattr(error, "strerror", None) or str(error)) from error


def embed_others(
    targets: Iterable[AnyTarget],
    explainer: Explainer,
    *,
    max_pixels: int = MAX_PIXELS,
    remark: Callable[[str], None] = lambda _text: None,
) -> Mapping[SimilarityTarget, CosineSimilarity]:
    """What the network outputs for each of the other images, before any activation.

    Args:
        targets: what is explained; those that are no similarities have no other image.
        explainer: the network.
        max_pixels: see :func:`cnnviz.images.loading.load_image`.
        remark: called with a sentence about an image that is damaged and was read all the same.

    Raises:
        UsageError: one cannot be read, or nothing can be compared with what is output for it.
        NetworkError: the network cannot be run.
    """
    wanted = list(_similarities(targets))
    if wanted and explainer.network.architecture.outputs < 2:  # two classes, yes and no, or none
        raise UsageError(SINGLE_NUMBER)
    found = {}
    for target, word in zip(wanted, similarity_words([one.path for one in wanted]), strict=True):
        try:
            prepared, _ = load_image(
                target.path,
                explainer.spec,
                "model",
                max_pixels=max_pixels,
                remark=partial(_about, target, remark),
            )
        except ItemError as error:
            raise _unusable(target, str(error)) from error
        (embedding,) = explainer.network.logits(prepared.input[None])
        found[target] = CosineSimilarity(
            embedding, printable_path(target.path), file_sha256(Path(target.path)), word
        )
    return found


def _similarities(targets: Iterable[AnyTarget]) -> Iterable[SimilarityTarget]:
    return (one for one in targets if isinstance(one, SimilarityTarget))


def _about(target: SimilarityTarget, remark: Callable[[str], None], text: str) -> None:
    remark(f"{printable_path(target.path)}: {text}")


def _unusable(target: SimilarityTarget, reason: str) -> UsageError:
    return UsageError(
        f"{printable_path(target.path)}, to which the similarity is to be explained, cannot be "
        f"read: {reason.rstrip('.')}."
    )
