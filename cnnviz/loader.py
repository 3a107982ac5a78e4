"""From a name or files to an explainer that is ready: the network built, its weights loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cnnviz.attribution import Method
from cnnviz.explainer import Explainer
from cnnviz.models import catalog
from cnnviz.network import Architecture, Network
from cnnviz.network.runtime import context, parse_device


def load_explainer(
    model: str = "vgg16",
    *,
    weights: str | Path | None = None,
    labels: Sequence[str] | None = None,
    ctx: str = "cpu",
    layer: str | None = None,
    methods: Sequence[Method] | None = None,
    resize: str = "stretch",
    progress: bool = True,
    notify: Callable[[str], None] | None = None,
) -> Explainer:
    """Build a network of the catalogue, load its weights and make it ready to explain.

    Whatever can be known to be wrong without weights is told before they are looked for.

    Args:
        model: a name that ``cnnviz models`` lists.
        weights: a file; None for the network's own, found or downloaded.
        labels: class names, as many as the weights have outputs; None for the network's own.
        ctx: ``cpu``, ``gpu``, ``gpu:N`` or ``gpu(N)``.
        layer: the target layer's name; None for the network's default.
        methods: what to attribute with, see :func:`choose_methods`.
        resize: ``stretch`` or ``crop``.
        progress: whether a download may show a bar.
        notify: called with a sentence when there is something to wait for.

    Raises:
        UsageError: there is no such network, layer or device name.
        DeviceError: the device cannot be used.
        WeightsError: the weights cannot be had or read, or belong to another network.
    """
    entry = catalog.get(model)
    names = catalog.labels(entry) if labels is None else tuple(labels)
    device = parse_device(ctx)
    context(device)
    block = catalog.build_block(entry, len(names))
    architecture = Architecture.from_block(block, entry.input.shape)
    if layer is not None:
        architecture.layer(layer)
    found = catalog.load_weights(
        block,
        entry,
        None if weights is None else Path(weights),
        classes=len(names),
        progress=progress,
        notify=notify,
    )
    network = Network.with_parameters_of(block, architecture, str(device))
    return Explainer(
        network,
        entry.input,
        names,
        layer=layer,
        methods=methods,
        resize=resize,
        entry=entry,
        weights=found,
    )
