"""``cnnviz explain``: the main job."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.options import BatchSize, Choice, PictureSize, model_options
from cnnviz.errors import UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

    from cnnviz.explainer import Explainer, Score
    from cnnviz.pipeline import Outcome


@click.command(name="explain")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="explanations",
    show_default=True,
    metavar="DIR",
    help="Where to write; made if it is not there.",
)
@model_options
@click.option("--layer", metavar="NAME", help="The layer to look at; `cnnviz layers` lists them.")
@click.option(
    "--target",
    default="top1",
    show_default=True,
    metavar="CLASS",
    help="What to explain: a class index or name (a unique part will do), or top1, the network's "
    "own answer.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=Choice("cnnviz.attribution:METHODS", "NAME"),
    help="gradcam, guided-gradcam, saliency (these three by default) or guided-backprop; "
    "repeatable.",
)
@click.option(
    "--saliency",
    type=Choice("cnnviz.attribution:Saliency.SOURCES", "SOURCE"),
    default="guided-gradcam",
    show_default=True,
    help="What the saliency map is the magnitude of: guided-gradcam, gradient, guided, deconvnet.",
)
@click.option(
    "--resize",
    type=Choice("cnnviz.preprocessing:RESIZE_MODES", "MODE"),
    default="stretch",
    show_default=True,
    help="How a picture is brought to the network's size: stretch, or crop (its short side is "
    "resized and the centre cut out).",
)
@click.option(
    "--size",
    type=PictureSize(),
    default="default",
    help="Long side of the pictures written, in pixels; full: the original's size; model: the "
    "network's. By default the original's, at most 1024.",
)
@click.option(
    "--colormap",
    type=Choice("cnnviz.render:COLORMAPS", "NAME"),
    default="jet",
    show_default=True,
    help="Colours of the Grad-CAM overlay: jet, turbo, viridis, inferno, ...",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.4,
    show_default=True,
    help="Strength of the overlay, from 0 (picture) to 1 (colours).",
)
@click.option("--arrays", is_flag=True, help="Also write the raw maps, one .npz a picture.")
@click.option(
    "--batch-size",
    type=BatchSize(),
    default="2",
    show_default=True,
    help="Pictures that go through the network together; auto: up to 8, as memory allows.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a picture.")
@click.option("--verbose", "-v", is_flag=True, help="Print each picture's five highest classes.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def command(**options: Any) -> int:
    """Explain pictures: what the network sees in each, and where it looked.

    INPUT is a picture, a folder (with all below it), or - for paths on standard input. For
    photos/cat.jpg this writes cat_original.png, cat_gradcam.png, cat_guided_gradcam.png and
    cat_saliency.png.
    """
    return _explain(**options)


def _explain(
    *,
    inputs: tuple[str, ...],
    output: Path,
    model: str,
    weights: str | None,
    labels: str | None,
    ctx: str,
    threads: int | None,
    layer: str | None,
    target: str,
    methods: tuple[str, ...],
    saliency: str,
    resize: str,
    size: str | int,
    colormap: str,
    alpha: float,
    arrays: bool,
    batch_size: str | int,
    as_json: bool,
    verbose: bool,
    quiet: bool,
) -> int:
    if as_json and quiet:
        raise UsageError("--json prints and --quiet does not: choose one.")
    # What can be known to be wrong is told first, cheapest first, and weights come last.
    from cnnviz.attribution import DEFAULT_METHODS
    from cnnviz.explainer import Style, choose_methods
    from cnnviz.inputs import find_pictures
    from cnnviz.loader import load_explainer
    from cnnviz.models import catalog, store
    from cnnviz.models.labels import read_labels, resolve_target
    from cnnviz.network.runtime import (
        available_cores,
        keep_freed_memory,
        parse_device,
        set_threads,
    )
    from cnnviz.outputs import check_output_folder
    from cnnviz.pipeline import Run, automatic_batch_size

    entry = catalog.get(model)
    parse_device(ctx)
    names = catalog.labels(entry) if labels is None else read_labels(Path(labels))
    index = resolve_target(target, names, len(names))
    chosen = choose_methods(methods or DEFAULT_METHODS, saliency)
    style = Style(size, colormap, alpha)
    check_output_folder(output)
    sources = find_pictures(inputs, exclude=output)
    if threads is not None:
        set_threads(threads)
        if threads > available_cores() and not quiet:
            _say(
                f"--threads {threads} is more than the {available_cores()} cores that this process "
                "may use: expect it to be slower, not faster."
            )
    keep_freed_memory()
    store.digest_ahead(model, None if weights is None else Path(weights))
    explainer = load_explainer(
        model,
        weights=weights,
        labels=names,
        ctx=ctx,
        layer=layer,
        methods=chosen,
        resize=resize,
        progress=not quiet,
        notify=None if quiet else _say,
    )
    if batch_size == "auto":
        batch_size = automatic_batch_size(explainer, len(sources), style.size)
    if not quiet:
        _introduce(explainer)
    run = Run(explainer, sources, output, style, index, int(batch_size), arrays)
    began = time.monotonic()
    with _progress(len(sources), hidden=quiet) as bar:
        printer = _Printer(bar, as_json=as_json, verbose=verbose, quiet=quiet)
        with _Interrupt() as interrupt:

            def observe(outcome: Outcome) -> None:
                printer(outcome)
                interrupt.heed()

            report = run.execute(observe)
    if not quiet:
        failed = f", {report.failed} failed" if report.failed else ""
        _say(
            f"{report.done} explained{failed}, in {time.monotonic() - began:.1f} s; "
            f"written to {output}"
        )
    return report.exit_code


def _introduce(explainer: Explainer) -> None:
    """Say once what holds for the whole run: network, device, layer, weights."""
    from cnnviz.network.architecture import shape_text

    layer, entry, weights = explainer.layer, explainer.entry, explainer.weights
    _say(
        f"{entry.name if entry else 'network'} on {explainer.network.device}, "
        f"layer {layer.name} ({layer.kind}, {shape_text(layer.shape)})"
    )
    if weights is not None:
        _say(f"weights {weights.path} ({weights.source}), SHA-256 {weights.sha256}")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _progress(total: int, *, hidden: bool) -> tqdm[Any]:
    from tqdm import tqdm

    # One picture needs no bar; disable=None hides it where stderr is no terminal.
    return tqdm(
        total=total, unit="picture", leave=False, disable=True if hidden or total < 2 else None
    )


class _Interrupt:
    """Takes note of Ctrl-C, which is heeded after the picture in hand; a second one is at once.

    Python raises KeyboardInterrupt wherever the program happens to be, and drops it if that is a
    destructor. Those of MXNet's arrays run all the time: one Ctrl-C in fifteen was lost.
    """

    def __enter__(self) -> _Interrupt:
        self._asked = False
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():  # no other can set handlers
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def heed(self) -> None:
        """Raise the KeyboardInterrupt that was noted, once."""
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt


class _Printer:
    """Prints each outcome; on a terminal without tearing the progress bar."""

    def __init__(self, bar: tqdm[Any], *, as_json: bool, verbose: bool, quiet: bool) -> None:
        self._bar = bar
        self._as_json = as_json
        self._verbose = verbose
        self._quiet = quiet

    def __call__(self, outcome: Outcome) -> None:
        self._bar.update()
        if outcome.error is not None:
            self._write(f"Error: {outcome.source.shown}: {outcome.error}", sys.stderr)
        elif outcome.blank and not self._quiet:
            self._write(
                f"{outcome.source.shown}: {', '.join(outcome.blank)} blank: nothing in this layer "
                "speaks for the class. Try another --layer or --target.",
                sys.stderr,
            )
        if self._quiet:
            return
        if self._as_json:
            self._write(json.dumps(outcome.record(), ensure_ascii=False), sys.stdout)
        elif outcome.explanation is not None:
            self._write(self._line(outcome), sys.stdout)

    def _line(self, outcome: Outcome) -> str:
        explanation = outcome.explanation
        assert explanation is not None  # the caller's condition
        best, *_ = top = explanation.top()
        line = f"{outcome.source.shown}: {_named(best)}"
        if explanation.target != best.index:
            line += f"; explained: {_named(explanation.score(explanation.target))}"
        if self._verbose:
            line += "".join(f"\n    {_named(score)}" for score in top)
            if explanation.relus is not None:
                line += "\n    {} of {} ReLUs guided".format(*explanation.relus)
        return line

    def _write(self, text: str, stream: Any) -> None:
        with self._bar.external_write_mode(file=stream):
            click.echo(text, file=stream)


def _named(score: Score) -> str:
    """``tabby, tabby cat (281) 0.87``; a class without a name is ``class 281 0.87``."""
    if score.name is None:
        return f"class {score.index} {score.probability:.2f}"
    return f"{score.name} ({score.index}) {score.probability:.2f}"
