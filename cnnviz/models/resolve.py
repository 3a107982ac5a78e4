"""From a name or files to an explainer that is ready: the network built, its weights loaded.

A named network and its layers are known without a framework and without what is needed to explain
it: these are imported when weights are loaded.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnviz.errors import UsageError, in_keywords
from cnnviz.labels.classes import Labels
from cnnviz.labels.label_files import read_labels
from cnnviz.models import program_files, zoo
from cnnviz.models.config import ModelConfig, find_config
from cnnviz.models.config_values import parse_range
from cnnviz.models.source import ModelSource
from cnnviz.text import expand_home
from cnnviz.types import Notify

if TYPE_CHECKING:
    from cnnviz.attribution.fitting import MethodSpec
    from cnnviz.engines.base import Device
    from cnnviz.explainer import Explainer


def find_model(
    config: ModelConfig, *, needs_weights: bool = True, notify: Notify | None = None
) -> ModelSource:
    """The network that a configuration describes. Cheap: no framework is needed yet.

    Args:
        config: what is known of it, see :func:`cnnviz.models.config.find_config`.
        needs_weights: whether it is an error if an exported network has none beside it.
        notify: called with a sentence when something is assumed, or there is something to wait for.

    Raises:
        UsageError: there is no such network, or the configuration does not suit it.
        NetworkError: a symbol file cannot be used.
        WeightsError: an exported network has no parameters beside it.
    """
    if isinstance(config.labels, Labels) and config.labels.note and notify is not None:
        notify(config.labels.note)
    if config.model in zoo.names():
        from cnnviz.models.zoo_model import ZooModel

        return ZooModel(config, notify=notify)
    if program_files.is_program(config.model):
        from cnnviz.models.program_model import ProgramModel

        source = program_files.open_program(
            config.model, config.weights, needs_weights=needs_weights
        )
        return ProgramModel(config, source, notify=notify)
    from cnnviz.models.files import SymbolModel

    return SymbolModel(config, needs_weights=needs_weights, notify=notify)


def load_model(
    model: ModelSource,
    *,
    device: str = "cpu",
    engine: str = "auto",
    precision: str = "fp32",
    layer: str | Sequence[str] | None = None,
    methods: MethodSpec = None,
    progress: bool = True,
) -> Explainer:
    """Load a network's weights and make it ready to explain.

    Whatever can be known to be wrong without weights is reported before they are looked for. The
    arguments are those of :func:`load`.
    """
    from cnnviz.engines.registry import choose_engine
    from cnnviz.explainer import Explainer

    parsed = check_model(model, device, engine, precision, layer, methods)
    choice = choose_engine(parsed, model.architecture.graph, engine, precision)
    network, weights = model.load(choice, progress=progress)
    return Explainer(
        network,
        model.spec,
        model.labels,
        layer=layer or model.config.layer,
        methods=methods,
        name=model.name,
        weights=weights,
    )


def check_model(
    model: ModelSource,
    device: str,
    engine: str,
    precision: str,
    layer: str | Sequence[str] | None,
    methods: MethodSpec,
) -> Device:
    """Find out what can be known to be wrong without weights and an engine; the device.

    The arguments are those of :func:`load`.

    Raises:
        CnnvizError: something is.
    """
    from cnnviz.attribution.fitting import fit_methods
    from cnnviz.engines.base import check_precision, parse_device
    from cnnviz.engines.registry import check_engine
    from cnnviz.graph.target_layers import choose_layers

    parsed = parse_device(device)
    check_engine(engine, precision)
    check_precision(precision, parsed)
    choose_layers(model.architecture, layer or model.config.layer)
    fit_methods(model.architecture, methods)
    return parsed


@in_keywords()
def load(
    model: str | os.PathLike[str] | object = "vgg16",
    *,
    weights: str | Path | None = None,
    labels: Sequence[str] | str | Path | None = None,
    input_size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channels: str | None = None,
    range: str | tuple[float, float] | None = None,
    display_channels: int | Sequence[int] | None = None,
    head: str | int | None = None,
    activation: str | None = None,
    device: str = "cpu",
    engine: str = "auto",
    precision: str = "fp32",
    layer: str | Sequence[str] | None = None,
    methods: MethodSpec = None,
    resize: str | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    progress: bool = True,
    notify: Notify | None = None,
) -> Explainer:
    """Find a network, load its weights and make it ready to explain.

    What is given here overrides a configuration file, and the file overrides what the network says.
    Whatever can be known to be wrong without weights is reported before they are looked for.

    Args:
        model: a name that ``cnnviz models`` lists, or one of torchvision or timm
            (``timm:resnet50``); the file of an exported network; a configuration file
            (:mod:`cnnviz.models.config`), or a folder with one in it; or a module of PyTorch,
            which is left as it is and not followed when it changes.
        weights: a file; None for the network's own: found or downloaded, or, for a symbol, beside
            it. ONNX files, what PyTorch exported, and modules have their weights in them.
        labels: class names, as many as the weights have outputs, or a file of them, see
            :func:`cnnviz.labels.label_files.read_labels`; None for the network's own. An exported
            network's classes have none of their own.
        input_size: in pixels, (height, width) or one number for both.
        mean: of pixels in [0, 1], one value a channel, in the order of the network's channels:
            three for a color network, one for a gray one.
        std: likewise.
        channels: in which order the network takes red, green and blue: ``rgb`` (the default) or
            ``bgr``.
        range: the values in images that become 0 and 1 before mean and std are applied, (low, high)
            or ``"low:high"``; by default all that whole numbers of 8 or 16 bits can hold, and for
            floats in arrays and tensors 0 and 1. Files of floats need it.
        display_channels: the indices of three channels that images are displayed by as red, green
            and blue, or of one; by default the first three, or the first of two.
        head: which output, or inner node, of an exported network gives the logits.
        activation: what makes probabilities of the logits: ``softmax``, ``sigmoid`` (each class by
            itself; of one output: yes or no) or ``none`` (its outputs are numbers); None for what
            the network ends with.
        device: ``cpu``, ``gpu``, ``gpu:N``, ``gpu(N)``, the same with ``cuda``, or ``mps``.
        engine: what computes: ``mxnet``, ``torch``, or ``auto``, the first of these that is
            installed and can run the network on the device.
        precision: what convolutions and matrix products are computed in: ``fp32``, or, with
            PyTorch's engine, ``tf32`` (on GPUs only) or ``bf16``.
        layer: the target layer's name, or several; None for the network's default.
        methods: what to attribute with, see :class:`cnnviz.Explainer`.
        resize: ``stretch`` (the default) or ``crop``.
        crop_fraction: the part of the resized image's short side that is kept, above 0 and at most
            1; by default 224/256 with ``crop``, and all of it with ``stretch``.
        interpolation: ``area`` (the default) averages where an image shrinks and is bilinear where
            it grows; ``nearest``, ``box``, ``bilinear``, ``hamming``, ``bicubic`` and ``lanczos``
            are Pillow's. Networks of torchvision and timm have their own for all three.
        progress: whether a download may show a bar.
        notify: called with a sentence when something is assumed, or there is something to wait for.

    Raises:
        UsageError: there is no such network, layer, head, device name, engine or precision; a
            configuration file is wrong; the size of an exported network's images is not known.
        NetworkError: a symbol file cannot be used, or no engine can run the network.
        DeviceError: the device cannot be used.
        WeightsError: the weights cannot be had or read, or belong to another network.
    """
    of_torch = program_files.is_module(model)
    if of_torch and weights is not None:
        raise UsageError("A module of PyTorch has its weights in it: load them there.")
    if isinstance(labels, (str, Path)):
        labels = read_labels(Path(expand_home(str(labels))))
    if isinstance(model, (str, os.PathLike)):
        config = find_config(os.fspath(model))
    elif of_torch:
        config = ModelConfig(type(model).__name__)
    else:
        raise UsageError(
            "model is a network's name, a file or a module of PyTorch; got "
            f"{type(model).__name__}.{_advice(model)}"
        )
    config = config.updated(
        weights=None if weights is None else Path(expand_home(str(weights))),
        labels=labels if labels is None or isinstance(labels, tuple) else tuple(labels),
        input_size=_height_and_width(input_size),
        mean=_numbers("mean", mean),
        std=_numbers("std", std),
        channels=channels,
        range=_range(range),
        display_channels=_indices(display_channels),
        head=head if head is None else str(head),
        activation=activation,
        resize=resize,
        crop_fraction=_number("crop_fraction", crop_fraction),
        interpolation=interpolation,
    )
    explainer = load_model(
        _module_model(config, model, notify) if of_torch else find_model(config, notify=notify),
        device=device,
        engine=engine,
        precision=precision,
        layer=layer,
        methods=methods,
        progress=progress,
    )
    if notify is not None:
        for note in explainer.notes:
            notify(note)
    return explainer


def _advice(model: object) -> str:
    """What to give in place of what is no network, but comes near."""
    if isinstance(model, type) or callable(model):
        return " Call it, and give what it makes."
    if isinstance(model, Mapping):
        return " A state dict has no network in it: load it into its module, and give that."
    return ""


def _module_model(config: ModelConfig, module: object, notify: Notify | None) -> ModelSource:
    from cnnviz.models.program_model import ProgramModel

    return ProgramModel(config, program_files.open_module(module), notify=notify)


def _number(keyword: str, value: Any) -> float | None:
    """A number as a configuration has it, Python's or NumPy's."""
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{keyword} is a number; got {value!r}.") from None


def _numbers(keyword: str, values: Any) -> tuple[float, ...] | None:
    """A mean or std as a configuration has it, of one number or one a channel."""
    if values is None:
        return None
    try:
        return tuple(map(float, [values] if isinstance(values, Real) else values))
    except (TypeError, ValueError):
        raise UsageError(
            f"{keyword} is a number for each channel, three for a color network; got {values!r}."
        ) from None


def _range(value: Any) -> tuple[float, float] | None:
    """A range as a configuration has it, of two numbers or of a text."""
    if value is None:
        return None
    try:
        text = value if isinstance(value, str) else ":".join(str(float(one)) for one in value)
        return parse_range(text)
    except (TypeError, ValueError):
        raise UsageError(
            f"range is two numbers, the lower one first, such as (0, 4095); got {value!r}."
        ) from None


def _indices(value: Any) -> tuple[int, ...] | None:
    """Channels as a configuration has them, of one index or several."""
    if value is None:
        return None
    try:
        return tuple(map(operator.index, [value] if isinstance(value, Integral) else value))
    except TypeError:
        raise UsageError(
            f"display_channels is the indices of one channel or three; got {value!r}."
        ) from None


def _height_and_width(size: Any) -> tuple[int, int] | None:
    """A size as a configuration has it, of one whole number or two, Python's or NumPy's."""
    if size is None:
        return None
    try:
        both = (size, size) if isinstance(size, Integral) else size
        height, width = map(operator.index, both)
    except (TypeError, ValueError):
        raise UsageError(
            f"input_size is a whole number, or two: (height, width); got {size!r}."
        ) from None
    return height, width
