"""Networks of the packages torchvision and timm, by name: ``torchvision:resnet50``.

The installed package builds them. Their weights are a file of its state dict, or what the package
itself downloads; what they are fed, and what their classes are called, its configuration says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cnnviz.errors import CnnvizError, NetworkError, UsageError, WeightsError
from cnnviz.importers.program_source import InputHint
from cnnviz.importers.torch_inputs import timm_hint, torchvision_hint
from cnnviz.importers.torch_module import ModuleSource
from cnnviz.text import did_you_mean, listed
from cnnviz.types import Array, Shape
from cnnviz.weights.formats import read_weights
from cnnviz.weights.matching import Fit, compare
from cnnviz.weights.prefixes import unwrapped


class Built(NamedTuple):
    """A network of a package.

    Attributes:
        module: it.
        hint: what its configuration says of images and classes.
        remark: in which respect it is fed otherwise here; empty if it is not.
    """

    module: torch.nn.Module
    hint: InputHint
    remark: str = ""


class PackageSource(ModuleSource):
    """A network of a package; see :class:`cnnviz.importers.program_source.ProgramSource`."""

    def __init__(self, built: Built, name: str, file: Path | None, origin: str) -> None:
        """Take what was built."""
        super().__init__(built.module, name, built.hint, file, origin)
        self._remark = built.remark

    @property
    def remarks(self) -> tuple[str, ...]:
        """What differs from the package's own evaluation."""
        return (self._remark,) if self._remark else ()


def open_package(
    model: str, weights: Path | None = None, *, needs_weights: bool = True
) -> PackageSource:
    """A network of a package, with its weights.

    Args:
        model: ``torchvision:NAME`` or ``timm:NAME``.
        weights: a file of its state dict; None for what the package downloads.
        needs_weights: whether random ones will not do, where no file is given.

    Raises:
        NetworkError: the package is not installed.
        UsageError: it has no such network.
        WeightsError: the weights cannot be had, or belong to another network.
    """
    package, _, name = model.partition(":")
    build = {"torchvision": _torchvision, "timm": _timm}[package]
    if weights is not None:
        return PackageSource(
            _with_file(build, name, model, weights), model, weights, "file given by the user"
        )
    if not needs_weights:
        return PackageSource(build(name, pretrained=False), model, None, "")
    try:
        built = build(name, pretrained=True)
    except CnnvizError:
        raise
    except Exception as error:  # networks, servers, disks: each library has exceptions of its own
        where = {"torchvision": _torchvision_address, "timm": _timm_address}[package](name)
        raise WeightsError(
            f"{package} cannot fetch the weights of {name} from {where} ({_root_reason(error)}): "
            "try again with a connection to it, or give a file of them with --weights."
        ) from error
    return PackageSource(built, model, None, "")


_Build = Callable[..., Built]


def _with_file(build: _Build, name: str, model: str, path: Path) -> Built:
    """With the weights of a file, and as many classes as it has."""
    built = build(name, pretrained=False)
    found, others = unwrapped(read_weights(path), list(_shapes(built.module)), str(path))
    fit = _fit(built.module, found)
    if not fit.good:
        classes = _classes(built.module, found)
        if classes is not None:
            built = build(name, pretrained=False, num_classes=classes)
            fit = _fit(built.module, found)
    if not fit.good:
        raise WeightsError(f"{path} does not have the weights of {model}: {fit.problems}.")
    state = {key: torch.from_numpy(array.copy()) for key, array in found.items()}
    built.module.load_state_dict(state, strict=False)
    if others:
        left = f"{path} has more than the network's weights, left out: {listed(others)}."
        built = built._replace(remark=" ".join(filter(None, (built.remark, left))))
    return built


def _shapes(module: torch.nn.Module) -> dict[str, Shape]:
    """Of what has to be in a file."""
    state = module.state_dict()
    return {name: tuple(one.shape) for name, one in state.items() if not _is_count(name)}


def _is_count(name: str) -> bool:
    """Whether this only counts the batches of training."""
    return name.endswith("num_batches_tracked")


def _fit(module: torch.nn.Module, found: Mapping[str, Array]) -> Fit:
    """How well weights fit."""
    wanted, state = _shapes(module), module.state_dict()
    named = {
        # Whole numbers, such as places in a table, may be anything that can be made of them.
        name: (name, array if state[name].is_floating_point() else array.astype(np.float32))
        for name, array in found.items()
        if name in wanted
    }
    fit = compare(named, wanted)
    fit.extra = [name for name in found if name not in wanted and not _is_count(name)]
    return fit


def _classes(module: torch.nn.Module, found: Mapping[str, Array]) -> int | None:
    """How many classes a file is for, if only what depends on that differs."""
    counts = {
        found[name].shape[0]
        for name, shape in _shapes(module).items()
        if name in found
        and found[name].ndim
        and found[name].shape != shape
        and found[name].shape[1:] == shape[1:]
    }
    return counts.pop() if len(counts) == 1 else None


def _root_reason(error: BaseException) -> str:
    """What went wrong in the first place, which libraries wrap in advice of their own."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0].rstrip(".")
    return text or type(error).__name__


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """Without what a library logs of each of its tries; what they come to is an exception."""
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _missing(package: str, error: ImportError) -> NetworkError:
    return NetworkError(
        f"Networks of {package} are built by the package {package}, which cannot be imported "
        f"({error}): `pip install {package}`."
    )


def _unknown(package: str, name: str, names: Sequence[str]) -> UsageError:
    hint = did_you_mean(name, names) or f"Its documentation lists its {len(names)} classifiers."
    return UsageError(f"The installed {package} has no classifier '{name}'. {hint}")


def _torchvision(name: str, *, pretrained: bool, num_classes: int | None = None) -> Built:
    try:
        from torchvision import models
    except ImportError as error:
        raise _missing("torchvision", error) from error
    names = models.list_models(module=models)
    if name not in names:
        raise _unknown("torchvision", name, names)
    weights = models.get_model_weights(name).DEFAULT
    further: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if not pretrained and name in ("googlenet", "inception_v3"):
        # As their weights were trained; otherwise they have further outputs, for training.
        further |= {"init_weights": False, "aux_logits": False, "transform_input": True}
    module = models.get_model(name, weights=weights if pretrained else None, **further)
    hint, different = torchvision_hint(weights.transforms())
    labels = weights.meta["categories"]
    if num_classes in (None, len(labels)):
        hint = replace(hint, labels=tuple(labels))
    return Built(module, hint, _remark(name, different))


def _torchvision_address(name: str) -> str:
    from torchvision import models

    return str(models.get_model_weights(name).DEFAULT.url)


def _timm(name: str, *, pretrained: bool, num_classes: int | None = None) -> Built:
    try:
        import timm
    except ImportError as error:
        raise _missing("timm", error) from error
    if not timm.is_model(name):
        names = timm.list_models()
        raise _unknown("timm", name, names)
    network, dot, tag = name.partition(".")
    tagged = timm.list_pretrained(f"{network}.*") if dot else [name]
    if name not in tagged:
        raise UsageError(
            f"The installed timm has no weights '{tag}' of {network}; it has "
            + (
                f"{listed(tagged)}."
                if tagged
                else f"none: give timm:{network} a file with --weights."
            )
        )
    with _quiet("huggingface_hub"):
        module = timm.create_model(name, pretrained=pretrained, num_classes=num_classes)
    hint, different = timm_hint(module.pretrained_cfg)
    if num_classes is None:
        hint = replace(hint, labels=_timm_labels(module, module.pretrained_cfg))
    return Built(module, hint, _remark(name, different))


def _timm_address(name: str) -> str:
    import timm

    config = timm.get_pretrained_cfg(name)
    return f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else str(config.url)


def _timm_labels(module: Any, config: Any) -> tuple[str, ...]:
    """What the classes are called, as far as timm knows."""
    if config.get("label_names"):
        return tuple(config["label_names"])
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(module)
    if not subset:
        return ()
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def _remark(name: str, different: str) -> str:
    """A sentence about a network that is not fed as in its package, if it is not."""
    return f"{name} {different}." if different else ""
