"""What lies below a URL: asked for, listed and read through fsspec."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

from cnnviz.errors import UsageError
from cnnviz.storage.retries import Truncated, retried
from cnnviz.storage.stored import too_large
from cnnviz.storage.urls import PROTOCOLS, names_in, protocol_of, shown_url
from cnnviz.text import did_you_mean, printable

_PIECE = 1 << 26  # bytes of a stream that are taken at a time
_ETAGS = ("ETag", "etag", "blob_id")


ResultT = TypeVar("ResultT")


class Entry(NamedTuple):
    """An object below a folder.

    Attributes:
        path: from there.
        size: its length in bytes, if that is known.
        etag: what the storage calls its contents, see :meth:`cnnviz.storage.stored.Stored.etag`.
    """

    path: str
    size: int | None
    etag: str | None


class Contents(NamedTuple):
    """An object's bytes, and what the storage calls them."""

    data: bytes
    etag: str | None


class Store:
    """What lies below one URL.

    Attributes:
        url: as it was given.
        shown: the same for the eyes of others.
        protocol: the kind of storage.
        names: those in it, outermost first.
    """

    page = 1000  # names that S3 is asked for at a time

    def __init__(self, url: str) -> None:
        """Nothing is opened yet.

        Raises:
            UsageError: cnnviz knows no such storage.
        """
        self.url = url.rstrip("/") if protocol_of(url) not in ("http", "https") else url
        self.shown = printable(shown_url(self.url))
        name = protocol_of(url)
        if name not in PROTOCOLS:
            known = ", ".join(f"{one}://" for one in PROTOCOLS if one != "memory")
            hint = did_you_mean(name, PROTOCOLS)
            raise UsageError(
                f"{self.shown} begins with {name}://, and cnnviz reads {known} and paths."
                f"{f' {hint}' if hint else ''}"
            )
        self.protocol = PROTOCOLS[name]
        self.names = names_in(self.url)

    def __getstate__(self) -> str:
        return self.url  # a connection does not go with it to other processes

    def __setstate__(self, url: str) -> None:
        self.__init__(url)  # type: ignore[misc]

    @cached_property
    def system(self) -> Any:
        """The file system of fsspec.

        Raises:
            UsageError: a package is not installed, or refuses.
        """
        kind = self._kind
        options = kind._get_kwargs_from_urls(self.url)
        try:
            return kind(use_listings_cache=False, **options)
        except Exception as error:
            raise UsageError(
                f"{self.shown} cannot be used: {type(error).__name__} when "
                f"{self.protocol.package} was set up."
            ) from error

    @cached_property
    def root(self) -> str:
        """What that calls the URL."""
        return str(self._kind._strip_protocol(self.url))

    @cached_property
    def _kind(self) -> Any:
        try:
            import fsspec

            importlib.import_module(self.protocol.package)
            return fsspec.get_filesystem_class(protocol_of(self.url))
        except ImportError as error:
            extra = self.protocol.extra
            raise UsageError(
                f"{self.shown} is read with fsspec and {self.protocol.package}, which are not both "
                f'installed: `pip install "cnnviz[{extra}]"` installs them.'
            ) from error

    def key(self, relative: str) -> str:
        """What the file system calls something below the URL."""
        return f"{self.root.rstrip('/')}/{relative}" if relative else self.root

    def shown_at(self, relative: str) -> str:
        """What users are shown of something below the URL."""
        return f"{self.shown}/{printable(relative)}" if relative else self.shown

    def _tried(self, relative: str, action: Callable[[], ResultT]) -> ResultT:
        """What an action returns that is about something below the URL, see :func:`retried`."""
        return retried(action, self.shown_at(relative))

    def info(self, relative: str) -> dict[str, Any]:
        """What is known of an object or a folder.

        Raises:
            OSError: it cannot be found out; a FileNotFoundError if there is none.
        """
        found: dict[str, Any]
        found = self._tried(relative, partial(self.system.info, self.key(relative)))
        return found

    def contents(self, listed: Entry, most: int) -> Contents:
        """An object's bytes, all of them.

        Args:
            listed: the object, its path from the URL on, as it was listed.
            most: bytes that there may be.

        Raises:
            OSError: they cannot be read, or are too many.
        """
        key, system = self.key(listed.path), self.system

        def once() -> Contents:
            expected, etag = listed.size, listed.etag
            if expected is None:
                found = system.info(key)
                expected, etag = found.get("size"), etag_in(found)
            if expected is not None and expected > most:
                raise too_large(expected)
            if not expected:
                return Contents(system.cat_file(key), None)
            # Without an end some systems ask for the length first. One byte more shows whether the
            # object has grown since it was listed.
            data: bytes = system.cat_file(key, start=0, end=expected + 1)
            if len(data) != expected:
                now = system.info(key)["size"]
                if now != expected:
                    data, etag = system.cat_file(key), None
                if len(data) != now:
                    raise Truncated(f"only {len(data):,} of {now:,} bytes came")
            return Contents(data, etag)

        return self._tried(listed.path, once)

    def entries(self, relative: str) -> Iterator[Entry]:
        """All objects below a folder, in no order, while they are listed.

        Of S3 a page of a thousand names is held at a time, of others a folder's.

        Raises:
            OSError: they cannot be listed.
        """
        root = self.key(relative).rstrip("/") + "/"
        listed = self._s3_pages(root) if self.protocol.extra == "s3" else self._folders(root)
        for one in listed:
            path = one.path.removeprefix(root)
            if path and not path.endswith("/"):
                yield one._replace(path=path)

    def _folders(self, root: str) -> Iterator[Entry]:
        waiting = [root.rstrip("/")]
        while waiting:
            folder = waiting.pop()
            for one in self._ls(folder, detail=True):
                name = str(one["name"])
                if one.get("type") == "directory":
                    if name.rstrip("/").startswith(f"{folder}/"):  # not the folder itself
                        waiting.append(name.rstrip("/"))
                else:
                    yield Entry(name, one.get("size"), etag_in(one))

    def _ls(self, key: str, *, detail: bool) -> list[Any]:
        """What is in a folder; nothing if that is not there, or not any more."""
        found: list[Any]
        below = key.removeprefix(self.root.rstrip("/")).strip("/")
        try:
            found = self._tried(below, partial(self.system.ls, key, detail=detail))
        except FileNotFoundError:  # a folder without objects is none
            return []
        return found

    def _s3_pages(self, root: str) -> Iterator[Entry]:
        bucket = root.partition("/")[0]
        for page in self._pages(root):
            for one in page.get("Contents", ()):
                yield Entry(f"{bucket}/{one['Key']}", one["Size"], etag_in(one))

    def _pages(self, start: str, **more: Any) -> Iterator[dict[str, Any]]:
        """What S3 lists of objects that begin like this, page by page; nothing of no bucket."""
        bucket, _, prefix = start.partition("/")
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": self.page, **more}
        page: dict[str, Any]
        while True:
            try:
                page = self._tried("", partial(self.system.call_s3, "list_objects_v2", **asked))
            except FileNotFoundError:
                return
            yield page
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def children(self, relative: str, start: str) -> Iterator[str]:
        """Names of the objects and folders in a folder that begin like this, in no order.

        Raises:
            OSError: they cannot be listed.
        """
        root = self.key(relative).rstrip("/") + "/"
        if self.protocol.extra == "s3":
            bucket = root.partition("/")[0]
            pages = self._pages(root + start, Delimiter="/")
            found: Iterator[str] = (
                f"{bucket}/{one.get('Key') or one['Prefix']}"
                for page in pages
                for one in (*page.get("Contents", ()), *page.get("CommonPrefixes", ()))
            )
        else:
            found = map(str, self._ls(root, detail=False))
        for path in found:
            name = path.rstrip("/").rpartition("/")[2]
            if name.startswith(start):
                yield name


class HttpStore(Store):
    """One file behind http or https: its length is known when it is there."""

    def contents(self, listed: Entry, most: int) -> Contents:
        """What the server sends, and no more than ``most`` bytes of it."""

        def once() -> Contents:
            # Without a block size it comes as one stream; that has no use for a size.
            with self.system.open(self.root, "rb", block_size=0, size=1) as stream:
                data = bytearray()
                while piece := stream.read(_PIECE):
                    data += piece
                    if len(data) > most:
                        raise too_large(len(data))
                return Contents(bytes(data), etag_in(stream.r.headers))

        return self._tried(listed.path, once)


def etag_in(info: Mapping[str, Any]) -> str | None:
    """What a storage calls the contents of an object, in what it says of it.

    Hugging Face's is Git's. What is marked as weak may stay when the contents change.
    """
    found = next((info[name] for name in _ETAGS if isinstance(info.get(name), str)), "")
    return None if found.startswith("W/") else found.strip('"') or None
