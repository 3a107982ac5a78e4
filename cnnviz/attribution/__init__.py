"""Attribution: methods that say which pixels a network's score comes from, see :mod:`.registry`."""

from __future__ import annotations

from cnnviz.attribution.base import Attribution, Method
from cnnviz.attribution.context import AttributionContext, collect
from cnnviz.attribution.options import options_of
from cnnviz.attribution.queries import ModelQueries, PassCount
from cnnviz.attribution.registry import (
    DEFAULT_METHODS,
    METHODS,
    check_unguided,
    choose_methods,
    missing_relus,
)

__all__ = [
    "DEFAULT_METHODS",
    "METHODS",
    "Attribution",
    "AttributionContext",
    "Method",
    "ModelQueries",
    "PassCount",
    "check_unguided",
    "choose_methods",
    "collect",
    "missing_relus",
    "options_of",
]
