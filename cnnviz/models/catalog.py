"""Every network that ``--model`` takes by name, as a graph, and its weights.

Only loading weights imports MXNet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnviz.errors import UsageError
from cnnviz.images.input_spec import InputSpec
from cnnviz.text import matching

if TYPE_CHECKING:
    from cnnviz.graph.builder import NamedGraph
    from cnnviz.graph.graph import Graph

Shapes = dict[str, tuple[int, ...]]

_IMAGENET_CLASSES = 1000
_BYTES_PER_VALUE = 4


class _Zoo(NamedTuple):
    """What is known of a network of Gluon's zoo without building it, for 1000 classes."""

    family: str
    learned: int  #: values that training changes
    stored: int  #: values in its weights file: with running statistics and fixed scales
    per_class: int  #: of these, how many belong to one class
    default_layer: str
    hub: str | None = None  #: Hugging Face repository of the same network for the same images
    size: int = 224


@dataclass(frozen=True)
class ModelEntry:
    """One network of the catalog."""

    name: str  #: what ``--model`` takes
    family: str  #: ``alexnet``, ``vgg``, ``resnet_v1``, ..., or ``demo``
    parameters: int  #: learned numbers; a batch norm's running statistics do not count
    download_bytes: int | None  #: size of its weights to within 0.1 %; ``None``: they are embedded
    input: InputSpec
    default_layer: str  #: structural name of the layer that Grad-CAM looks at
    labels: str  #: ``imagenet`` or ``demo``
    hub: str | None = None  #: Hugging Face repository that has the same network, if any


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
    found = matching(name, _ENTRIES)
    if len(found) != 1:
        from cnnviz.models import unknown

        raise UsageError(unknown.name_that_is_none(name))
    return _ENTRIES[found[0]]


def labels(entry: ModelEntry) -> tuple[str, ...]:
    """The class names of a network in the order of its logits."""
    if entry.labels == "demo":
        from cnnviz import demo

        return demo.CLASSES
    from cnnviz.labels.targets import imagenet_labels

    return imagenet_labels()


def build(
    entry: ModelEntry, classes: int | None = None, size: tuple[int, int, int] | None = None
) -> NamedGraph:
    """A network as a graph, without its weights and without MXNet.

    Args:
        entry: Which network.
        classes: Number of outputs if not the network's usual one.
        size: (C, H, W) of the images if not the network's usual one.

    Raises:
        UsageError: it does not take images of this size.
    """
    from cnnviz.graph.operators import ShapeError
    from cnnviz.models import zoo

    try:
        return zoo.build(
            entry.family, entry.name, size or entry.input.shape, classes or len(labels(entry))
        )
    except ShapeError as error:
        _, height, width = size or entry.input.shape
        raise UsageError(
            f"{entry.name} does not take images of {width}x{height}: {error}."
        ) from error


def parameter_shapes(entry: ModelEntry, classes: int | None = None) -> Shapes:
    """Shape of every parameter of a network, by structural name and in the network's order.

    Running statistics are among them.

    Args:
        entry: Which network.
        classes: Number of outputs if not the network's usual one.
    """
    return dict(build(entry, classes).graph.parameters)


def load_weights(
    entry: ModelEntry,
    graph: Graph,
    weights: Path | None = None,
    *,
    as_given: bool = False,
    progress: bool = True,
    notify: Callable[[str], None] | None = None,
) -> tuple[dict[str, Any], WeightsInfo]:
    """The weights of a network.

    Args:
        entry: Which network.
        graph: What :func:`build` returned for the entry, for as many classes as the weights have.
        weights: A file of any kind that :func:`cnnviz.weights.converters.read_weights` takes;
            ``None`` finds or downloads the network's own.
        as_given: Whether the user has said how images are normalized, so that the weights are
            not adapted to the network's usual images (of which some of Inception v3's know none).
        progress: Whether a download may show a bar.
        notify: Called with a sentence when there is something to wait for, or something is assumed.

    Returns:
        MXNet arrays on the CPU, float32, by the names of the graph's parameters, and where they
        come from.

    Raises:
        WeightsError: The weights cannot be had or read, or belong to another network.
    """
    from cnnviz.machine import helper_threads
    from cnnviz.weights import converters, store
    from cnnviz.weights import params_file as params

    if weights is None:
        located = store.ensure_weights(entry.name, progress=progress, notify=notify)
    else:
        located = store.LocatedWeights(Path(weights), "file given by the user")
    arrays = converters.read_weights(located.path)
    # The digest of 553 MB takes as long as the rest; it is worked out beside it, if not before.
    with helper_threads(1, "digest") as pool:
        digest = pool.submit(store.digest, located.path, "sha256")
        matched = converters.match(
            arrays,
            graph.parameters,
            network=entry.name,
            source=str(located.path),
            family=entry.family,
            old_names=_old_names(graph),
            as_given=as_given,
            lookalike=lambda: _lookalike(arrays, entry, graph),
            notify=notify,
        )
        values = params.to_mxnet(matched, source=str(located.path))
        return values, WeightsInfo(located.path, digest.result(), located.source)


def recognize(path: Path) -> str | None:
    """The name of the network of the zoo that a file's weights fit, for any number of classes.

    Raises:
        WeightsError: the weights cannot be read.
    """
    from cnnviz.weights import converters

    return _fitting(converters.read_weights(path), None)


def _old_names(graph: Graph) -> dict[str, str]:
    """For each layer's name in Gluon's prefix style its structural name."""
    return {
        node.name.removesuffix("_fwd"): parameter.name.rpartition(".")[0]
        for node in graph.nodes
        for parameter in (graph.nodes[value.node] for value in node.inputs)
        if parameter.name in graph.parameters
    }


def _lookalike(arrays: Mapping[str, Any], entry: ModelEntry, graph: Graph) -> str | None:
    """The name of another network of the zoo that a file's arrays fit, if there is one.

    With as many classes as the graph of the network that they do not fit.
    """
    return _fitting(arrays, math.prod(graph.shape(graph.output)), but=entry.name)


def _fitting(arrays: Mapping[str, Any], classes: int | None, but: str | None = None) -> str | None:
    """The name of the network of the zoo that a file's arrays fit, if there is one.

    With so many classes, or any number of them for None. The number of values leaves one or two to
    be built and tried.
    """
    from cnnviz.weights import converters

    values = converters.value_count(arrays)
    for name, zoo in _ZOO.items():
        more, rest = divmod(values - zoo.stored, zoo.per_class)
        count = _IMAGENET_CLASSES + more
        if name != but and rest == 0 and count > 0 and classes in (None, count):
            other = get(name)
            graph = build(other, count).graph
            if converters.fits_network(
                arrays, graph.parameters, family=other.family, old_names=_old_names(graph)
            ):
                return name
    return None


#: By family. The counts, layers and the numbers per class are tested against the built networks.
_ZOO: dict[str, _Zoo] = {
    "alexnet": _Zoo("alexnet", 61_100_840, 61_100_840, 4097, "features.6"),
    "vgg11": _Zoo("vgg", 132_863_336, 132_863_336, 4097, "features.18", "timm/vgg11.tv_in1k"),
    "vgg11_bn": _Zoo("vgg", 132_868_840, 132_874_344, 4097, "features.26", "timm/vgg11_bn.tv_in1k"),
    "vgg13": _Zoo("vgg", 133_047_848, 133_047_848, 4097, "features.22", "timm/vgg13.tv_in1k"),
    "vgg13_bn": _Zoo("vgg", 133_053_736, 133_059_624, 4097, "features.32", "timm/vgg13_bn.tv_in1k"),
    "vgg16": _Zoo("vgg", 138_357_544, 138_357_544, 4097, "features.28", "timm/vgg16.tv_in1k"),
    "vgg16_bn": _Zoo("vgg", 138_365_992, 138_374_440, 4097, "features.41", "timm/vgg16_bn.tv_in1k"),
    "vgg19": _Zoo("vgg", 143_667_240, 143_667_240, 4097, "features.34", "timm/vgg19.tv_in1k"),
    "vgg19_bn": _Zoo("vgg", 143_678_248, 143_689_256, 4097, "features.50", "timm/vgg19_bn.tv_in1k"),
    "resnet18_v1": _Zoo(
        "resnet_v1", 11_689_512, 11_699_112, 513, "features.7.1", "timm/resnet18.tv_in1k"
    ),
    "resnet34_v1": _Zoo(
        "resnet_v1", 21_797_672, 21_814_696, 513, "features.7.2", "timm/resnet34.tv_in1k"
    ),
    "resnet50_v1": _Zoo("resnet_v1", 25_575_912, 25_629_032, 2049, "features.7.2"),
    "resnet101_v1": _Zoo("resnet_v1", 44_589_800, 44_695_144, 2049, "features.7.2"),
    "resnet152_v1": _Zoo("resnet_v1", 60_252_648, 60_404_072, 2049, "features.7.2"),
    "resnet18_v2": _Zoo("resnet_v2", 11_687_848, 11_695_796, 513, "features.10"),
    "resnet34_v2": _Zoo("resnet_v2", 21_796_008, 21_811_380, 513, "features.10"),
    "resnet50_v2": _Zoo("resnet_v2", 25_549_480, 25_595_060, 2049, "features.10"),
    "resnet101_v2": _Zoo("resnet_v2", 44_541_608, 44_639_412, 2049, "features.10"),
    "resnet152_v2": _Zoo("resnet_v2", 60_185_256, 60_329_140, 2049, "features.10"),
    "densenet121": _Zoo(
        "densenet", 7_978_856, 8_062_504, 1025, "features.12", "timm/densenet121.tv_in1k"
    ),
    "densenet161": _Zoo(
        "densenet", 28_681_000, 28_900_936, 2209, "features.12", "timm/densenet161.tv_in1k"
    ),
    "densenet169": _Zoo(
        "densenet", 14_149_480, 14_307_880, 1665, "features.12", "timm/densenet169.tv_in1k"
    ),
    "densenet201": _Zoo(
        "densenet", 20_013_928, 20_242_984, 1921, "features.12", "timm/densenet201.tv_in1k"
    ),
    "squeezenet1.0": _Zoo("squeezenet", 1_248_424, 1_248_424, 513, "features.12.1"),
    "squeezenet1.1": _Zoo("squeezenet", 1_235_496, 1_235_496, 513, "features.12.1"),
    "inceptionv3": _Zoo(
        "inception",
        23_834_568,
        23_869_000,
        2049,
        "features.17",
        "timm/inception_v3.gluon_in1k",
        299,
    ),
    "mobilenet1.0": _Zoo("mobilenet_v1", 4_231_976, 4_253_864, 1025, "features.79"),
    "mobilenet0.75": _Zoo("mobilenet_v1", 2_585_560, 2_601_976, 769, "features.79"),
    "mobilenet0.5": _Zoo("mobilenet_v1", 1_331_592, 1_342_536, 513, "features.79"),
    "mobilenet0.25": _Zoo("mobilenet_v1", 470_072, 475_544, 257, "features.79"),
    "mobilenetv2_1.0": _Zoo("mobilenet_v2", 3_504_960, 3_539_136, 1280, "features.21"),
    "mobilenetv2_0.75": _Zoo("mobilenet_v2", 2_627_592, 2_653_864, 1280, "features.21"),
    "mobilenetv2_0.5": _Zoo("mobilenet_v2", 1_964_736, 1_983_104, 1280, "features.21"),
    "mobilenetv2_0.25": _Zoo("mobilenet_v2", 1_516_392, 1_526_856, 1280, "features.21"),
}


def _zoo_entry(name: str, zoo: _Zoo) -> ModelEntry:
    return ModelEntry(
        name=name,
        family=zoo.family,
        parameters=zoo.learned,
        download_bytes=_BYTES_PER_VALUE * zoo.stored,
        input=InputSpec(height=zoo.size, width=zoo.size),
        default_layer=zoo.default_layer,
        labels="imagenet",
        hub=zoo.hub,
    )


_ENTRIES: dict[str, ModelEntry] = {
    **{name: _zoo_entry(name, zoo) for name, zoo in _ZOO.items()},
    "demo": ModelEntry(
        name="demo",
        family="demo",
        parameters=458_904,
        download_bytes=None,
        input=InputSpec(),
        default_layer="features.26",
        labels="demo",
    ),
}
