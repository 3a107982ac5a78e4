"""The metrics by name. A new one is a class in this folder and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnviz.attribution.options import check_options_used, chosen_options
from cnnviz.errors import UsageError
from cnnviz.metrics.base import Metric
from cnnviz.metrics.complexity import Complexity, Sparseness
from cnnviz.metrics.corner import CornerAlone
from cnnviz.metrics.infidelity import Infidelity
from cnnviz.metrics.masked_confidence import AverageDrop, AverageGain, Increase
from cnnviz.metrics.max_sensitivity import MaxSensitivity
from cnnviz.metrics.pixel_curves import Deletion, Insertion
from cnnviz.metrics.randomization import Randomization
from cnnviz.metrics.randomization_logit import RandomLogit
from cnnviz.metrics.regions import EnergyInside, IoU, PointingGame, RankAccuracy
from cnnviz.metrics.road import Road, RoadLerf, RoadMorf
from cnnviz.text import did_you_mean

#: A metric of maps, or a test of methods.
AnyMetric = Metric | Randomization

_ALL: tuple[type[AnyMetric], ...] = (
    Deletion,
    Insertion,
    RoadMorf,
    RoadLerf,
    Road,
    AverageDrop,
    Increase,
    AverageGain,
    Infidelity,
    MaxSensitivity,
    CornerAlone,
    PointingGame,
    EnergyInside,
    RankAccuracy,
    IoU,
    Randomization,
    RandomLogit,
    Sparseness,
    Complexity,
)
METRICS: dict[str, type[AnyMetric]] = {metric.name: metric for metric in _ALL}


def choose_metrics(
    names: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    *,
    regions: bool = False,
    cheap: bool = False,
) -> tuple[AnyMetric, ...]:
    """The metrics called ``names``, each once.

    Args:
        names: as `cnnviz metrics` lists them, several in one with commas between; none for all
            that can be measured.
        options: values of their options: ``{"steps": 50}`` for every chosen metric that has an
            option of this name, ``{"insertion.steps": 50}`` for this one only, which wins.
        regions: whether it is known where objects are.
        cheap: whether, if none are named, only those are meant that take a few passes.

    Raises:
        UsageError: there is no such metric, option or value, or one needs to know where objects
            are.
    """
    if names:
        meant = [_find(part) for name in names for part in name.split(",")]
        kinds = [METRICS[name] for name in dict.fromkeys(meant)]
        needing = [kind.name for kind in kinds if kind.needs_region]
        if needing and not regions:
            raise UsageError(
                f"The metric {needing[0]} needs to know where the objects are: give --boxes or "
                "--masks."
            )
    else:
        kinds = [
            kind
            for kind in METRICS.values()
            if (regions or not kind.needs_region) and (kind.cheap or not cheap)
        ]
    given = dict(options or {})
    check_options_used(given, kinds, Metric.noun)
    return tuple(kind(**chosen_options(kind, given)) for kind in kinds)


def of_maps(metrics: Sequence[AnyMetric]) -> tuple[Metric, ...]:
    """Those that judge maps of one image."""
    return tuple(one for one in metrics if isinstance(one, Metric))


def _find(name: str) -> str:
    """A metric's name, in any case and with _ or spaces for hyphens.

    Raises:
        UsageError: there is none.
    """
    meant = name.strip().lower().replace("_", "-").replace(" ", "-")
    if meant in METRICS:
        return meant
    advice = did_you_mean(name, METRICS) or f"Use {', '.join(METRICS)}."
    raise UsageError(f"There is no metric '{name}'. {advice}")
