"""Text from people and for people: names compared, files decoded, classes named, lists shortened.

Nothing heavy is imported here.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

_BETWEEN_WORDS = re.compile(r"(?<=\S)[ _-]+(?=\S)")
_COMMA = re.compile(" ?, ?(?=.)")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MOST_DEEP = 20  # levels of YAML
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: Signs that mean the same wherever names are compared: dashes of all lengths, apostrophes.
_SAME = str.maketrans({**dict.fromkeys("‐‑‒–—―−", "-"), **dict.fromkeys("’‘ʼ", "'"), "ı": "i"})
_MARKS = (  # of the encodings that begin with one; UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def caseless(text: str) -> str:
    """A text normalized for comparison: Unicode composition, case and width do not count.

    Turkish dotted and dotless i compare equal, for people whose keyboard has only one of them.
    Invisible characters (soft hyphens, joiners, byte-order marks) are dropped.
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    text = text.replace("i\N{COMBINING DOT ABOVE}", "i").translate(_SAME)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", text)


def folded(name: str) -> str:
    """A name normalized for comparison: :func:`caseless`, with spaces for ``_`` and ``-``.

    A leading minus sign stays; a comma is followed by one space.
    """
    return _COMMA.sub(", ", _BETWEEN_WORDS.sub(" ", " ".join(caseless(name).split())))


def matching(wanted: str, names: Iterable[str]) -> list[str]:
    """The names that were meant: the one that is identical, or else all that compare equal."""
    names = list(names)
    if wanted in names:
        return [wanted]
    key = folded(wanted)
    return [name for name in names if folded(name) == key]


def similar(wanted: str, names: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """Names that may have been meant, the most similar first."""
    import difflib

    by_key = {folded(name): name for name in reversed(list(names))}
    close = difflib.get_close_matches(folded(wanted), by_key, count, cutoff)
    return [by_key[key] for key in close]


def did_you_mean(
    wanted: str, names: Iterable[str], *, count: int = 3, cutoff: float = 0.6, form: str = "{}"
) -> str:
    """``Did you mean gradcam or xgradcam?``, or nothing if no name is :func:`similar`.

    Args:
        wanted: what was given.
        names: those that there are.
        count: how many to offer at most.
        cutoff: how similar they have to be, from 0 to 1.
        form: how each is written.
    """
    close = [form.format(name) for name in similar(wanted, names, count, cutoff)]
    return f"Did you mean {joined(close)}?" if close else ""


def paragraph(*sentences: str) -> str:
    """The sentences that there are, one after another: some may be empty."""
    return " ".join(filter(None, sentences))


def joined(names: Iterable[str], word: str = "or") -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last


def listed(names: Iterable[str], most: int = 3) -> str:
    """``a, b, c, ...``: the names, at most ``most`` of them."""
    names = list(names)
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def class_name(index: int, name: str | None, *, kind: str = "class") -> str:
    """How messages name a class: ``tabby, tabby cat (281)``; without a name ``class 281``.

    Args:
        index: the class.
        name: its name, if it has one.
        kind: what it is, if it has none: ``output`` of a network that gives numbers.
    """
    return f"{kind} {index}" if name is None else f"{name} ({index})"


def first_synonym(name: str) -> str:
    """``tabby`` of ``tabby, tabby cat``."""
    return name.partition(", ")[0] or name


def format_number(value: float) -> str:
    """A number of any size, in few digits: ``38.2``, ``-0.0042``, ``0.25``."""
    return f"{value:.4g}"


def format_probability(probability: float) -> str:
    """A probability for a title: ``0.61``, ``0.004``, ``<0.001``."""
    if probability >= 0.01 or probability == 0:
        return f"{probability:.2f}"
    return f"{probability:.3f}" if probability >= 0.001 else "<0.001"


class ClassNames:
    """Names of classes for where indices would only clutter, as in tables.

    A name that several classes share gets its index: ImageNet has a ``crane (134)`` that flies and
    a ``crane (517)`` that lifts. So do names that only compare equal (:func:`folded`).
    """

    def __init__(
        self, names: Sequence[str] | Mapping[int, str] = (), *, kind: str = "class"
    ) -> None:
        """Of the names by index, or of none; for ``kind`` see :func:`class_name`."""
        self._names = dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
        self._kind = kind

    def __getitem__(self, index: int) -> str:
        """The name."""
        return self._unique(index, self._names.get(index), self._whole)

    def short(self, index: int) -> str:
        """The first of its synonyms."""
        name = self._names.get(index)
        return self._unique(index, None if name is None else first_synonym(name), self._first)

    def _unique(self, index: int, name: str | None, counts: Mapping[str, int]) -> str:
        if name is not None and counts[folded(name)] == 1:
            return name
        return class_name(index, name, kind=self._kind)

    @cached_property
    def _whole(self) -> Mapping[str, int]:
        return Counter(map(folded, self._names.values()))

    @cached_property
    def _first(self) -> Mapping[str, int]:
        return Counter(folded(first_synonym(name)) for name in self._names.values())


def decode(data: bytes, errors: str = "strict") -> str:
    """The text in a file: UTF-8, or UTF-16 or UTF-32 with a byte-order mark.

    Raises:
        UnicodeDecodeError: it is none.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    return data.decode("utf-8-sig", errors)


def printable(text: str) -> str:
    """A text for a terminal: characters that would control it are escaped, as in ``\\x1b``.

    Bytes that are not UTF-8, which file names may hold, are written as ``\\xff``.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def printable_path(path: str | os.PathLike[str]) -> str:
    """A file's name for a terminal: as UTF-8, whatever encoding this process assumes for names."""
    return printable(os.fsencode(path).decode("utf-8", "surrogateescape"))


def is_line(text: str, longest: int) -> bool:
    """Whether a text has at most ``longest`` characters and none that controls a terminal."""
    return len(text) <= longest and _CONTROL.search(text) is None


def shortened(text: str, longest: int) -> str:
    """A text of at most ``longest`` characters: the beginning and the end of a longer one."""
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # how Python keeps a byte that is no text
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode("ascii")


def yaml_problem(text: str) -> str | None:
    """What is wrong with YAML of a few lines that would keep PyYAML busy for hours; else None.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    import yaml

    depth = 0
    for token in yaml.scan(text):
        kind = type(token).__name__
        depth += kind.endswith(("SequenceStartToken", "MappingStartToken"))
        depth -= kind.endswith(("SequenceEndToken", "MappingEndToken", "BlockEndToken"))
        if depth > _MOST_DEEP:
            return "is nested too deeply"
        if kind == "AliasToken":  # names that stand for each other can mean billions
            return "has an alias (*name)"
    return None


def is_url(text: str) -> bool:
    """Whether a text is an address (``https://...``, ``s3://...``) and no path."""
    return _URL.match(text) is not None


def expand_home(path: str, folder: str | os.PathLike[str] = "") -> str:
    """A path with the home folder for ``~`` in front, and that of a user for ``~user``.

    Something in the folder (the current one) that is itself called so is meant first. Where there
    is no such user the path stays as it is.
    """
    first = path.split("/", 1)[0]
    if not first.startswith("~"):
        return path
    if os.path.lexists(os.path.join(folder, first)):
        return os.path.abspath(os.path.join(folder, path))
    return os.path.expanduser(path)
