"""What a comparison found, in sentences: the three that matter most first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from cnnviz.comparison.classes import Classes
from cnnviz.comparison.comparison import Pair, Side
from cnnviz.comparison.metrics import was_judged
from cnnviz.comparison.records import (
    BOTH,
    ClassChangeRecord,
    ComparisonRecord,
    GroupRecord,
    MetricChangeRecord,
    Unpaired,
)
from cnnviz.metrics.location import CORNERS
from cnnviz.text import counted, first_synonym, joined, printable

#: A p-value below this is called more than chance.
_SIGNIFICANT = 0.05
#: A mean share at the border or in a corner that moved by less is not worth a sentence.
_MOVED = 0.05
#: How many classes, images or names a sentence gives at most.
_FEW = 3

_WHY: dict[Unpaired, tuple[str, str]] = {
    "only_a": ("is in A only", "are in A only"),
    "only_b": ("is in B only", "are in B only"),
    "content": (
        "is another image in B (its SHA-256 differs)",
        "are other images in B (their SHA-256 differs)",
    ),
    "failed_a": ("failed in A", "failed in A"),
    "failed_b": ("failed in B", "failed in B"),
    "failed_both": ("failed in both", "failed in both"),
    "truth": (
        "has another true class in B",
        "have other true classes in B",
    ),
}


def findings(
    summary: ComparisonRecord, a: str, b: str, classes: Classes, pairs: Sequence[Pair]
) -> Iterator[str]:
    """The sentences.

    Args:
        summary: the numbers.
        a: what A is called.
        b: what B is called.
        classes: those of both.
        pairs: the images.
    """
    yield _accuracy(summary, _called("A", a), _called("B", b))
    yield _classes(summary.classes) if summary.classes else _changes(classes, pairs)
    yield _places(summary.groups[0])
    precision = _precision(summary)
    if precision:
        yield precision
    yield from filter(None, map(_metric, summary.metrics))


def _called(letter: str, name: str) -> str:
    """``A (vgg16)``; a name may end with the letter itself, if nothing else tells it apart."""
    return f"{letter} ({name.removesuffix(f' ({letter})')})"


def _accuracy(summary: ComparisonRecord, a: str, b: str) -> str:
    known = summary.accuracy_a.images
    if not known:
        if not summary.changed:
            images = _all(summary.images)
            return f"{a} and {b} predict the same class for {images}; no ground truth was given."
        return (
            f"{a} and {b} predict different classes for {summary.changed} of "
            f"{counted(summary.images, 'image')}; no ground truth says which is right."
        )
    fixed, broken = summary.outcomes.get("fixed", 0), summary.outcomes.get("broken", 0)
    right_a, right_b = (
        round((one.value or 0) * known) for one in (summary.accuracy_a, summary.accuracy_b)
    )
    if right_a == right_b:
        accuracy = f"{a} and {b} both classify {right_a} of {counted(known, 'image')} correctly"
    else:
        better, worse = (b, a) if right_b > right_a else (a, b)
        high, low = max(right_a, right_b), min(right_a, right_b)
        images = counted(known, "image")
        accuracy = f"{better} classifies {high} of {images} correctly, {worse} {low}"
    if not (fixed or broken):
        return f"{accuracy}, the same ones."
    p = summary.mcnemar
    assert p is not None
    chance = "more than chance would explain" if p < _SIGNIFICANT else "which may be chance"
    return f"{accuracy}: {fixed} fixed, {broken} broken, {chance} (McNemar's test, p = {_p(p)})."


def _all(images: int) -> str:
    """``all 8 images``."""
    return "the one image" if images == 1 else f"all {images} images"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "below 0.0001"


def _classes(classes: Sequence[ClassChangeRecord]) -> str:
    """Which classes gained and lost most."""

    def told(found: Sequence[ClassChangeRecord]) -> str:
        return joined(
            [
                f"{first_synonym(one.name)} (from {one.correct_a} to {one.correct_b} of "
                f"{one.images})"
                for one in found[:_FEW]
            ],
            "and",
        )

    changed = sorted(classes, key=lambda one: one.correct_a - one.correct_b)
    gained = [one for one in changed if one.correct_b > one.correct_a]
    lost = [one for one in reversed(changed) if one.correct_b < one.correct_a]
    parts = [
        f"{'largest ' if len(found) > _FEW else ''}{word}: {told(found)}"
        for word, found in (("gains", gained), ("losses", lost))
        if found
    ]
    if not parts:
        return "No class gained or lost."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _changes(classes: Classes, pairs: Sequence[Pair]) -> str:
    """Without ground truth: what became what, most often."""
    counts = Counter((pair.class_a, pair.class_b) for pair in pairs if pair.class_a != pair.class_b)
    if not counts:
        return "No prediction changed."
    most = counts.most_common(_FEW)
    often = most[0][1] > 1
    told = joined(
        [
            f"{classes.names.short(one)} to {classes.names.short(other)}"
            + (f" ({count})" if often else "")
            for (one, other), count in most
        ],
        "and",
    )
    return f"{'Most frequent' if often else 'Among the'} changes: {told}."


def _places(everything: GroupRecord) -> str:
    """Whether the two look at the same places."""
    if not everything.maps:
        return "No image has two heatmaps that show anything: where they look is not compared."
    correlation = (
        ""
        if everything.spearman is None
        else f" (mean rank correlation of the heatmaps {everything.spearman:.2f})"
    )
    if everything.elsewhere:
        maps = counted(everything.maps, "image")
        text = f"B looks elsewhere in {everything.elsewhere} of {maps}{correlation}"
    else:
        text = f"Both look at the same places in {_all(everything.maps)}{correlation}"
    moved = _moved(everything)
    return f"{text}{'; ' if moved else ''}{moved}."


def _moved(group: GroupRecord) -> str:
    """Where the evidence has gone to, at the border and in the corners; nothing if it has not."""
    if group.corners_a is None or group.corners_b is None:
        return ""
    places = [
        (before, after, f"in the {name} corner")
        for before, after, name in zip(group.corners_a, group.corners_b, CORNERS, strict=True)
    ]
    places.append((group.border_a or 0.0, group.border_b or 0.0, "at the border"))
    before, after, where = max(places, key=lambda place: abs(place[1] - place[0]))
    if abs(after - before) < _MOVED:
        return ""
    return f"B has {after:.0%} of its evidence {where}, A {before:.0%}"


def _precision(summary: ComparisonRecord) -> str:
    a, b = summary.mean_average_precision_a, summary.mean_average_precision_b
    if a is None or b is None:
        return ""
    return f"Mean average precision: {b:.4f} for B, {a:.4f} for A."


def _metric(one: MetricChangeRecord) -> str:
    """Which maps a metric finds better, where the interval says so; else nothing."""
    low, high = one.change.low, one.change.high
    if one.direction is None or low is None or high is None or low <= 0 <= high:
        return ""
    better = "B" if (low > 0) == (one.direction == "higher") else "A"
    maps = one.subject_b if better == "B" else one.subject_a
    values = (one.b.value, one.a.value) if better == "B" else (one.a.value, one.b.value)
    return (
        f"By {one.title}, the maps of {better} ({maps}) are better: {values[0]:.3f} against "
        f"{values[1]:.3f}."
    )


def notes(
    summary: ComparisonRecord, a: Side, b: Side, classes: Classes, pairs: Sequence[Pair]
) -> Iterator[str]:
    """What could not be compared, or was assumed."""
    if classes.note:
        yield classes.note
    for side, only in (("A", classes.only_a), ("B", classes.only_b)):
        if only:
            some = joined([classes.names.short(number) for number in only[:_FEW]], "and")
            among = "" if len(only) <= _FEW else f"{len(only)} classes, among them "
            yield f"Only {side} knows {among}{some}."
    if not classes.shared:
        yield "The two have no class in common: every prediction counts as changed."
    for side, unknown in (("A", classes.only_b), ("B", classes.only_a)):
        count = sum(not set(unknown).isdisjoint(pair.truths) for pair in pairs)
        if count:
            images, them = counted(count, "image"), "it" if count == 1 else "them"
            yield f"{side} does not know the true class of {images}, and so is wrong about {them}."
    reasons: dict[Unpaired, list[str]] = {}
    for one in summary.unpaired:
        reasons.setdefault(one.why, []).append(printable(one.path))
    for why, paths in reasons.items():
        single, several = _WHY[why]
        if len(paths) == 1:
            yield f"Not compared: {paths[0]} {single}."
        else:
            names = [*paths[:_FEW], *(["..."] if len(paths) > _FEW else [])]
            yield f"Not compared: {len(paths)} images {several}: {', '.join(names)}."
    yield from _without_agreement(pairs)
    judged = [name for name, side in (("A", a), ("B", b)) if was_judged(side)]
    if len(judged) == 1:
        yield f"Only {judged[0]} was evaluated, so metrics of the maps are not compared."


def _without_agreement(pairs: Sequence[Pair]) -> Iterator[str]:
    """Why heatmaps are not compared, in one sentence: on which side, in how many images."""
    lacking = [pair.record.no_agreement for pair in pairs if pair.record.no_agreement is not None]
    if not lacking:
        return
    reasons = Counter(reason for several in lacking for reason in several.split(BOTH))
    said = next(iter(lacking))
    if len({*lacking}) > 1:
        said = joined([f"{reason} in {count}" for reason, count in reasons.most_common()], "and")
    yield f"The heatmaps of {counted(len(lacking), 'image')} are not compared: {said}."
