"""What a URL says, without opening it: which kind of storage, and what of it may be shown.

The command line asks this before it does anything: what takes time to import is imported late.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from cnnviz.text import is_url

_HASH = 8  # hexadecimal digits


@dataclass(frozen=True)
class Protocol:
    """A kind of storage.

    Attributes:
        package: what fsspec needs for it, beside itself; the module's name.
        extra: of cnnviz, which installs that.
        folders: whether what is in a folder can be listed.
        writable: whether an object that is written appears whole or not at all, and for itself: in
            a repository of Hugging Face each would be a commit.
    """

    package: str
    extra: str
    folders: bool = True
    writable: bool = True


_S3 = Protocol("s3fs", "s3")
_GS = Protocol("gcsfs", "gs")
_AZ = Protocol("adlfs", "az")
_HTTP = Protocol("aiohttp", "http", folders=False, writable=False)

PROTOCOLS = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GS,
    "gcs": _GS,
    "az": _AZ,
    "abfs": _AZ,
    "abfss": _AZ,
    "hf": Protocol("huggingface_hub", "hf", writable=False),
    "http": _HTTP,
    "https": _HTTP,
    "memory": Protocol("fsspec", "http"),
}
"""By what stands in front of ``://``."""

#: What servers are told beside the name of a file by whoever signs a URL. A new signature does not
#: make another file.
_SIGNATURE = re.compile(
    r"(?i)x-(amz|goog|oss|cos)-.*|signature|expires|policy|key-pair-id|awsaccesskeyid|"
    r"googleaccessid|ossaccesskeyid|security-token|s[vertpi]|s(ig|pr|rt|ip|ks|kt|ke|kv|koid|ktid)|"
    r".*(token|secret|password|apikey|api_key).*|key|auth"
)
_USER = re.compile(r"//[^/?#]*@")
#: Of Azure's, the name of a container stands in front of the ``@``.
_CONTAINERS = ("abfs", "abfss")
_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def is_remote(text: str) -> bool:
    """Whether a text means something behind a URL; a file that has such a name comes first."""
    return is_url(text) and not os.path.lexists(text)


def protocol_of(url: str) -> str:
    """What stands in front of ``://``."""
    return url.partition("://")[0].lower()


def shown_url(url: str) -> str:
    """A URL without what may be secret in it: user and password, and its query.

    Of a query that says which file is meant, and not only who may read it, a hash stays.
    """
    import hashlib
    from urllib.parse import parse_qsl, urlsplit

    protocol = protocol_of(url)
    if protocol not in _CONTAINERS:
        url = _USER.sub("//", url, count=1)
    if protocol not in ("http", "https"):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # it is none: reading it will say so
        return url.partition("?")[0]
    asked = [pair for pair in parse_qsl(parts.query, True) if not _SIGNATURE.fullmatch(pair[0])]
    digest = hashlib.sha256(repr(asked).encode("utf-8", "surrogateescape")).hexdigest()
    query = f"?~{digest[:_HASH]}" if asked else ""
    return f"{protocol}://{parts.netloc}{parts.path}{query}"


def names_in(url: str) -> tuple[str, ...]:
    """The names in a URL: the server's or the bucket's, folders, and the file's own."""
    from urllib.parse import unquote

    shown = shown_url(url).partition("://")[2]
    if protocol_of(url) in ("http", "https"):
        shown = unquote(shown.partition("?")[0])
    return tuple(part for part in shown.split("/") if part not in ("", ".", ".."))


def without_secrets(text: str) -> str:
    """A text in which each URL is as :func:`shown_url` has it."""
    return _ANY_URL.sub(lambda found: shown_url(found[0]), text)
