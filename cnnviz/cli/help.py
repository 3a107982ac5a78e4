"""Help that can be read at a glance: options under headings, and examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

#: How wide help may become on a wide terminal.
WIDTH = 110

_WIDEST_EXAMPLE = 60

#: What options are about, in the order of the help, by the names of their parameters.
HEADINGS: dict[str, tuple[str, ...]] = {
    "Input": ("truth", "boxes", "masks", "max_pixels"),
    "Network": ("named", "model", "weights", "labels", "head", "activation"),
    "Preprocessing": (
        "input_size",
        "mean",
        "std",
        "channels",
        "range",
        "resize",
        "crop_fraction",
        "interpolation",
        "display_channels",
    ),
    "What to {task}": (
        *("targets", "contrasts", "methods", "options", "relu", "saliency"),
        *("metrics", "metric_options"),
        *("layers", "layer", "maximized", "place", "top", "by", "slices"),
    ),
    "Ascent": ("steps", "rate", "jitter", "zoom", "views", "window", "blur", "tv", "l2", "seed"),
    "Look": ("size", "colormap", "alpha", "overlay", "scale"),
    "Output": (
        *("output", "format", "arrays", "panel", "evaluate", "report", "title", "single_file"),
        *("diagram", "frames", "gif", "every"),
        *("as_json", "verbose", "quiet"),
    ),
    "Which images": ("only", "sort", "limit", "shard", "runner", "force"),
    "For scripts": (
        *("fail_under", "fail_if_worse", "max_share", "metric_limits"),
        *("summary", "junit"),
    ),
    "Run": ("device", "engine", "precision", "threads", "batch_size", "fail_fast"),
}


class SectionedCommand(click.Command):
    """A command whose help has its options under headings, and examples."""

    def __init__(
        self,
        *args: Any,
        task: str = "show",
        examples: Sequence[tuple[str, str]] = (),
        **kwargs: Any,
    ) -> None:
        """``task`` is a verb for what it does; ``examples`` are commands and what each is for."""
        super().__init__(*args, **kwargs)
        self.task = task
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its heading, and then the examples."""
        rows = {
            option.name: record
            for option in self.get_params(ctx)
            if isinstance(option, click.Option)
            and (record := option.get_help_record(ctx)) is not None
        }
        *sections, (last, names) = HEADINGS.items()
        for heading, own in sections:
            self._write(formatter, heading, [rows.pop(name) for name in own if name in rows])
        # --help, whose name differs between versions of click, and what has no heading.
        self._write(
            formatter, last, [rows.pop(name) for name in names if name in rows] + [*rows.values()]
        )
        if self.examples:
            with formatter.section("Examples"):
                formatter.write_dl(self.examples, col_max=_WIDEST_EXAMPLE)

    def _write(
        self, formatter: click.HelpFormatter, heading: str, rows: list[tuple[str, str]]
    ) -> None:
        if rows:
            with formatter.section(heading.format(task=self.task)):
                formatter.write_dl(rows)
