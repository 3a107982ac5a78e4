"""What a run over images is asked to do, checked step by step, and done.

The order matters to who waits: what is cheap to find wrong is found first, the network's weights
come last, and nothing is written before the network is known to run.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import cv2
import numpy as np

from cnnviz._version import __version__
from cnnviz.attribution import Method, choose_methods
from cnnviz.engines.base import parse_device
from cnnviz.errors import FailFastError, UsageError
from cnnviz.explainer import Explainer
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.images.sources import Source, find_sources
from cnnviz.labels.ground_truth import GroundTruth, read_ground_truth
from cnnviz.labels.predictions import select_images
from cnnviz.labels.targets import ClassPair, Target, resolve_contrasts, resolve_targets
from cnnviz.models import zoo
from cnnviz.models.resolve import find_model, load_model
from cnnviz.outputs.files import OutputFolder, check_output_folder, remove_partial_files
from cnnviz.outputs.formats import encode_manifest, written_by_cnnviz
from cnnviz.runs.manifest import (
    MANIFEST,
    Journal,
    check_manifest,
    digest,
    fingerprint,
    manifest_lines,
)
from cnnviz.runs.records import (
    VERSION,
    GroundTruthRecord,
    InputRecord,
    LayerRecord,
    MethodRecord,
    NetworkRecord,
    RunRecord,
    ScannedRecord,
    SymbolRecord,
    WeightsRecord,
)
from cnnviz.runs.request import RunRequest
from cnnviz.runs.stream import Outcome, Run, automatic_batch_size
from cnnviz.runs.summary import RunReport, scanned
from cnnviz.runs.supervisor import WorkerState
from cnnviz.structure import decode, encode, parse

Notify = Callable[[str], None] | None


class Work:
    """A request that was found to be in order, on its way.

    Attributes:
        request: what is asked for.
        sources: the images, in order; those that were chosen, once that is done.
        truth: their classes, if the request says where to find them.
        explainer: the network and the methods, once it is loaded.
        crashed: see :class:`cnnviz.runs.stream.Run`; nothing if nobody says otherwise.
        state: what is told of each image in hand. If it is there, one image is done at a time.
        left_behind: once it is done, see :meth:`cnnviz.runs.manifest.Journal.left_behind`.
        scanned: what was predicted for all images that were looked at; None if none was chosen by
            that.
        displaced: likewise, images that an earlier run explained and whose files gave way to those
            of others of the same names.
    """

    explainer: Explainer
    crashed: Mapping[str, int]
    state: WorkerState | None
    left_behind: Sequence[str]
    displaced: Sequence[str]

    def __init__(self, request: RunRequest, notify: Notify = None) -> None:
        """Check all that can be checked before MXNet is needed.

        Args:
            request: what is asked for.
            notify: called with a sentence when something is assumed, or there is something to wait
                for.

        Raises:
            CnnvizError: something is wrong with it.
        """
        self.request = request
        self._notify = notify
        self._found = find_model(request.model.config(), notify=notify)
        parse_device(request.model.device)
        # An exported network's classes are counted later: that takes MXNet.
        self._ends: tuple[tuple[Target, ...], tuple[ClassPair, ...]] | None = None
        if self._found.config.model in zoo.names():
            self._ends = self._resolve()
        methods = request.methods
        self._methods = partial(choose_methods, methods.methods, methods.options, relu=methods.relu)
        self._methods()
        selection = request.selection
        if selection.truth is None and (
            selection.only in ("wrong", "right") or selection.sort == "loss"
        ):
            wanted = (
                f"--only {selection.only}"
                if selection.only in ("wrong", "right")
                else "--sort loss"
            )
            raise UsageError(f"{wanted} needs the images' true classes: give --truth.")
        check_output_folder(request.output)
        check_manifest(request.output)
        found = find_sources(request.inputs, exclude=request.output, is_own=written_by_cnnviz)
        for note in found.notes:
            self._say(note)
        self.sources: Sequence[Source] = found.sources
        self._own = found.own
        self.crashed = {}
        self.state = None
        self.left_behind = self.displaced = ()
        self.truth: GroundTruth | None = None
        self._truths: tuple[int | None, ...] = ()
        self._batch_size = 1
        self.scanned: ScannedRecord | None = None

    def load(self, *, progress: bool = True) -> None:
        """Load the network.

        Raises:
            CnnvizError: it cannot be used, or has no such layer or class.
        """
        self._found.digest_ahead()
        if self._ends is None:
            self._ends = self._resolve()
        if self.request.selection.truth is not None:
            self.truth = read_ground_truth(
                self.request.selection.truth, self.sources, self._found.labels, self._found.classes
            )
            self._truths = self.truth.indices
            for note in self.truth.notes:
                self._say(note)
        if not self.request.selection.by_prediction:
            self._take_first()
        self.explainer = load_model(
            self._found,
            device=self.request.model.device,
            layer=self.request.targets.layers,
            methods=self._methods,
            resize=self.request.model.resize,
            progress=progress,
        )
        selection = self.request.selection
        if not self.explainer.network.architecture.activation.is_probability and (
            selection.only == "uncertain" or selection.sort == "loss"
        ):
            wanted = (
                "--only uncertain" if self.request.selection.only == "uncertain" else "--sort loss"
            )
            raise UsageError(
                f"{wanted} needs probabilities, and {self.explainer.name} gives numbers; "
                "--activation says otherwise."
            )
        batch_size = self.request.execution.batch_size
        if self.state is not None:
            batch_size = 1
        elif isinstance(batch_size, str):
            batch_size = automatic_batch_size(
                self.explainer, len(self.sources), self.request.style.size
            )
        self._batch_size = batch_size

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is explained in each image."""
        assert self._ends is not None  # once it is loaded
        return self._ends[0]

    def _take_first(self) -> None:
        """Leave out what lies beyond the limit, where no answer decides on which images count."""
        limit = self.request.selection.limit
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
        return 2 if self.request.files.scale == "run" else 1

    def choose(self, observe: Callable[[Source], None]) -> None:
        """Look at all images and choose: one forward pass each.

        Args:
            observe: told each image.

        Raises:
            NetworkError: the network cannot be run at all.
        """
        predictions = self._run().predictions(observe)
        kept = select_images(
            predictions,
            self.request.selection.only,
            self.request.selection.sort,
            self.request.selection.limit,
        )
        self.scanned = scanned(predictions)
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
        if self.request.files.scale == "run":
            run.reaches = run.measure(measured)
        about = self._about()
        mark = fingerprint({**self._decides(about), "reaches": run.reaches})
        journal = Journal(
            self.request.output, mark, force=self.request.execution.force, notify=self._notify
        )
        stems = [str(stem.path) for stem in run.stems]
        if journal.differs and journal.meets(stems):
            self._say(_told_before(self.request.output, journal.before, about))
        if journal.interrupted:
            remove_partial_files(self.request.output, {stem.path.parent for stem in run.stems})
        done = False

        def told(outcome: Outcome) -> None:
            observe(outcome)
            if self.request.execution.fail_fast and not outcome.record.ok:
                raise FailFastError(
                    f"Stopped at {outcome.source.shown}, the first image that failed. Without "
                    "--fail-fast the same command goes on from there."
                )

        try:
            report = run.execute(told, journal)
            self.left_behind, self.displaced = journal.left_behind(stems), run.displaced
            summary = report.record(self.scanned, self._own, self.left_behind)
            about = replace(
                about,
                fingerprint=mark,
                started=started.isoformat(timespec="seconds"),
                seconds=round(monotonic() - began, 3),
            )
            output = OutputFolder(self.request.output)
            output.write(
                MANIFEST, encode_manifest(manifest_lines(about, summary, journal.lines(stems)))
            )
            done = True
        finally:
            journal.close(done=done)
        if self.request.files.report:
            from cnnviz.report import build_report

            build_report(self.request.output, notify=self._notify)
        return report

    def _say(self, text: str) -> None:
        if self._notify is not None:
            self._notify(text)

    def _resolve(self) -> tuple[tuple[Target, ...], tuple[ClassPair, ...]]:
        labels, classes = self._found.labels, self._found.classes
        targets = resolve_targets(self.request.targets.targets, labels, classes)
        contrasts = resolve_contrasts(self.request.targets.contrasts, labels, classes)
        ends = [end for pair in contrasts for end in (pair.positive, pair.negative)]
        if self.request.selection.truth is None and any(end.truth for end in (*targets, *ends)):
            raise UsageError("The class `truth` needs the images' true classes: give --truth.")
        return targets, contrasts

    def _run(self) -> Run:
        assert self._ends is not None  # once it is loaded
        request = self.request
        run = Run(
            self.explainer,
            self.sources,
            request.output,
            request.style,
            *self._ends,
            truths=self._truths,
            batch_size=self._batch_size,
            arrays=request.files.arrays,
            panel=request.files.panel,
            thumbnails=request.files.report,
            max_pixels=_max_pixels(request),
            crashed=self.crashed,
            state=self.state,
        )
        if self.state is not None:
            run.helpers = 0
        return run

    def _about(self) -> RunRecord:
        """What the manifest says of the run, but for its fingerprint and its times."""
        request, explainer = self.request, self.explainer
        config = self._found.config
        asked = {
            **dict(request.options()),
            **asdict(replace(config, labels=None)),
            "resize": request.model.resize,
            "max_pixels": _max_pixels(request),
        }
        parameters = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in sorted(asked.items())
            if name not in ("threads", "force", "fail_fast")
        }
        truth = self.truth
        return RunRecord(
            parameters=parameters,
            versions={
                "cnnviz": __version__,
                explainer.network.engine.name: explainer.network.engine.version(),
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "python": platform.python_version(),
            },
            network=self._network(),
            methods=tuple(map(_method, explainer.methods)),
            notes=tuple(explainer.notes),
            ground_truth=None if truth is None else GroundTruthRecord(truth.source, truth.known),
        )

    def _network(self) -> NetworkRecord:
        explainer, spec, weights = self.explainer, self.explainer.spec, self.explainer.weights
        architecture = explainer.network.architecture
        model = self._found.config.model
        return NetworkRecord(
            name=explainer.name,
            device=str(explainer.network.device),
            classes=architecture.classes,
            activation=architecture.activation.name,
            labels=tuple(explainer.labels),
            input=InputRecord(
                height=spec.height,
                width=spec.width,
                mean=tuple(spec.mean),
                std=tuple(spec.std),
                channels=spec.channels if len(spec.mean) > 1 else "gray",
                resize=explainer.resize,
            ),
            layers=tuple(
                LayerRecord(layer.name, layer.kind, layer.shape) for layer in explainer.layers
            ),
            symbol=None
            if model in zoo.names()
            else SymbolRecord(str(Path(model)), digest(Path(model))),
            weights=None
            if weights is None
            else WeightsRecord(str(weights.path), weights.source, weights.sha256),
        )

    def _decides(self, about: RunRecord) -> dict[str, Any]:
        """What decides on the files and the record of an image, of all that is said of a run."""
        assert self._ends is not None  # once it is loaded
        weights, symbol = about.network.weights, about.network.symbol
        return {
            "manifest": VERSION,
            "versions": {**about.versions, "python": None},
            "network": replace(about.network, weights=None, symbol=None),
            "weights": weights and weights.sha256,
            "symbol": symbol and symbol.sha256,
            "methods": about.methods,
            "targets": self._ends[0],
            "contrasts": self._ends[1],
            "style": self.request.style,
            "arrays": self.request.files.arrays,
            "panel": self.request.files.panel,
        }


def _max_pixels(request: RunRequest) -> int:
    asked = request.execution.max_pixels
    return MAX_PIXELS if asked is None else asked


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


def _told_before(folder: Path, before: RunRecord | None, about: RunRecord) -> str:
    """A sentence about an earlier run of other options whose files are in the way.

    Args:
        folder: where.
        before: what its manifest says of it, if it has one.
        about: what is said of this one.
    """
    now = decode(RunRecord, parse(encode(about)), "run")
    differing = dict.fromkeys(
        text for path, text in _DECISIVE if before and _at(before, path) != _at(now, path)
    )
    return (
        f"{folder} holds an earlier run with {', '.join(differing) or 'other options'}: files of "
        "the same names are replaced."
    )


def _at(value: Any, path: Sequence[str]) -> Any:
    """What a run has there, or nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
    return value


def _method(method: Method) -> MethodRecord:
    return MethodRecord(
        name=method.name,
        key=method.key,
        title=method.title,
        paper=method.paper,
        map_kinds=method.drawings,
        options=asdict(method),
        guided=method.guided,
    )
