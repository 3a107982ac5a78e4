"""The images of a run, each with the names of its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from cnnviz.explainer import Explainer
from cnnviz.images.loading import load_image
from cnnviz.images.preprocessing import Canvas, Prepared
from cnnviz.images.source import Source, SourceList
from cnnviz.labels.label_sets import Truth
from cnnviz.outputs.long_names import plan_long_names
from cnnviz.outputs.naming import NamePlanner, OutputStem, output_stem
from cnnviz.outputs.part_names import plan_some_names
from cnnviz.runs.goals import PREDICTED, Goals
from cnnviz.runs.request import OutputOptions
from cnnviz.runs.shards import Part
from cnnviz.runs.stream import Loader
from cnnviz.storage import spool
from cnnviz.storage.sequences import LazySequence, Mapped, Same, chosen
from cnnviz.storage.spool import Spooled


@dataclass(frozen=True)
class Item:
    """An image of a run.

    Attributes:
        source: the image.
        stem: what the names of its files begin with.
        truth: its true class, or classes, if that is known.
    """

    source: Source
    stem: OutputStem
    truth: Truth = None

    @property
    def key(self) -> str:
        """Its file's path."""
        return str(self.source.path)

    def fetched(self) -> Item:
        """The same with its file's contents in hand, if that is none of this machine's."""
        source = self.source.fetched()
        return self if source is self.source else replace(self, source=source)

    def load(self, loader: Loader, remark: Callable[[str], None]) -> tuple[Prepared, Canvas]:
        """What the network is fed, and what is drawn on."""
        return load_image(
            self.source.path,
            loader.explainer.spec,
            loader.size,
            max_pixels=loader.max_pixels,
            remark=remark,
        )


def plan_items(
    sources: Sequence[Source],
    explainer: Explainer,
    goals: Goals = PREDICTED,
    files: OutputOptions | None = None,
    truths: Sequence[Truth] = (),
    part: Part | None = None,
) -> Sequence[Item]:
    """The images of a run, with names of files that never collide.

    Args:
        sources: the images, in order.
        explainer: the network and methods.
        goals: what is explained.
        files: what is written beside the maps; by default nothing.
        truths: each image's true class or classes, or None; nothing if none is known.
        part: of which run the images are a part, if they are one.
    """
    planner = name_planner(explainer, goals, OutputOptions() if files is None else files)
    everything, places = (sources, None) if part is None else (part.everything, part.places)
    known = truths or Same(None, len(sources))
    names = everything.names if isinstance(everything, SourceList) else None
    wanted = everything if places is None else places
    if names or (isinstance(everything, LazySequence) and len(wanted) > spool.MOST_IN_MEMORY):
        every = Spooled.at_path(names) if names else plan_long_names(everything, planner)
        return Items(sources, every if places is None else chosen(every, places), known)
    if places is None:
        stems = list(map(output_stem, planner.plan(sources)))
    else:
        stems = plan_some_names(everything, places, planner)
    return [Item(*one) for one in zip(sources, stems, known, strict=True)]


def name_planner(explainer: Explainer, goals: Goals, files: OutputOptions) -> NamePlanner:
    """What plans names for all files that are written for an image."""
    keys = ["original", *(key for method in explainer.methods for key in method.map_kinds)]
    keys += ["panel"] * files.panel + ["contrast"] * bool(goals.contrasts)
    suffixes = [f"_{key}.{files.format}" for key in keys] + [".npz"] * files.arrays
    several = bool(goals.contrasts) or (files.panel and goals.most != 1)
    words = [other.file_part for other in goals.others.values()]
    return NamePlanner(suffixes, numbered=goals.numbered, several=several, words=words)


class Items(LazySequence[Item]):
    """Images with names that are read when they are asked for."""

    def __init__(
        self, sources: Sequence[Source], names: Sequence[bytes], truths: Sequence[Truth]
    ) -> None:
        """Args: what :func:`plan_items` has, and the stems as the file system's bytes."""
        self._sources, self._names, self._truths = sources, names, truths

    def __len__(self) -> int:
        return len(self._sources)

    def at(self, place: int) -> Item:
        """The image at a place."""
        return self._item((self._sources[place], self._names[place], self._truths[place]))

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, zip(self._sources, self._names, self._truths, strict=True))

    @property
    def stems(self) -> Sequence[str]:
        """What the names of their files begin with."""
        return Mapped(os.fsdecode, self._names)

    @staticmethod
    def _item(of: tuple[Source, bytes, Truth]) -> Item:
        source, name, truth = of
        return Item(source, output_stem(os.fsdecode(name)), truth)


def stems_of(items: Sequence[Item]) -> Sequence[str]:
    """What the names of each image's files begin with."""
    if isinstance(items, Items):
        return items.stems
    return Mapped(_stem, items) if isinstance(items, LazySequence) else list(map(_stem, items))


def _stem(item: Item) -> str:
    return str(item.stem.path)
