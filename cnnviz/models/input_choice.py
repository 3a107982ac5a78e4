"""What an exported network is fed: as configured, else as its file says, else assumed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.architecture import Architecture
from cnnviz.images.input_spec import (
    AREA,
    CHANNEL_ORDERS,
    RESIZE_MODES,
    InputSpec,
    check_scale,
    option_value,
)
from cnnviz.importers.program_source import InputHint
from cnnviz.models.config import ModelConfig
from cnnviz.text import counted

if TYPE_CHECKING:
    from cnnviz.engines.registry import EngineChoice


def check_config(config: ModelConfig) -> None:
    """Refuse a mean and std that cannot be right, whatever the network.

    Raises:
        UsageError: they are for pixels up to 255, one is missing, or they differ in number.
    """
    check_scale(config.mean, config.std)
    if (config.mean is None) != (config.std is None):
        missing = "std" if config.std is None else "mean"
        raise UsageError(f"Mean and std belong together; no {missing} was given.")
    if config.mean is not None and config.std is not None and len(config.mean) != len(config.std):
        raise UsageError(
            f"Mean has {counted(len(config.mean), 'number')} and std "
            f"{counted(len(config.std), 'number')}: give as many for each."
        )


def choose_spec(
    config: ModelConfig, hint: InputHint, name: str, whose: str
) -> tuple[InputSpec, list[str]]:
    """What a network is fed, with a remark where it is assumed.

    Args:
        config: what was said of it.
        hint: what its file tells.
        name: what it is called.
        whose: its file, for errors.

    Raises:
        UsageError: its size is not known, or mean and std are for another number of channels.
    """
    size = config.input_size or hint.size
    if size is None:
        raise UsageError(
            f"{whose} does not say how large its images are: give --input-size, such as 224 or "
            "480x640."
        )
    channels, remarks = hint.channels, []
    if hint.validation and config.input_size is None and config.crop_fraction is None:
        remarks.append(
            f"{name} is fed images of {size[1]}x{size[0]}, as in its training; its package's own "
            f"validation takes {hint.validation}."
        )
    if config.mean is not None and config.std is not None:
        if channels is not None and channels != len(config.mean):
            kind = {1: "a gray image (1 channel)", 3: "color (3 channels)"}.get(
                channels, f"{channels} channels"
            )
            raise UsageError(
                f"{name} takes {kind}, and mean and std have "
                f"{counted(len(config.mean), 'number')}: give {channels} each."
            )
        return _spec(config, hint, size, config.mean, config.std), remarks
    if hint.mean is not None and hint.std is not None:
        mean, std, reason = hint.mean, hint.std, hint.reason
    elif channels not in (None, 3):
        mean, std = (0.0,) * channels, (1.0,) * channels
        reason = "pixels from 0 to 1 are assumed"
    else:
        mean, std, reason = (), (), "ImageNet's are assumed"
    spec = _spec(config, hint, size, mean, std)
    if not reason:
        return spec, remarks
    order = "" if spec.channels == CHANNEL_ORDERS[0] else f" --channels {spec.channels}"
    return spec, [
        *remarks,
        f"No mean and std were given for {name}; {reason}: "
        f"--mean {option_value(spec.mean)} --std {option_value(spec.std)}{order}.",
    ]


def _spec(
    config: ModelConfig,
    hint: InputHint,
    size: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> InputSpec:
    """With what the configuration says beside size, mean and std, or else the file."""
    resize, kept = config.resize or hint.resize or RESIZE_MODES[0], config.crop_fraction
    if kept is None and resize == hint.resize:
        kept = hint.crop_fraction
    return InputSpec(
        *size,
        mean,
        std,
        config.channels or CHANNEL_ORDERS[0],
        config.range,
        config.display_channels or (),
        resize,
        kept,
        config.interpolation or hint.interpolation or AREA,
    )


def check_memory(architecture: Architecture, choice: EngineChoice, whose: str) -> None:
    """Refuse what would take all memory.

    Raises:
        NetworkError: the values for one image do not fit.
    """
    shapes = architecture.graph.shapes
    needed = 4 * sum(math.prod(shape) for outputs in shapes for shape in outputs)
    free = choice.free_memory()
    if 0 < free < needed:
        raise NetworkError(
            f"What {whose} computes for one image takes {needed / 1e9:,.1f} GB, and "
            f"{free / 1e9:,.1f} GB are free on {choice.device}. Is it damaged, or --input-size "
            "wrong?"
        )
