"""What is wrong with a plan as far as its network says so, found without its weights."""

from __future__ import annotations

from cnnviz.engines.registry import choose_engine
from cnnviz.models.resolve import check_model
from cnnviz.runs.goals import resolve_goals
from cnnviz.runs.plan import RunPlan
from cnnviz.weights.formats import check_weights


def check_network(plan: RunPlan, *, engine: bool) -> None:
    """Check what shows only once the network is looked at, and would show when it is opened.

    Args:
        plan: found to be in order otherwise.
        engine: whether to import what is to run the network, to see if it can.

    Raises:
        CnnvizError: the network cannot be used, or has no such layer or class.
    """
    model, request = plan.model, plan.request
    asked = request.model
    if model.config.weights is not None:
        check_weights(model.config.weights)
    device = check_model(
        model,
        asked.device,
        asked.engine,
        asked.precision,
        request.targets.layers,
        plan.methods,
    )
    if engine:
        choose_engine(device, model.architecture.graph, asked.engine, asked.precision)
    if plan.goals is None:
        resolve_goals(request, model)
    plan.ground_truth()
