"""Names of files after networks and layers."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

_LONGEST = 80
"""Bytes of a file's name that a network's or a layer's name may take."""


def file_parts(names: Sequence[str]) -> list[str]:
    """Names of networks or layers as parts of file names, one each, no two alike.

    What is neither letter, digit, dot, dash nor underscore becomes an underscore. A name that is
    too long is cut; that, and one like another before it where case makes no difference, is marked
    with a hash of the whole.
    """
    parts: list[str] = []
    taken: set[str] = set()
    for name in names:
        part = re.sub(r"[^\w.-]", "_", name)
        if len(os.fsencode(part)) > _LONGEST or part.casefold() in taken:
            mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
            while len(os.fsencode(part)) > _LONGEST - len(mark):
                part = part[:-1]
            part += mark
        taken.add(part.casefold())
        parts.append(part)
    return parts
