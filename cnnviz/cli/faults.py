"""Messages for exceptions that the environment causes, not a bug.

A traceback helps those who can fix the code. Users can fix a package that does not fit, a limit of
the machine, or access to storage, and need a sentence that says which.
"""

from __future__ import annotations

import errno
from types import TracebackType

from cnnviz.text import is_url

_OURS = "cnnviz"


def environment_fault(error: Exception) -> str | None:
    """What is wrong with the environment, and what to do; None if the error may be a bug."""
    if isinstance(error, OSError) and is_url(str(error.filename)):
        return f"{error.filename}: {error.strerror}."
    cause: BaseException | None = error
    while cause is not None:
        fault = _shortage(cause)
        if fault is not None:
            return fault
        cause = cause.__cause__ or cause.__context__
    return _broken_import(error)


def _shortage(error: BaseException) -> str | None:
    """What the machine has run out of."""
    if (
        isinstance(error, MemoryError)
        or _says(error, "failed to map segment", "bad_alloc")
        or _has(error, errno.ENOMEM)
    ):
        return (
            "there is not enough memory. Close other programs, or raise the memory limit if "
            "there is one (`ulimit -v`, a container's); --batch-size 1 and a smaller --size take "
            "less."
        )
    if _says(error, "can't start new thread") or _has(error, errno.EAGAIN):
        return (
            "no more threads or processes can be started. Raise the limit (`ulimit -u`, or a "
            "container's), or end others; --threads 1 takes fewer."
        )
    if _has(error, errno.EMFILE, errno.ENFILE):
        return f"{error}: raise the limit on open files (`ulimit -n`)."
    return None


def _says(error: BaseException, *texts: str) -> bool:
    kinds = (RuntimeError, ImportError, OSError)
    return isinstance(error, kinds) and any(text in str(error) for text in texts)


def _has(error: BaseException, *numbers: int) -> bool:
    return isinstance(error, OSError) and error.errno in numbers


def _broken_import(error: Exception) -> str | None:
    """Which package cannot be imported, if the error is about that."""
    package = _importing(error.__traceback__)
    if package is None and isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
    if not package or package == _OURS:
        return None
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if package == "cv2" and any(name in reason for name in ("libGL", "libgthread")):
        return (
            f"OpenCV cannot be loaded ({error}). On a headless server, install that "
            "library (on Debian and Ubuntu: `apt-get install libgl1 libglib2.0-0`), or replace "
            "OpenCV by its headless build: `pip uninstall opencv-python`, then "
            "`pip install opencv-python-headless`."
        )
    return (
        f"the package {package} cannot be imported ({reason}). Install cnnviz again, best into "
        "an environment of its own: `pip install --force-reinstall cnnviz`."
    )


def _importing(traceback: TracebackType | None) -> str | None:
    """The package whose module was being run when an exception came, if it is not ours."""
    package = None
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "<module>":
            name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if name not in (_OURS, "__main__"):
                package = package or name
        traceback = traceback.tb_next
    return package
