"""Explaining from Python, in one call: what ``cnnviz.explain`` is."""

from __future__ import annotations

import inspect
import operator
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Union

import numpy as np
from PIL import Image

from cnnviz.attribution import choose_methods
from cnnviz.errors import OTHER_NAMES, ItemError, UsageError, in_keywords
from cnnviz.explainer import Explainer
from cnnviz.explanation import Explanation
from cnnviz.images.in_memory import Held, rgb_pixels
from cnnviz.images.loading import load_image
from cnnviz.images.preprocessing import Canvas, Prepared, canvas
from cnnviz.images.sources import find_sources
from cnnviz.labels.targets import is_default, resolve_targets
from cnnviz.models.resolve import load_explainer
from cnnviz.outputs.formats import written_by_cnnviz
from cnnviz.outputs.provenance import Origin
from cnnviz.rendering.style import Style
from cnnviz.results import ImageExplanation
from cnnviz.runs.manifest import digest
from cnnviz.text import did_you_mean, printable_path

Input = Union[str, "os.PathLike[str]", Held]
"""An image's path, a folder, or an image: uint8 (H, W, 3) RGB or (H, W) gray, or Pillow's."""


@in_keywords()
def explain(
    inputs: Input | Iterable[Input],
    model: str | Explainer = "vgg16",
    *,
    target: str | int | Sequence[str | int] = "top1",
    layer: str | Sequence[str] | None = None,
    method: str | Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    relu: str | Sequence[str] = (),
    style: Style | None = None,
    batch_size: int = 2,
    skip_failed: bool = False,
    **network: Any,
) -> list[ImageExplanation]:
    """Explain images: what a network sees in each, and where it looked.

    Args:
        inputs: an image or several. A path may be a folder: all images below it are taken, in
            natural order, but for those that cnnviz has written.
        model: what :func:`cnnviz.load_explainer` takes, or what it returned, which saves loading
            the network again.
        target: what to explain in each image: a class index or name, ``top1``, ``top5``, ... or
            several of them.
        layer: the target layer's name, or several, or ``stages``; the network's own by default.
        method: names of methods, as ``cnnviz methods`` lists them; by default Grad-CAM, guided
            Grad-CAM and saliency, or what is left of these for a network without ReLU.
        options: of the methods, see :func:`cnnviz.choose_methods`.
        relu: ReLU rules, see there.
        style: how maps are drawn.
        batch_size: images that share a pass.
        skip_failed: whether an image that cannot be explained is left out, with a warning.
        network: more for :func:`cnnviz.load_explainer`: ``weights``, ``ctx``, ``resize``, ...

    Returns:
        For each image an :class:`cnnviz.Explanation` for each target, all in one list.

    Raises:
        ItemError: an image cannot be read or explained.
        UsageError: there is no such image, class, method, layer or network.
        CnnvizError: as :func:`cnnviz.load_explainer`.
    """
    if not _is_number(batch_size) or batch_size < 1:
        raise UsageError(f"At least one image shares a pass; got a batch size of {batch_size}.")
    style = Style() if style is None else style
    methods = None
    if method is not None or options or relu:
        names = () if method is None else _several("method", method)
        methods = partial(choose_methods, names, options, relu=_several("relu", relu))
        methods()  # what is wrong is told before weights are looked for
    _check_keywords(network, model)
    if isinstance(model, Explainer):
        explainer = model.replace(layer, methods)
    else:
        explainer = load_explainer(model, layer=layer, methods=methods, **network)
    classes = explainer.network.architecture.classes
    targets = resolve_targets(_several("target", target), explainer.labels, classes)
    numbered = not is_default(targets)
    waiting = _images(inputs)
    explained: list[ImageExplanation] = []
    while True:
        batch = list(islice(waiting, batch_size))
        if not batch:
            return explained
        results = _explain(explainer, batch, targets, style)
        for (name, image), result in zip(batch, results, strict=True):
            if isinstance(result, ItemError):
                problem = type(result)(f"{name}: {result}")
                if not skip_failed:
                    raise problem
                warnings.warn(str(problem), stacklevel=3)  # over what the decorator adds
            else:
                explanations, base = result
                origin = _origin(explainer, name, image)
                explained += [
                    ImageExplanation.of(
                        replace(one, origin=origin),
                        f"{name}_{one.target}" if numbered else name,
                        base,
                        style,
                    )
                    for one in explanations
                ]


def _explain(
    explainer: Explainer,
    batch: Sequence[tuple[str, Input]],
    targets: Sequence[Any],
    style: Style,
) -> Iterator[tuple[Sequence[Explanation], Canvas] | ItemError]:
    """For each image of a batch its explanations, or the error."""
    read: list[tuple[Prepared, Canvas] | ItemError] = []
    for _, image in batch:
        try:
            read.append(_read(explainer, image, style))
        except ItemError as problem:
            read.append(problem)
    ready = [one for one in read if not isinstance(one, ItemError)]
    found = iter(
        explainer.explain_targets([prepared for prepared, _ in ready], targets) if ready else ()
    )
    for one in read:
        if isinstance(one, ItemError):
            yield one
            continue
        result = next(found)
        if isinstance(result, ItemError):
            yield result
        else:
            yield result.explanations, one[1]


def _read(explainer: Explainer, image: Input, style: Style) -> tuple[Prepared, Canvas]:
    if isinstance(image, (str, os.PathLike)):
        return load_image(image, explainer.spec, explainer.resize, style.size)
    pixels = rgb_pixels(image)
    prepared = explainer.prepare(pixels)
    return prepared, canvas(pixels, prepared, style.size)


def _origin(explainer: Explainer, name: str, image: Input) -> Origin:
    """What files say of the network and the image that they come from."""
    if isinstance(image, (str, os.PathLike)):
        file, sha256 = PurePath(image).name, digest(Path(image))
        return replace(explainer.origin, image=file, sha256=sha256)
    return replace(explainer.origin, image=name)


def _images(inputs: Input | Iterable[Input]) -> Iterator[tuple[str, Input]]:
    """Each image with its name: that of its file, without the ending."""
    several: Iterable[Any] = (
        [inputs]
        if isinstance(inputs, (str, bytes, os.PathLike, np.ndarray, Image.Image))
        or not isinstance(inputs, Iterable)
        else inputs
    )
    for number, one in enumerate(several):
        if isinstance(one, (np.ndarray, Image.Image)):
            file = getattr(one, "filename", "")  # of an image that was opened
            yield printable_path(PurePath(file).stem) if file else f"image{number}", one
        elif isinstance(one, (str, os.PathLike)):
            found = find_sources([os.fspath(one)], is_own=written_by_cnnviz)
            for note in found.notes:
                warnings.warn(f"{one}: {note}", stacklevel=4)
            for source in found.sources:
                yield printable_path(source.relative.stem), Path(source.path)
        else:
            raise UsageError(
                "An image is a path, an array of pixels or an image of Pillow's; got "
                f"{type(one).__name__}."
            )


def _several(keyword: str, value: Any) -> list[str]:
    """One word or number, or several, as words."""
    try:
        several = [value] if isinstance(value, str) or _is_number(value) else list(value)
        if all(isinstance(one, str) or _is_number(one) for one in several):
            return [one if isinstance(one, str) else str(operator.index(one)) for one in several]
    except TypeError:
        pass
    raise UsageError(f"{keyword} is a word or a whole number, or several in a list; got {value!r}.")


def _is_number(value: Any) -> bool:
    """Whether this is a whole number: Python's, NumPy's, or an array of just one."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _check_keywords(given: Iterable[str], explainer: Any) -> None:
    """Refuse keywords that neither :func:`explain` nor, for it, :func:`load_explainer` takes."""
    known = [*inspect.signature(explain).parameters, *inspect.signature(load_explainer).parameters]
    taken = [name for name in dict.fromkeys(known) if name not in ("network", "methods")]
    for keyword in given:
        if keyword not in taken:
            hint = did_you_mean(OTHER_NAMES.get(keyword, keyword), taken, count=1)
            advice = hint or f"It takes {', '.join(taken)}."
            raise UsageError(f"explain() takes no {keyword}. {advice}")
        if isinstance(explainer, Explainer):
            raise UsageError(
                f"{keyword} is for load_explainer(), which made the explainer that is used."
            )
