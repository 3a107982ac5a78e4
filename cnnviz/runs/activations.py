"""A run of ``cnnviz activations``: the strongest channels of layers, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnviz.engines.base import parse_device
from cnnviz.errors import ExplanationError, ItemError
from cnnviz.explainer import Explainer
from cnnviz.images.source import Source
from cnnviz.images.sources import find_sources
from cnnviz.inspection.activations import TopChannels, channel_arrays, top_channels
from cnnviz.models.resolve import find_model, load_model
from cnnviz.models.source import ModelSource
from cnnviz.outputs.files import OutputFolder, all_or_none, check_output_folder
from cnnviz.outputs.formats import encode_image, encode_npz
from cnnviz.outputs.marks import written_by_cnnviz
from cnnviz.outputs.naming import file_parts, plan_names
from cnnviz.runs.items import Item
from cnnviz.runs.manifest import file_sha256
from cnnviz.runs.request import ActivationsRequest
from cnnviz.runs.stream import LoadedImage, Loader, Stage, Stream
from cnnviz.runs.supervisor import WorkerState
from cnnviz.storage.paths import AnyPath

_ARRAYS = "_activations.npz"


@dataclass(frozen=True)
class ActivationsOutcome:
    """What became of one image.

    Attributes:
        source: the image.
        found: the channels of each layer.
        files: an image for each of them.
        arrays: the file with the raw activations, if there is one.
        error: why it failed, or None.
        remark: what the decoder said of it.
        seconds: that it took.
    """

    source: Source
    found: tuple[TopChannels, ...] = ()
    files: tuple[AnyPath, ...] = ()
    arrays: Path | None = None
    error: str | None = None
    remark: str | None = None
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """The outcome as JSON can hold it."""
        status = "ok" if self.error is None else "failed"
        record: dict[str, Any] = {"path": self.source.shown, "status": status}
        if self.remark is not None:
            record["remark"] = self.remark
        if self.error is not None:
            return {**record, "error": self.error, "seconds": self.seconds}
        record["layers"] = [
            {
                "layer": one.layer.name,
                "kind": one.layer.kind,
                "shape": list(one.layer.shape),
                "by": one.by,
                "file": str(path),
                "blank": one.blank,
                "channels": one.record(),
            }
            for one, path in zip(self.found, self.files, strict=True)
        ]
        if self.arrays is not None:
            record["arrays"] = str(self.arrays)
        return {**record, "seconds": self.seconds}


@dataclass(frozen=True)
class ShowActivations(Stage[Item, tuple[TopChannels, ...], ActivationsOutcome]):
    """Shows the strongest channels of each layer.

    Attributes:
        explainer: the network and its layers.
        request: what is asked for.
        suffixes: of the files' names, one for each layer.
        folder: where to.
    """

    explainer: Explainer
    request: ActivationsRequest
    suffixes: Sequence[str]
    folder: OutputFolder

    def begin(self, item: Item) -> LoadedImage[Item, ActivationsOutcome]:
        """Files say which image they come from."""
        item = item.fetched()
        return LoadedImage(item, file_sha256(item.source.path))

    def compute(
        self, batch: Sequence[LoadedImage[Item, ActivationsOutcome]]
    ) -> Iterator[tuple[TopChannels, ...] | ItemError]:
        """One forward pass for each image."""
        for image in batch:
            try:
                yield top_channels(
                    self.explainer, image.prepared, top=self.request.top, by=self.request.by
                )
            except ItemError as problem:
                yield problem
            except MemoryError:
                yield ExplanationError(
                    "there is not enough memory for this image; choose a smaller --size"
                )

    def finish(
        self, image: LoadedImage[Item, ActivationsOutcome], result: tuple[TopChannels, ...]
    ) -> ActivationsOutcome:
        """Render and write all files of an image, or none."""
        source, stem = image.item.source, image.item.stem
        origin = replace(
            self.explainer.origin, image=source.relative.as_posix(), sha256=image.sha256
        )
        arrays = None
        with all_or_none() as files:
            for one, suffix in zip(result, self.suffixes, strict=True):
                rendered = one.render(
                    image.canvas, self.request.style, self.explainer.name, source.path.name
                )
                about = origin.describe(
                    "activations", layers=[one.layer.name], channels=one.indices
                )
                parts = encode_image(rendered, self.request.format, about)
                files.append(self.folder.write(stem.file(suffix), parts))
            written = tuple(files)
            if self.request.arrays:
                about = origin.describe("arrays", layers=[one.layer.name for one in result])
                parts = encode_npz(channel_arrays(result), about)
                arrays = self.folder.write(stem.file(_ARRAYS), parts)
        return ActivationsOutcome(
            source, result, written, arrays, remark=image.remark, seconds=image.elapsed
        )

    def failed(
        self, image: LoadedImage[Item, ActivationsOutcome], error: ItemError
    ) -> ActivationsOutcome:
        """The outcome says why."""
        return ActivationsOutcome(
            image.item.source, error=str(error), remark=image.remark, seconds=image.elapsed
        )


@dataclass(frozen=True)
class ActivationsPlan:
    """A request that was found to be in order, as far as that shows without an engine.

    Attributes:
        request: what is asked for.
        model: the network.
        sources: the images, in order.
    """

    request: ActivationsRequest
    model: ModelSource
    sources: Sequence[Source]

    @classmethod
    def check(
        cls, request: ActivationsRequest, notify: Callable[[str], None] | None
    ) -> ActivationsPlan:
        """Check all that can be checked before an engine is needed.

        Args:
            request: what is asked for.
            notify: called with a sentence when something is assumed or left out.

        Raises:
            CnnvizError: something is wrong with it.
        """
        model = find_model(request.model.config(), notify=notify)
        parse_device(request.model.device)
        check_output_folder(request.output)
        found = find_sources(request.inputs, exclude=request.output, is_own=written_by_cnnviz)
        if notify is not None:
            for note in found.notes:
                notify(note)
        return cls(request, model, found.sources)

    def open(self, *, progress: bool = True) -> ActivationsSession:
        """Load the network.

        Raises:
            CnnvizError: it cannot be used, or has no such layer.
        """
        options = self.request.model
        explainer = load_model(
            self.model,
            device=options.device,
            engine=options.engine,
            precision=options.precision,
            layer=self.request.layers,
            progress=progress,
        )
        return ActivationsSession(self.request, explainer, self.sources)


@dataclass(frozen=True)
class ActivationsSession:
    """A run whose network is loaded.

    Attributes:
        request: what is asked for.
        explainer: the network and its layers.
        sources: the images, in order.
    """

    request: ActivationsRequest
    explainer: Explainer
    sources: Sequence[Source]

    def run(
        self, observe: Callable[[ActivationsOutcome], None], worker: WorkerState | None = None
    ) -> None:
        """Show the activations of all images.

        Args:
            observe: called with each image's outcome, in order, once its files are written.
            worker: what this process knows of those before it, if it is a worker.

        Raises:
            NetworkError: the network cannot be run at all.
            OutputUnavailableError: nothing more can be written (the disk is full, say).
        """
        request, sources = self.request, self.sources
        parts = file_parts([layer.name for layer in self.explainer.layers])
        suffixes = [f"_{part}_activations.{request.format}" for part in parts]
        stems = plan_names(sources, suffixes + [_ARRAYS] * request.arrays, numbered=False)
        folder = OutputFolder(request.output, inputs=[source.path for source in sources])
        stage = ShowActivations(self.explainer, request, suffixes, folder)
        items = [Item(*one) for one in zip(sources, stems, strict=True)]
        stream = Stream(Loader(self.explainer, request.style.size), worker=worker)
        stream.run(stage, items, observe)
