"""Every network that ``--model`` takes by name, and how to get it ready for use.

Listing, looking up and shapes need no MXNet; building and loading import it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from cnnviz.errors import UsageError
from cnnviz.preprocessing import InputSpec

Shapes = dict[str, tuple[int, ...]]

#: 3x3 convolutions in each of the five blocks (Simonyan and Zisserman 2015, table 1: A, B, D, E).
_VGG_DEPTHS: dict[str, tuple[int, ...]] = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
_VGG_WIDTHS = (64, 128, 256, 512, 512)
_VGG_DENSE = 4096
_VGG_GRID = 7
_IMAGENET_CLASSES = 1000
_BYTES_PER_VALUE = 4


@dataclass(frozen=True)
class ModelEntry:
    """One network of the catalogue."""

    name: str  #: what ``--model`` takes
    family: str  #: ``vgg`` or ``demo``
    builder: str  #: a function of ``mxnet.gluon.model_zoo.vision``, or ``demo``
    parameters: int  #: learned numbers; a batch norm's running statistics do not count
    download_bytes: int | None  #: size of its weights to within 0.1 %; ``None``: they are embedded
    input: InputSpec
    default_layer: str  #: structural name of the layer that Grad-CAM looks at
    labels: str  #: ``imagenet`` or ``demo``


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a network was given."""

    path: Path
    sha256: str  #: of the whole file, hexadecimal
    source: str  #: where the file came from, in words


def names() -> tuple[str, ...]:
    """All names, in the order in which they are listed."""
    return tuple(_ENTRIES)


def entries() -> tuple[ModelEntry, ...]:
    """All entries, in the order in which they are listed."""
    return tuple(_ENTRIES.values())


def get(name: str) -> ModelEntry:
    """The entry of a name.

    Raises:
        UsageError: There is no such network; the text has similar names.
    """
    entry = _ENTRIES.get(name)
    if entry is None:
        close = difflib.get_close_matches(name.lower(), _ENTRIES, n=3)
        advice = (
            f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(_ENTRIES)}."
        )
        raise UsageError(f"There is no network {name!r}; {advice} See `cnnviz models`.")
    return entry


def labels(entry: ModelEntry) -> tuple[str, ...]:
    """The class names of a network in the order of its logits."""
    if entry.labels == "demo":
        from cnnviz.models import demo

        return demo.CLASSES
    from cnnviz.models.labels import imagenet_labels

    return imagenet_labels()


def parameter_shapes(entry: ModelEntry, classes: int = _IMAGENET_CLASSES) -> Shapes:
    """Shape of every parameter of a VGG, by structural name and in the network's order.

    ``classes`` is the number of outputs. Running statistics are among them.
    """
    return _vgg_shapes(entry.builder, classes)


def build_block(entry: ModelEntry, classes: int | None = None) -> Any:
    """The network without its weights: an uninitialised Gluon ``HybridBlock``.

    Args:
        entry: Which network.
        classes: Number of outputs if not the network's usual one; a demo network has no other.
    """
    if entry.family == "demo":
        from cnnviz.models.demo import architecture

        return architecture.build()
    from cnnviz.network.runtime import import_mxnet

    zoo = import_mxnet().gluon.model_zoo.vision
    return getattr(zoo, entry.builder)(prefix="", classes=classes or _IMAGENET_CLASSES)


def load_weights(
    block: Any,
    entry: ModelEntry,
    weights: Path | None = None,
    *,
    classes: int | None = None,
    progress: bool = True,
    notify: Callable[[str], None] | None = None,
) -> WeightsInfo:
    """Set the weights of a network that was built without.

    Args:
        block: What :func:`build_block` returned for the entry. Afterwards it is on the CPU, with
            ``grad_req="null"`` on every parameter.
        entry: Which network.
        weights: A file of any kind that :func:`cnnviz.models.converters.read_weights` takes;
            ``None`` finds or downloads the network's own.
        classes: Number of outputs if not the network's usual one, for weights trained on other
            classes.
        progress: Whether a download may show a bar.
        notify: Called with a sentence when there is something to wait for.

    Raises:
        WeightsError: The weights cannot be had or read, or belong to another network.
    """
    from cnnviz.models import converters, store
    from cnnviz.network import params

    if weights is None:
        located = store.ensure_weights(entry.name, progress=progress, notify=notify)
    else:
        located = store.LocatedWeights(Path(weights), "file given by the user")
    arrays = converters.read_weights(located.path)
    # The digest of 553 MB takes as long as the rest; it is worked out beside it, if not before.
    with ThreadPoolExecutor(max_workers=1) as pool:
        digest = pool.submit(store.digest, located.path, "sha256")
        others: dict[str, Shapes] = {}
        if entry.family == "vgg":
            count = classes or _IMAGENET_CLASSES
            expected: Mapping[str, tuple[int, ...]] = parameter_shapes(entry, count)
            others = {
                other.name: parameter_shapes(other, count)
                for other in entries()
                if other.family == "vgg" and other is not entry
            }
        else:
            expected = {n: p.shape for n, p in block._collect_params_with_prefix().items()}
        matched = converters.match(
            arrays, expected, network=entry.name, source=str(located.path), others=others
        )
        block.collect_params().setattr("grad_req", "null")
        params.assign(block, matched)
        return WeightsInfo(located.path, digest.result(), located.source)


def _vgg_layers(builder: str) -> tuple[list[tuple[str, str, int]], int]:
    """Convolutions and batch norms as (kind, name, width), and the index after the last pool."""
    batch_norm = builder.endswith("_bn")
    layers: list[tuple[str, str, int]] = []
    index = 0
    for depth, width in zip(_VGG_DEPTHS[builder.split("_")[0]], _VGG_WIDTHS):
        for _ in range(depth):
            layers.append(("conv", f"features.{index}", width))
            index += 1
            if batch_norm:
                layers.append(("batchnorm", f"features.{index}", width))
                index += 1
            index += 1  # the ReLU
        index += 1  # the max pool
    return layers, index


def _vgg_shapes(builder: str, classes: int) -> Shapes:
    layers, index = _vgg_layers(builder)
    shapes: Shapes = {}
    channels = 3
    for kind, name, width in layers:
        if kind == "conv":
            shapes[f"{name}.weight"] = (width, channels, 3, 3)
            shapes[f"{name}.bias"] = (width,)
            channels = width
        else:
            for field in ("gamma", "beta", "running_mean", "running_var"):
                shapes[f"{name}.{field}"] = (width,)
    # A dropout follows each of the two hidden dense layers.
    dense = ((f"features.{index}", _VGG_DENSE), (f"features.{index + 2}", _VGG_DENSE))
    inputs = channels * _VGG_GRID * _VGG_GRID
    for name, outputs in (*dense, ("output", classes)):
        shapes[f"{name}.weight"] = (outputs, inputs)
        shapes[f"{name}.bias"] = (outputs,)
        inputs = outputs
    return shapes


def _vgg_entry(name: str) -> ModelEntry:
    sizes = {key: math.prod(shape) for key, shape in _vgg_shapes(name, _IMAGENET_CLASSES).items()}
    return ModelEntry(
        name=name,
        family="vgg",
        builder=name,
        parameters=sum(size for key, size in sizes.items() if ".running_" not in key),
        download_bytes=_BYTES_PER_VALUE * sum(sizes.values()),
        input=InputSpec(),
        default_layer=_vgg_layers(name)[0][-1][1],
        labels="imagenet",
    )


_ENTRIES: dict[str, ModelEntry] = {
    **{name + suffix: _vgg_entry(name + suffix) for name in _VGG_DEPTHS for suffix in ("", "_bn")},
    "demo": ModelEntry(
        name="demo",
        family="demo",
        builder="demo",
        parameters=458_904,
        download_bytes=None,
        input=InputSpec(),
        default_layer="features.26",
        labels="demo",
    ),
}
