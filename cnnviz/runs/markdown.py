"""The summary of a run in Markdown, as GitHub and GitLab show it in a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from cnnviz.runs.checked import CheckedImage, CheckedRun
from cnnviz.runs.thresholds import told
from cnnviz.text import counted, printable

_FAILED = 10
"""How many failed images are named."""

#: What would begin or end something else in a line of text, or in a cell of a table.
_MARKUP = r"[\\`*_{}\[\]<>|~$&]"
#: What names people, issues and merge requests, also where it is written as an entity.
_REFERENCE = r"[@#!]"
#: What a code span in a table cannot hold.
_NOT_IN_SPAN = r"[`|\\]"


def to_markdown(run: CheckedRun) -> str:
    """The summary: what was found, figures and thresholds, the worst images, what failed."""
    return "\n\n".join(_blocks(run)) + "\n"


def _blocks(run: CheckedRun) -> Iterator[str]:
    met = len(run.verdicts) - len(run.unmet)
    verdict = f"{met} of {counted(len(run.verdicts), 'threshold')} met"
    images = counted(len(run.images), "image")
    yield f"## cnnviz {run.command}: {verdict if run.verdicts else images}"
    if run.unmet:
        yield "\n".join(f"- **Not met:** {text(one.sentence)}" for one in run.unmet)
    yield " ".join(map(text, run.findings))
    if rows := list(_figures(run)):
        yield table(("figure", "value", "over", "demanded", ""), rows, right=1)
    if run.worst:
        yield "### The highest loss"
        rows = [
            (name(one.path), text(one.prediction), text(one.truth), f"{one.loss:.4g}")
            for one in run.worst
        ]
        yield table(("image", "predicted", "true", "loss"), rows, right=3)
    if run.failed:
        yield from _failures(run.failed)


def _figures(run: CheckedRun) -> Iterator[tuple[str, ...]]:
    """A row for each threshold, and one for each figure that has none."""
    for figure in run.figures:
        verdicts = [verdict for verdict in run.verdicts if verdict.figure == figure]
        for one in verdicts:
            value = "" if figure.value is None else told(figure.value, one.threshold.limit)
            met = "met" if one.met else "**not met**"
            yield text(figure.title), value, text(figure.over), one.demand, met
        if not verdicts and figure.value is not None:
            yield text(figure.title), told(figure.value), text(figure.over), "", ""


def _failures(failed: list[CheckedImage]) -> Iterator[str]:
    yield "### Failed"
    rows = [(name(one.path), text(one.error or "")) for one in failed[:_FAILED]]
    yield table(("image", "reason"), rows)
    if len(failed) > _FAILED:
        yield f"{counted(len(failed) - _FAILED, 'more image')} failed."


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], right: int | None = None) -> str:
    """A table of escaped cells; ``right`` is the column of numbers."""
    rule = ["--:" if column == right else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def name(path: str) -> str:
    """A file's name, literally, as code in the cell of a table."""
    shown = printable(path)
    if not re.search(_NOT_IN_SPAN, shown):
        return f"`{shown}`"
    # Nothing can be escaped within a code span.
    return f"<code>{re.sub('[^A-Za-z0-9 /-]', _entity, shown)}</code>"


def text(words: str) -> str:
    """Text that means itself, in a line or the cell of a table: no markup, no mentions."""

    def escaped(sign: re.Match[str]) -> str:
        return f"{sign[0]}<!-- -->" if re.match(_REFERENCE, sign[0]) else _entity(sign)

    return re.sub(f"{_MARKUP}|{_REFERENCE}", escaped, printable(words))


def _entity(sign: re.Match[str]) -> str:
    return f"&#{ord(sign[0])};"
