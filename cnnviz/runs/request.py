"""What a run is asked to do, one frozen value for each group of options.

A request can be pickled: a worker process is given one, and another machine could be. Each option
has its default here, and the command line takes it from here; what an option means stands in the
command's help, in ``cnnviz/cli``, under the field's name. Importing this is cheap: it takes neither
NumPy nor OpenCV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cnnviz.rendering.style import Style
from cnnviz.runs.shards import Shard
from cnnviz.runs.thresholds import Threshold

if TYPE_CHECKING:
    from cnnviz.images.preprocessing import ImageSize
    from cnnviz.models.config import ModelConfig
    from cnnviz.outputs.formats import ImageFormat
    from cnnviz.storage.paths import AnyPath


RequestT = TypeVar("RequestT", bound="RunRequest")


@dataclass(frozen=True)
class ModelOptions:
    """The network, and where it runs. None: nothing was said, and its own applies."""

    model: str = "vgg16"
    weights: Path | None = None
    labels: Path | None = None
    input_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str | None = None
    range: tuple[float, float] | None = None
    display_channels: tuple[int, ...] | None = None
    head: str | None = None
    activation: str | None = None
    resize: str | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    device: str = "cpu"
    engine: str = "auto"
    precision: str = "fp32"
    threads: int | None = None

    def config(self) -> ModelConfig:
        """What is known of the network: the options override the configuration file, if any.

        Raises:
            UsageError: there is no such network, or a configuration file or the class names cannot
                be read.
        """
        from cnnviz.labels.label_files import read_labels
        from cnnviz.models.config import find_config

        return find_config(self.model).updated(
            weights=self.weights,
            labels=None if self.labels is None else read_labels(self.labels),
            input_size=self.input_size,
            mean=self.mean,
            std=self.std,
            channels=self.channels,
            range=self.range,
            display_channels=self.display_channels,
            head=self.head,
            activation=self.activation,
            resize=self.resize,
            crop_fraction=self.crop_fraction,
            interpolation=self.interpolation,
        )


@dataclass(frozen=True)
class TargetOptions:
    """What is explained in each image, and at which layers; no layers for the network's own."""

    layers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("top1",)
    contrasts: tuple[str, ...] = ()


@dataclass(frozen=True)
class MethodOptions:
    """How it is explained; no methods for the usual ones."""

    methods: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    relu: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputOptions:
    """What images are written as and what beside them, and on which scale these are drawn."""

    format: ImageFormat = "png"
    scale: Literal["image", "run"] = "image"
    arrays: bool = False
    panel: bool = False
    report: bool = False
    title: str | None = None
    evaluate: bool = False


@dataclass(frozen=True)
class SelectionOptions:
    """The images' true classes, and which of the images are explained, in which order."""

    truth: str | None = None
    only: str | None = None
    sort: str | None = None
    limit: int | None = None

    @property
    def by_prediction(self) -> bool:
        """Whether the network's predictions for all images decide, or their order."""
        return self.only is not None or self.sort is not None


@dataclass(frozen=True)
class ExecutionOptions:
    """How the work is done; of ``max_pixels`` None is what cnnviz refuses by default.

    ``runner`` is what does the parts of a run; None: this machine does all of it as one.
    With ``by_engine`` what another engine or device has explained is explained again: where they
    are what is compared, the small differences between them count.
    """

    batch_size: int | Literal["auto"] = 2
    max_pixels: int | None = None
    force: bool = False
    fail_fast: bool = False
    by_engine: bool = False
    shard: Shard | None = None
    runner: str | None = None


@dataclass(frozen=True)
class CheckOptions:
    """What is demanded of the run's figures, and the files that say whether it is met."""

    fail_under: tuple[Threshold, ...] = ()
    max_share: tuple[Threshold, ...] = ()
    summary: Path | None = None
    junit: Path | None = None

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """All that is demanded."""
        return (*self.fail_under, *self.max_share)

    @property
    def written(self) -> bool:
        """Whether any file is asked for, and with it what became of each image."""
        return self.summary is not None or self.junit is not None

    @property
    def wanted(self) -> bool:
        """Whether anything is demanded or written."""
        return bool(self.thresholds) or self.written


@dataclass(frozen=True)
class RunRequest:
    """All that a run of ``cnnviz explain`` is asked to do.

    Attributes:
        inputs: images, folders, or ``-`` for paths on standard input.
        output: the folder to write to.
    """

    inputs: tuple[str, ...]
    output: AnyPath
    model: ModelOptions = field(default_factory=ModelOptions)
    targets: TargetOptions = field(default_factory=TargetOptions)
    methods: MethodOptions = field(default_factory=MethodOptions)
    style: Style = field(default_factory=Style)
    files: OutputOptions = field(default_factory=OutputOptions)
    selection: SelectionOptions = field(default_factory=SelectionOptions)
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    checks: CheckOptions = field(default_factory=CheckOptions)

    def options(self) -> Iterator[tuple[str, Any]]:
        """All options of all groups, flat, by name."""
        yield "inputs", self.inputs
        yield "output", self.output
        for group in fields(self)[2:]:
            yield from vars(getattr(self, group.name)).items()

    def with_saliency(self: RequestT, source: str | None) -> RequestT:
        """The same with ``--saliency``, another way to give an option of that method."""
        if source is None:
            return self
        options = {**self.methods.options, "saliency.source": source}
        return replace(self, methods=replace(self.methods, options=options))

    def continued(self: RequestT) -> RequestT:
        """The same for a process that goes on where another one crashed.

        What was done before the crash is not done again, whatever was asked for.
        """
        return replace(self, execution=replace(self.execution, force=False))


@dataclass(frozen=True)
class MetricOptions:
    """How maps are judged, and what is demanded; no metrics for all that can be measured."""

    metrics: tuple[str, ...] = ()
    metric_limits: tuple[Threshold, ...] = ()
    metric_options: Mapping[str, str] = field(default_factory=dict)
    boxes: str | None = None
    masks: str | None = None

    @property
    def regions(self) -> bool:
        """Whether it is said where objects are."""
        return self.boxes is not None or self.masks is not None


@dataclass(frozen=True)
class EvaluationRequest(RunRequest):
    """All that a run of ``cnnviz evaluate`` is asked to do: it explains images, and judges that."""

    judged: MetricOptions = field(default_factory=MetricOptions)


@dataclass(frozen=True)
class ActivationsStyle(Style):
    """How channels are rendered: smaller than maps of an image, and alone in their colors."""

    size: ImageSize = 320
    colormap: str = "viridis"
    alpha: float = 0.6
    overlay: bool = False


@dataclass(frozen=True)
class ActivationsRequest:
    """All that a run of ``cnnviz activations`` is asked to do.

    Attributes:
        inputs: images, folders, or ``-`` for paths on standard input.
        output: the folder to write to.
        layers: the layers looked at; none for the network's default layer.
    """

    inputs: tuple[str, ...]
    output: Path
    model: ModelOptions = field(default_factory=ModelOptions)
    layers: tuple[str, ...] = ()
    top: int = 16
    by: Literal["mean", "max"] = "mean"
    style: ActivationsStyle = field(default_factory=ActivationsStyle)
    format: ImageFormat = "png"
    arrays: bool = False
