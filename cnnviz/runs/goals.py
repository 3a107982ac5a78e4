"""What is explained in each image of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cnnviz.attribution.target_rows import TargetSpec
from cnnviz.engines.target_functions import ClassLogit, CosineSimilarity, TargetFunction
from cnnviz.errors import ItemError, UsageError
from cnnviz.explainer import Explainer
from cnnviz.explanation import ImageResult
from cnnviz.graph.ends import Activation
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.images.preprocessing import Prepared
from cnnviz.labels.label_sets import Truth
from cnnviz.labels.targets import (
    AnyTarget,
    ClassPair,
    SimilarityTarget,
    Target,
    is_default,
    resolve_contrasts,
    resolve_targets,
)
from cnnviz.models.source import ModelSource
from cnnviz.runs.request import RunRequest
from cnnviz.runs.similarity import check_others, embed_others
from cnnviz.types import Float32


@dataclass(frozen=True)
class Goals:
    """What is explained in each image.

    Attributes:
        targets: the classes, and similarities to other images.
        contrasts: pairs of classes whose difference is explained too.
        others: what the network says of these other images.
    """

    targets: tuple[AnyTarget, ...] = (Target(),)
    contrasts: tuple[ClassPair, ...] = ()
    others: Mapping[SimilarityTarget, CosineSimilarity] = field(default_factory=dict)

    @property
    def numbered(self) -> bool:
        """Whether the class index stands in the files' names."""
        return not is_default(self.targets)

    @property
    def needs_truth(self) -> bool:
        """Whether an image's true class is among them."""
        ends = [end for pair in self.contrasts for end in (pair.positive, pair.negative)]
        return any(end.truth for end in (*self._classes, *ends))

    @property
    def needs_probabilities(self) -> bool:
        """Whether probabilities decide what is explained."""
        return any(target.above is not None for target in self._classes)

    @property
    def most(self) -> int | None:
        """How many targets an image has at most; None where that shows with each image."""
        if any(target.above is not None or target.truth for target in self._classes):
            return None
        return len(self.targets)

    @property
    def _classes(self) -> list[Target]:
        return [target for target in self.targets if isinstance(target, Target)]

    def seen_by(
        self,
        explainer: Explainer,
        *,
        max_pixels: int = MAX_PIXELS,
        remark: Callable[[str], None] = lambda _text: None,
    ) -> Goals:
        """The same, with what the network says of the other images; see :func:`embed_others`.

        Raises:
            UsageError: another image cannot be used; or classes are asked for by a probability, and
                the network gives numbers.
        """
        activation = explainer.network.architecture.activation
        if self.needs_probabilities and not activation.is_probability:
            raise UsageError(
                f"The target above:P needs probabilities, and {explainer.name} gives numbers; "
                "--activation says otherwise."
            )
        others = embed_others(self.targets, explainer, max_pixels=max_pixels, remark=remark)
        return replace(self, others=others)

    def explain(
        self,
        explainer: Explainer,
        batch: Sequence[Prepared],
        truths: Sequence[Truth],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[ImageResult | ItemError]:
        """Explain a batch; see :meth:`cnnviz.explainer.Explainer.explain_targets`."""
        activation = explainer.network.architecture.activation

        def bound(target: Target) -> TargetSpec:
            return lambda logits: target(logits, truths)

        def of_each(logits: Float32) -> list[list[TargetFunction]]:
            return [
                self.of_image(own, activation, truth)
                for own, truth in zip(logits, truths, strict=True)
            ]

        results = explainer.explain_targets(
            batch,
            of_each,
            on_progress,
            [(bound(pair.positive), bound(pair.negative)) for pair in self.contrasts],
        )
        return [
            result if isinstance(result, ItemError) else self._remarked(result, truth)
            for result, truth in zip(results, truths, strict=True)
        ]

    def of_image(
        self, logits: Float32, activation: Activation, truth: Truth
    ) -> list[TargetFunction]:
        """What is explained in one image, in the order in which it was asked for."""
        found: list[TargetFunction] = []
        for target in self.targets:
            if isinstance(target, SimilarityTarget):
                found.append(self.others[target])
            else:
                found += map(ClassLogit, target.of_image(logits, activation, truth))
        return found

    def _remarked(self, result: ImageResult, truth: Truth) -> ImageResult:
        """A result with what is to be said of targets that the image does not have."""
        scores = result.scores
        remarks = (one.remark(scores.logits, scores.activation, truth) for one in self._classes)
        said = "; ".join(filter(None, remarks))
        return replace(result, remark=said) if said else result


def resolve_goals(request: RunRequest, model: ModelSource) -> Goals:
    """What is explained.

    Raises:
        UsageError: there is no such class, the true one is not known, or there is no such other
            image.
    """
    asked = request.targets
    goals = Goals(
        resolve_targets(asked.targets, model.labels, model.classes),
        resolve_contrasts(asked.contrasts, model.labels, model.classes),
    )
    check_others(goals.targets)
    if request.selection.truth is None and goals.needs_truth:
        raise UsageError("The class `truth` needs the images' true classes: give --truth.")
    return goals


#: Each image's predicted class.
PREDICTED = Goals()
