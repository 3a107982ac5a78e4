"""What ``manifest.json`` and ``evaluation.json`` hold about a run, as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cnnviz.engines.base import FP32
from cnnviz.engines.registry import ENGINES, engine_title
from cnnviz.errors import UsageError
from cnnviz.images.input_spec import AREA, InputSpec
from cnnviz.structure import ADDED

if TYPE_CHECKING:
    from cnnviz.engines.base import Engine


@dataclass(frozen=True)
class InputRecord:
    """What the network is fed.

    Attributes:
        height: pixels.
        width: pixels.
        mean: of pixels in [0, 1], in the order of the channels.
        std: likewise.
        channels: ``rgb``, ``bgr``, ``gray``, or ``other`` for two channels or more than three.
        resize: how images are brought to that size, ``stretch`` or ``crop``.
        range: (low, high), the values in images that became 0 and 1, as given; null for the whole
            range of 8 or 16 bits.
        displayed: the indices of the channels displayed, three as red, green and blue, or one.
        crop_fraction: the part of the resized image's short side that was kept.
        interpolation: how pixels were computed: ``area``, or the name of one of Pillow's filters.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str
    resize: str
    range: tuple[float, float] | None = None
    displayed: tuple[int, ...] = ()
    crop_fraction: float | None = field(default=None, metadata=ADDED)
    interpolation: str = field(default=AREA, metadata=ADDED)

    def __post_init__(self) -> None:
        """Fill in what runs before there was a choice kept."""
        try:
            object.__setattr__(self, "crop_fraction", self.spec.kept)
        except UsageError as error:
            raise ValueError(f"says what no network is fed: {error}") from error

    @property
    def spec(self) -> InputSpec:
        """What decides on the part of an image that the network sees."""
        return InputSpec(
            self.height,
            self.width,
            resize=self.resize,
            crop_fraction=self.crop_fraction,
            interpolation=self.interpolation,
        )


@dataclass(frozen=True)
class LayerRecord:
    """A target layer.

    Attributes:
        name: as ``cnnviz layers`` lists it.
        kind: of layer.
        shape: of what it outputs for one image, as maps: channels, height, width.
    """

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SymbolRecord:
    """The file that a network's architecture was read from.

    Attributes:
        path: as it was given.
        sha256: of the file; null if it cannot be read any more.
    """

    path: str
    sha256: str | None


@dataclass(frozen=True)
class WeightsRecord:
    """The file that a network's weights were read from.

    Attributes:
        path: where it is.
        source: where it came from, in words.
        sha256: of the file; of an ONNX file with weights beside it, of the digests of all of them,
            one a line, the network's own first, then in order of their names.
    """

    path: str
    source: str
    sha256: str


@dataclass(frozen=True)
class CheckRecord:
    """How the network was compared, when it was loaded, with what else runs it: a random image.

    Attributes:
        reference: that program, with its version.
        difference: the largest between the two's outputs, relative to the largest of these.
    """

    reference: str
    difference: float


@dataclass(frozen=True)
class NetworkRecord:
    """The network.

    Attributes:
        name: as it was given, or its file name.
        classes: how many there are.
        activation: what makes probabilities of its logits: ``softmax``, ``sigmoid``, ``none``, or
            two of these as ``softmax of softmax``.
        labels: the names of the classes; empty if they have none.
        input: what it is fed.
        layers: the target layers, in the network's order.
        symbol: null for a network that is not an exported MXNet symbol.
        weights: null if they are not from a file.
        check: how it was compared with another program that runs it; null if none was there, or
            the network is not read from such a file.
    """

    name: str
    classes: int
    activation: str
    labels: tuple[str, ...]
    input: InputRecord
    layers: tuple[LayerRecord, ...]
    symbol: SymbolRecord | None
    weights: WeightsRecord | None
    check: CheckRecord | None


@dataclass(frozen=True)
class EngineRecord:
    """What computes.

    Attributes:
        name: ``mxnet`` or ``torch``.
        version: of its framework.
        device: where it runs: ``cpu``, ``gpu:0``, ``mps``.
        precision: of convolutions and matrix products: ``fp32``, ``tf32`` or ``bf16``.
    """

    name: str
    version: str
    device: str
    precision: str

    @classmethod
    def of(cls, engine: Engine) -> EngineRecord:
        """Of an engine."""
        return cls(engine.name, engine.version(), str(engine.device), engine.precision)

    def __str__(self) -> str:
        """For people: ``PyTorch 2.13.0 on gpu:0, in tf32``."""
        title = engine_title(self.name) if self.name in ENGINES else self.name
        precision = "" if self.precision == FP32 else f", in {self.precision}"
        return f"{title} {self.version} on {self.device}{precision}"


@dataclass(frozen=True)
class MethodRecord:
    """A method that was used.

    Attributes:
        name: as ``--method`` takes it.
        key: what the names of its maps begin with.
        title: for people, with the ReLU rule if that is not the usual one.
        paper: where it is from.
        map_kinds: by key, how each of its maps is rendered (``heat``, ``signed``, ...).
        options: by name.
        guided: whether it replaces the derivative of ReLUs.
    """

    name: str
    key: str
    title: str
    paper: str
    map_kinds: Mapping[str, str]
    options: Mapping[str, Any]
    guided: bool


@dataclass(frozen=True)
class GroundTruthRecord:
    """Where the true classes come from.

    Attributes:
        source: ``folders``, ``cls`` or a file.
        known: how many images have a true class.
    """

    source: str
    known: int


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
        parameters: the options of the run.
        versions: of cnnviz, Python and the libraries.
        network: what was explained.
        engine: what computed it. Images that an earlier run explained may come from another one:
            each image names its own.
        engine_reason: why no other engine did, in words; empty if this one was asked for.
        methods: in the order in which they were given.
        notes: sentences about what was recognized or assumed about the network.
        ground_truth: null if none was given.
        fingerprint: identifies everything that decides what is written for an image; runs with the
            same fingerprint continue each other.
        started: when, in ISO 8601.
        seconds: how long it took.
    """

    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    network: NetworkRecord
    engine: EngineRecord
    engine_reason: str
    methods: tuple[MethodRecord, ...]
    notes: tuple[str, ...]
    ground_truth: GroundTruthRecord | None
    fingerprint: str = ""
    started: str = ""
    seconds: float = 0.0
