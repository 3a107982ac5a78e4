"""Requests that need what is not there, refused before any image is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cnnviz.attribution import Method
from cnnviz.engines.base import parse_device
from cnnviz.errors import UsageError
from cnnviz.explainer import Explainer
from cnnviz.labels.targets import Target
from cnnviz.outputs.files import check_output_file
from cnnviz.runs.goals import Goals
from cnnviz.runs.request import CheckOptions, RunRequest, SelectionOptions
from cnnviz.runs.run_records import MethodRecord
from cnnviz.runs.thresholds import needs_truth, wrong_kind
from cnnviz.storage.remote import RemotePath


def check_shard(request: RunRequest) -> None:
    """Refuse to do by one part what only all images together decide.

    Raises:
        UsageError: that is asked for.
    """
    shard, runner = request.execution.shard, request.execution.runner
    if shard is None and runner is None:
        return
    if shard is not None and runner is not None:
        raise UsageError("--runner divides a run by itself: leave --shard out.")
    if runner is not None and parse_device(request.model.device).index:
        raise UsageError(
            f"With --runner, Ray chooses a GPU for each worker; got --device "
            f"{request.model.device}, give --device gpu."
        )
    divided = "--shard" if runner is None else "--runner"
    if runner is not None and isinstance(request.output, RemotePath):
        raise UsageError(
            "--runner writes to a folder that all nodes can reach, and not yet to a URL; --shard "
            "writes there."
        )
    needing = (
        ("--scale run", request.files.scale == "run"),
        ("--only", request.selection.only is not None),
        ("--sort", request.selection.sort is not None),
    )
    for option, asked in needing:
        if asked:
            raise UsageError(
                f"{option} depends on all images, and {divided} looks at parts of them: leave one "
                "of the two out."
            )
    if shard is not None and request.checks.wanted:
        raise UsageError(
            "--fail-under, --max-share, --summary and --junit are about all images, and --shard "
            "looks at some: give them to `cnnviz merge`, when all parts are done."
        )


def check_truth(selection: SelectionOptions) -> None:
    """Refuse a selection by true classes that are not known."""
    by_truth = selection.only in ("wrong", "right")
    if selection.truth is None and (by_truth or selection.sort == "loss"):
        wanted = f"--only {selection.only}" if by_truth else "--sort loss"
        raise UsageError(f"{wanted} needs the images' true classes: give --truth.")


def check_probabilities(selection: SelectionOptions, explainer: Explainer) -> None:
    """Refuse a selection by probabilities that there are not."""
    uncertain = selection.only == "uncertain"
    is_probability = explainer.network.architecture.activation.is_probability
    if not is_probability and (uncertain or selection.sort == "loss"):
        wanted = "--only uncertain" if uncertain else "--sort loss"
        raise UsageError(
            f"{wanted} needs probabilities, and {explainer.name} gives numbers; --activation says "
            "otherwise."
        )


def check_scores(checks: CheckOptions, truth: str | None, *, multi_label: bool | None) -> None:
    """Refuse thresholds for scores that cannot be computed.

    Args:
        checks: what is demanded.
        truth: where the true classes are.
        multi_label: whether an image may belong to several classes; None if that is not known yet.

    Raises:
        UsageError: they need true classes, or another kind of network.
    """
    for one in checks.fail_under:
        if truth is None:
            raise UsageError(needs_truth(one))
        problem = None if multi_label is None else wrong_kind(one, multi_label=multi_label)
        if problem is not None:
            raise UsageError(problem)


def check_shares(checks: CheckOptions, goals: Goals, methods: Sequence[Method]) -> None:
    """Refuse thresholds for where heatmaps lie if there are no heatmaps of predicted classes.

    Raises:
        UsageError: there are none.
    """
    if not checks.max_share:
        return
    if not have_heatmaps(methods):
        raise UsageError(f"{checks.max_share[0]} needs a heatmap: add --method gradcam.")
    if not any(isinstance(one, Target) and one.rank == 0 for one in goals.targets):
        raise UsageError(
            f"{checks.max_share[0]} needs heatmaps of the predicted classes: add --target "
            "predicted."
        )


def have_heatmaps(methods: Iterable[Method | MethodRecord]) -> bool:
    """Whether any of them makes a heatmap."""
    return any("heat" in method.map_kinds.values() for method in methods)


def check_files(checks: CheckOptions) -> None:
    """Refuse files that cannot be written, or that would be taken for others.

    Raises:
        UsageError: a name has another ending, or a file cannot be written.
    """
    for option, path, ending in (
        ("--summary", checks.summary, ".md"),
        ("--junit", checks.junit, ".xml"),
    ):
        if path is None:
            continue
        if path.suffix.lower() != ending:
            raise UsageError(f"{option} writes a file whose name ends in {ending}; got {path}.")
        check_output_file(path)
