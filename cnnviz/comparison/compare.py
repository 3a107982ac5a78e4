"""Comparing two runs: from their folders to what was found."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from cnnviz.comparison.classes import Classes, match_classes
from cnnviz.comparison.comparison import Comparison, Pair, Side
from cnnviz.comparison.images import match_images
from cnnviz.comparison.maps import Looked, agreement
from cnnviz.comparison.metrics import was_judged
from cnnviz.comparison.names import side_names
from cnnviz.comparison.records import (
    BOTH,
    ComparedImageRecord,
    MapAgreementRecord,
    Outcome,
    SideImageRecord,
    SideRecord,
    UnpairedRecord,
)
from cnnviz.comparison.summary import summarize
from cnnviz.errors import UsageError
from cnnviz.labels.label_sets import LabelSet
from cnnviz.labels.scores import Score, Similarity
from cnnviz.runs.image_records import ExplanationRecord, ImageRecord
from cnnviz.runs.reading import read_evaluation, read_manifest


def read_sides(a: Path, b: Path) -> tuple[Side, Side]:
    """The runs that wrote to two folders.

    Raises:
        UsageError: one has no manifest, or a damaged one.
    """
    manifests = read_manifest(a), read_manifest(b)
    names = side_names(manifests[0].run, manifests[1].run)
    first, second = (
        Side(name, folder, manifest, read_evaluation(folder))
        for name, folder, manifest in zip(names, (a, b), manifests, strict=True)
    )
    return first, second


def compare(a: Side, b: Side) -> Comparison:
    """Compare two runs.

    Raises:
        UsageError: their classes cannot be matched, or they have no image in common.
    """
    classes = match_classes(a.manifest, b.manifest)
    matched = match_images(a.manifest.images, b.manifest.images)
    pairs, unpaired = [], list(matched.unpaired)
    pairing = _Pairing(a, b, classes)
    for one, other in matched.pairs:
        pair = pairing.pair(one, other)
        if pair is None:
            unpaired.append(UnpairedRecord(one.path, "truth"))
        else:
            pairs.append(pair)
    if not pairs:
        raise UsageError(
            f"{a.folder} and {b.folder} have no image in common that both explained: they hold "
            f"{len(a.manifest.images)} and {len(b.manifest.images)} images. Images are matched by "
            "their paths and contents."
        )
    summary = summarize(a, b, classes, pairs, unpaired)
    return Comparison(a, b, classes, tuple(pairs), summary)


def side_record(side: Side, output: Path) -> SideRecord:
    """A side as the file in an output folder has it."""
    try:
        folder = os.path.relpath(side.folder, output)
    except ValueError:  # another drive of Windows
        folder = str(side.folder.resolve())
    return SideRecord(side.name, Path(folder).as_posix(), side.manifest.run, was_judged(side))


@dataclass(frozen=True)
class _Truth:
    """What an image belongs to, by the numbers of the comparison.

    Attributes:
        classes: to which classes.
        unknown: of which that is not known.
        title: for people.
    """

    classes: frozenset[int]
    unknown: frozenset[int]
    title: str


@dataclass(frozen=True)
class _Pairing:
    """Puts two records of an image together."""

    a: Side
    b: Side
    classes: Classes

    def pair(self, a: ImageRecord, b: ImageRecord) -> Pair | None:
        """What is found in an image; None if the two disagree about its true class."""
        truth_a, truth_b = self._truth(a, self.classes.of_a), self._truth(b, self.classes.of_b)
        if truth_a is not None and truth_b is not None and truth_a.classes != truth_b.classes:
            return None
        truth = truth_a or truth_b
        predicted_a, predicted_b = self.classes.predicted_by_a(a), self.classes.predicted_by_b(b)
        ours, theirs = self._explanations(a, b)
        found, reason = self._agreement(a, ours, theirs)
        side_a, side_b = _side(a, ours), _side(b, theirs)
        if truth is not None:
            if truth_a is None:
                side_a = replace(side_a, correct=_is_correct(predicted_a, truth))
            if truth_b is None:
                side_b = replace(side_b, correct=_is_correct(predicted_b, truth))
        changed = predicted_a != predicted_b
        record = ComparedImageRecord(
            stem=a.stem,
            path=a.path,
            path_b=b.path,
            sha256=a.sha256 or "",
            outcome=_outcome(side_a.correct, side_b.correct, changed=changed),
            changed=changed,
            ground_truth=None if truth is None else truth.title,
            a=side_a,
            b=side_b,
            agreement=found,
            no_agreement=reason,
        )
        return Pair(
            a=a,
            b=b,
            explanation_a=ours,
            explanation_b=theirs,
            truths=() if truth is None else tuple(sorted(truth.classes)),
            class_a=self.classes.of_a[a.prediction.index],
            class_b=self.classes.of_b[b.prediction.index],
            record=record,
        )

    def _truth(self, image: ImageRecord, numbers: tuple[int, ...]) -> _Truth | None:
        if image.true_classes is not None:
            labels: LabelSet = image.true_classes.label_set
            known = frozenset(numbers[index] for index in labels.positive)
            unknown = frozenset(numbers[index] for index in labels.unknown)
            title = ", ".join(self.classes.names.short(number) for number in sorted(known))
            return _Truth(known, unknown, title or "none of the classes")
        if image.ground_truth is None:
            return None
        number = numbers[image.ground_truth.index]
        return _Truth(frozenset({number}), frozenset(), self.classes.names[number])

    def _explanations(
        self, a: ImageRecord, b: ImageRecord
    ) -> tuple[ExplanationRecord | None, ExplanationRecord | None]:
        """The first two heatmaps of the same target; without these the first of each."""
        heat_a, heat_b = (
            [one for one in image.explanations if one.location is not None] for image in (a, b)
        )
        for ours in heat_a:
            for theirs in heat_b:
                if self._same_target(ours, theirs):
                    return ours, theirs
        return (
            next(iter((*heat_a, *a.explanations)), None),
            next(iter((*heat_b, *b.explanations)), None),
        )

    def _same_target(self, a: ExplanationRecord, b: ExplanationRecord) -> bool:
        ours, theirs = a.target, b.target
        if isinstance(ours, Score) and isinstance(theirs, Score):
            return self.classes.of_a[ours.index] == self.classes.of_b[theirs.index]
        if isinstance(ours, Similarity) and isinstance(theirs, Similarity):
            return (ours.sha256 or ours.other) == (theirs.sha256 or theirs.other)
        return False

    def _agreement(
        self, image: ImageRecord, a: ExplanationRecord | None, b: ExplanationRecord | None
    ) -> tuple[MapAgreementRecord | None, str | None]:
        reasons = list(filter(None, (_no_heatmap("A", a), _no_heatmap("B", b))))
        where_a, where_b = (None if one is None else one.location for one in (a, b))
        if where_a is None or where_b is None or image.size is None:
            return None, BOTH.join(reasons)
        found = agreement(
            Looked(where_a, self.a.manifest.run.network.input),
            Looked(where_b, self.b.manifest.run.network.input),
            image.size,
            same_target=a is not None and b is not None and self._same_target(a, b),
        )
        return found, None


def _no_heatmap(side: str, one: ExplanationRecord | None) -> str | None:
    """Why there is nothing to compare on one side, in a clause; None if there is."""
    if one is None:
        return f"{side} explained nothing"
    if one.location is None:
        return f"{side}'s heatmap is blank" if one.blank else f"{side}'s methods give no heatmap"
    return None


def _side(image: ImageRecord, explanation: ExplanationRecord | None) -> SideImageRecord:
    location = None if explanation is None else explanation.location
    return SideImageRecord(
        prediction=image.prediction,
        predicted_classes=image.predicted_classes,
        correct=image.correct,
        truth=image.ground_truth,
        loss=image.loss,
        target=None if explanation is None else explanation.target,
        border=None if location is None else location.border,
        corners=None if location is None else location.corners,
    )


def _is_correct(predicted: frozenset[int], truth: _Truth) -> bool:
    return predicted - truth.unknown == truth.classes


def _outcome(a: bool | None, b: bool | None, *, changed: bool) -> Outcome:
    if a is None or b is None:
        return "changed" if changed else "unchanged"
    if a == b:
        return "both_right" if a else "both_wrong"
    return "fixed" if b else "broken"
