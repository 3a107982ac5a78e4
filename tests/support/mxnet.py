"""MXNet, for tests of what only it can do, and of networks that are made with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.capabilities import CAPABILITIES


def import_mxnet() -> Any:
    """MXNet, as cnnviz imports it.

    Where it is not installed the test that calls this is skipped; at the top of a module, all of
    its tests.
    """
    mxnet = CAPABILITIES["mxnet"]
    if not mxnet.present():
        pytest.skip(mxnet.reason, allow_module_level=True)
    from cnnviz.engines.mxnet import runtime

    return runtime.import_mxnet()
