"""What the page of a comparison says in numbers and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cnnviz.comparison.comparison import Comparison
from cnnviz.comparison.records import (
    OUTCOMES,
    ClassChangeRecord,
    ComparisonRecord,
    GroupRecord,
    MeanRecord,
    MetricChangeRecord,
    Unpaired,
    UnpairedRecord,
)
from cnnviz.metrics.location import CORNERS
from cnnviz.report.compared_facts import Fact, facts
from cnnviz.report.pairs import MATRIX_PART, MATRIX_WHOLE

OUTCOME_TITLES = {
    "fixed": ("✓", "fixed", "A is wrong, B is right"),
    "broken": ("✗", "broken", "A is right, B is wrong"),
    "both_wrong": ("✗", "both wrong", ""),
    "both_right": ("✓", "both right", ""),
    "changed": ("≠", "changed", "A and B predict different classes"),
    "unchanged": ("=", "unchanged", "A and B predict the same class"),
}
"""A sign, a word and what it means."""

_WHY: Mapping[Unpaired, str] = {
    "only_a": "only A has it",
    "only_b": "only B has it",
    "content": "its file is not the same in both",
    "failed_a": "A failed on it",
    "failed_b": "B failed on it",
    "failed_both": "both failed on it",
    "truth": "A and B were given different true classes",
}

LIKELY = 0.05
"""Below this probability a difference is called more than chance."""


@dataclass(frozen=True)
class OutcomeView:
    """How many images have an outcome."""

    name: str
    sign: str
    title: str
    meaning: str
    images: int
    share: float


@dataclass(frozen=True)
class Cell:
    """How often a class is predicted for a true class, by each."""

    truth: int
    predicted: int
    a: int
    b: int
    title: str

    @property
    def change(self) -> int:
        """B's count minus A's."""
        return self.b - self.a

    @property
    def better(self) -> bool:
        """Whether B is the better one here, if there is a change."""
        return (self.change > 0) == (self.truth == self.predicted)


@dataclass(frozen=True)
class MatrixView:
    """Confusion matrices of both.

    Attributes:
        classes: (number, name, short name) of rows and columns.
        rows: cells, one row for each true class.
        whole: whether these are all classes; else those with most change.
        most: the largest count, at least 1.
        most_change: the largest change, at least 1.
    """

    classes: tuple[tuple[int, str, str], ...]
    rows: tuple[tuple[Cell, ...], ...]
    whole: bool
    most: int
    most_change: int


@dataclass(frozen=True)
class ClassView:
    """How the images of one true class fared; for the number see :class:`Classes`."""

    record: ClassChangeRecord
    number: int

    @property
    def recall_a(self) -> float:
        """A's, 0 to 1."""
        return self.record.correct_a / self.record.images

    @property
    def recall_b(self) -> float:
        """B's."""
        return self.record.correct_b / self.record.images

    @property
    def change(self) -> float:
        """B's minus A's."""
        return (self.record.correct_b - self.record.correct_a) / self.record.images


@dataclass(frozen=True)
class GroupView:
    """Where the two look in a group of images.

    Attributes:
        number: among all groups, for the page's data.
        record: the means.
        title: for people.
        corner_name: of the corner in which the two differ most.
        corners: A's and B's share there; None if there are none.
    """

    number: int
    record: GroupRecord
    title: str
    corner_name: str
    corners: tuple[float, float] | None

    @property
    def has_mean(self) -> bool:
        """Whether there are mean heatmaps of both."""
        return self.record.map_a is not None and self.record.map_b is not None


@dataclass(frozen=True)
class MetricView:
    """A metric of both; ``verdict`` says who is better, if the interval of the change does."""

    record: MetricChangeRecord
    verdict: str


@dataclass(frozen=True)
class ComparisonView:
    """All that the page says but the images."""

    summary: ComparisonRecord
    names: tuple[str, str]
    facts: tuple[Fact, ...]
    outcomes: tuple[OutcomeView, ...]
    elsewhere: int
    chance: str
    matrix: MatrixView | None
    classes: tuple[ClassView, ...]
    groups: tuple[GroupView, ...]
    metrics: tuple[MetricView, ...]
    unpaired: tuple[tuple[str, str], ...]


def view(comparison: Comparison) -> ComparisonView:
    """A comparison in numbers and words."""
    summary = comparison.summary
    return ComparisonView(
        summary,
        (comparison.a.name, comparison.b.name),
        tuple(facts(comparison.a, comparison.b)),
        tuple(_outcomes(summary)),
        sum(
            pair.record.agreement is not None and pair.record.agreement.elsewhere
            for pair in comparison.pairs
        ),
        _chance(summary),
        _matrix(comparison),
        tuple(_classes(comparison)),
        tuple(_groups(summary)),
        tuple(MetricView(one, _verdict(one)) for one in summary.metrics),
        tuple(_unpaired(summary.unpaired)),
    )


def signed(value: float, form: str) -> str:
    """A change with its sign: ``+2.0``, ``−1.5``, ``0.0``."""
    text = form % abs(value)
    if float(text) == 0:
        return text
    return f"{'−' if value < 0 else '+'}{text}"


def mean(record: MeanRecord, form: str = "%.3f", scale: float = 1.0) -> str:
    """A mean with its interval: ``0.312 (0.280 to 0.344)``."""
    return _with_interval(record, lambda value: form % (scale * value))


def change(record: MeanRecord, form: str = "%.3f", scale: float = 1.0) -> str:
    """A mean change with its interval, with signs."""
    return _with_interval(record, lambda value: signed(scale * value, form))


def _with_interval(record: MeanRecord, said: Callable[[float], str]) -> str:
    if record.value is None:
        return "–"
    if record.low is None or record.high is None:
        return said(record.value)
    return f"{said(record.value)} ({said(record.low)} to {said(record.high)})"


def _outcomes(summary: ComparisonRecord) -> Iterator[OutcomeView]:
    known = summary.accuracy_a.images > 0
    for name in OUTCOMES:
        images = summary.outcomes.get(name, 0)
        if images or (known and name in ("fixed", "broken")):
            sign, title, meaning = OUTCOME_TITLES[name]
            if known and name in ("changed", "unchanged"):
                meaning = f"{meaning}; the true class is unknown"
            yield OutcomeView(name, sign, title, meaning, images, images / summary.images)


def _chance(summary: ComparisonRecord) -> str:
    """McNemar's test in words; nothing where no true class is known."""
    if summary.mcnemar is None:
        return ""
    fixed, broken = summary.outcomes.get("fixed", 0), summary.outcomes.get("broken", 0)
    if fixed + broken == 0:
        return "No image is right in one network and wrong in the other."
    verdict = (
        "so the difference is more than chance"
        if summary.mcnemar < LIKELY
        else "so the difference may well be chance"
    )
    return (
        f"If neither network were better, numbers as unequal as {fixed} fixed and {broken} broken "
        f"would have a probability of {summary.mcnemar:.2g} (McNemar's exact test), {verdict}."
    )


def _matrix(comparison: Comparison) -> MatrixView | None:
    """Of the images with one true class; None if there is none."""
    counts: tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]] = (Counter(), Counter())
    for pair in comparison.pairs:
        if len(pair.truths) == 1 and pair.record.a.predicted_classes is None:
            counts[0][pair.truths[0], pair.class_a] += 1
            counts[1][pair.truths[0], pair.class_b] += 1
    if not counts[0]:
        return None
    numbers = sorted({number for found in counts for pair in found for number in pair})
    whole = len(numbers) <= MATRIX_WHOLE
    if not whole:
        changes: Counter[int] = Counter()
        for truth, predicted in counts[0] | counts[1]:
            change = abs(counts[1][truth, predicted] - counts[0][truth, predicted])
            changes[truth] += change
            changes[predicted] += change
        most = sorted(numbers, key=lambda number: (-changes[number], number))[:MATRIX_PART]
        numbers = sorted(most)
    names = comparison.classes.names

    def cell(truth: int, predicted: int) -> Cell:
        title = (
            f"{names.short(truth)} (correct)"
            if truth == predicted
            else f"{names.short(truth)} predicted as {names.short(predicted)}"
        )
        return Cell(
            truth, predicted, counts[0][truth, predicted], counts[1][truth, predicted], title
        )

    rows = tuple(tuple(cell(truth, one) for one in numbers) for truth in numbers)
    cells = [one for row in rows for one in row]
    return MatrixView(
        tuple((number, names[number], names.short(number)) for number in numbers),
        rows,
        whole,
        max(1, *(max(one.a, one.b) for one in cells)),
        max(1, *(abs(one.change) for one in cells)),
    )


def _classes(comparison: Comparison) -> list[ClassView]:
    """Those that lost most first."""
    names = comparison.classes.names
    numbers = {names[number]: number for pair in comparison.pairs for number in pair.truths}
    found = [ClassView(one, numbers[one.name]) for one in comparison.summary.classes if one.images]
    return sorted(found, key=lambda one: (one.change, one.record.name))


def _groups(summary: ComparisonRecord) -> Iterator[GroupView]:
    for number, one in enumerate(summary.groups):
        if not one.maps or (number and one.images == summary.images):
            continue  # nothing to see, or all images again
        corners, largest = None, 0
        if one.corners_a is not None and one.corners_b is not None:
            pairs = list(zip(one.corners_a, one.corners_b, strict=True))
            largest = max(range(4), key=lambda place: abs(pairs[place][1] - pairs[place][0]))
            corners = pairs[largest]
        title = "all images" if one.name == "all" else OUTCOME_TITLES[one.name][1]
        yield GroupView(number, one, title, CORNERS[largest], corners)


def _verdict(one: MetricChangeRecord) -> str:
    """Who is better by a metric, if the whole interval of the change is on one side."""
    low, high = one.change.low, one.change.high
    if one.direction is None or low is None or high is None:
        return ""
    if low <= 0 <= high:
        return "no clear difference"
    return "B is better" if (low > 0) == (one.direction == "higher") else "A is better"


def _unpaired(images: Sequence[UnpairedRecord]) -> Iterator[tuple[str, str]]:
    for one in images:
        yield one.path, _WHY[one.why]
