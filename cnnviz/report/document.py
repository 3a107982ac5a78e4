"""Pages as one document, with all they need in it and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_HERE = Path(__file__).parent


def document(
    template: str,
    styles: Sequence[str],
    scripts: Sequence[str],
    *,
    adds_scripts: bool = False,
    **shown: Any,
) -> str:
    """A page.

    Args:
        template: its file's name; it gets ``style``, ``program`` and ``policy``, too.
        styles: the files of its style, in order.
        scripts: those of its program, in order: they share one scope.
        adds_scripts: whether its program adds further scripts to it, from files beside it.
        shown: what the template shows.
    """
    style = "".join((_HERE / name).read_text(encoding="utf-8") for name in styles)
    program = _program(scripts)
    more = " 'strict-dynamic'" if adds_scripts else ""
    return _template(template).render(
        **shown,
        style=Markup(style),
        program=Markup(program),
        policy=(
            # Images are not named: browsers differ in what a page on the disk calls its own.
            f"script-src '{_hash(program)}'{more}; style-src '{_hash(style)}'; connect-src 'none'; "
            "object-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'none'"
        ),
    )


def with_files(page: str, files: Mapping[str, str]) -> str:
    """A page that holds what else would lie beside it: data URLs, by the files' own URLs."""
    return page.replace(_NO_FILES, _files_element(script_safe(files)))


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    environment.filters["percent"] = lambda part: f"{part:.1%}"
    return environment.get_template(name)


def _files_element(data: str) -> str:
    return f'<script type="application/json" id="files">{data}</script>'


#: Stands in every page once, for nothing else in it has an unescaped ``<``.
_NO_FILES = _files_element("{}")


def _program(scripts: Sequence[str]) -> str:
    """The page's program: its parts in a function of their own, since the page has one scope."""
    parts = [(_HERE / "script" / name).read_text(encoding="utf-8") for name in scripts]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def script_safe(data: Any) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element or begins another."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))  # ASCII
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def duration(seconds: float) -> str:
    """Seconds in words: ``0.3 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = math.floor(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _hash(text: str) -> str:
    """What a content security policy knows an inline element by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
