"""MXNet's errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnnviz.engines.mxnet.runtime import arrays_of, first_line, import_mxnet, mxnet_lock
from cnnviz.errors import NetworkError


@contextmanager
def mxnet_errors() -> Iterator[None]:
    """Turn what MXNet raises inside the block into a sentence; one thread at a time is inside.

    There, shapes mean what they mean to ``mx.nd``, whatever ``npx.set_np()`` has made of them.
    """
    import_mxnet()  # first: a lock that another thread held when this process was forked stays shut
    try:
        with mxnet_lock, arrays_of(numpy=False):
            yield
    except Exception as error:
        if not _raised_by_mxnet(error):
            raise
        text = first_line(error)
        memory = "out of memory" in text.lower() or "alloc" in text.lower()
        hint = " Use a smaller batch, or smaller images." if memory else ""
        raise NetworkError(f"MXNet could not run the network: {text}.{hint}") from error


def _raised_by_mxnet(error: Exception) -> bool:
    """Whether an error came out of the library: as its own class, or as a built-in one."""
    base = import_mxnet().base
    if isinstance(error, base.MXNetError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == base.__name__
