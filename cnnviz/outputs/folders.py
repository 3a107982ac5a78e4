"""What a run writes to: a folder of this machine, or one behind a URL."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePath
from typing import Protocol

from cnnviz.errors import OutputError, OutputUnavailableError, UsageError
from cnnviz.outputs.files import OutputFolder, check_output_folder
from cnnviz.outputs.marks import is_foreign
from cnnviz.storage.paths import AnyPath
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.stored import File
from cnnviz.storage.tables import Register


class Folder(Protocol):
    """A folder of files that are either complete or not there, and never over somebody else's."""

    @property
    def path(self) -> AnyPath:
        """Where it is."""

    def write(self, relative: PurePath, parts: Iterable[bytes]) -> AnyPath:
        """Write a file below it; see :meth:`cnnviz.outputs.files.OutputFolder.write`.

        Raises:
            OutputError: this file cannot be written.
            OutputUnavailableError: none can.
        """


def folder_at(path: AnyPath, inputs: Iterable[File] = ()) -> Folder:
    """The folder to write to, which need not exist yet; inputs of the run are not overwritten."""
    return OutputFolder(path, inputs) if isinstance(path, Path) else RemoteFolder(path, inputs)


def check_folder(path: AnyPath) -> None:
    """Find out, before any work, whether a folder can be written to, by trying. Leaves nothing.

    Raises:
        UsageError: it cannot.
    """
    if isinstance(path, Path):
        check_output_folder(path)
        return
    if not path.writable:
        raise UsageError(
            f"The output folder {path} cannot be used: cnnviz writes to folders of this machine, "
            "and to s3://, gs:// and az://. Choose another."
        )
    trial = path / f".cnnviz-{secrets.token_hex(8)}.tmp"
    try:
        trial.write([b""])
        trial.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"The output folder {path} cannot be used: nothing can be written and removed there "
            f"({error.strerror}). Choose another."
        ) from error


class RemoteFolder:
    """A folder behind a URL: its objects appear whole, and nothing has to be made beforehand.

    Whether an object is somebody else's is looked up before it is written, unless the folder was
    empty when the run began; between the look and the writing nothing keeps others away.
    """

    def __init__(self, path: RemotePath, inputs: Iterable[File] = ()) -> None:
        """Args: the folder, and files that must not be overwritten."""
        self.path = path
        self._inputs = inputs

    def write(self, relative: PurePath, parts: Iterable[bytes]) -> RemotePath:
        """Write an object below the folder. Returns its path."""
        if relative.is_absolute() or ".." in relative.parts:
            raise OutputError(f"{relative} does not lie inside the output folder {self.path}.")
        path = self.path / relative
        try:
            if not self._was_empty:
                self._check(path)
            path.write(parts)
        except OSError as error:
            text = f"{path} cannot be written: {error.strerror}."
            if error.errno in (errno.EACCES, errno.ENOENT):  # no permission, or no bucket
                raise OutputUnavailableError(text) from error
            raise OutputError(text) from error
        return path

    @cached_property
    def _was_empty(self) -> bool:
        return next(self.path.below(), None) is None

    def _check(self, path: RemotePath) -> None:
        if is_foreign(path):
            raise OutputError(
                f"{path} exists and was not written by cnnviz; it is left as it is. Move it away "
                "or choose another output folder."
            )
        if str(path) in self._names:
            raise OutputError(
                f"{path} is an input of this run and is not overwritten. Choose another output "
                "folder."
            )

    @cached_property
    def _names(self) -> Register[tuple[()]]:
        names: Register[tuple[()]] = Register()
        for one in self._inputs:
            if not isinstance(one, Path):
                names[str(one)] = ()
        return names
