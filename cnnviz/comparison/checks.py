"""Thresholds of ``cnnviz compare``: how much worse B may be, and what may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cnnviz.comparison.comparison import Comparison, Pair, Side
from cnnviz.comparison.request import CHANGES, ComparisonChecks
from cnnviz.errors import UsageError
from cnnviz.metrics.classification import class_counts, macro_mean
from cnnviz.runs.checked import WORST, CheckedImage, CheckedRun, Collector, WorstImage
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.plan import RunPlan
from cnnviz.runs.request import CheckOptions
from cnnviz.runs.request_checks import have_heatmaps
from cnnviz.runs.thresholds import (
    OF_SEVERAL,
    SCORES,
    Figure,
    Threshold,
    judge,
    needs_truth,
    wrong_kind,
)
from cnnviz.text import ClassNames


@dataclass(frozen=True)
class SideData:
    """What there is, or will be, of one side for figures to be computed from.

    Attributes:
        truth: whether it says what is true.
        heatmaps: whether it makes heatmaps.
        multi_label: whether an image may belong to several classes; None if nothing says so.
    """

    truth: bool
    heatmaps: bool
    multi_label: bool | None

    @classmethod
    def planned(cls, plan: RunPlan) -> SideData:
        """Of a run that is still to be done."""
        truth = plan.request.selection.truth is not None
        return cls(truth, have_heatmaps(plan.methods()), plan.model.architecture.multi_label)

    @classmethod
    def recorded(cls, side: Side) -> SideData:
        """Of a run that is done."""
        run, images = side.manifest.run, (image for image in side.manifest.images if image.ok)
        several = next((image.predicted_classes is not None for image in images), None)
        return cls(run.ground_truth is not None, have_heatmaps(run.methods), several)


def check_changes(checks: ComparisonChecks, a: SideData, b: SideData, *, done: bool) -> None:
    """Refuse thresholds for changes that cannot be computed, whatever the images are.

    Args:
        checks: what is demanded.
        a: what there is of A.
        b: what there is of B.
        done: whether both have run already, so that one has to be run again to be mended.

    Raises:
        UsageError: they need true classes, heatmaps, or other networks.
    """
    for one in checks.thresholds:
        problem = _problem(one, a, b, done=done)
        if problem is not None:
            raise UsageError(problem)


def _problem(one: Threshold, a: SideData, b: SideData, *, done: bool) -> str | None:
    """Why a change cannot be computed, in a sentence; None if it can."""
    if one.name == "changed":
        return None
    if one.name == "elsewhere":
        lacking = [name for name, side in (("A", a), ("B", b)) if not side.heatmaps]
        if not lacking:
            return None
        cure = f"explain {lacking[0]}'s images again with" if done else "add"
        return f"{one} needs heatmaps of both A and B: {cure} --method gradcam."
    if one.name == OF_SEVERAL:
        cure = "explain both again with --truth" if done else "give --truth for both A and B"
        known = a.truth and b.truth
    else:  # what one of the two knows holds for both
        cure = "explain A's images again with --truth" if done else "give --truth"
        known = a.truth or b.truth
    if not known:
        return needs_truth(one, cure)
    if one.name not in SCORES or a.multi_label is None or b.multi_label is None:
        return None
    if a.multi_label is b.multi_label:
        return wrong_kind(one, multi_label=a.multi_label)
    several, single = ("A", "B") if a.multi_label else ("B", "A")
    return (
        f"{one} cannot be computed: an image may belong to several classes of {several}, and "
        f"belongs to one of {single}. Use --max-share broken."
    )


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
        title = f"drop in {title} from A to B"
        yield Figure(name, title, drop, images, "lower", reason="no image has a true class")


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
