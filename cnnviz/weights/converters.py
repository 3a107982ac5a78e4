"""Weights as they are found in the world, brought to Gluon's structural names.

All eight VGGs have the same layers at the same indices in Gluon, torchvision and timm up to the
dense layers, and all three flatten channel first, so that no value has to move: conversion is
renaming, and two reshapes for timm, which keeps the first two dense layers as convolutions. The
other families' names are in :mod:`cnnviz.weights.torch_names`.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz.errors import WeightsError
from cnnviz.weights import torch_names as foreign
from cnnviz.weights.params_file import (
    MAGIC,
    bfloat16_to_float32,
    fits,
    is_name,
    map_file,
    read_params,
    shown,
)

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

#: What wrappers put before every name: DataParallel, torch.compile, a training class's attribute.
_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
#: Under which keys training scripts keep the state dict beside optimizer and epoch.
_WRAPPER_KEYS = ("state_dict", "model_state_dict", "model")
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
_ZIP_MAGIC = b"PK\x03\x04"
#: How torch.save() began its files before 1.6: the pickle of a magic number.
_OLD_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
#: The format allows ten times as much, which would be a million tensors; a network has a thousand.
_SAFETENSORS_MAX_HEADER = 10_000_000
#: PyTorch before 2.6 ran code that stood in a file even with weights_only=True (CVE-2025-32434).
_SAFE_TORCH = (2, 6)
#: How many times a file may use its stored numbers: layers that share them do.
_MOST_TIMES_STORED = 4
_SAFETENSORS_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_weights(path: Path) -> dict[str, Array]:
    """The named arrays of a weights file, whatever its suffix: what counts is how it begins.

    Gluon's ``.params``, ``.safetensors``, and PyTorch's ``.pth`` where PyTorch is installed (read
    with ``weights_only=True``, so that the file cannot run code). bfloat16 becomes float32.

    Raises:
        WeightsError: The file cannot be read, is damaged, or is not weights at all.
    """
    path = Path(path)
    data = map_file(path)
    head = data[:512]
    if head.startswith(MAGIC):
        return read_params(path)
    if len(head) > 8 and head[8:9] == b"{" and _header_length(head) <= _SAFETENSORS_MAX_HEADER:
        return _read_safetensors(path)
    if head.startswith(_ZIP_MAGIC):
        return _read_zip(path)
    if head.startswith(_OLD_TORCH_MAGIC):
        return _read_torch(path)
    raise WeightsError(
        f"{path} is not a weights file: {_what_it_seems(head)}. "
        "Wanted is Gluon's .params, .safetensors or PyTorch's .pth."
    )


def _open(shape: tuple[int, ...]) -> str:
    """A shape in which 0 stands for any size."""
    return f"({', '.join(str(size) if size else 'any' for size in shape)})"


def match(
    arrays: Mapping[str, Array],
    expected: Shapes,
    *,
    network: str = "the network",
    source: str = "The file",
    family: str = "",
    old_names: Mapping[str, str] | None = None,
    as_given: bool = False,
    lookalike: Callable[[], str | None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> dict[str, Array]:
    """Arrays of a file under the network's structural names, float32, in the network's order.

    Understood are Gluon's structural names (``features.0.weight``) and its older prefix-style ones
    (``vgg0_conv0_weight``, numbered from anywhere; ``arg:`` and ``aux:`` are taken off), and
    torchvision's and timm's, also behind ``module.`` and the like. ``num_batches_tracked`` is
    dropped, and so is Inception's second classifier.

    Args:
        arrays: What :func:`read_weights` gave.
        expected: Shape of each of the network's parameters by structural name, in the network's
            order; 0 stands for any size.
        network: The network's name, for the error's text.
        source: Where the arrays come from, for the error's text.
        family: The network's family in the catalog, which decides what torchvision's and timm's
            names mean; VGG's are understood without.
        old_names: The prefix-style name of each of the network's layers and its structural one;
            ``None`` numbers layers of a kind through the network.
        as_given: Whether to leave the weights as they are even if they were made for images
            prepared in another way than Gluon's.
        lookalike: Gives the name of another network that the arrays fit, if there is one; asked
            only when they do not fit this one.
        notify: Called with a sentence if the weights were made for images prepared in another
            way, or may have been.

    Raises:
        WeightsError: Parameters are missing, unknown, of another shape or not numbers with a
            fraction; the first three of each kind are named. Or they are those of a network that
            torchvision or timm builds in another way.
    """
    fit = _fit(arrays, expected, family, old_names)
    bare = set(_without_wrappers(arrays).values())
    if fit.good:
        if (
            family == "inception"
            and not as_given
            and any(name.rpartition(".")[0] == "fc" for name in bare)
        ):
            return _for_our_images(bare, fit.matched, source, notify)
        return fit.matched
    other = lookalike() if lookalike is not None else None
    stranger = foreign.stranger(bare)
    if stranger is not None and other is None:
        raise WeightsError(
            f"{source} does not fit {network}: it holds {stranger}; use the weights of Gluon's own "
            f"store (`cnnviz download {network}`)."
        )
    parts = []
    if fit.missing:
        parts.append(
            f"{len(fit.missing)} of {len(expected)} parameters are missing ({_few(fit.missing)})"
        )
    if fit.extra:
        parts.append(f"{len(fit.extra)} are not the network's ({_few(fit.extra)})")
    if fit.misshapen:
        parts.append(
            f"{len(fit.misshapen)} {'has' if len(fit.misshapen) == 1 else 'have'} another shape "
            f"({_few(fit.misshapen)})"
        )
    if fit.not_float:
        parts.append(f"{len(fit.not_float)} are not floating point ({_few(fit.not_float)})")
    raise WeightsError(f"{source} does not fit {network}: {'; '.join(parts)}.{_advice(fit, other)}")


def fits_network(
    arrays: Mapping[str, Array],
    expected: Shapes,
    *,
    family: str = "",
    old_names: Mapping[str, str] | None = None,
) -> bool:
    """Whether :func:`match` would take the arrays."""
    return _fit(arrays, expected, family, old_names).good


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
    notify: Callable[[str], None] | None,
) -> dict[str, Array]:
    """Inception v3 under torchvision's and timm's names, of which not all want the same images.

    torchvision trained on images from -1 to 1, and its file is the one with a second classifier.
    """
    auxiliary = any(name.startswith(foreign.AUXILIARY) for name in names)
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
    return foreign.fold_inception_input(matched) if auxiliary else matched


@dataclass
class _Fit:
    """How well a file's arrays fit a network."""

    matched: dict[str, Array] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    not_float: list[str] = field(default_factory=list)
    outputs: int | None = None  #: how many classes it has, if nothing else is wrong

    @property
    def good(self) -> bool:
        return not (self.missing or self.extra or self.misshapen or self.not_float)


def _fit(
    arrays: Mapping[str, Array],
    expected: Shapes,
    family: str,
    old_names: Mapping[str, str] | None,
) -> _Fit:
    fit = _Fit()
    found: dict[str, tuple[str, Array]] = {}
    for original, name in _structural_names(arrays, expected, family, old_names).items():
        if name not in expected or name in found:
            fit.extra.append(original)
        else:
            found[name] = original, arrays[original]
    rows: dict[str, int] = {}
    for name, shape in expected.items():
        if name not in found:
            fit.missing.append(name)
            continue
        original, array = found[name]
        if array.ndim == 4 and len(shape) == 2:
            # timm's dense layers are convolutions over the whole 7x7 grid.
            array = array.reshape(array.shape[0], math.prod(array.shape[1:]))
        if not fits(array.shape, shape):
            fit.misshapen.append(f"{original} {arrays[original].shape} instead of {_open(shape)}")
            rows[name] = array.shape[0] if array.shape[1:] == shape[1:] else -1
        elif not np.issubdtype(array.dtype, np.floating):
            fit.not_float.append(f"{original} {array.dtype}")
        else:
            fit.matched[name] = array.astype(np.float32, order="C", copy=False)
    if not (fit.missing or fit.extra):
        last_layer = list(expected)[-1].rpartition(".")[0]
        outputs = set(rows.values()) - {-1}
        if len(outputs) == 1 and all(name.rpartition(".")[0] == last_layer for name in rows):
            fit.outputs = outputs.pop()
    return fit


def _advice(fit: _Fit, other: str | None) -> str:
    if other is not None:
        return f" These look like {other}'s: try --model {other}."
    if fit.outputs is not None:
        return (
            f" Only the number of classes differs: these weights are for {fit.outputs}, whose "
            "names --labels takes."
        )
    return ""


def _few(items: list[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")


def _structural_names(
    arrays: Mapping[str, Array],
    expected: Shapes,
    family: str,
    old_names: Mapping[str, str] | None,
) -> dict[str, str]:
    """The structural name of each of a file's names; names that are not understood stay."""
    bare = {
        original: name
        for original, name in _without_wrappers(arrays).items()
        if not _is_unused(name, family)
    }
    layers = _Layers.of(expected, old_names)
    old = layers.old_layers(bare.values())
    foreign_layer = foreign.renamer(family, {n.rpartition(".")[0] for n in bare.values()})
    return {original: layers.rename(name, old, foreign_layer) for original, name in bare.items()}


def _is_unused(name: str, family: str) -> bool:
    return name.endswith("num_batches_tracked") or (
        family == "inception" and name.startswith(foreign.AUXILIARY)
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
        first layer is then told so.
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

    def rename(self, name: str, old: Mapping[str, str], foreign_layer: Callable[[str], str]) -> str:
        if "." in name:
            layer, _, last = name.rpartition(".")
            layer = foreign_layer(self.dense.get(layer, layer))
            if f"{layer}.gamma" in self.expected:
                last = _BATCH_NORM_FIELDS.get(last, last)
            return f"{layer}.{_STATISTICS.get(last, last)}"
        if name in self.expected:
            return name
        parts = _OLD_STYLE.fullmatch(name)
        if parts is None or parts["layer"] not in old:
            return name
        return f"{old[parts['layer']]}.{_STATISTICS.get(parts['field'], parts['field'])}"


def _header_length(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def _what_it_seems(head: bytes) -> str:
    start = head.lstrip()
    if start[:1] == b"<":
        return "it looks like a web page, as a failed download leaves behind"
    if start.startswith(b"version https://git-lfs"):
        return "it is only a Git LFS pointer; `git lfs pull` fetches the file itself"
    if start[:1] in (b"{", b"["):
        return "it looks like JSON"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "it is a Python pickle, which is not read because it could run any code"
    return f"it begins with the bytes {head[:8].hex(' ')}"


def _read_safetensors(path: Path) -> dict[str, Array]:
    """All tensors as views of the mapped file.

    The library checks the file (lengths, overlaps, types); the values are then taken from the map,
    because it has no way to give bfloat16 to NumPy.
    """
    from safetensors import SafetensorError, safe_open

    def damaged(what: object) -> WeightsError:
        return WeightsError(
            f"{path} is a damaged or incomplete .safetensors file: {shown(what)}. Fetch it again."
        )

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise damaged(error) from error
    data = map_file(path)
    start = 8 + _header_length(data[:8])
    header: dict[str, Any] = json.loads(data[8:start])
    header.pop("__metadata__", None)
    arrays: dict[str, Array] = {}
    for name, tensor in header.items():
        if not is_name(name):
            raise damaged("a name in it has control characters or no end")
        dtype = _SAFETENSORS_DTYPES.get(tensor["dtype"])
        if dtype is None:
            raise WeightsError(
                f"{path} holds {name} as {tensor['dtype']}; usable are 16-, 32- and 64-bit floats."
            )
        begin, end = tensor["data_offsets"]
        values = np.frombuffer(memoryview(data)[start + begin : start + end], dtype=dtype)
        try:
            values = values.reshape(tensor["shape"])
        except ValueError as error:  # empty, and yet too large for NumPy along its other sides
            raise damaged(f"{name} claims to have the shape {tuple(tensor['shape'])}") from error
        arrays[name] = bfloat16_to_float32(values) if tensor["dtype"] == "BF16" else values
    return arrays


def _read_zip(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # NotImplementedError: of a kind of zip that is not read; the others out of damaged fields.
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error) as error:
        raise WeightsError(
            f"{path} is a damaged or incomplete .pth (or zip) file: {shown(error)}. Fetch it again."
        ) from error
    members = [entry.filename for entry in entries]
    if any(name.rsplit("/", 1)[-1] == "data.pkl" for name in members):
        # PyTorch packs nothing; a few packed kilobytes could swell to more than the memory.
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise WeightsError(
                f"{path} is a PyTorch file that claims to hold more than it has bytes: it is "
                "damaged, or was packed again. Save it anew with torch.save()."
            )
        return _read_torch(path)
    inside = [name for name in members if name.endswith((".params", ".safetensors", ".pth"))]
    advice = shown(
        f"unpack it and give {inside[0]}" if inside else f"it holds {_few(members) or 'nothing'}"
    )
    raise WeightsError(f"{path} is a zip archive, not a weights file: {advice}.")


def _read_torch(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path} is a PyTorch file, and reading it needs PyTorch: `pip install torch`, or give "
            "the same weights as .safetensors or Gluon's .params."
        ) from error
    version = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if version is None or (int(version[1]), int(version[2])) < _SAFE_TORCH:
        raise WeightsError(
            f"{path} is a PyTorch file, and PyTorch {torch.__version__} could run code that stands "
            "in it (CVE-2025-32434): `pip install 'torch>=2.6'`, or give the same weights as "
            ".safetensors or Gluon's .params."
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        state = {
            str(name): value.detach()
            for name, value in _unwrap(loaded).items()
            if isinstance(value, torch.Tensor)
        }
        # A tensor may repeat the few numbers that are stored without end.
        size = sum(value.numel() * value.element_size() for value in state.values())
        if size > _MOST_TIMES_STORED * path.stat().st_size:
            raise ValueError(f"its tensors would take {size} bytes")
        arrays = {
            name: (value.float() if value.is_floating_point() else value).numpy()
            for name, value in state.items()
        }
    # In a damaged file anything may be found where another thing was, and PyTorch looks no closer.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{path} cannot be read as PyTorch weights ({shown(reason)}): save the network's "
            "state_dict(), nothing else."
        ) from error
    if not arrays:
        raise WeightsError(f"{path} is a PyTorch file that holds no parameters.")
    if not all(map(is_name, arrays)):
        raise WeightsError(f"{path} is a PyTorch file with control characters in its names.")
    return arrays


def _unwrap(loaded: Any) -> Mapping[Any, Any]:
    """The state dict inside what a training script saved."""
    if isinstance(loaded, Mapping):
        for key in _WRAPPER_KEYS:
            if isinstance(loaded.get(key), Mapping):
                return _unwrap(loaded[key])
        return loaded
    return {}
