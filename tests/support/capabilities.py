"""What some tests need that the README's commands do not install; the switch for slow tests.

A test says so: ``@pytest.mark.needs("dot")``. What is missing is listed once, at the end of a run;
CNNVIZ_REQUIRE=chromium,dot makes their lack an error, for a run that has installed them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from tests.report.browser import find_chromium


@dataclass(frozen=True)
class Capability:
    """Something that a machine may have."""

    text: str
    install: str
    present: Callable[[], bool]

    @property
    def reason(self) -> str:
        """Why a test is skipped where it is missing."""
        return f"needs {self.text}"


CAPABILITIES = {
    "az": Capability(
        "adlfs and Azurite",
        'pip install "cnnviz[az]"; npm install --global azurite',
        lambda: find_spec("adlfs") is not None and shutil.which("azurite-blob") is not None,
    ),
    "chromium": Capability(
        "Chromium", "apt-get install chromium", lambda: find_chromium() is not None
    ),
    "dot": Capability(
        "Graphviz's dot", "apt-get install graphviz", lambda: shutil.which("dot") is not None
    ),
    "fsspec": Capability("fsspec", "pip install fsspec", lambda: find_spec("fsspec") is not None),
    "gs": Capability(
        "gcsfs and gcp-storage-emulator",
        'pip install "cnnviz[gs]" gcp-storage-emulator',
        lambda: all(find_spec(name) is not None for name in ("gcsfs", "gcp_storage_emulator")),
    ),
    "http": Capability(
        "aiohttp, with which fsspec reads over HTTP",
        'pip install "cnnviz[http]"',
        lambda: find_spec("fsspec") is not None and find_spec("aiohttp") is not None,
    ),
    "mxnet": Capability(
        "MXNet",
        "pip install mxnet==1.9.1 'numpy<2', on Linux with Python below 3.13",
        lambda: find_spec("mxnet") is not None,
    ),
    "onnx": Capability("ONNX", 'pip install "cnnviz[onnx]"', lambda: find_spec("onnx") is not None),
    "onnxruntime": Capability(
        "onnxruntime", "pip install onnxruntime", lambda: find_spec("onnxruntime") is not None
    ),
    "ray": Capability("Ray", 'pip install "cnnviz[ray]"', lambda: find_spec("ray") is not None),
    "s3": Capability(
        "s3fs and moto's S3 server",
        "pip install \"cnnviz[s3]\" 'moto[server]'",
        lambda: all(find_spec(name) is not None for name in ("s3fs", "moto", "flask")),
    ),
    "timm": Capability("timm", "pip install timm", lambda: find_spec("timm") is not None),
    "torch": Capability("PyTorch", "pip install torch", lambda: find_spec("torch") is not None),
    "torchvision": Capability(
        "torchvision", "pip install torchvision", lambda: find_spec("torchvision") is not None
    ),
}

#: The switch for slow tests, ``CNNVIZ_SLOW=1``: those marked ``slow``, and more cases of others.
SLOW = os.environ.get("CNNVIZ_SLOW", "0") not in ("", "0")


def missing() -> dict[str, Capability]:
    """What is not there."""
    return {name: one for name, one in CAPABILITIES.items() if not one.present()}


def required() -> set[str]:
    """What has to be there."""
    names = set(filter(None, os.environ.get("CNNVIZ_REQUIRE", "").split(",")))
    unknown = names - set(CAPABILITIES)
    if unknown:
        raise ValueError(
            f"CNNVIZ_REQUIRE names {', '.join(sorted(unknown))}; known are "
            f"{', '.join(CAPABILITIES)}."
        )
    return names
