"""``python -m cnnviz.docs``: write the pages that are made from the code."""

from __future__ import annotations

from pathlib import Path

from cnnviz.docs.generate import PAGES


def main() -> None:
    """Write them beside this file and print their names."""
    for name, make in PAGES.items():
        path = Path(__file__).with_name(name)
        path.write_text(make(), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
