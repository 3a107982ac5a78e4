"""Weights files of all kinds, as named arrays."""

from __future__ import annotations

import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnnviz.errors import WeightsError
from cnnviz.images.kinds import ZIP_SIGNATURE
from cnnviz.text import listed
from cnnviz.types import Array
from cnnviz.weights.checkpoints import read_checkpoint
from cnnviz.weights.params_file import (
    MAGIC,
    bfloat16_to_float32,
    is_name,
    map_file,
    read_params,
    shown,
)

#: How torch.save() began its files before 1.6: the pickle of a magic number.
_OLD_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
#: The format allows ten times as much, which would be a million tensors; a network has a thousand.
_SAFETENSORS_MAX_HEADER = 10_000_000
#: PyTorch before 2.6 ran code that stood in a file even with weights_only=True (CVE-2025-32434).
_SAFE_TORCH = (2, 6)
#: How many times a file may use its stored numbers: layers that share them do.
_MOST_TIMES_STORED = 4
_WEB_PAGE = "it looks like a web page, as a failed download leaves behind"
_SAFETENSORS_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_weights(path: Path) -> dict[str, Array]:
    """The named arrays of a weights file, whatever its suffix: what counts is how it begins.

    Gluon's ``.params``, ``.safetensors``, and PyTorch's ``.pth`` where PyTorch is installed (read
    with ``weights_only=True``, so that the file cannot run code). bfloat16 becomes float32.

    Raises:
        WeightsError: The file cannot be read, is damaged, or is not weights at all.
    """
    return _reader(Path(path))(Path(path))


def check_weights(path: Path) -> None:
    """Make sure that a file begins like weights, without reading them.

    Raises:
        WeightsError: The file cannot be read, or is not weights at all.
    """
    _reader(Path(path))


def _reader(path: Path) -> Callable[[Path], dict[str, Array]]:
    """What reads a file, by how it begins."""
    head = map_file(path)[:512]
    if head.startswith(MAGIC):
        return read_params
    if len(head) > 8 and head[8:9] == b"{" and _header_length(head) <= _SAFETENSORS_MAX_HEADER:
        return _read_safetensors
    if head.startswith(ZIP_SIGNATURE):
        return _read_zip
    if head.startswith(_OLD_TORCH_MAGIC):
        return _read_torch
    raise WeightsError(
        f"{path} is not a weights file: {_what_it_seems(head)}. "
        "Give a .params (Gluon), .safetensors or .pth (PyTorch) file."
    )


def _header_length(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def came_instead(head: bytes) -> str:
    """What a file is that stands where another was meant to be fetched to, by how it begins.

    Returns:
        It, as a clause; empty if it is none of the kind.
    """
    start = head.lstrip()
    if re.match(rb"<(?:!doctype )?html\b", start, re.IGNORECASE):
        return _WEB_PAGE
    if start.startswith(b"version https://git-lfs"):
        return "it is only a Git LFS pointer; `git lfs pull` fetches the file itself"
    return ""


def _what_it_seems(head: bytes) -> str:
    start = head.lstrip()
    if told := came_instead(head):
        return told
    if start[:1] == b"<":
        return _WEB_PAGE
    if start[:1] in (b"{", b"["):
        return "it looks like JSON"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "it is a Python pickle, which is not read because it could run any code"
    return f"it begins with the bytes {head[:8].hex(' ')}"


def _read_safetensors(path: Path) -> dict[str, Array]:
    """All tensors as views of the mapped file.

    The library checks the file (lengths, overlaps, types); the values are then taken from the map,
    because it has no way to give bfloat16 to NumPy.
    """
    from safetensors import SafetensorError, safe_open

    def damaged(what: object) -> WeightsError:
        return WeightsError(
            f"{path} is a damaged or incomplete .safetensors file: {shown(what)}. Fetch it again."
        )

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise damaged(error) from error
    data = map_file(path)
    start = 8 + _header_length(data[:8])
    header: dict[str, Any] = json.loads(data[8:start])
    header.pop("__metadata__", None)
    arrays: dict[str, Array] = {}
    for name, tensor in header.items():
        if not is_name(name):
            raise damaged("a name in it has control characters or no end")
        dtype = _SAFETENSORS_DTYPES.get(tensor["dtype"])
        if dtype is None:
            raise WeightsError(
                f"{path} holds {name} as {tensor['dtype']}; usable are 16-, 32- and 64-bit floats."
            )
        begin, end = tensor["data_offsets"]
        values = np.frombuffer(memoryview(data)[start + begin : start + end], dtype=dtype)
        try:
            values = values.reshape(tensor["shape"])
        except ValueError as error:  # empty, and yet too large for NumPy along its other sides
            raise damaged(f"{name} claims to have the shape {tuple(tensor['shape'])}") from error
        arrays[name] = bfloat16_to_float32(values) if tensor["dtype"] == "BF16" else values
    return arrays


def _read_zip(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # NotImplementedError: of a kind of zip that is not read; the others out of damaged fields.
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error) as error:
        raise WeightsError(
            f"{path} is a damaged or incomplete .pth (or zip) file: {shown(error)}. Fetch it again."
        ) from error
    members = [entry.filename for entry in entries]
    if any(name.rsplit("/", 1)[-1] == "data.pkl" for name in members):
        # PyTorch packs nothing; a few packed kilobytes could swell to more than the memory.
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise WeightsError(
                f"{path} is a PyTorch file that claims to hold more than it has bytes: it is "
                "damaged, or was packed again. Save it anew with torch.save()."
            )
        return _read_torch(path)
    inside = [name for name in members if name.endswith((".params", ".safetensors", ".pth"))]
    advice = shown(
        f"unpack it and give {inside[0]}" if inside else f"it holds {listed(members) or 'nothing'}"
    )
    raise WeightsError(f"{path} is a zip archive, not a weights file: {advice}.")


def _read_torch(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path} is a PyTorch file, and reading it needs PyTorch: `pip install torch`, or give "
            "the same weights as .safetensors or Gluon's .params."
        ) from error
    version = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if version is None or (int(version[1]), int(version[2])) < _SAFE_TORCH:
        raise WeightsError(
            f"{path} is a PyTorch file, and PyTorch {torch.__version__} could run code that stands "
            "in it (CVE-2025-32434): `pip install 'torch>=2.6'`, or give the same weights as "
            ".safetensors or Gluon's .params."
        )
    try:
        state = {name: value.detach() for name, value in read_checkpoint(path).items()}
        # A tensor may repeat the few numbers that are stored without end.
        size = sum(value.numel() * value.element_size() for value in state.values())
        if size > _MOST_TIMES_STORED * path.stat().st_size:
            raise ValueError(f"its tensors would take {size} bytes")
        arrays = {
            name: (value.float() if value.is_floating_point() else value).numpy()
            for name, value in state.items()
        }
    except WeightsError:
        raise
    # In a damaged file anything may be found where another thing was, and PyTorch looks no closer.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, pickle.UnpicklingError):  # that text is about what to do in Python
            reason = "PyTorch refuses something in it, which could run code"
        raise WeightsError(
            f"{path} cannot be read as PyTorch weights ({shown(reason)}): save the network's "
            "state_dict(), nothing else."
        ) from error
    if not all(map(is_name, arrays)):
        raise WeightsError(f"{path} is a PyTorch file with control characters in its names.")
    return arrays
