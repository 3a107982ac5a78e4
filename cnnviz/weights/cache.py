"""Where weights lie on this machine: in the folder that MXNet keeps them in.

Nothing heavy is imported here, so that networks can be listed with their files.
"""

from __future__ import annotations

import os
from pathlib import Path

from cnnviz.weights.info import LocatedWeights, PublishedWeights


def cache_folder() -> Path:
    """Where MXNet keeps weights: ``$MXNET_HOME/models``, by default ``~/.mxnet/models``.

    The ``~`` stays where nobody knows the user's home, as in a container with a user of its own.
    """
    return Path(os.path.expanduser(os.environ.get("MXNET_HOME") or "~/.mxnet")) / "models"


def cached(published: PublishedWeights) -> Path | None:
    """The file that would be used for a network without any download, or None.

    Its contents are not looked at.
    """
    for located in candidates(published):
        if os.path.isfile(located.path):  # False, too, in a folder that must not be entered
            return located.path
    return None


def candidates(published: PublishedWeights) -> tuple[LocatedWeights, ...]:
    """Where the cache may have the weights, best first: as the store names them, and converted."""
    folder = cache_folder()
    gluon = LocatedWeights(folder / f"{store_name(published)}.params", "Gluon model store, cached")
    if published.hub is None:
        return (gluon,)
    converted = folder / converted_name(published)
    return gluon, LocatedWeights(converted, f"{published.hub} on Hugging Face, cached")


def store_name(published: PublishedWeights) -> str:
    """``vgg16-e660d456``: what the Gluon model store calls the file."""
    return f"{published.network}-{published.sha1[:8]}"


def converted_name(published: PublishedWeights) -> str:
    """``vgg16-tv_in1k.params``: the network and what the repository says of the training."""
    return f"{published.network}-{str(published.hub).rpartition('.')[2]}.params"
