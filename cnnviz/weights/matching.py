"""Weights as they are found in the world, brought to Gluon's structural names.

All eight VGGs have the same layers at the same indices in Gluon, torchvision and timm up to the
dense layers, and all three flatten channel first, so that no value has to move: conversion is
renaming, and two reshapes for timm, which keeps the first two dense layers as convolutions. The
other families' names are in :mod:`cnnviz.weights.torch_names`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cnnviz.errors import WeightsError
from cnnviz.text import listed
from cnnviz.types import Array, Notify, Shape, Shapes
from cnnviz.weights import torch_names

#: What wrappers put before every name: DataParallel, torch.compile, a training class's attribute.
_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
#: The dense layers of torchvision and timm, in the network's order.
_DENSE_NAMES = (
    ("classifier.0", "classifier.3", "classifier.6"),
    ("pre_logits.fc1", "pre_logits.fc2", "head.fc"),
)
_STATISTICS = {"moving_mean": "running_mean", "moving_var": "running_var"}
_BATCH_NORM_FIELDS = {"weight": "gamma", "bias": "beta"}
#: A parameter's name in Gluon's older style: the layer's, then the field.
_OLD_STYLE = re.compile(
    r"(?P<layer>[^.]+)_(?P<field>weight|bias|gamma|beta|(?:running|moving)_(?:mean|var))"
)
#: A layer's name in that style: the blocks around it, then kind and number.
_OLD_LAYER = re.compile(r"(?P<group>(?:.*_)?(?:conv|batchnorm|dense))(?P<number>\d+)")


@dataclass(frozen=True)
class Expected:
    """What a network wants its weights to be.

    Attributes:
        shapes: of its parameters by structural name, in the network's order.
        network: its name, for the text of errors.
        family: its family, which decides what torchvision's and timm's names mean; VGG's are
            understood without.
        old_names: the prefix-style name of each of its layers and the structural one; None numbers
            layers of a kind through the network.
    """

    shapes: Shapes
    network: str = "the network"
    family: str = ""
    old_names: Mapping[str, str] | None = None


def match(
    arrays: Mapping[str, Array],
    expected: Expected,
    *,
    source: str = "The file",
    as_given: bool = False,
    similar_model: Callable[[], str | None] | None = None,
    notify: Notify | None = None,
) -> dict[str, Array]:
    """Arrays of a file under the network's structural names, float32, in the network's order.

    Understood are Gluon's structural names (``features.0.weight``) and its older prefix-style ones
    (``vgg0_conv0_weight``, numbered from anywhere; ``arg:`` and ``aux:`` are taken off), and
    torchvision's and timm's, also behind ``module.`` and the like. ``num_batches_tracked`` is
    dropped, and so is Inception's second classifier.

    Args:
        arrays: what :func:`cnnviz.weights.formats.read_weights` gave.
        expected: what the network wants.
        source: where the arrays come from, for the error's text.
        as_given: whether to leave the weights as they are even if they were made for images
            prepared in another way than Gluon's.
        similar_model: gives the name of another network that the arrays fit, if there is one;
            asked only when they do not fit this one.
        notify: called with a sentence if the weights were made for images prepared in another
            way, or may have been.

    Raises:
        WeightsError: parameters are missing, unknown, of another shape or not numbers with a
            fraction; the first three of each kind are named. Or they are those of a network that
            torchvision or timm builds in another way.
    """
    fit = _fit(arrays, expected)
    bare = set(_without_wrappers(arrays).values())
    if fit.good:
        if (
            expected.family == "inception"
            and not as_given
            and any(name.rpartition(".")[0] == "fc" for name in bare)
        ):
            return _for_our_images(bare, fit.matched, source, notify)
        return fit.matched
    network = expected.network
    other = similar_model() if similar_model is not None else None
    incompatible = torch_names.incompatible_architecture(bare)
    if incompatible is not None and other is None:
        raise WeightsError(
            f"{source} does not fit {network}: it holds {incompatible}; use the weights of Gluon's "
            f"own store (`cnnviz download {network}`)."
        )
    raise WeightsError(f"{source} does not fit {network}: {fit.problems}.{_advice(fit, other)}")


def fits_network(arrays: Mapping[str, Array], expected: Expected) -> bool:
    """Whether :func:`match` would take the arrays."""
    return _fit(arrays, expected).good


def value_count(arrays: Mapping[str, Array]) -> int:
    """How many values a file holds that a network uses."""
    names = _without_wrappers(arrays)
    return sum(
        math.prod(arrays[original].shape)
        for original, name in names.items()
        if not _is_unused(name, "inception")
    )


def _for_our_images(
    names: Iterable[str],
    matched: dict[str, Array],
    source: str,
    notify: Notify | None,
) -> dict[str, Array]:
    """Inception v3 under torchvision's and timm's names, of which not all want the same images.

    torchvision trained on images from -1 to 1, and its file is the one with a second classifier.
    """
    auxiliary = any(name.startswith(torch_names.AUXILIARY) for name in names)
    if notify is not None:
        notify(
            f"{source} has torchvision's second classifier, so it is taken for weights that want "
            "images from -1 to 1, and its first layer is adapted to them; --mean and --std keep "
            "it as it is."
            if auxiliary
            else f"{source} does not say how its images were normalized; taken are ImageNet's "
            "mean and deviation. If they went from -1 to 1, as some of timm's, give --mean and "
            "--std, each 0.5 for all colors."
        )
    return torch_names.fold_inception_input(matched) if auxiliary else matched


@dataclass
class Fit:
    """How well arrays fit a network.

    Attributes:
        expected: how many parameters the network has.
        matched: float32 arrays by the network's names, in its order.
        missing: names of parameters that there are no arrays for.
        extra: names of arrays that are not the network's.
        misshapen: names of arrays of another shape, with both.
        not_float: names of arrays that are not floating point, with their types.
        outputs: how many classes the arrays are for, where that is all that differs.
    """

    expected: int
    matched: dict[str, Array] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    not_float: list[str] = field(default_factory=list)
    outputs: int | None = None

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.missing or self.extra or self.misshapen or self.not_float)

    @property
    def problems(self) -> str:
        """What is wrong, with the first three names of each kind; empty if nothing is."""
        parts = []
        if self.missing:
            parts.append(
                f"{len(self.missing)} of {self.expected} parameters are missing "
                f"({listed(self.missing)})"
            )
        if self.extra:
            parts.append(f"{len(self.extra)} are not the network's ({listed(self.extra)})")
        if self.misshapen:
            have = "has" if len(self.misshapen) == 1 else "have"
            parts.append(f"{len(self.misshapen)} {have} another shape ({listed(self.misshapen)})")
        if self.not_float:
            parts.append(f"{len(self.not_float)} are not floating point ({listed(self.not_float)})")
        return "; ".join(parts)


def compare(arrays: Mapping[str, tuple[str, Array]], shapes: Shapes) -> Fit:
    """How well arrays fit a network whose names they have.

    Args:
        arrays: by the network's names, each with what its file calls it.
        shapes: of the network's parameters.
    """
    fit = Fit(len(shapes))
    for name, shape in shapes.items():
        if name not in arrays:
            fit.missing.append(name)
            continue
        original, array = arrays[name]
        if array.shape != shape:
            fit.misshapen.append(f"{original} {array.shape} instead of {shape}")
        elif not np.issubdtype(array.dtype, np.floating):
            fit.not_float.append(f"{original} {array.dtype}")
        else:
            with np.errstate(over="ignore"):  # of doubles too large for singles: refused later
                fit.matched[name] = array.astype(np.float32, order="C", copy=False)
    return fit


def _fit(arrays: Mapping[str, Array], expected: Expected) -> Fit:
    found: dict[str, tuple[str, Array]] = {}
    extra = []
    for original, name in _structural_names(arrays, expected).items():
        if name not in expected.shapes or name in found:
            extra.append(original)
        else:
            found[name] = original, _dense(arrays[original], expected.shapes[name])
    fit = compare(found, expected.shapes)
    fit.extra = extra
    if not (fit.missing or fit.extra):
        fit.outputs = _outputs(found, expected.shapes)
    return fit


def _dense(array: Array, shape: Shape) -> Array:
    """A dense layer's weight, which timm keeps as a convolution over the whole 7x7 grid."""
    flat = (array.shape[0], math.prod(array.shape[1:])) if array.ndim == 4 else ()
    return array.reshape(flat) if flat == shape else array


def _outputs(found: Mapping[str, tuple[str, Array]], shapes: Shapes) -> int | None:
    """How many classes arrays are for, if only the last layer is of another size."""
    last_layer = list(shapes)[-1].rpartition(".")[0]
    other = {name: array.shape for name, (_, array) in found.items() if array.shape != shapes[name]}
    counts = {shape[0] for name, shape in other.items() if shape[1:] == shapes[name][1:]}
    only_last = all(name.rpartition(".")[0] == last_layer for name in other)
    return counts.pop() if only_last and len(counts) == 1 else None


def _advice(fit: Fit, other: str | None) -> str:
    if other is not None:
        return f" These look like {other}'s: try --model {other}."
    if fit.outputs is not None:
        return (
            f" Only the number of classes differs: these weights are for {fit.outputs}, whose "
            "names --labels takes."
        )
    return ""


def _structural_names(arrays: Mapping[str, Array], expected: Expected) -> dict[str, str]:
    """The structural name of each of a file's names; names that are not understood stay."""
    bare = {
        original: name
        for original, name in _without_wrappers(arrays).items()
        if not _is_unused(name, expected.family)
    }
    layers = _Layers.of(expected.shapes, expected.old_names)
    old = layers.old_layers(bare.values())
    torch_layer = torch_names.renamer(
        expected.family, {name.rpartition(".")[0] for name in bare.values()}
    )
    return {original: layers.rename(name, old, torch_layer) for original, name in bare.items()}


def _is_unused(name: str, family: str) -> bool:
    return name.endswith("num_batches_tracked") or (
        family == "inception" and name.startswith(torch_names.AUXILIARY)
    )


def _without_wrappers(names: Iterable[str]) -> dict[str, str]:
    bare = {name: re.sub(r"^(arg|aux):", "", name) for name in names}
    while True:
        for prefix in _WRAPPER_PREFIXES:
            if bare and all(name.startswith(prefix) for name in bare.values()):
                bare = {original: name[len(prefix) :] for original, name in bare.items()}
                break
        else:
            return bare


@dataclass(frozen=True)
class _Layers:
    """A network's layers by the names that they have elsewhere."""

    expected: Shapes
    dense: dict[str, str]  #: dense layers by a VGG's torchvision and timm names
    old: Mapping[str, str]  #: layers by their prefix-style names

    @classmethod
    def of(cls, expected: Shapes, old_names: Mapping[str, str] | None) -> _Layers:
        kinds: dict[str, list[str]] = {"conv": [], "batchnorm": [], "dense": []}
        for name, shape in expected.items():
            layer, _, last = name.rpartition(".")
            if last == "gamma":
                kinds["batchnorm"].append(layer)
            elif last == "weight" and len(shape) in (2, 4):
                kinds["conv" if len(shape) == 4 else "dense"].append(layer)
        dense = {
            theirs: layer
            for names in _DENSE_NAMES
            if len(kinds["dense"]) == len(names)
            for theirs, layer in zip(names, kinds["dense"], strict=True)
        }
        if old_names is None:
            old_names = {
                f"{kind}{number}": layer
                for kind, layers in kinds.items()
                for number, layer in enumerate(layers)
            }
        return cls(expected, dense, old_names)

    def old_layers(self, names: Iterable[str]) -> dict[str, str]:
        """The structural layer of each prefix-style layer name in a file.

        In front of all names may stand one more prefix, the network's own.
        """
        layers = {m["layer"] for m in map(_OLD_STYLE.fullmatch, names) if m}
        ends = [found.end() for found in re.finditer("_", min(layers, default=""))]
        cuts = [0, *(end for end in ends if len({name[:end] for name in layers}) == 1)]
        tried = [self._numbered_from_zero({name: name[cut:] for name in layers}) for cut in cuts]
        best = max(tried, key=lambda found: sum(name in self.old for name in found.values()))
        return {name: self.old[short] for name, short in best.items() if short in self.old}

    def _numbered_from_zero(self, short: dict[str, str]) -> dict[str, str]:
        """Layer names whose numbers begin with 0 in every group.

        Gluon may number layers through the whole process, so that a second network in it begins
        with ``conv13``. Numbers that fit as they are, are taken as they are: a file that lacks its
        first layer is then reported.
        """
        numbers: dict[str, set[int]] = {}
        for name in short.values():
            parts = _OLD_LAYER.fullmatch(name)
            if parts:
                numbers.setdefault(parts["group"], set()).add(int(parts["number"]))
        first = {
            group: min(found)
            for group, found in numbers.items()
            if f"{group}{max(found)}" not in self.old
        }

        def shifted(name: str) -> str:
            parts = _OLD_LAYER.fullmatch(name)
            if parts is None:
                return name
            return f"{parts['group']}{int(parts['number']) - first.get(parts['group'], 0)}"

        return {original: shifted(name) for original, name in short.items()}

    def rename(self, name: str, old: Mapping[str, str], torch_layer: Callable[[str], str]) -> str:
        if "." in name:
            layer, _, last = name.rpartition(".")
            layer = torch_layer(self.dense.get(layer, layer))
            if f"{layer}.gamma" in self.expected:
                last = _BATCH_NORM_FIELDS.get(last, last)
            return f"{layer}.{_STATISTICS.get(last, last)}"
        if name in self.expected:
            return name
        parts = _OLD_STYLE.fullmatch(name)
        if parts is None or parts["layer"] not in old:
            return name
        return f"{old[parts['layer']]}.{_STATISTICS.get(parts['field'], parts['field'])}"
