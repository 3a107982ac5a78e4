"""What is written for pull requests and for servers that show tests."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

import pytest

from cnnviz.runs.checked import CheckedImage, CheckedRun, WorstImage
from cnnviz.runs.junit import to_junit
from cnnviz.runs.markdown import name, text, to_markdown
from cnnviz.runs.thresholds import FAIL_UNDER, MAX_SHARE, Figure, Threshold, judge

ACCURACY = Figure("accuracy", "accuracy", 2 / 3, 3)
TOP5 = Figure("top5", "top-5 accuracy", 1.0, 3)
CORNER = Figure("corner", "evidence in the top-left corner", 0.25, 3, "lower")
NOTHING = Figure("map", "mean average precision", None, 0, reason="no image has a true class")
FIGURES = (ACCURACY, TOP5, CORNER, NOTHING)
THRESHOLDS = (Threshold(FAIL_UNDER, "accuracy", 0.9), Threshold(MAX_SHARE, "corner", 0.3))
BAD = "a|b`<b>\\|`_*\x1b\ud8ff\udcff.png"


def run(**changes):
    """Three images, one of which failed."""
    values = {
        "command": "explain",
        "started": datetime(2026, 11, 28, 6, 0, 5, tzinfo=timezone(timedelta(hours=2))),
        "seconds": 12.3456,
        "findings": ("2 images explained, 1 failed.", "net, MXNet 1.9.1 on cpu."),
        "figures": FIGURES,
        "verdicts": judge(THRESHOLDS, FIGURES),
        "images": (
            CheckedImage("p/a.png", 0.31, None),
            CheckedImage("p/b.png", 0.29, None),
            CheckedImage(BAD, 0.01, "It is no image:\x00 <empty>."),
        ),
        "worst": (WorstImage("p/b.png", "tabby, tabby cat (1) 0.90", "dog (2)", 3.14159),),
    }
    return CheckedRun(**{**values, **changes})


def cells(row):
    """What GitHub splits a row into: at bars without a backslash."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_the_summary_begins_with_the_verdict():
    lines = to_markdown(run()).splitlines()
    assert lines[0] == "## cnnviz explain: 1 of 2 thresholds met"
    assert lines[2].startswith("- **Not met:** accuracy: 0.6667 over 3 images; at least 0.9 was")
    assert lines[4] == "2 images explained, 1 failed. net, MXNet 1.9.1 on cpu."
    assert to_markdown(run(verdicts=())).startswith("## cnnviz explain: 3 images\n")


def test_the_summary_has_a_row_for_each_figure():
    rows = [cells(line) for line in to_markdown(run()).splitlines() if line.startswith("|")]
    assert rows[0] == ["figure", "value", "over", "demanded", ""]
    assert rows[1] == ["---", "--:", "---", "---", "---"]
    assert rows[2:5] == [
        ["accuracy", "0.6667", "3 images", "at least 0.9", "**not met**"],
        ["top-5 accuracy", "1", "3 images", "", ""],
        ["evidence in the top-left corner", "0.25", "3 images", "at most 0.3", "met"],
    ]
    # What was neither measured nor demanded is left out.
    assert rows[5] == ["image", "predicted", "true", "loss"]
    assert rows[7] == ["`p/b.png`", "tabby, tabby cat (1) 0.90", "dog (2)", "3.142"]
    assert rows[8] == ["image", "reason"]
    assert [len(row) for row in rows[8:]] == [2, 2, 2]
    assert rows[10][1] == "It is no image:&#92;x00 &#60;empty&#62;."


def test_what_was_demanded_and_not_measured_is_there():
    thresholds = [Threshold(FAIL_UNDER, "map", 0.5)]
    page = to_markdown(run(verdicts=judge(thresholds, FIGURES)))
    assert "| mean average precision |  | 0 images | at least 0.5 | **not met** |" in page
    assert "could not be measured, because no image has a true class" in page


def test_many_failures_are_counted():
    failed = tuple(CheckedImage(f"{i}.png", 0.0, "It is empty.") for i in range(13))
    page = to_markdown(run(images=failed))
    assert page.count("It is empty.") == 10
    assert page.endswith("\n\n3 more images failed.\n")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("a_b*c<b>&@me #12.png", "`a_b*c<b>&@me #12.png`"),
        ("a|b.png", "<code>a&#124;b&#46;png</code>"),
        ("a`b", "<code>a&#96;b</code>"),
        ("a\nb", "<code>a&#92;nb</code>"),
        (b"\xff".decode("utf-8", "surrogateescape"), "<code>&#92;xff</code>"),
        ("café", "`café`"),
    ],
)
def test_names_of_files_are_code(path, code):
    assert name(path) == code


def test_text_is_no_markup_and_mentions_nobody():
    assert text("a|b `c` <i> _d_ *e* [f](g) $h$ ~~i~~") == (
        "a&#124;b &#96;c&#96; &#60;i&#62; &#95;d&#95; &#42;e&#42; &#91;f&#93;(g) &#36;h&#36; "
        "&#126;&#126;i&#126;&#126;"
    )
    assert text("@all #12 !3 &amp;") == "@<!-- -->all #<!-- -->12 !<!-- -->3 &#38;amp;"
    assert text("tabby, tabby cat (281) 0.87") == "tabby, tabby cat (281) 0.87"


def test_junit_by_hand():
    root = ElementTree.fromstring(to_junit(run()).encode("utf-8"))
    assert root.tag == "testsuites"
    (suite,) = root
    assert suite.attrib == {
        "name": "cnnviz explain",
        "tests": "5",
        "failures": "2",
        "errors": "0",
        "skipped": "0",
        "time": "12.346",
        "timestamp": "2026-11-28T04:00:05",
    }
    assert [case.attrib for case in suite] == [
        {"classname": f"cnnviz.explain.{group}", "name": title, "time": time}
        for group, title, time in (
            ("thresholds", "accuracy at least 0.9", "0.000"),
            ("thresholds", "corner at most 0.3", "0.000"),
            ("images", "p/a.png", "0.310"),
            ("images", "p/b.png", "0.290"),
            ("images", "a|b`<b>\\|`_*\\x1b\\ud8ff\\xff.png", "0.010"),
        )
    ]
    first, failed = (case.find("failure") for case in (suite[0], suite[4]))
    assert first.attrib["message"].startswith("accuracy: 0.6667 over 3 images; at least 0.9 was")
    assert failed.text == failed.attrib["message"] == "It is no image:\\x00 <empty>."
    assert all(len(case) == 0 for case in suite[1:4])


@pytest.mark.parametrize("sign", [*map(chr, range(32)), "\x7f", "\ufffe", "\uffff", "\udc80"])
def test_junit_holds_whatever_a_name_has(sign):
    page = to_junit(run(images=(CheckedImage(f"a{sign}b.png", 0.0, f"bad {sign}"),)))
    (suite,) = ElementTree.fromstring(page.encode("utf-8"))
    assert re.fullmatch(r"a\\\w+b\.png", suite[2].attrib["name"])
