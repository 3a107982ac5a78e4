"""What methods are given, for one target and one layer."""

from __future__ import annotations

from collections.abc import Sequence

from cnnviz.attribution import AttributionContext, Method, ModelQueries, collect
from cnnviz.engines.network import Network, Targets
from cnnviz.graph.architecture import Layer
from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float32


def collect_one(
    network: Network,
    batch: Float32,
    targets: Targets,
    layer: Layer,
    methods: Sequence[Method],
    spec: InputSpec | None = None,
) -> AttributionContext:
    """The context of one target an image at one layer."""
    ((context,),) = collect(ModelQueries(network), batch, [targets], [layer], methods, spec)
    return context
