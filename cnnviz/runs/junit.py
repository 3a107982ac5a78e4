"""The verdict on a run as a JUnit file, which GitLab, Jenkins and others show as tests.

There is no standard, but a set of elements that all of them read: ``testsuites`` with one
``testsuite``, its ``testcase`` elements, and ``failure`` in those that failed.
"""

from __future__ import annotations

from datetime import timezone
from xml.etree import ElementTree

from cnnviz.runs.checked import CheckedRun
from cnnviz.text import printable


def to_junit(run: CheckedRun) -> str:
    """The file: a test case for each threshold, and one for each image.

    Characters that XML cannot hold are escaped as in a terminal: ``\\x1b``.
    """
    counts = {
        "tests": str(len(run.verdicts) + len(run.images)),
        "failures": str(len(run.unmet) + len(run.failed)),
        "errors": "0",
        "skipped": "0",
        "time": f"{run.seconds:.3f}",
    }
    started = run.started.astimezone(timezone.utc)  # the schema has no time zones
    root = ElementTree.Element("testsuites", {"name": "cnnviz", **counts})
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": f"cnnviz {run.command}",
            **counts,
            "timestamp": started.replace(tzinfo=None).isoformat(timespec="seconds"),
        },
    )
    group = f"cnnviz.{run.command}"
    for verdict in run.verdicts:
        title = f"{verdict.threshold.about} {verdict.demand}"
        problem = None if verdict.met else verdict.sentence
        _case(suite, f"{group}.thresholds", printable(title), 0, problem)
    for image in run.images:
        _case(suite, f"{group}.images", printable(image.path), image.seconds, image.error)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode")


def _case(
    suite: ElementTree.Element, group: str, name: str, seconds: float, problem: str | None
) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": group, "name": name, "time": f"{seconds:.3f}"}
    )
    if problem is not None:
        said = printable(problem)
        failure = ElementTree.SubElement(case, "failure", {"message": said, "type": group})
        failure.text = said
