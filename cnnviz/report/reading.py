"""Reading the manifest of a run, and refusing what is none, with a reason that helps."""

from __future__ import annotations

from pathlib import Path

from cnnviz.errors import UsageError
from cnnviz.runs.manifest import MANIFEST
from cnnviz.runs.records import VERSION, Manifest
from cnnviz.structure import decode, parse


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the run that wrote to a folder.

    Raises:
        UsageError: there is none, it is another version's, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"There is no {MANIFEST} in {folder}. A run of `cnnviz explain` writes it when all "
            "images are done; give the folder that was its --output."
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        manifest = parse(text)
    except ValueError as error:
        if not text:
            raise UsageError(
                f"{path} is empty: move it away, and run `cnnviz explain` again."
            ) from error
        raise _damaged(path, str(error)) from error
    if not isinstance(manifest, dict) or "cnnviz_manifest" not in manifest:
        raise UsageError(f"{path} was not written by cnnviz: it has no `cnnviz_manifest`.")
    version = manifest["cnnviz_manifest"]
    if version != VERSION:
        raise UsageError(
            f"{path} has version {version!r:.20} of the format, and this cnnviz reads version "
            f"{VERSION}. Use the cnnviz that wrote it, or run `cnnviz explain` again with another "
            "output folder."
        )
    try:
        return decode(Manifest, manifest, "the manifest")
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} is damaged: {what}. Run `cnnviz explain` again.")
