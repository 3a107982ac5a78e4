"""Writing files that are either complete or not there, and never over somebody else's.

A file is written under a temporary name beside its place and renamed when it is whole. A file that
exists is only replaced if cnnviz wrote it, and not if it is an input of the run. What is in a file,
and how cnnviz knows it again, is up to :mod:`cnnviz.outputs.formats`.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from cnnviz import system
from cnnviz.errors import OutputError, OutputUnavailableError, UsageError
from cnnviz.outputs.marks import is_foreign
from cnnviz.storage.paths import AnyPath
from cnnviz.storage.stored import File
from cnnviz.storage.tables import Register

_TEMPORARY = ".cnnviz-"
_TRIES = 3  # of what another run may be in the way of
#: What the next file would meet as well, whatever its name.
_GENERAL = {
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EROFS,
}


def write_file(path: str | os.PathLike[str], parts: Iterable[bytes]) -> None:
    """Write a file, whole or not at all, as its contents come.

    Not synced: a power cut may lose it.

    Args:
        path: where to; its folder must exist.
        parts: the contents piece by piece, as the functions of :mod:`cnnviz.outputs.formats` return
            them. May be a generator, which is asked for a piece when the ones before are written.

    Raises:
        OutputError: there is a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    path = Path(path)
    check_replaceable(path)
    # A name of its own, for the real one may be as long as names can be; opened by hand, since
    # tempfile's files are unreadable to others whatever the umask.
    temporary = _temporary_beside(path)
    whole = False
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
        whole = True
        os.replace(temporary, path)
    except BaseException as error:  # an interrupt, too, leaves no half file behind
        _remove(temporary)
        if isinstance(error, OSError):
            # What can be written under another name: not every file system has all names.
            raise _refused(path, error, "written", named=whole) from error
        raise


class OutputFolder:
    """The folder that a run writes to; makes sub-folders as they are needed."""

    def __init__(self, path: str | os.PathLike[str], inputs: Iterable[File] = ()) -> None:
        """Args: the folder, which need not exist yet, and files that must not be overwritten."""
        self.path = Path(path)
        self._inputs = inputs
        self._input_ids: Register[tuple[()]] | None = None

    def write(self, relative: PurePath, parts: Iterable[bytes]) -> Path:
        """Write a file below the folder; see :func:`write_file`. Returns its path.

        Raises:
            OutputError: it would not be below the folder, or an input of the run or somebody else's
                file is in the way.
            OutputUnavailableError: the file system refused (disk full, no permission).
        """
        path = self._place(relative)
        write_file(path, parts)
        return path

    def _place(self, relative: PurePath) -> Path:
        if not system.stays_below(relative):
            raise OutputError(f"{relative} does not lie inside the output folder {self.path}.")
        path = self.path / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise OutputError(
                f"The folder {path.parent} cannot be made: a file has that name or stands in the "
                "way. Choose another output folder."
            ) from error
        except OSError as error:
            raise _refused(path.parent, error, "made", named=relative.parent != PurePath()) from (
                error
            )
        identity = _identity(path)
        if identity is not None and identity in self._identities():
            raise OutputError(
                f"{path} is an input of this run and is not overwritten. Choose another output "
                "folder."
            )
        return path

    def _identities(self) -> Register[tuple[()]]:
        # Only asked for when something exists already: for a million inputs it takes a second.
        if self._input_ids is None:
            ids: Register[tuple[()]] = Register()
            for path in self._inputs:
                identity = _identity(path) if isinstance(path, Path) else None
                if identity is not None:
                    ids[identity] = ()
            self._input_ids = ids  # all at once: several threads write
        return self._input_ids


def check_output_folder(path: str | os.PathLike[str]) -> None:
    """Find out, before any work, whether a folder can be written to, by trying. Leaves nothing.

    Raises:
        UsageError: it is a file, lies below a file, or cannot be written to.
    """
    folder = Path(path)
    problem: OSError | None = None
    for _ in range(_TRIES):
        problem = _cannot_be_made(folder)
        if not isinstance(problem, FileNotFoundError):
            break
        # Another run may just have removed what its own trial had made; but not every time.
    if problem is None:
        return
    if isinstance(problem, PermissionError):
        reason = f"there is no permission to write to {_nearest(folder)}"
    else:
        reason = f"nothing can be made in {_nearest(folder)} ({problem.strerror})"
    raise UsageError(
        f"The output folder {folder} cannot be used: {reason}. Choose another."
    ) from problem


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _cannot_be_made(folder: Path) -> OSError | None:
    """Why a folder cannot be made and written to; None if it can.

    Raises:
        UsageError: it is a file, or lies below one.
    """
    nearest = _nearest(folder)
    if not nearest.is_dir():
        raise UsageError(
            f"The output folder {folder} cannot be used: {nearest} is not a folder. Choose another."
        )
    missing = [each for each in (folder, *folder.parents) if nearest in each.parents]
    made: list[Path] = []
    trial = _temporary_beside(folder / "trial")
    try:
        for each in reversed(missing):
            each.mkdir()
            made.append(each)
        trial.touch(exist_ok=False)
    except FileExistsError:  # another run has just made the folder
        return None
    except OSError as error:
        return error
    finally:
        _remove(trial)
        for each in reversed(made):
            with suppress(OSError):  # another run writes to it meanwhile
                each.rmdir()
    return None


def check_output_file(path: Path) -> None:
    """Find out, before any work, whether a file can be written. Leaves nothing.

    Raises:
        UsageError: its folder cannot be used, or there is something that cnnviz did not write.
    """
    check_output_folder(path.parent)
    try:
        check_replaceable(path)
    except OutputError as error:
        raise UsageError(str(error)) from error


@contextmanager
def all_or_none() -> Iterator[list[AnyPath]]:
    """Files that belong together: what is put into the list goes if not all can be written.

    Half a set would be taken for a whole one.
    """
    written: list[AnyPath] = []
    try:
        yield written
    except BaseException:
        for path in written:
            _remove(path)
        raise


def check_replaceable(path: Path) -> None:
    """Refuse a path where there is something that cnnviz did not write.

    Raises:
        OutputError: there is, or that cannot be found out.
        OutputUnavailableError: the file system fails.
    """
    try:
        foreign = is_foreign(path)
    except OSError as error:
        raise _refused(path, error, "replaced", named=True) from error
    if foreign:
        raise OutputError(
            f"{path} exists and was not written by cnnviz; it is left as it is. Move it away "
            "or choose another output folder."
        )


def remove_partial_files(folder: AnyPath, below: Iterable[PurePath]) -> None:
    """Remove what was being written when a run was killed.

    Args:
        folder: an output folder that nobody is writing to. Behind a URL there is nothing partial.
        below: folders in it, relative; they and ``thumbnails`` with the same below it are searched.
    """
    if not isinstance(folder, Path):
        return
    for relative in {PurePath(), *below}:
        for place in (folder / relative, folder / "thumbnails" / relative):
            for path in place.glob(f"{_TEMPORARY}*.tmp"):
                path.unlink(missing_ok=True)


def _identity(path: Path) -> str | None:
    """Device and inode of what a path leads to; None where there is nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return f"{status.st_dev}:{status.st_ino}"


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}.tmp")


def _remove(path: AnyPath) -> None:
    """Remove a file, if that is possible, on the way out of another failure."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _refused(
    path: Path, error: OSError, done: str, *, named: bool
) -> OutputError | OutputUnavailableError:
    """The error for what the file system refused: an image's own, or one that ends a run.

    Args:
        path: what could not be written.
        error: the reason.
        done: what could not be done to it.
        named: whether its own name may be the reason.
    """
    text = f"{path} cannot be {done}: {error.strerror}."
    if error.errno == errno.ENAMETOOLONG or (named and error.errno not in _GENERAL):
        return OutputError(
            f"{text} If the output folder's file system has no such names, choose "
            "a folder on another."
        )
    return OutputUnavailableError(text)
