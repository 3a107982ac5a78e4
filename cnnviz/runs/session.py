"""What a run over images is asked to do, checked step by step, and done.

The order matters to who waits: what is cheap to find wrong is found first, the network's weights
come last, and nothing is written before the network is known to run.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import cv2
import numpy as np

import cnnviz
from cnnviz.attribution import Method, choose_methods
from cnnviz.engines.base import parse_device
from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.errors import FailFastError, UsageError
from cnnviz.explainer import Explainer
from cnnviz.images.inputs import MAX_PIXELS, Source, find_sources
from cnnviz.labels.ground_truth import GroundTruth, read_ground_truth
from cnnviz.labels.predictions import Prediction, select_images
from cnnviz.labels.targets import (
    ClassPair,
    Target,
    is_usual,
    resolve_contrasts,
    resolve_targets,
)
from cnnviz.models import catalog
from cnnviz.models.config import ModelConfig
from cnnviz.models.resolve import find_model, load_model
from cnnviz.outputs import OutputFolder, check_output_folder
from cnnviz.outputs.files import sweep, written_by_cnnviz
from cnnviz.rendering.style import Style
from cnnviz.runs.manifest import (
    MANIFEST,
    VERSION,
    Journal,
    check_manifest,
    digest,
    encode,
    fingerprint,
    manifest_lines,
)
from cnnviz.runs.stream import Outcome, Run, RunReport, automatic_batch_size

Notify = Callable[[str], None] | None


@dataclass(frozen=True)
class Job:
    """A run as it is asked for, in the words of ``cnnviz explain``, whose help explains them.

    Attributes:
        inputs: images, folders, or ``-``.
        output: the folder to write to.
        card: the network.
        ctx: the device.
        layers: the target layers; none for the network's own.
        targets: what to explain in each image.
        contrasts: pairs of classes, ``A:B``.
        methods: their names; none for the usual ones.
        options: of the methods.
        relu: rules.
        resize: how images are brought to the network's size; None for what the card says.
        style: how maps are drawn.
        scale: ``image`` or ``run``.
        arrays: whether to write the raw arrays.
        panel: whether to write a figure of each image.
        report: whether to write a page about all of them.
        truth: ``folders`` or a file, see :func:`cnnviz.labels.ground_truth.read_ground_truth`.
        only: see :func:`cnnviz.labels.predictions.select_images`.
        sort: likewise.
        limit: likewise.
        batch_size: images that share a pass, or ``auto``.
        max_pixels: larger images are refused.
        force: whether to do again what an earlier run did.
        fail_fast: whether the first failure ends the run.
    """

    inputs: tuple[str, ...]
    output: Path
    card: ModelConfig
    ctx: str = "cpu"
    layers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("top1",)
    contrasts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    relu: tuple[str, ...] = ()
    resize: str | None = None
    style: Style = field(default_factory=Style)
    scale: str = "image"
    arrays: bool = False
    panel: bool = False
    report: bool = False
    truth: str | None = None
    only: str | None = None
    sort: str | None = None
    limit: int | None = None
    batch_size: int | str = 2
    max_pixels: int = MAX_PIXELS
    force: bool = False
    fail_fast: bool = False


class Work:
    """A job that was found to be in order, on its way.

    Attributes:
        job: what is asked for.
        sources: the images, in order; those that were chosen, once that is done.
        truth: their classes, if the job says where to find them.
        explainer: the network and the methods, once it is loaded.
        crashed: see :class:`cnnviz.runs.stream.Run`; nothing if nobody says otherwise.
        touch: likewise. If it is there, one image is done at a time.
        left_behind: once it is done, see :meth:`cnnviz.runs.manifest.Journal.left_behind`.
        displaced: likewise, images that an earlier run explained and whose files gave way to those
            of others of the same names.
    """

    explainer: Explainer
    crashed: Mapping[str, int]
    touch: Callable[[str], None] | None
    left_behind: Sequence[str]
    displaced: Sequence[str]

    def __init__(self, job: Job, notify: Notify = None) -> None:
        """Check all that can be checked before MXNet is needed.

        Args:
            job: what is asked for.
            notify: called with a sentence when something is assumed, or there is something to wait
                for.

        Raises:
            CnnvizError: something is wrong with it.
        """
        self.job = job
        self._notify = notify
        self._found = find_model(job.card, notify=notify)
        parse_device(job.ctx)
        # An exported network's classes are counted later: that takes MXNet.
        self._ends: tuple[tuple[Target, ...], tuple[ClassPair, ...]] | None = None
        if job.card.model in catalog.names():
            self._ends = self._resolve()
        self._methods = partial(choose_methods, job.methods, job.options, relu=job.relu)
        self._methods()
        if job.truth is None and (job.only in ("wrong", "right") or job.sort == "loss"):
            wanted = f"--only {job.only}" if job.only in ("wrong", "right") else "--sort loss"
            raise UsageError(f"{wanted} needs the images' true classes: give --truth.")
        check_output_folder(job.output)
        check_manifest(job.output)
        found = find_sources(job.inputs, exclude=job.output, is_own=written_by_cnnviz)
        for note in found.notes:
            self._say(note)
        self.sources: Sequence[Source] = found.sources
        self._own = found.own
        self.crashed = {}
        self.touch = None
        self.left_behind = self.displaced = ()
        self.truth: GroundTruth | None = None
        self._truths: tuple[int | None, ...] = ()
        self._batch_size = 1
        self._scanned: dict[str, Any] | None = None

    def load(self, *, progress: bool = True) -> None:
        """Load the network.

        Raises:
            CnnvizError: it cannot be used, or has no such layer or class.
        """
        self._found.digest_ahead()
        if self._ends is None:
            self._ends = self._resolve()
        if self.job.truth is not None:
            self.truth = read_ground_truth(
                self.job.truth, self.sources, self._found.labels, self._found.classes
            )
            self._truths = self.truth.indices
            for note in self.truth.notes:
                self._say(note)
        if not self.chooses:
            self._take_first()
        self.explainer = load_model(
            self._found,
            ctx=self.job.ctx,
            layer=self.job.layers,
            methods=self._methods,
            resize=self.job.resize,
            progress=progress,
        )
        if not self.explainer.network.architecture.activation.is_probability and (
            self.job.only == "uncertain" or self.job.sort == "loss"
        ):
            wanted = "--only uncertain" if self.job.only == "uncertain" else "--sort loss"
            raise UsageError(
                f"{wanted} needs probabilities, and {self.explainer.name} gives numbers; "
                "--activation says otherwise."
            )
        batch_size = self.job.batch_size
        if self.touch is not None:
            batch_size = 1
        elif isinstance(batch_size, str):
            batch_size = automatic_batch_size(
                self.explainer, len(self.sources), self.job.style.size
            )
        self._batch_size = batch_size

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is explained in each image."""
        assert self._ends is not None  # once it is loaded
        return self._ends[0]

    @property
    def chooses(self) -> bool:
        """Whether all images are looked at first, for some of them or another order."""
        return not (self.job.only is None and self.job.sort is None)

    @property
    def scanned(self) -> Mapping[str, Any] | None:
        """How all images were answered that were looked at; None if none was chosen by that."""
        return self._scanned

    def _take_first(self) -> None:
        """Leave out what lies beyond the limit, where no answer decides on which images count."""
        limit = self.job.limit
        if limit is None or limit >= len(self.sources):
            return
        self._say(f"the first {limit} of {len(self.sources)} images")
        self.sources = self.sources[:limit]
        self._truths = self._truths[:limit]
        if self.truth is not None:
            self.truth = replace(self.truth, indices=self._truths)

    @property
    def rounds(self) -> int:
        """How often all images are explained: twice if maps have a common scale."""
        return 2 if self.job.scale == "run" else 1

    def choose(self, observe: Callable[[Source], None]) -> None:
        """Look at all images and choose: one forward pass each.

        Args:
            observe: told each image.

        Raises:
            NetworkError: the network cannot be run at all.
        """
        predictions = self._run().predictions(observe)
        kept = select_images(predictions, self.job.only, self.job.sort, self.job.limit)
        self._scanned = _counts(predictions)
        self.sources = [self.sources[position] for position in kept]
        if self._truths:
            self._truths = tuple(self._truths[position] for position in kept)

    def execute(
        self,
        observe: Callable[[Outcome], None],
        measured: Callable[[Source], None] = lambda _source: None,
        tick: Callable[[int], None] | None = None,
    ) -> RunReport:
        """Explain the images, and write the manifest and the report.

        Args:
            observe: see :meth:`cnnviz.runs.stream.Run.execute`.
            measured: see :meth:`cnnviz.runs.stream.Run.measure`.
            tick: see :meth:`cnnviz.explainer.Explainer.explain_targets`.

        Raises:
            CnnvizError: as the run does.
        """
        began, started = monotonic(), datetime.now(timezone.utc)
        run = self._run()
        run.tick = tick
        if self.job.scale == "run":
            run.reaches = run.measure(measured)
        about = self._about()
        mark = fingerprint({**self._decides(about), "reaches": dict(run.reaches)})
        journal = Journal(self.job.output, mark, force=self.job.force, notify=self._notify)
        stems = [str(stem.path) for stem in run.stems]
        if journal.before is not None and journal.meets(stems):
            self._say(_told_before(self.job.output, journal.before, about))
        if journal.interrupted:
            sweep(self.job.output, {stem.path.parent for stem in run.stems})
        done = False

        def told(outcome: Outcome) -> None:
            observe(outcome)
            if self.job.fail_fast and outcome.error is not None:
                raise FailFastError(
                    f"Stopped at {outcome.source.shown}, the first image that failed. Without "
                    "--fail-fast the same command goes on from there."
                )

        try:
            report = run.execute(told, journal)
            self.left_behind, self.displaced = journal.left_behind(stems), run.displaced
            summary = {
                **report.record(),
                "scanned": self._scanned,
                "own": self._own,
                "left_behind": self.left_behind,
            }
            about = {
                "fingerprint": mark,
                **about,
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(monotonic() - began, 3),
            }
            output = OutputFolder(self.job.output)
            output.write_json(MANIFEST, manifest_lines(about, summary, journal.lines(stems)))
            done = True
        finally:
            journal.close(done=done)
        if self.job.report:
            from cnnviz.report import build_report

            build_report(self.job.output, notify=self._notify)
        return report

    def _say(self, text: str) -> None:
        if self._notify is not None:
            self._notify(text)

    def _resolve(self) -> tuple[tuple[Target, ...], tuple[ClassPair, ...]]:
        labels, classes = self._found.labels, self._found.classes
        targets = resolve_targets(self.job.targets, labels, classes)
        contrasts = resolve_contrasts(self.job.contrasts, labels, classes)
        ends = [end for pair in contrasts for end in (pair.positive, pair.negative)]
        if self.job.truth is None and any(end.truth for end in (*targets, *ends)):
            raise UsageError("The class `truth` needs the images' true classes: give --truth.")
        return targets, contrasts

    def _run(self) -> Run:
        assert self._ends is not None  # once it is loaded
        job = self.job
        run = Run(
            self.explainer,
            self.sources,
            job.output,
            job.style,
            *self._ends,
            truths=self._truths,
            batch_size=self._batch_size,
            arrays=job.arrays,
            panel=job.panel,
            thumbnails=job.report,
            max_pixels=job.max_pixels,
            crashed=self.crashed,
            touch=self.touch,
        )
        if self.touch is not None:
            run.helpers = 0
        return run

    def _about(self) -> dict[str, Any]:
        """What the manifest says of the run, but for its times."""
        job, explainer = self.job, self.explainer
        asked = {**asdict(replace(job.card, labels=None)), **vars(job), **asdict(job.style)}
        parameters = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in sorted(asked.items())
            if name not in ("card", "style", "force", "fail_fast")
        }
        weights = explainer.weights
        spec = explainer.spec
        symbol = None if job.card.model in catalog.names() else Path(job.card.model)
        return {
            "parameters": parameters,
            "versions": {
                "cnnviz": cnnviz.__version__,
                "mxnet": import_mxnet().__version__,
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "python": platform.python_version(),
            },
            "network": {
                "name": explainer.name,
                "device": str(explainer.network.device),
                "classes": explainer.network.architecture.classes,
                "activation": explainer.network.architecture.activation.name,
                "labels": list(explainer.labels),
                "input": {
                    "height": spec.height,
                    "width": spec.width,
                    "mean": list(spec.mean),
                    "std": list(spec.std),
                    "channels": spec.channels if len(spec.mean) > 1 else "gray",
                    "resize": explainer.resize,
                },
                "layers": [
                    {"name": layer.name, "kind": layer.kind, "shape": list(layer.shape)}
                    for layer in explainer.layers
                ],
                "symbol": None
                if symbol is None
                else {"path": str(symbol), "sha256": digest(symbol)},
                "weights": None
                if weights is None
                else {
                    "path": str(weights.path),
                    "source": weights.source,
                    "sha256": weights.sha256,
                },
            },
            "methods": [_method(method) for method in explainer.methods],
            "notes": list(explainer.notes),
            "truth": None
            if self.truth is None
            else {"source": self.truth.source, "known": self.truth.known},
        }

    def _decides(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """What decides on the files and the record of an image, of all that is said of a run."""
        assert self._ends is not None  # once it is loaded
        network = dict(about["network"])
        weights, symbol = network.pop("weights"), network.pop("symbol")
        return {
            "manifest": VERSION,
            "versions": {**about["versions"], "python": None},
            "network": network,
            "weights": weights and weights["sha256"],
            "symbol": symbol and symbol["sha256"],
            "methods": about["methods"],
            "targets": [asdict(target) for target in self._ends[0]],
            "contrasts": [asdict(pair) for pair in self._ends[1]],
            "style": asdict(self.job.style),
            "arrays": self.job.arrays,
            "panel": self.job.panel,
            # Of files that are called as they always were, runs of earlier versions go on.
            **({} if is_usual(self._ends[0]) and not self._ends[1] else {"names": 2}),
        }


#: What a manifest says of a run that decides on its files: where, and how another one is told.
_DECISIVE = (
    (("network", "name"), "another network"),
    (("network", "weights", "sha256"), "other weights"),
    (("network", "labels"), "other class names"),
    (("network", "input"), "another input"),
    (("network", "layers"), "another layer"),
    (("methods",), "other methods or options of theirs"),
    (("parameters", "targets"), "another target"),
    (("parameters", "contrasts"), "another contrast"),
    *((("parameters", name), f"another --{name}") for name in ("size", "scale")),
    *((("parameters", name), "other colors") for name in ("colormap", "alpha", "overlay")),
    *((("parameters", name), "other kinds of files") for name in ("arrays", "panel")),
    (("versions",), "another version of cnnviz or its libraries"),
)


def _told_before(folder: Path, before: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """A sentence about an earlier run of other options whose files are in the way.

    Args:
        folder: where.
        before: what its manifest says of it, which anybody may have changed; or nothing.
        about: what is said of this one.
    """
    now = json.loads(encode(about))
    differing = dict.fromkeys(
        text for path, text in _DECISIVE if before and _at(before, path) != _at(now, path)
    )
    return (
        f"{folder} holds an earlier run with {', '.join(differing) or 'other options'}: files of "
        "the same names are replaced."
    )


def _at(value: Any, path: Sequence[str]) -> Any:
    """What a manifest has there, or nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _method(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "key": method.key,
        "title": method.title,
        "paper": method.paper,
        "drawings": dict(method.drawings),
        "options": asdict(method),
        "guided": method.guided,
    }


def _counts(predictions: Sequence[Prediction | None]) -> dict[str, Any]:
    """How a folder was answered as a whole."""
    right = sum(one is not None and one.correct is True for one in predictions)
    wrong = sum(one is not None and one.correct is False for one in predictions)
    return {
        "images": len(predictions),
        "failed": sum(one is None for one in predictions),
        "right": right,
        "wrong": wrong,
        "accuracy": right / (right + wrong) if right + wrong else None,
    }
