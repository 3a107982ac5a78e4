"""One Chromium for all tests of pages."""

from __future__ import annotations

import pytest

from tests.report.browser import Browser


@pytest.fixture(scope="session")
def chromium():
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def browser(chromium):
    """It, with the window that a module begins with."""
    chromium.look()
    return chromium
