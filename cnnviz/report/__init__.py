"""A page about a run: its images, which classes were confused, and where the network looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnviz.report.build import build_report as build_report

__all__ = ["build_report"]


def __getattr__(name: str) -> object:
    # Late, so that a run that only makes thumbnails does not import what templates need.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnnviz.report import build

    return getattr(build, name)
