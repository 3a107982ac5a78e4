"""What torchvision and timm feed their networks where they evaluate them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnviz.images.input_spec import INTERPOLATIONS
from cnnviz.importers.program_source import InputHint
from cnnviz.text import joined

#: What is done instead of an interpolation that cnnviz does not have.
_FALLBACK = "bilinear"


def torchvision_hint(transforms: Any) -> tuple[InputHint, str]:
    """What a network is fed, but for its classes' names.

    Args:
        transforms: ``weights.transforms()``.

    Returns:
        It; and in which respect a network is fed otherwise here, empty if it is not.
    """
    (side,), (scaled,) = transforms.crop_size, transforms.resize_size
    interpolation, other = _interpolation(transforms.interpolation.value)
    hint = InputHint(
        channels=len(transforms.mean),
        size=(side, side),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        resize="crop",
        crop_fraction=side / scaled,
        interpolation=interpolation,
    )
    return hint, _different([other])


def timm_hint(config: Mapping[str, Any]) -> tuple[InputHint, str]:
    """What a network is fed, but for its classes' names.

    That is what timm's ``create_transform(**resolve_data_config(...))`` makes of an image, at the
    size that the network was trained with.

    Args:
        config: the network's ``pretrained_cfg``.

    Returns:
        It; and in which respect a network is fed otherwise here, empty if it is not.
    """
    from timm.data import resolve_data_config

    data = resolve_data_config({}, pretrained_cfg=config)
    channels, height, width = data["input_size"]
    kept = min(data["crop_pct"], 1.0)
    interpolation, other = _interpolation(data["interpolation"])
    hint = InputHint(
        channels=channels,
        size=(height, width),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        resize="stretch" if data["crop_mode"] == "squash" else "crop",
        crop_fraction=kept,
        interpolation=interpolation,
        validation=_timm_validation(config, (height, width), kept),
    )
    bordered = ""
    if data["crop_mode"] == "border":
        bordered = "it was evaluated on whole images with borders, here on their centers"
    elif kept < data["crop_pct"]:
        bordered = "it was evaluated on smaller images with borders, here without"
    return hint, _different([bordered, other])


def _timm_validation(config: Mapping[str, Any], size: tuple[int, int], kept: float) -> str:
    """The options with which timm's own validation feeds a network, if its size is another."""
    _, height, width = config.get("test_input_size") or (0, *size)
    fraction = config.get("test_crop_pct") or kept
    options = []
    if (height, width) != size:
        options.append(f"--input-size {height if height == width else f'{height}x{width}'}")
    if fraction != kept:
        options.append(f"--crop-fraction {fraction:g}")
    return " ".join(options)


def _interpolation(name: str) -> tuple[str, str]:
    """How pixels are computed, and a remark if a package's way is none of cnnviz's."""
    if name in INTERPOLATIONS:
        return name, ""
    return _FALLBACK, f"it was evaluated with {name} interpolation, here with {_FALLBACK}"


def _different(respects: Sequence[str]) -> str:
    told = [one for one in respects if one]
    return f"is not fed as in its package: {joined(told, 'and')}" if told else ""
