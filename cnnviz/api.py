"""Explaining from Python, in one call: what ``cnnviz.explain`` is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from cnnviz.attribution import choose_methods
from cnnviz.errors import PictureError, UsageError
from cnnviz.explainer import Explainer, Explanation, Style
from cnnviz.inputs import find_sources, printable
from cnnviz.loader import load_explainer
from cnnviz.models.labels import resolve_targets
from cnnviz.preprocessing import Canvas, Prepared, canvas

Input = Union[str, "os.PathLike[str]", npt.NDArray[np.uint8]]
"""A picture's path, a folder, or a picture: uint8 (H, W, 3) RGB, or (H, W) grey."""


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
) -> list[Explanation]:
    """Explain pictures: what a network sees in each, and where it looked.

    Args:
        inputs: a picture or several. A path may be a folder: all pictures below it are taken, in
            natural order.
        model: what :func:`cnnviz.load_explainer` takes, or what it returned, which saves loading
            the network again.
        target: what to explain in each picture: a class index or name, ``top1``, ``top5``, ... or
            several of them.
        layer: the target layer's name, or several, or ``stages``; the network's own by default.
        method: names of methods, as ``cnnviz methods`` lists them; by default Grad-CAM, guided
            Grad-CAM and saliency, or what is left of these for a network without ReLU.
        options: of the methods, see :func:`cnnviz.choose_methods`.
        relu: ReLU rules, see there.
        style: how maps are drawn.
        batch_size: pictures that share a pass.
        skip_failed: whether a picture that cannot be explained is left out, with a warning.
        network: more for :func:`cnnviz.load_explainer`: ``weights``, ``ctx``, ``resize``, ...

    Returns:
        For each picture an :class:`cnnviz.Explanation` for each target, all in one list.

    Raises:
        PictureError: a picture cannot be read or explained.
        UsageError: there is no such picture, class, method, layer or network.
        CnnvizError: as :func:`cnnviz.load_explainer`.
    """
    if batch_size < 1:
        raise UsageError(f"At least one picture shares a pass; got a batch size of {batch_size}.")
    style = Style() if style is None else style
    methods = None
    if method is not None or options or relu:
        names = () if method is None else _several(method)
        methods = partial(choose_methods, names, options, relu=_several(relu))
        methods()  # what is wrong is told before weights are looked for
    if not isinstance(model, Explainer):
        explainer = load_explainer(model, layer=layer, methods=methods, **network)
    elif network:
        raise UsageError(
            f"{next(iter(network))} is for load_explainer(), which made the explainer that is used."
        )
    else:
        explainer = model.using(layer, methods)
    classes = explainer.network.architecture.classes
    targets = resolve_targets(map(str, _several(target)), explainer.labels, classes)
    waiting = _pictures(inputs)
    explained: list[Explanation] = []
    while True:
        batch = list(islice(waiting, batch_size))
        if not batch:
            return explained
        results = _explain(explainer, batch, targets, style)
        for (name, _), result in zip(batch, results):
            if isinstance(result, PictureError):
                problem = PictureError(f"{name}: {result}")
                if not skip_failed:
                    raise problem
                warnings.warn(str(problem), stacklevel=2)
            else:
                explained += [
                    replace(one, name=f"{name}_{one.target}") if len(targets) > 1 else one
                    for one in (replace(one, name=name, style=style) for one in result)
                ]


def _explain(
    explainer: Explainer,
    batch: Sequence[tuple[str, Input]],
    targets: Sequence[Any],
    style: Style,
) -> Iterator[list[Explanation] | PictureError]:
    """For each picture of a batch its explanations, or the error."""
    read: list[tuple[Prepared, Canvas] | PictureError] = []
    for _, picture in batch:
        try:
            read.append(_read(explainer, picture, style))
        except PictureError as problem:
            read.append(problem)
    ready = [one for one in read if not isinstance(one, PictureError)]
    found = iter(
        explainer.explain_targets([prepared for prepared, _ in ready], targets) if ready else ()
    )
    for one in read:
        if isinstance(one, PictureError):
            yield one
            continue
        result = next(found)
        if isinstance(result, PictureError):
            yield result
        else:
            yield [replace(each, canvas=one[1]) for each in result.explanations]


def _read(explainer: Explainer, picture: Input, style: Style) -> tuple[Prepared, Canvas]:
    if not isinstance(picture, np.ndarray):
        return explainer.read(picture, style.size)
    if (
        picture.dtype != np.uint8
        or picture.ndim not in (2, 3)
        or picture.shape[2:] not in ((), (3,))
    ):
        raise PictureError(
            "a picture is uint8 of shape (H, W, 3), RGB, or (H, W), grey; got "
            f"{picture.dtype} of shape {picture.shape}"
        )
    if 0 in picture.shape:
        raise PictureError(f"a picture has pixels; got shape {picture.shape}")
    colours = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
    colours = np.ascontiguousarray(colours)
    prepared = explainer.prepare(colours)
    return prepared, canvas(colours, prepared, style.size)


def _pictures(inputs: Input | Iterable[Input]) -> Iterator[tuple[str, Input]]:
    """Each picture with its name: that of its file, without the ending."""
    several = [inputs] if isinstance(inputs, (str, os.PathLike, np.ndarray)) else inputs
    for number, one in enumerate(several):
        if isinstance(one, np.ndarray):
            yield f"picture{number}", one
        elif isinstance(one, (str, os.PathLike)):
            found = find_sources([os.fspath(one)])
            for note in found.notes:
                warnings.warn(f"{one}: {note}", stacklevel=3)
            for source in found.sources:
                yield printable(source.relative.stem), Path(source.path)
        else:
            raise UsageError(
                f"A picture is a path or an array of pixels; got {type(one).__name__}."
            )


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, (str, int)) else list(value)
