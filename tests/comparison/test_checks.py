"""Which thresholds a comparison can be held to, from what its two sides have."""

from __future__ import annotations

import json

import pytest

from cnnviz.comparison.checks import SideData, check_changes
from cnnviz.comparison.request import CHANGES, ComparisonChecks
from cnnviz.errors import ExitCode, UsageError
from cnnviz.runs.thresholds import FAIL_IF_WORSE, MAX_SHARE, SCORES, Threshold
from tests.report.runs import image, manifest

SINGLE = SideData(truth=True, heatmaps=True, multi_label=False)
SEVERAL = SideData(truth=True, heatmaps=True, multi_label=True)
BLIND = SideData(truth=False, heatmaps=True, multi_label=False)
SIGNED = SideData(truth=True, heatmaps=False, multi_label=False)
OTHERS = tuple(name for name in SCORES if name != "map")


def refused(a, b, *, done=False):
    """The names of thresholds that are refused, each with the sentence."""
    found = {}
    for option, names in ((FAIL_IF_WORSE, SCORES), (MAX_SHARE, CHANGES)):
        for name in names:
            threshold = (Threshold(option, name, 0.01),)
            checks = (
                ComparisonChecks(fail_if_worse=threshold)
                if option == FAIL_IF_WORSE
                else ComparisonChecks(max_share=threshold)
            )
            try:
                check_changes(checks, a, b, done=done)
            except UsageError as error:
                found[name] = str(error)
    return found


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        (SINGLE, SINGLE, {"map"}),
        (SEVERAL, SEVERAL, {*OTHERS}),
        (SINGLE, SEVERAL, {*SCORES}),
        (SEVERAL, SINGLE, {*SCORES}),
        (BLIND, BLIND, {*SCORES, "broken"}),
        (BLIND, SINGLE, {"map"}),  # what B knows holds for A, too
        (SINGLE, SIGNED, {"map", "elsewhere"}),
    ],
)
def test_what_cannot_be_computed_is_refused(a, b, names):
    assert {*refused(a, b)} == {*refused(a, b, done=True)} == names


def test_sentences_say_what_to_do():
    assert refused(BLIND, BLIND)["broken"] == (
        "--max-share broken=0.01 needs the images' true classes: give --truth."
    )
    assert refused(BLIND, BLIND, done=True)["top5"] == (
        "--fail-if-worse top5=0.01 needs the images' true classes: explain A's images again with "
        "--truth."
    )
    assert refused(SINGLE, SIGNED, done=True)["elsewhere"] == (
        "--max-share elsewhere=0.01 needs heatmaps of both A and B: explain B's images again with "
        "--method gradcam."
    )
    assert refused(SINGLE, SEVERAL)["accuracy"] == (
        "--fail-if-worse accuracy=0.01 cannot be computed: an image may belong to several classes "
        "of B, and belongs to one of A. Use --max-share broken."
    )
    assert refused(SEVERAL, SEVERAL)["accuracy"].endswith("Use --fail-if-worse map.")


def test_two_folders(cnnviz, tmp_path):
    """What their records lack is wrong usage, and nothing is written."""
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        text = json.dumps(manifest([image("one.png", 0, 0.9)]))
        (tmp_path / side / "manifest.json").write_text(text)
    status, out, err = cnnviz("compare", "a", "b", "--fail-if-worse", "accuracy=0", "-o", "cmp")
    assert (status, out) == (ExitCode.USAGE, "")
    assert err == (
        "Error: --fail-if-worse accuracy=0 needs the images' true classes: explain A's images "
        "again with --truth.\n"
    )
    assert not (tmp_path / "cmp").exists()
