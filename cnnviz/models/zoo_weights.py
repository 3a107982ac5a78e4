"""Weights of the named networks: where they are, whose they are, and loading them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnviz.models import zoo
from cnnviz.models.zoo import ZooEntry
from cnnviz.types import Notify
from cnnviz.weights.info import LocatedWeights, WeightsInfo

if TYPE_CHECKING:
    from cnnviz.graph.graph import Graph
    from cnnviz.weights.matching import Expected

_IMAGENET_CLASSES = 1000


def cached_weights(entry: ZooEntry) -> Path | None:
    """The file that would be used for a network without any download, or None.

    Its contents are not looked at.
    """
    if entry.published is None:
        return _embedded().path
    from cnnviz.weights.cache import cached

    return cached(entry.published)


def ensure_weights(
    entry: ZooEntry,
    *,
    progress: bool = True,
    notify: Notify | None = None,
) -> LocatedWeights:
    """A network's own weights: embedded, or found, or fetched.

    The arguments are those of :func:`cnnviz.weights.store.ensure_weights`.

    Raises:
        WeightsError: no source has the weights, or the cache folder is not writable.
    """
    if entry.published is None:
        return _embedded()
    from cnnviz.weights import store

    shapes = zoo.parameter_shapes(entry)
    return store.ensure_weights(entry.published, shapes, progress=progress, notify=notify)


def _embedded() -> LocatedWeights:
    from cnnviz import demo

    return LocatedWeights(demo.weights_path(), "embedded in cnnviz")


def load_weights(
    entry: ZooEntry,
    graph: Graph,
    weights: Path | None = None,
    *,
    as_given: bool = False,
    progress: bool = True,
    notify: Notify | None = None,
) -> tuple[dict[str, Any], WeightsInfo]:
    """The weights of a network.

    Args:
        entry: which network.
        graph: what :func:`cnnviz.models.zoo.build` returned for the entry, for as many
            classes as the weights have.
        weights: a file of any kind that :func:`cnnviz.weights.formats.read_weights` takes;
            None finds or downloads the network's own.
        as_given: whether the user has said how images are normalized, so that the weights are
            not adapted to the network's usual images (of which some of Inception v3's know none).
        progress: whether a download may show a bar.
        notify: called with a sentence when there is something to wait for, or something is assumed.

    Returns:
        Arrays of float32 by the names of the graph's parameters, and where they come from.

    Raises:
        WeightsError: the weights cannot be had or read, or belong to another network.
    """
    from cnnviz.machine import helper_threads
    from cnnviz.weights.digests import digest
    from cnnviz.weights.formats import read_weights
    from cnnviz.weights.matching import match
    from cnnviz.weights.params_file import in_float32

    if weights is None:
        located = ensure_weights(entry, progress=progress, notify=notify)
    else:
        located = LocatedWeights(Path(weights), "file given by the user")
    arrays = read_weights(located.path)
    # The digest of 553 MB takes as long as the rest; it is worked out beside it, if not before.
    with helper_threads(1, "digest") as pool:
        sha256 = pool.submit(digest, located.path, "sha256")
        matched = match(
            arrays,
            _expected(entry, graph),
            source=str(located.path),
            as_given=as_given,
            similar_model=lambda: _similar_model(arrays, entry, graph),
            notify=notify,
        )
        values = in_float32(matched, source=str(located.path))
        return values, WeightsInfo(located.path, sha256.result(), located.source)


def recognize(path: Path) -> str | None:
    """The name of the network of the zoo that a file's weights fit, for any number of classes.

    Raises:
        WeightsError: the weights cannot be read.
    """
    from cnnviz.weights.formats import read_weights

    return _fitting(read_weights(path), None)


def _expected(entry: ZooEntry, graph: Graph) -> Expected:
    """What a network wants its weights to be."""
    from cnnviz.weights.matching import Expected

    return Expected(graph.parameters, entry.name, entry.family, old_names(graph))


def old_names(graph: Graph) -> dict[str, str]:
    """For each layer's name in Gluon's prefix style its structural name."""
    return {
        node.name.removesuffix("_fwd"): parameter.name.rpartition(".")[0]
        for node in graph.nodes
        for parameter in (graph.nodes[value.node] for value in node.inputs)
        if parameter.name in graph.parameters
    }


def _similar_model(arrays: Mapping[str, Any], entry: ZooEntry, graph: Graph) -> str | None:
    """The name of another network of the zoo that a file's arrays fit, if there is one.

    With as many classes as the graph of the network that they do not fit.
    """
    return _fitting(arrays, math.prod(graph.shape(graph.output)), but=entry.name)


def _fitting(arrays: Mapping[str, Any], classes: int | None, but: str | None = None) -> str | None:
    """The name of the network of the zoo that a file's arrays fit, if there is one.

    With this number of classes, or any for None. The number of values leaves one or two to
    be built and tried.
    """
    from cnnviz.weights.matching import fits_network, value_count

    values = value_count(arrays)
    for entry in zoo.entries():
        if entry.published is None or entry.name == but:
            continue
        more, rest = divmod(values - entry.stored, entry.per_class)
        count = _IMAGENET_CLASSES + more
        if rest == 0 and count > 0 and classes in (None, count):
            graph = zoo.build(entry, count).graph
            if fits_network(arrays, _expected(entry, graph)):
                return entry.name
    return None
