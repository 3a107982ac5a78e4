"""An evaluation as the page shows it: tables, curves, and how alike the methods' maps are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cnnviz.metrics.randomization_result import RandomizationResult
from cnnviz.report.charts import Chart, Line, bounds, line_style
from cnnviz.runs.evaluation_records import (
    CellRecord,
    Evaluation,
    EvaluationRecord,
    MetricRecord,
    SubjectRecord,
)

#: In the order of the page: the group of a metric, its heading, and what is to be said of it.
_GROUPS = (
    (
        "faithfulness",
        "Faithfulness",
        "Does the network's output depend on what the map marks?",
    ),
    (
        "localization",
        "Localization",
        "Does the map lie where the object is? A network may look elsewhere, and a faithful map "
        "then does so, too.",
    ),
    (
        "randomization",
        "Randomization",
        "Does the map depend on what the network has learned? This is a check that a method passes "
        "or fails, and no scale to rank methods by (Binder et al. 2023).",
    ),
    (
        "complexity",
        "Complexity (not faithfulness)",
        "Is the map spread out or concentrated? That says nothing about whether it is right.",
    ),
)
_DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", None: ""}


@dataclass(frozen=True)
class Figure:
    """A cell of a table.

    Attributes:
        value: the number; None if there is none.
        text: it in words.
        interval: its 95 % interval in words; empty if it has none.
        remark: what is to be said of it, or nothing.
    """

    value: float | None
    text: str
    interval: str
    remark: str


@dataclass(frozen=True)
class Row:
    """A method's numbers, or a baseline's."""

    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Group:
    """Metrics that ask the same of a map.

    Attributes:
        title: above them.
        note: what they ask.
        heads: of the columns: (the metric's title, which way is good, its paper).
        methods: the rows of the methods.
        baselines: the rows of the maps that no method made.
        charts: of the metrics that have curves.
        removes: whether they look at images with pixels removed.
    """

    title: str
    note: str
    heads: tuple[tuple[str, str, str], ...]
    methods: tuple[Row, ...]
    baselines: tuple[Row, ...]
    charts: tuple[Chart, ...]
    removes: bool


@dataclass(frozen=True)
class EvaluationView:
    """All of an evaluation.

    Attributes:
        images: how many images were evaluated.
        failed: how many could not be.
        findings: sentences on what stands out.
        groups: of metrics, those that were measured.
        methods: titles of the rows and columns of the agreement.
        agreement: between each two of them, None where there is none; empty for a single method.
        randomized: what became of maps when the network's parameters were made random.
        unchanged: the sentence which methods did not change, or nothing.
    """

    images: int
    failed: int
    findings: tuple[str, ...]
    groups: tuple[Group, ...]
    methods: tuple[str, ...]
    agreement: tuple[tuple[float | None, ...], ...]
    randomized: tuple[Chart, ...]
    unchanged: str


def evaluation_view(evaluation: Evaluation) -> EvaluationView:
    """An evaluation in numbers and words."""
    summary = evaluation.summary
    groups = [
        _group(evaluation, title, note, metrics)
        for name, title, note in _GROUPS
        if (metrics := [metric for metric in summary.metrics if metric.group == name])
    ]
    methods = [one for one in summary.subjects if not one.baseline]
    titles = {one.key: one.title for one in summary.subjects}
    result = summary.randomization
    unchanged = (result and result.sentence(titles)) or ""
    return EvaluationView(
        summary.ok,
        summary.failed,
        tuple(one for one in summary.findings if one != unchanged),
        tuple(groups),
        tuple(one.title for one in methods),
        _agreement(summary, methods) if len(methods) > 1 else (),
        () if result is None else tuple(_randomized(result, titles)),
        unchanged,
    )


def _randomized(result: RandomizationResult, titles: Mapping[str, str]) -> Iterator[Chart]:
    """Curves of how alike maps stay as more layers are random, and with each random by itself."""
    for title, curves in (
        ("All layers from the logits down to here are random", result.cascade),
        ("This layer alone is random", result.independent),
    ):
        lines = [
            Line(
                titles.get(key, key),
                line_style(number),
                tuple(
                    (place / max(1, len(curve) - 1), level.absolute)
                    for place, level in enumerate(curve)
                    if level.absolute is not None
                ),
            )
            for number, (key, curve) in enumerate(curves.items())
        ]
        lines = [line for line in lines if line.points]
        if lines:
            yield Chart(
                title,
                f"How alike the maps of {len(lines)} methods are to those of the trained network.",
                "layers with weights, from the logits (0) to the input (1)",
                "rank correlation",
                tuple(lines),
                y=(-1.0, 1.0) if bounds(lines)[0] < 0 else (0.0, 1.0),
            )


def _group(evaluation: Evaluation, title: str, note: str, metrics: Sequence[MetricRecord]) -> Group:
    summary = evaluation.summary

    def rows(*, baseline: bool) -> tuple[Row, ...]:
        return tuple(
            Row(one.title, tuple(_figure(summary.cell(one.key, metric.name)) for metric in metrics))
            for one in summary.subjects
            if one.baseline == baseline
        )

    charts = (_chart(evaluation, metric) for metric in metrics if metric.curve_over)
    return Group(
        title,
        note,
        tuple((one.title, _DIRECTIONS[one.direction], one.paper) for one in metrics),
        rows(baseline=False),
        rows(baseline=True),
        tuple(chart for chart in charts if chart.lines),
        removes=metrics[0].group == "faithfulness",
    )


def _figure(cell: CellRecord | None) -> Figure:
    if cell is None or cell.value is None:
        return Figure(None, "–", "", "")
    ends = (
        f"{_number(cell.low)} to {_number(cell.high)}"
        if cell.low is not None and cell.high is not None
        else ""
    )
    worse = cell.better_than_gaussian is False
    remark = "not better than the centered Gaussian" if worse else ""
    return Figure(cell.value, _number(cell.value), ends, remark)


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"


def _chart(evaluation: Evaluation, metric: MetricRecord) -> Chart:
    """The mean curves of a metric, those of the methods in colors."""
    lines, methods, baselines = [], 0, 0
    for subject in evaluation.summary.subjects:
        style = f"baseline b{baselines % 4}" if subject.baseline else line_style(methods)
        methods += not subject.baseline
        baselines += subject.baseline
        cell = evaluation.summary.cell(subject.key, metric.name)
        if cell is not None and len(cell.curve) > 1:
            at = _places(evaluation, subject, metric, len(cell.curve))
            lines.append(Line(subject.title, style, tuple(zip(at, cell.curve, strict=True))))
    return Chart(
        metric.title[:1].upper() + metric.title[1:],
        f"The mean curve of {metric.title} for {len(lines)} maps; the table has its areas.",
        metric.curve_over,
        metric.title,
        tuple(lines),
        y=bounds(lines),
    )


def _places(
    evaluation: Evaluation, subject: SubjectRecord, metric: MetricRecord, count: int
) -> list[float]:
    """Where the values of a curve stand: at the shares that the metric names, or at equal steps."""
    for image in evaluation.images:
        one = image.measurements.get(subject.key, {}).get(metric.name)
        if one is not None and one.curve:
            shares = one.details.get("shares")
            if isinstance(shares, list | tuple) and len(shares) == count:
                return [float(share) for share in shares]
            break
    return [step / (count - 1) for step in range(count)]


def _agreement(
    summary: EvaluationRecord, methods: Sequence[SubjectRecord]
) -> tuple[tuple[float | None, ...], ...]:
    found = {(one.a, one.b): one.value for one in summary.agreement}
    found.update({(b, a): value for (a, b), value in list(found.items())})
    return tuple(
        tuple(1.0 if a.key == b.key else found.get((a.key, b.key)) for b in methods)
        for a in methods
    )
