"""A request that was checked, and the images that it is about: what a run is begun with.

What is cheap to find wrong is found first, the network's weights come last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cnnviz.attribution import Method, choose_methods
from cnnviz.engines.base import parse_device
from cnnviz.images.source import Source
from cnnviz.images.sources import Found, find_sources
from cnnviz.labels.ground_truth import GroundTruth, read_ground_truth
from cnnviz.models import zoo
from cnnviz.models.resolve import find_model, load_model
from cnnviz.models.source import ModelSource
from cnnviz.outputs.folders import check_folder
from cnnviz.outputs.marks import written_by_cnnviz
from cnnviz.runs.capacity import automatic_batch_size
from cnnviz.runs.goals import Goals, resolve_goals
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.journal import RunFile
from cnnviz.runs.manifest import (
    MANIFEST_FILE,
    check_run_file,
)
from cnnviz.runs.request import RunRequest
from cnnviz.runs.request_checks import (
    check_files,
    check_probabilities,
    check_scores,
    check_shard,
    check_shares,
    check_truth,
)
from cnnviz.runs.session import Session, most_pixels, tell
from cnnviz.runs.shards import Part
from cnnviz.runs.supervisor import WorkerState
from cnnviz.storage.sequences import Same
from cnnviz.types import Notify


@dataclass(frozen=True)
class RunPlan:
    """A request that was found to be in order, as far as that shows without an engine.

    Attributes:
        request: what is asked for.
        model: the network.
        methods: what chooses the methods, see :func:`cnnviz.choose_methods`.
        found: the images.
        goals: what is explained; None of an exported network, whose classes are counted later:
            that takes MXNet.
        notify: called with a sentence when something is assumed, or there is something to wait for.
    """

    request: RunRequest
    model: ModelSource
    methods: Callable[..., Sequence[Method]]
    found: Found
    goals: Goals | None = None
    notify: Notify | None = None

    @classmethod
    def check(cls, request: RunRequest, notify: Notify | None = None) -> RunPlan:
        """Check all that can be checked before an engine is needed.

        Raises:
            CnnvizError: something is wrong with the request.
        """
        model = find_model(request.model.config(), notify=notify)
        parse_device(request.model.device)
        goals = resolve_goals(request, model) if model.config.model in zoo.names() else None
        chosen = request.methods
        methods = partial(choose_methods, chosen.methods, chosen.options, relu=chosen.relu)
        methods()
        check_shard(request)
        check_truth(request.selection)
        check_scores(request.checks, request.selection.truth, multi_label=None)
        check_files(request.checks)
        check_folder(request.output)
        check_run_file(request.output)
        if request.execution.shard is not None:
            check_run_file(request.output, MANIFEST_FILE.of_part(request.execution.shard))
        found = find_sources(request.inputs, exclude=request.output, is_own=written_by_cnnviz)
        for note in found.notes:
            tell(notify, note)
        return cls(request, model, methods, found, goals, notify)

    @property
    def run_file(self) -> RunFile[ImageRecord]:
        """What it writes."""
        return MANIFEST_FILE

    @property
    def explained(self) -> RunPlan:
        """What is explained: this, as of an evaluation its plan."""
        return self

    def listing(self, sources: Sequence[Source]) -> RunPlan:
        """The same, with its images in another list."""
        return replace(self, found=replace(self.found, sources=sources))

    def telling(self, notify: Notify | None) -> RunPlan:
        """The same, with somebody else who is told what there is to say."""
        return replace(self, notify=notify)

    def open(self, worker: WorkerState | None = None, *, progress: bool = True) -> Session:
        """Load the network.

        Args:
            worker: what this process knows of those before it, if it is a worker.
            progress: whether a download may show a bar.

        Raises:
            CnnvizError: it cannot be used, or has no such layer or class.
        """
        request, model = self.request, self.model
        model.digest_ahead()
        goals = resolve_goals(request, model) if self.goals is None else self.goals
        sources, truth = self._first(self.ground_truth())
        explainer = load_model(
            model,
            device=request.model.device,
            engine=request.model.engine,
            precision=request.model.precision,
            layer=request.targets.layers,
            methods=self.methods,
            progress=progress,
        )
        check_probabilities(request.selection, explainer)
        check_shares(request.checks, goals, explainer.methods)
        goals = goals.seen_by(
            explainer, max_pixels=most_pixels(request), remark=partial(tell, self.notify)
        )
        batch_size, shard = request.execution.batch_size, request.execution.shard
        truths = truth.truths if truth is not None else Same(None, len(sources))
        part = None if shard is None else Part.of(shard, sources, truths, batch_size)
        if part is not None:
            images = f"{len(part.places)} of {len(sources)} images"
            tell(self.notify, f"{shard}: {images}")
        if batch_size == "auto":
            batch_size = automatic_batch_size(explainer, len(sources), request.style.size)
        return Session(
            request,
            model.config,
            explainer,
            goals,
            sources if part is None else part.own(sources),
            truths if part is None else part.own(truths),
            truth,
            self.found.own,
            batch_size,
            worker,
            self.notify,
            part=part,
        )

    def ground_truth(self) -> GroundTruth | None:
        """The images' true classes, if the request says where to find them."""
        where = self.request.selection.truth
        if where is None:
            return None
        model = self.model
        multi_label = model.architecture.multi_label
        check_scores(self.request.checks, where, multi_label=multi_label)
        truth = read_ground_truth(
            where,
            self.found.sources,
            model.labels,
            model.classes,
            multi_label=multi_label,
        )
        for note in truth.notes:
            tell(self.notify, note)
        return truth

    def _first(self, truth: GroundTruth | None) -> tuple[Sequence[Source], GroundTruth | None]:
        """Without what lies beyond the limit, if no prediction decides on which images count."""
        sources, selection = self.found.sources, self.request.selection
        limit = selection.limit
        if selection.by_prediction or limit is None or limit >= len(sources):
            return sources, truth
        tell(self.notify, f"the first {limit} of {len(sources)} images")
        if truth is not None:
            truth = replace(truth, truths=truth.truths[:limit])
        return sources[:limit], truth
