"""What ``cnnviz explain`` prints: of the run before it starts, of each image, of the whole."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import click

from cnnviz.cli.console import Printing, json_line, name_engine, name_weights, say
from cnnviz.text import counted, joined, listed, printable_path

if TYPE_CHECKING:
    from tqdm import tqdm

    from cnnviz.attribution import PassCount
    from cnnviz.explainer import Explainer
    from cnnviz.labels.scores import Score, Similarity
    from cnnviz.runs.image_records import ImageRecord
    from cnnviz.runs.records import ScannedRecord
    from cnnviz.runs.request import RunRequest
    from cnnviz.runs.session import RunResult
    from cnnviz.runs.supervisor import WorkerState
    from cnnviz.storage.paths import AnyPath

#: Number of confusions listed at the end; the manifest has all.
_CONFUSIONS = 5
#: Number of an image's predicted classes that are printed.
_CLASSES = 5
#: How many files are named where there are many.
_NAMED = 3
#: How many images with blank maps are.
_BLANK = 3


def introduce(explainer: Explainer) -> None:
    """Say once what holds for the whole run: network, layer, engine, weights."""
    layers = ", ".join(
        f"{layer.name} ({layer.kind}, {layer.shape_title})" for layer in explainer.layers
    )
    say(f"{explainer.name}, {'layer' if len(explainer.layers) == 1 else 'layers'} {layers}")
    name_engine(explainer.network)
    name_weights(explainer.weights)
    if explainer.spec.channels == "bgr":
        say("blue is fed first, then green, then red; mean and std are taken in that order")
    for note in explainer.notes:
        say(note)


def announce_passes(explainer: Explainer, images: int, targets: int, *, quiet: bool) -> int:
    """Say what passes methods ask for beyond the one that all share; how many there will be."""
    passes = explainer.passes()
    if not quiet:
        for key, each in passes.items():
            say(f"{key}: passes per image: {passes_told(each, targets)}")
    return sum(each.total(targets) for each in passes.values()) * images


def passes_told(count: PassCount, targets: int = 1) -> str:
    """Passes for one image, in words: ``196 (forward) and 25 (forward and backward)``."""
    kinds = (
        (count.forwards, "forward"),
        (count.backwards, "forward and backward" + (", each target" if targets > 1 else "")),
        (count.partial, "forward, from the layer on"),
    )
    return " and ".join(f"{number:,} ({kind})" for number, kind in kinds if number)


class _Record(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def remark(self) -> str | None: ...


RecordT = TypeVar("RecordT", bound=_Record)
RecordT_co = TypeVar("RecordT_co", bound=_Record, covariant=True)


class _Outcome(Protocol[RecordT_co]):
    @property
    def record(self) -> RecordT_co: ...


class Printer(ABC, Generic[RecordT]):
    """Prints each outcome; on a terminal without tearing the progress bar.

    What a worker before this one has printed is left out.
    """

    def __init__(self, bar: tqdm[Any], worker: WorkerState | None, printing: Printing) -> None:
        """Args: the progress bar, what this process knows of others, and what is printed."""
        self._bar = bar
        self._worker = worker
        self._printing = printing

    def __call__(self, outcome: _Outcome[RecordT]) -> None:
        """Print one."""
        if self._worker is None or not self._worker.already_reported():
            self._print(outcome.record)
        if self._worker is not None:
            self._worker.record_report()

    def _print(self, image: RecordT) -> None:
        if image.error is not None:
            self._write(f"Error: {image.path}: {image.error}", sys.stderr)
        if self._printing.quiet:
            return
        if image.remark is not None:
            self._write(f"{image.path}: {image.remark}", sys.stderr)
        self._tell(image)

    @abstractmethod
    def _tell(self, image: RecordT) -> None:
        """Print what was found out, unless nothing but errors shall be printed."""

    def _write(self, text: str, stream: Any) -> None:
        with self._bar.external_write_mode(file=stream):
            click.echo(text, file=stream)


class OutcomePrinter(Printer["ImageRecord"]):
    """Prints what was found out about each image that was explained."""

    def __init__(
        self,
        bar: tqdm[Any],
        worker: WorkerState | None,
        printing: Printing,
        output: AnyPath,
        layers: Sequence[str],
    ) -> None:
        """Args: as above, where files are written, and the names of the layers looked at."""
        super().__init__(bar, worker, printing)
        self._output = output
        self._layers = layers
        self._blank = 0

    def _tell(self, image: ImageRecord) -> None:
        if image.blank:
            self._blank += 1
            if self._blank <= _BLANK:
                self._tell_blank(image)
        if self._printing.as_json:
            from cnnviz.runs.records import json_record

            self._write(json_line(json_record(image, self._output, self._layers)), sys.stdout)
        elif image.ok:
            self._write(self._line(image), sys.stdout)

    def _tell_blank(self, image: ImageRecord) -> None:
        """A line for all targets whose same maps are blank."""
        targets: dict[tuple[str, ...], list[str]] = {}
        for one in image.explanations:
            if one.blank:
                targets.setdefault(one.blank, []).append(_brief(one.target))
        for maps, named in targets.items():
            self._write(
                f"{image.path}: {', '.join(maps)} blank: nothing in this layer speaks for "
                f"{joined(named)}. Try another --layer or --target.",
                sys.stderr,
            )

    def _line(self, image: ImageRecord) -> str:
        best = image.prediction
        line = f"{image.path}: {_predicted(image)}"
        if image.correct is False and image.ground_truth is not None:
            line += f", incorrect: the true class is {_named(image.ground_truth)}"
        elif image.correct is False and image.true_classes is not None:
            true = ", ".join(map(_named, image.true_classes.positive))
            line += f"; incorrect: the true classes are {true or 'none'}"
        targets = [one.target for one in image.explanations]
        if targets != [best]:
            line += f"; explained: {', '.join(map(_named, targets)) or 'nothing'}"
        if self._printing.verbose:
            line += "".join(f"\n    {_named(score)}" for score in image.top5)
            if image.relus_guided is not None:
                line += "\n    {} of {} ReLUs guided".format(*image.relus_guided)
            for one in image.explanations:
                line += "".join(
                    f"\n    {key} of {_brief(one.target, 'class')}: {_told(found)}"
                    for key, found in one.diagnostics.items()
                )
        return line


def _predicted(image: ImageRecord) -> str:
    """The predicted class or, where an image may belong to several, all that are above 0.5."""
    several = image.predicted_classes
    if several is None:
        return _named(image.prediction)
    if not several:
        return f"no class above 0.5, the highest is {_named(image.prediction)}"
    return listed(map(_named, several), _CLASSES)


def _told(diagnostics: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in diagnostics.items()
    )


def _brief(target: Score | Similarity, kind: str | None = None) -> str:
    """``class 281``, or ``similarity to dog.jpg``."""
    from cnnviz.labels.scores import Similarity

    if isinstance(target, Similarity):
        return target.title
    return f"{kind or target.kind} {target.index}"


def _named(score: Score | Similarity) -> str:
    """``tabby, tabby cat (281) 0.87``; a class without a name is ``class 281 0.87``.

    Of a network that gives numbers: ``age (0) 38.2`` or ``output 0 38.2``.
    """
    from cnnviz.labels.scores import Similarity

    if isinstance(score, Similarity):
        return score.prediction
    said = f"{score.logit:.4g}" if score.probability is None else f"{score.probability:.2f}"
    return f"{score.title} {said}"


class _Ran(Protocol):
    @property
    def request(self) -> RunRequest: ...
    @property
    def scanned(self) -> ScannedRecord | None: ...


def sum_up(session: _Ran, result: RunResult, seconds: float) -> None:
    """Say what became of the run as a whole."""
    output, ended = session.request.output, result.report
    failed = f", {ended.failed} failed" if ended.failed else ""
    resumed = f" ({ended.resumed} of them already done)" if ended.resumed else ""
    part = session.request.execution.shard
    said = "" if part is None else f"{part}: "
    say(f"{said}{ended.done} explained{resumed}{failed}, in {seconds:.1f} s; written to {output}")
    looked, accuracy = session.scanned, ended.accuracy
    if ended.blank > _BLANK:
        say(
            f"{ended.blank} of {ended.done} images have a blank map; only the first {_BLANK} are "
            "named above, the manifest and --report have all"
        )
    _sum_up_several(session, result)
    if looked is not None and looked.accuracy is not None:
        say(
            f"of {looked.images} images looked at, {looked.correct} correct and "
            f"{looked.incorrect} incorrect: accuracy {100 * looked.accuracy:.1f}%; of those "
            f"explained, {accuracy.correct} correct and {accuracy.incorrect} incorrect"
        )
    elif accuracy.share is not None:
        say(
            f"{accuracy.correct} correct and {accuracy.incorrect} incorrect: "
            f"accuracy {100 * accuracy.share:.1f}%"
        )
    for truth, predicted, count in accuracy.confusions[:_CONFUSIONS]:
        say(f"    {count} x {ended.names[truth]} predicted as {ended.names[predicted]}")
    if result.left_behind:
        count = len(result.left_behind)
        say(
            f"{output} still has {counted(count, 'file')} of earlier runs that its "
            f"manifest no longer names: {_some(result.left_behind)}"
        )
    if result.displaced:
        say(
            "files of other images from an earlier run, which had the same names, were replaced: "
            f"{_some(result.displaced)}"
        )
    if session.request.files.report and part is None:
        say(f"report: {output / 'index.html'}")


def _sum_up_several(session: _Ran, result: RunResult) -> None:
    """Say how good the predictions are of a network whose classes do not exclude one another."""
    looked, ranked = session.scanned, result.report.multi_label
    if looked is not None and looked.mean_average_precision is not None:
        say(
            f"of {looked.images} images looked at: mean average precision "
            f"{looked.mean_average_precision:.4f}; exactly the true classes above 0.5 in "
            f"{looked.correct}, not in {looked.incorrect}"
        )
        return
    mean, classes = ranked.mean(), ranked.by_class()
    if not classes:
        return
    known = ranked.correct + ranked.incorrect
    with_positives = sum(one.positives > 0 for one in classes)
    said = "none, for no image has a true class" if mean is None else f"{mean:.4f}"
    say(
        f"mean average precision {said}; over {with_positives} of {len(classes)} classes, those "
        f"with images, and {counted(known, 'image')}"
    )
    say(f"exactly the true classes are above 0.5 in {ranked.correct} of {counted(known, 'image')}")


def _some(names: Sequence[str]) -> str:
    """The first of the names."""
    return listed(map(printable_path, names), _NAMED)
