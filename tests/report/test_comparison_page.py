"""The page of a comparison as text: what it says, what cannot break out of it, where links lead."""

from __future__ import annotations

import re

from tests.report.comparisons import built, two_runs
from tests.report.test_build import words


def test_it_says_what_was_found(tmp_path):
    page = built(tmp_path, *two_runs())
    assert page == tmp_path / "changes" / "index.html"
    text = words(page.read_text())
    assert "What changed from vgg16 to vgg19" in text
    assert re.search("✓ fixed A is wrong, B is right 1 16.7%", text)
