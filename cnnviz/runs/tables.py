"""Lines of tables for spreadsheets and programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any


def csv_line(cells: Iterable[Any]) -> bytes:
    """A line in UTF-8 as RFC 4180 has it; numbers as Python writes them, nothing for None.

    Bytes of names that are not UTF-8 become question marks.
    """
    buffer = io.StringIO()
    csv.writer(buffer).writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue().encode("utf-8", "replace")
