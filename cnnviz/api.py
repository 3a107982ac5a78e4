"""Explaining from Python, in one call: what ``cnnviz.explain`` is."""

from __future__ import annotations

import hashlib
import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from types import FrameType
from typing import Any, TypeAlias, Union

from PIL import Image

from cnnviz.attribution import choose_methods
from cnnviz.errors import ItemError, UsageError, in_keywords
from cnnviz.explainer import Explainer
from cnnviz.explanation import ImageResult
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.images.in_memory import Held, held_image, is_held
from cnnviz.images.loading import load_image
from cnnviz.images.preprocessing import Canvas, Prepared, canvas
from cnnviz.images.source import Source
from cnnviz.images.sources import find_sources
from cnnviz.keywords import check_keywords, is_integer, words
from cnnviz.labels.targets import resolve_contrasts, resolve_targets
from cnnviz.models.program_files import is_module
from cnnviz.models.resolve import load
from cnnviz.outputs.marks import written_by_cnnviz
from cnnviz.outputs.provenance import Origin
from cnnviz.rendering.style import Style
from cnnviz.results import Explanations, ImageExplanation
from cnnviz.runs.goals import Goals
from cnnviz.runs.items import plan_items
from cnnviz.runs.manifest import file_sha256
from cnnviz.runs.request import OutputOptions
from cnnviz.runs.stream import LoadedImage, Loader, Stage, Stream
from cnnviz.storage.stored import File, full_path
from cnnviz.text import printable_path

Input = Union[str, "os.PathLike[str]", bytes, Held]
"""An image's path, a folder, the bytes of an image file, or an image: an array or tensor,
(H, W, C), (C, H, W), or (H, W) gray, of uint8, uint16, or floats from 0 to 1 or in the network's
range; a Pillow image. Arrays and tensors of four dimensions are several."""

#: Modules between :func:`explain` and its caller, and those that it calls.
_OURS = {"cnnviz", "contextlib"}


@in_keywords()
def explain(
    inputs: Input | Iterable[Input],
    model: str | os.PathLike[str] | Explainer | object = "vgg16",
    *,
    target: str | int | Sequence[str | int] = "top1",
    contrast: str | Sequence[str] = (),
    layer: str | Sequence[str] | None = None,
    method: str | Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    relu: str | Sequence[str] = (),
    style: Style | None = None,
    batch_size: int = 2,
    max_pixels: int = MAX_PIXELS,
    skip_failed: bool = False,
    **network: Any,
) -> Explanations:
    """Explain images: what a network sees in each, and where it looked.

    Args:
        inputs: an image or several: paths, bytes of files, NumPy arrays, Pillow's images, PyTorch's
            tensors (see :data:`Input`). A path may be a folder: all images below it are taken, in
            natural order, but for those that cnnviz has written.
        model: what :func:`cnnviz.load` takes, or what it returned, which saves loading
            the network again.
        target: what to explain in each image: a class index or name, ``top1``, ``top5``, ... or
            several of them; ``above:0.5`` for all whose probability is above that (an image without
            any has no explanation, and a warning says so); ``similarity:FILE`` for the cosine
            between what the network outputs for the image and for another one.
        contrast: two classes ``A:B`` whose difference is explained too, or several such pairs; each
            is ``predicted``, ``second``, an index or a name.
        layer: the target layer's name, or several, or ``stages``; the network's own by default.
        method: names of methods, as ``cnnviz methods`` lists them; by default Grad-CAM, guided
            Grad-CAM and saliency, or what is left of these for a network without ReLU.
        options: of the methods, see :func:`cnnviz.choose_methods`.
        relu: ReLU rules, see there.
        style: how maps are rendered.
        batch_size: images that share a pass.
        max_pixels: a larger image is refused before it is decoded.
        skip_failed: whether an image that cannot be explained is left out, with a warning.
        network: more for :func:`cnnviz.load`: ``weights``, ``device``, ``resize``, ...

    Returns:
        A list with an explanation for each image and each target, which a notebook shows.

    Raises:
        ItemError: an image cannot be read or explained.
        UsageError: there is no such image, class, method, layer, network or keyword.
        CnnvizError: as :func:`cnnviz.load`.
    """
    for keyword, least in (("batch_size", batch_size), ("max_pixels", max_pixels)):
        if not is_integer(least) or least < 1:
            raise UsageError(f"{keyword} is a whole number, at least 1; got {least!r}.")
    if style is not None and not isinstance(style, Style):
        raise UsageError(f"style is a cnnviz.Style, such as cnnviz.Style(size=512); got {style!r}.")
    loading = [one for one in inspect.signature(load).parameters if one != "methods"]
    own = [one for one in inspect.signature(explain).parameters if one != "network"]
    check_keywords(network, own, loading)
    methods = None
    if method is not None or options or relu:
        names = () if method is None else words("method", method)
        methods = partial(choose_methods, names, options, relu=words("relu", relu))
        methods()  # mistakes are reported before weights are looked for
    explainer = _explainer(model, layer, methods, network)
    known = explainer.labels, explainer.network.architecture.classes
    goals = Goals(
        resolve_targets(words("target", target), *known),
        resolve_contrasts(words("contrast", contrast), *known),
    )
    if goals.needs_truth:
        raise UsageError(
            "explain() does not know the images' true classes: give each image's own as target."
        )
    goals = goals.seen_by(explainer, max_pixels=max_pixels, remark=_warn)
    stage = _ExplainGiven(explainer, goals, Style() if style is None else style, skip_failed)
    stream = Stream(Loader(explainer, stage.style.size, max_pixels), batch_size)
    stream.run(stage, _images(inputs))
    return Explanations(_with_stems(stage.explained, stage.sources, explainer, goals))


def _explainer(model: object, layer: Any, methods: Any, network: Mapping[str, Any]) -> Explainer:
    """The one that was given, or a new one."""
    if isinstance(model, Explainer):
        for keyword in network:
            raise UsageError(f"{keyword} is for load(), which made the explainer that is used.")
        return model.replace(layer, methods)
    if isinstance(model, (str, os.PathLike)) or is_module(model):
        return load(model, layer=layer, methods=methods, **network)
    raise UsageError(
        "model is a network's name, a file, a module of PyTorch or an Explainer; got "
        f"{type(model).__name__}. For a "
        "Gluon network give cnnviz.Explainer(cnnviz.from_gluon(net))."
    )


@dataclass(frozen=True)
class _GivenImage:
    """An image with its name: that of its file, without the ending, or its number."""

    name: str
    content: File | bytes | Held
    source: Source | None = None  # where it lies, if it is a file

    @property
    def key(self) -> str:
        """What a crash on it is remembered by."""
        return self.name

    def load(self, loader: Loader, remark: Callable[[str], None]) -> tuple[Prepared, Canvas]:
        """The network's input, and the canvas for its maps."""
        explainer = loader.explainer
        if isinstance(self.content, (Path, bytes)):
            return load_image(
                self.content,
                explainer.spec,
                loader.size,
                max_pixels=loader.max_pixels,
                remark=remark,
            )
        image = held_image(self.content, explainer.spec)
        prepared = explainer.prepare(image)
        return prepared, canvas(image, prepared, loader.size)

    def origin(self, explainer: Explainer) -> Origin:
        """What files say of the network and the image that they come from."""
        name, sha256 = self.name, None
        if isinstance(self.content, Path):
            name, sha256 = self.content.name, file_sha256(self.content)
        elif isinstance(self.content, bytes):
            sha256 = hashlib.sha256(self.content).hexdigest()
        return replace(explainer.origin, image=name, sha256=sha256)


@dataclass(frozen=True)
class _Outcome:
    """Of one image its explanations, or the error; and what the decoder said of it."""

    image: _GivenImage
    result: list[ImageExplanation] | ItemError
    remark: str | None


@dataclass(frozen=True)
class _ExplainGiven(Stage[_GivenImage, ImageResult, _Outcome]):
    """Explains images and keeps what is found out.

    Attributes:
        explainer: the network and methods.
        goals: what is explained.
        style: how maps are rendered.
        skip_failed: whether an image that fails is left out, and is no error.
        explained: what was found out.
        sources: where the image of each lies; None if it is no file.
        failures: the error that stopped it, if one did.
    """

    explainer: Explainer
    goals: Goals
    style: Style
    skip_failed: bool
    explained: list[ImageExplanation] = field(default_factory=list)
    sources: list[Source | None] = field(default_factory=list)
    failures: list[ItemError] = field(default_factory=list)

    def compute(self, batch: Sequence[_Loaded]) -> list[ImageResult | ItemError]:
        """Explain all."""
        unknown = [None] * len(batch)
        return self.goals.explain(self.explainer, [image.prepared for image in batch], unknown)

    def finish(self, image: _Loaded, result: ImageResult) -> _Outcome:
        """Put the explanations and their image together."""
        origin = image.item.origin(self.explainer)
        contrasts = tuple(replace(one, origin=origin) for one in result.contrasts)
        found = [
            ImageExplanation.of(
                replace(one, origin=origin),
                name=image.item.name,
                canvas=image.canvas,
                style=self.style,
                contrasts=contrasts,
                numbered=self.goals.numbered,
            )
            for one in result.explanations
        ]
        remark = "; ".join(filter(None, (image.remark, result.remark))) or None
        return _Outcome(image.item, found, remark)

    def failed(self, image: _Loaded, error: ItemError) -> _Outcome:
        """The error, with the image's name."""
        named = type(error)(f"{image.item.name}: {error}")
        return _Outcome(image.item, named, image.remark)

    def settle(self, outcome: _Outcome) -> None:
        """Keep it; the first failure is raised, unless failures are left out."""
        if outcome.remark is not None:
            _warn(f"{outcome.image.name}: {outcome.remark}")
        if not isinstance(outcome.result, ItemError):
            self.explained.extend(outcome.result)
            self.sources.extend([outcome.image.source] * len(outcome.result))
        elif self.skip_failed:
            _warn(str(outcome.result))
        elif not self.failures:  # else the run is being stopped by the first
            self.failures.append(outcome.result)
            raise outcome.result


def _with_stems(
    explained: Sequence[ImageExplanation],
    sources: Sequence[Source | None],
    explainer: Explainer,
    goals: Goals,
) -> Iterator[ImageExplanation]:
    """The explanations with names for their files: as the command gives them, each file one."""
    files: dict[str, Source] = {}
    paths = ["" if source is None else str(full_path(source.path)) for source in sources]
    for path, source in zip(paths, sources, strict=True):
        if source is not None:
            files.setdefault(path, source)
    items = plan_items(list(files.values()), explainer, goals, OutputOptions(arrays=True))
    stems = {path: str(item.stem.path) for path, item in zip(files, items, strict=True)}
    for one, path in zip(explained, paths, strict=True):
        yield replace(one, stem=stems.get(path))


_Loaded: TypeAlias = LoadedImage[_GivenImage, _Outcome]


def _warn(text: str) -> None:
    """A warning at the line that called :func:`explain`, from however deep inside."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and _package(frame) in _OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


def _package(frame: FrameType) -> str:
    """Of the code that a frame runs."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _images(inputs: Input | Iterable[Input]) -> Iterator[_GivenImage]:
    """Each image with its name."""
    if hasattr(inputs, "read") and not is_held(inputs):
        raise UsageError("An open file is not read: give its path, or its bytes, file.read().")
    alone = isinstance(inputs, (str, bytes, os.PathLike)) or is_held(inputs)
    several: Iterable[Any] = inputs if isinstance(inputs, Iterable) and not alone else [inputs]
    for number, one in enumerate(_apart(several)):
        if isinstance(one, bytes):
            yield _GivenImage(f"image{number}", one)
        elif is_held(one):
            file = getattr(one, "filename", "")  # of an image that was opened
            if file:
                source = Source(Path(file), printable_path(file), PurePath(Path(file).name))
                yield _GivenImage(printable_path(Path(file).stem), one, source)
            else:
                yield _GivenImage(f"image{number}", one)
        elif isinstance(one, (str, os.PathLike)):
            found = find_sources([os.fspath(one)], is_own=written_by_cnnviz)
            for note in found.notes:
                _warn(f"{one}: {note}")
            for source in found.sources:
                name = printable_path(source.relative.stem)
                yield _GivenImage(name, source.path, source)
        else:
            raise UsageError(
                "An image is a path, the bytes of a file, an array of pixels, a tensor or a "
                f"Pillow image; got {type(one).__name__}."
            )


def _apart(several: Iterable[Any]) -> Iterator[Any]:
    """The images, those of arrays and tensors with four dimensions one by one."""
    for one in several:
        if is_held(one) and not isinstance(one, Image.Image) and one.ndim == 4:
            yield from one
        else:
            yield one
