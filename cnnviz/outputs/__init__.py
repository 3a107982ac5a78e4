"""What is written: names that never collide, and files that are complete or not there."""

from __future__ import annotations

from cnnviz.outputs.files import (
    OutputFolder,
    check_output_folder,
    write_diagram,
    write_gif,
    write_html,
    write_jpeg,
    write_json,
    write_npz,
    write_png,
)
from cnnviz.outputs.naming import OutputStem, plan

__all__ = [
    "OutputFolder",
    "OutputStem",
    "check_output_folder",
    "plan",
    "write_diagram",
    "write_gif",
    "write_html",
    "write_jpeg",
    "write_json",
    "write_npz",
    "write_png",
]
