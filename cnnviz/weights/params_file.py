"""MXNet's ``.params`` files, read and written in NumPy.

MXNet's own reader trusts what a file says about itself: random bytes can make it allocate without
bound or take the process down. The format is small, so it is read here, every size checked against
the bytes that are there, and without importing MXNet.

A file is, all numbers little-endian::

    uint64 0x112, uint64 0
    uint64 number of arrays, then the arrays
    uint64 number of names, then a name each: uint64 length, UTF-8 bytes

and an array, in the three generations that are found in the wild::

    V2, V3  uint32 0xF993FAC9 | 0xF993FACA, int32 storage (0: dense), int32 ndim, int64 dims
    V1      uint32 0xF993FAC8, uint32 ndim, int64 dims
    V0      uint32 ndim, uint32 dims
    then    int32 device type, int32 device number, int32 type of the elements, the elements
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnnviz.errors import WeightsError
from cnnviz.machine import give_back_pages
from cnnviz.text import is_line, printable, shortened
from cnnviz.types import Array, Float32

#: The first eight bytes of a ``.params`` file.
MAGIC = struct.pack("<Q", 0x112)

_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_MAX_DIMENSIONS = 32
#: More than any network has; each takes a Python object, however few bytes it has in the file.
_MAX_ARRAYS = 100_000
_MAX_NAME_BYTES = 256
_LONGEST_REASON = 300  # characters
_BFLOAT16 = 12
_DTYPES: dict[int, np.dtype[Any]] = {
    code: np.dtype(name).newbyteorder("<")
    for code, name in enumerate(
        ("f4", "f8", "f2", "u1", "i4", "i1", "i8", "?", "i2", "u2", "u4", "u8")
    )
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def read_params(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a ``.params`` file by name, in the file's order.

    The arrays are read-only views of the mapped file (bfloat16 is widened to float32 and copied).
    Names are given as they stand, ``arg:`` and ``aux:`` included.

    Raises:
        WeightsError: The file cannot be opened, is not a ``.params`` file, is truncated or damaged,
            or holds arrays without names or in a sparse layout.
    """
    path = Path(path)
    return _Reader(path, map_file(path)).read()


def map_file(path: Path) -> mmap.mmap:
    """The file's bytes, mapped read-only. Raises :class:`WeightsError` if that is not possible."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            what = "a folder" if path.is_dir() else "a pipe or device"
            raise WeightsError(f"{path} is {what}, not a weights file.")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise WeightsError(f"{path} is empty; it holds no weights.")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error


def bfloat16_to_float32(bits: Array) -> Array:
    """Widen bfloat16, given as its uint16 bits: they are the upper half of a float32's."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write_params(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays as a ``.params`` file that MXNet 1.x loads; complete or not at all.

    The arrays go to a temporary file in the same folder one by one, which is synced and then
    renamed, so that no reader and no crash ever sees half a file.

    Raises:
        WeightsError: The folder is not writable or full, or MXNet has no type for an array.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}-", suffix=".part"
        )
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + struct.pack("<QQ", 0, len(arrays)))
            for name, array in arrays.items():
                dtype = array.dtype.newbyteorder("<")
                if dtype not in _CODES or array.ndim == 0:
                    raise WeightsError(
                        f"{name} ({array.dtype}, shape {array.shape}) cannot be written to {path}: "
                        "MXNet's .params files hold numeric arrays of one dimension or more."
                    )
                file.write(struct.pack(f"<Iii{array.ndim}q", _V2, 0, array.ndim, *array.shape))
                file.write(struct.pack("<iii", 1, 0, _CODES[dtype]))
                file.write(np.ascontiguousarray(array, dtype=dtype).data)
            file.write(struct.pack("<Q", len(arrays)))
            for name in arrays:
                encoded = name.encode()
                file.write(struct.pack("<Q", len(encoded)) + encoded)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
        temporary = None
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        if temporary is not None:
            os.unlink(temporary)


def publish(temporary: str | os.PathLike[str], path: Path) -> None:
    """Rename a finished temporary file to its name, with a new file's ordinary permissions."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)
    os.replace(temporary, path)


def in_float32(arrays: Mapping[str, Array], *, source: str = "The weights") -> dict[str, Float32]:
    """Parameters as engines take them: float32 and finite.

    What is float32 already is not copied. Where an array's memory is a mapped file, its pages are
    given back on the way, so that a process that copies the weights never holds them twice.

    Args:
        arrays: Floating point, by name.
        source: Where they come from, for an error's text.

    Raises:
        WeightsError: A value is not finite.
    """
    found = {}
    for name, array in arrays.items():
        found[name] = np.require(array, np.float32, ["C", "A"])
        check_finite(name, found[name], source)
        give_back_pages(array)
    return found


def check_numbers(name: str, array: Array, source: str) -> None:
    """Refuse NaN in a parameter; infinity is what masks have, say.

    Raises:
        WeightsError: The name, and how many numbers are not finite.
    """
    with np.errstate(all="ignore"):
        damaged = bool(np.isnan(array.sum())) and bool(np.isnan(array).any())
    if damaged:
        check_finite(name, array, source)


def check_finite(name: str, array: Array, source: str) -> None:
    """Refuse NaN and infinity in a parameter: a ReLU can turn them into 0, and hide the damage.

    A sum tells, in 40 ms for the 138 million numbers of VGG-16; only where it is not finite, as it
    also is where it overflows, each number is looked at.

    Raises:
        WeightsError: The name, and how many numbers are not finite.
    """
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum()):
            return
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise WeightsError(
            f"{source}: {name} holds {bad} of {array.size} numbers that are not finite (NaN or "
            "infinity). The file is damaged, or the training that made it went wrong."
        )


def is_name(text: str) -> bool:
    """Whether a name out of a file can be shown: control characters could rewrite a terminal."""
    return is_line(text, _MAX_NAME_BYTES)


def shown(what: object) -> str:
    """What a library says of a damaged file, without the file's own control characters."""
    return shortened(printable(str(what)), _LONGEST_REASON)


class _Reader:
    """One pass over the bytes of a ``.params`` file."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._at = 0

    def read(self) -> dict[str, Array]:
        if self._data[: len(MAGIC)] != MAGIC:
            raise WeightsError(
                f"{self._path} is not an MXNet .params file: it does not start like one."
            )
        self._at = len(MAGIC)
        _reserved, count = self._unpack("<QQ")
        if count > min(_MAX_ARRAYS, len(self._data)):
            raise self._damaged(f"it claims to hold {count} arrays")
        arrays = [self._array() for _ in range(count)]
        (named,) = self._unpack("<Q")
        if named == 0 and count:
            raise WeightsError(
                f"{self._path} holds {count} arrays without names, so they cannot be told apart. "
                "Save the network with save_parameters()."
            )
        if named != count:
            raise self._damaged(f"it holds {count} arrays and {named} names")
        names = [self._name() for _ in range(named)]
        if len(set(names)) != count:
            raise self._damaged("two of its arrays have the same name")
        return dict(zip(names, arrays, strict=True))

    def _array(self) -> Array:
        (magic,) = self._unpack("<I")
        if magic in (_V2, _V3):
            (storage,) = self._unpack("<i")
            if storage != 0:
                raise WeightsError(
                    f"{self._path} holds a sparse array; only dense weights can be used."
                )
            (dimensions,) = self._unpack("<i")
            empty = dimensions == 0 if magic == _V2 else dimensions == -1
            size_of_dim = "q"
        elif magic == _V1:
            (dimensions,) = self._unpack("<I")
            empty, size_of_dim = dimensions == 0, "q"
        else:
            # The oldest files have no marker: the first number is that of the dimensions.
            dimensions = magic
            empty, size_of_dim = dimensions == 0, "I"
        if empty:
            return np.zeros(0, dtype=np.float32)
        if not 0 <= dimensions <= _MAX_DIMENSIONS:
            raise self._damaged(f"an array in it claims to have {dimensions} dimensions")
        shape = self._unpack(f"<{dimensions}{size_of_dim}")
        _device, _number, code = self._unpack("<iii")
        if code not in _DTYPES and code != _BFLOAT16:
            raise self._damaged(f"an array in it has the unknown type number {code}")
        dtype = np.dtype("<u2") if code == _BFLOAT16 else _DTYPES[code]
        if any(size < 0 for size in shape):
            raise self._damaged(f"an array in it claims to have the shape {shape}")
        count = 1
        for size in shape:
            count *= size
        start = self._skip(count * dtype.itemsize)
        array = np.frombuffer(self._data, dtype=dtype, count=count, offset=start)
        try:
            array = array.reshape(shape)
        except ValueError as error:  # empty, and yet too large for NumPy along its other sides
            raise self._damaged(f"an array in it claims to have the shape {shape}") from error
        return bfloat16_to_float32(array) if code == _BFLOAT16 else array

    def _name(self) -> str:
        (length,) = self._unpack("<Q")
        if length > _MAX_NAME_BYTES:
            raise self._damaged(f"a name in it claims to have {length} bytes")
        start = self._skip(length)
        try:
            name = self._data[start : self._at].decode()
        except UnicodeDecodeError as error:
            raise self._damaged("a name in it is not text") from error
        if not is_name(name):
            raise self._damaged("a name in it has control characters")
        return name

    def _unpack(self, layout: str) -> tuple[int, ...]:
        start = self._skip(struct.calcsize(layout))
        return struct.unpack_from(layout, self._data, start)

    def _skip(self, size: int) -> int:
        """Move on by ``size`` bytes that must be there; the position before."""
        start = self._at
        if size > len(self._data) - start:
            raise self._damaged(
                f"it ends after {len(self._data)} bytes, in the middle of its contents"
            )
        self._at = start + size
        return start

    def _damaged(self, what: str) -> WeightsError:
        return WeightsError(
            f"{self._path} is a damaged or incomplete .params file: {what}. Fetch or save it again."
        )
