"""A planted shortcut, from the images to the page: the report shows it, a threshold stops it.

So does a comparison with a twin that did not learn it.
"""

from __future__ import annotations

import json
import re
import shutil

from cnnviz.errors import ExitCode
from tests.support.shortcut import CORNER, HELD_OUT, STAMPED, write_shortcut

SENTENCE = re.compile(
    r"<h3>(?:(?!<h3>).)*</span> (?P<title>[^<]*)</h3>(?:(?!<h3>).)*"
    r'<p class="suspicious">(?:(?!<h3>).)*?</strong> (?P<why>[^<]*)</p>',
    re.DOTALL,
)


def explained(cnnviz, tmp_path, *, shortcut):
    """A run over the held-out images, half with the stamp: its page, exit status and errors."""
    paths = write_shortcut(tmp_path / "network", shortcut)
    status, _, err = cnnviz(
        *("explain", paths.photos, "--model", paths.symbol, "--labels", paths.labels),
        *("--input-size", 64, "--truth", "folders", "--method", "gradcam", "--report"),
        *("-o", "run", "--quiet", "--max-share", "corner=0.3"),
    )
    return (tmp_path / "run/index.html").read_text(), status, err


def test_the_stamp_is_named_first(cnnviz, tmp_path):
    page, status, err = explained(cnnviz, tmp_path, shortcut=True)

    assert status == ExitCode.NOT_MET
    assert re.fullmatch(
        r"Threshold not met: evidence in the bottom-right corner: 0\.[0-9]+ over [0-9]+ images "
        rf"predicted as {STAMPED}; at most 0\.3 was demanded \(--max-share corner=0\.3\)\n",
        err,
    )
    found = [match.groupdict() for match in SENTENCE.finditer(page)]
    assert found[0]["title"].endswith(f" predicted as {STAMPED}")
    assert all(STAMPED in one["title"] for one in found)
    for one in found:
        times = re.search(
            r"as much evidence in the bottom-right corner as expected: ([0-9]+)%", one["why"]
        )
        assert times is not None, one
        assert float(times[1]) > 6 * 4  # percent of the area
    # Without the stamp the network looks at the object: nothing is said of those pairs.
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    wrong = {one["top5"][0]["name"] for one in manifest["images"] if one["correct"] is False}
    assert STAMPED in wrong
    assert not any("triangle (correct)" in one["title"] for one in found)


def test_the_clean_twin_is_not_suspected(cnnviz, tmp_path):
    page, status, err = explained(cnnviz, tmp_path, shortcut=False)
    assert (status, err) == (0, "")
    assert "Where it looked, on average" in page
    assert [match["title"] for match in SENTENCE.finditer(page)] == []


def test_a_twin_tells_it_where_accuracy_does_not(cnnviz, tmp_path):
    """On stamped rings both are right: one sees rings, and the other stamps."""
    twin = write_shortcut(tmp_path / "twin", shortcut=False)
    network = write_shortcut(tmp_path / "shortcut", shortcut=True)
    rings = [path for path in network.stamped if path.parent.name == STAMPED]
    for path in rings:
        (tmp_path / "photos" / STAMPED).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "photos" / STAMPED)

    status, _, err = cnnviz(
        *("compare", "photos", "--model", twin.symbol, "--model", network.symbol),
        *("--labels", twin.labels, "--input-size", 64, "--truth", "folders"),
        *("--method", "gradcam", "--quiet", "--fail-if-worse", "accuracy=0"),
        *("--max-share", "elsewhere=0.4"),
    )
    assert status == ExitCode.NOT_MET
    assert len(err.splitlines()) == 1  # of two thresholds
    assert "elsewhere" in err
    summary = json.loads((tmp_path / "comparison/comparison.json").read_text())["summary"]
    assert summary["outcomes"] == {"both_right": HELD_OUT // 2}
    assert summary["accuracy_a"]["value"] == summary["accuracy_b"]["value"] == 1
    assert summary["mcnemar"] == 1
    everything = summary["groups"][0]
    assert everything["elsewhere"] >= 4
    # Of an even map 4 % lie there.
    assert everything["corners_a"][CORNER] < 0.1
    assert everything["corners_b"][CORNER] > 0.35
    page = (tmp_path / "comparison/index.html").read_text()
    assert "A (twin) and B (shortcut) both classify 8 of 8 images correctly, the same ones." in page
    found = re.search(
        r"B looks elsewhere in ([4-8]) of 8 images \(mean rank correlation of the heatmaps "
        r"-?0\.[0-9]{2}\); B has ([0-9]+)% of its evidence in the bottom-right corner, A [0-9]%\.",
        page,
    )
    assert found is not None
