"""Thresholds of ``cnnviz compare``: how much worse B may be, and what may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from cnnviz.comparison.comparison import Comparison, Pair
from cnnviz.comparison.request import CHANGES
from cnnviz.metrics.classification import class_counts, macro_mean
from cnnviz.runs.checked import WORST, CheckedImage, CheckedRun, Collector, WorstImage
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.request import CheckOptions
from cnnviz.runs.thresholds import SCORES, Figure, judge
from cnnviz.text import ClassNames


def comparison_figures(comparison: Comparison) -> tuple[Figure, ...]:
    """How far each score fell from A to B, then the shares of images that changed."""
    return (*_drops(comparison), *_shares(comparison))


def _drops(comparison: Comparison) -> Iterator[Figure]:
    summary = comparison.summary
    known = [pair for pair in comparison.pairs if pair.record.a.correct is not None]
    single = [pair for pair in known if len(pair.truths) == 1 and not pair.several]
    accuracies = summary.accuracy_a.value, summary.accuracy_b.value
    values: Mapping[str, tuple[float | None, float | None]] = {
        "accuracy": accuracies if single else (None, None),
        "top5": (_top5(single, comparison, "a"), _top5(single, comparison, "b")),
        **_of_classes(single),
        "map": (summary.mean_average_precision_a, summary.mean_average_precision_b),
    }
    for name, title in SCORES.items():
        before, after = values[name]
        drop = None if before is None or after is None else before - after
        images = len(known if name == "map" else single)
        # An improvement is a negative drop.
        yield Figure(
            name, f"drop in {title}", drop, images, "lower", reason="no image has a true class"
        )


def _of_classes(
    pairs: Sequence[Pair],
) -> dict[str, tuple[float | None, float | None]]:
    """Means over classes, of A and of B."""
    truths = [pair.truths[0] for pair in pairs]
    a, b = (
        macro_mean(class_counts(truths, predicted))
        for predicted in ([pair.class_a for pair in pairs], [pair.class_b for pair in pairs])
    )
    if a is None or b is None:
        return {"balanced-accuracy": (None, None), "macro-f1": (None, None)}
    return {"balanced-accuracy": (a.recall, b.recall), "macro-f1": (a.f1, b.f1)}


def _top5(pairs: Sequence[Pair], comparison: Comparison, side: str) -> float | None:
    """The share of images whose true class is among the five highest."""
    numbers = comparison.classes.of_a if side == "a" else comparison.classes.of_b
    of_side: Callable[[Pair], ImageRecord] = (
        (lambda pair: pair.a) if side == "a" else (lambda pair: pair.b)
    )
    found = [
        pair.truths[0] in {numbers[score.index] for score in of_side(pair).top5} for pair in pairs
    ]
    return sum(found) / len(found) if found else None


def _shares(comparison: Comparison) -> Iterator[Figure]:
    summary, everything = comparison.summary, comparison.summary.groups[0]
    known = summary.accuracy_a.images
    counts = {
        "broken": (summary.outcomes.get("broken", 0), known, "no image has a true class"),
        "changed": (summary.changed, summary.images, ""),
        "elsewhere": (
            everything.elsewhere,
            everything.maps,
            "no image has two heatmaps that show anything",
        ),
    }
    for name, title in CHANGES.items():
        count, images, reason = counts[name]
        share = count / images if images else None
        yield Figure(name, title, share, images, "lower", reason=reason)


def conclude_comparison(
    comparison: Comparison, checks: CheckOptions, collector: Collector
) -> CheckedRun:
    """The verdict on a comparison; of ``collector`` the time counts."""
    figures = comparison_figures(comparison)
    summary = comparison.summary
    return CheckedRun(
        command="compare",
        started=collector.started,
        seconds=collector.seconds,
        findings=(*summary.findings, *summary.notes),
        figures=figures,
        verdicts=judge(checks.thresholds, figures),
        images=tuple(CheckedImage(pair.record.path, 0.0, None) for pair in comparison.pairs),
        worst=tuple(_worst(comparison)),
    )


def _worst(comparison: Comparison) -> list[WorstImage]:
    """The images that B has wrong, the highest loss first."""
    names: ClassNames = comparison.classes.names
    wrong = [
        pair
        for pair in comparison.pairs
        if pair.record.b.correct is False and pair.record.b.loss is not None
    ]
    wrong.sort(key=lambda pair: -(pair.record.b.loss or 0.0))
    return [
        WorstImage(
            pair.record.path,
            names[pair.class_b],
            pair.record.ground_truth or "",
            pair.record.b.loss or 0.0,
        )
        for pair in wrong[:WORST]
    ]
