"""Files of Hugging Face's repositories, fetched into its own cache."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnnviz.weights import download
from cnnviz.weights.digests import digest
from cnnviz.weights.download import UnavailableError

HUB = "https://huggingface.co"
_FILE = "model.safetensors"
_SHA256 = re.compile("[0-9a-f]{64}")
_TRUE = {"1", "ON", "YES", "TRUE"}


def fetch(repo: str, endpoint: str, *, progress: bool) -> Path:
    """A repository's safetensors file in Hugging Face's own cache, fetched if need be, and checked.

    Args:
        repo: ``timm/vgg16.tv_in1k``.
        endpoint: the address of Hugging Face, or of a mirror.
        progress: whether a download may show a bar.

    Raises:
        UnavailableError: it cannot be had, or is not what Hugging Face says it is.
    """
    path = _file_in_cache(repo, endpoint, progress)
    _check_digest(path)
    return path


def _file_in_cache(repo: str, endpoint: str, progress: bool) -> Path:
    import huggingface_hub
    import huggingface_hub.constants
    import huggingface_hub.utils

    hub: Any = huggingface_hub  # its type hints differ from release to release
    cache = hub.constants.HF_HUB_CACHE
    found = hub.try_to_load_from_cache(repo, _FILE, cache_dir=cache)
    if isinstance(found, str):
        return Path(found)
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in _TRUE:
            raise UnavailableError(f"not asked, because {variable} is set")
    # huggingface_hub tries an unreachable server again for minutes; one question answers sooner.
    download.probe(f"{endpoint}/{repo}/resolve/main/{_FILE}", hub.get_token())
    try:
        with _quiet(hub, progress):
            return Path(
                hub.hf_hub_download(
                    repo,
                    _FILE,
                    cache_dir=cache,
                    endpoint=endpoint,
                    etag_timeout=download.TIMEOUT_SECONDS,
                )
            )
    # Which errors there are depends on the release and on the HTTP library that it uses.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise UnavailableError(f"{type(error).__name__}: {reason}") from error


def _check_digest(path: Path) -> None:
    """Compare a file with the SHA-256 that Hugging Face announced over TLS before it sent it.

    That is the name under which its cache keeps the file, and what the revision leads to.
    """
    stored = path.resolve()
    if not _SHA256.fullmatch(stored.name):
        raise UnavailableError(
            f"nothing says what the SHA-256 of {path} should be: if you trust it, give it with "
            "--weights"
        )
    if digest(stored, "sha256") != stored.name:
        raise UnavailableError(f"the SHA-256 of {stored} differs: remove it to fetch it again")


@contextmanager
def _quiet(hub: Any, progress: bool) -> Iterator[None]:
    """Keep huggingface_hub from warnings, and from its bar if none is wanted, for a download."""
    utils = hub.utils
    verbosity = utils.logging.get_verbosity()
    without_bar = not progress and not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity_error()
    if without_bar:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(verbosity)
        if without_bar:
            utils.enable_progress_bars()
