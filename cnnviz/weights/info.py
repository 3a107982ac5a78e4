"""What is known about a network's weights: where they are published, where they are, what they are.

Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that can be downloaded.

    Attributes:
        network: what the network is called in the Gluon model store.
        family: its family, which decides what other libraries' names of layers mean.
        size: of the file in the Gluon model store, in bytes, to within 0.1 %.
        sha1: of that file; its first eight digits are in its name.
        hub: a Hugging Face repository with the same network for the same images, if there is one.
    """

    network: str
    family: str
    size: int
    sha1: str
    hub: str | None = None


@dataclass(frozen=True)
class LocatedWeights:
    """A weights file on this machine.

    Attributes:
        path: the file.
        source: where it came from, in words.
    """

    path: Path
    source: str


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a network was given.

    Attributes:
        path: the file.
        sha256: of the whole file, hexadecimal; of several files see
            :func:`cnnviz.weights.digests.digest_of_all`.
        source: where the file came from, in words.
    """

    path: Path
    sha256: str
    source: str
