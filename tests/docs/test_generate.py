"""The reference pages say what the code says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from cnnviz import docs
from cnnviz.attribution import METHODS
from cnnviz.cli import COMMANDS, group
from cnnviz.docs import __main__ as writer
from cnnviz.docs.generate import PAGES, _as_markdown
from cnnviz.models import zoo
from cnnviz.runs.evaluation_records import EVALUATION_RECORDS
from cnnviz.runs.records import RECORDS
from cnnviz.structure import ADDED

FOLDER = Path(docs.__file__).parent


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name):
    assert PAGES[name]() == (FOLDER / name).read_text(encoding="utf-8"), (
        f"cnnviz/docs/{name} is stale: run `python -m cnnviz.docs` and commit what it writes"
    )


@pytest.mark.parametrize("name", PAGES)
def test_page_depends_on_nothing_but_the_code(name, monkeypatch, tmp_path):
    page = (FOLDER / name).read_text(encoding="utf-8")
    for variable, value in {
        "COLUMNS": "40",
        "HOME": str(tmp_path),
        "MXNET_HOME": str(tmp_path),
        "LANG": "C",
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    assert PAGES[name]() == page


def test_commands_and_their_options_are_there():
    page = PAGES["cli.md"]()
    for name in COMMANDS:
        section = page.split(f"## cnnviz {name}\n")[1].split("\n## ")[0]
        for option in group.get_command(None, name).params:
            if not getattr(option, "hidden", False) and option.opts[0].startswith("-"):
                assert max(option.opts, key=len) in section, (name, option.opts)
            elif getattr(option, "hidden", False):
                assert option.opts[0] not in page
    for option in ("`--weights FILE`: File with its weights", "`--threads N`: "):
        assert page.count(option) == 1


def test_methods_and_networks_are_there():
    methods, networks = PAGES["methods.md"](), (FOLDER / "networks.md").read_text(encoding="utf-8")
    assert all(f"\n## {name}\n" in methods for name in METHODS)
    assert all(f"\n| `{name}` | " in networks for name in zoo.names())


def test_docstrings_become_markdown():
    assert _as_markdown("``a``, see :meth:`x.y`.") == "`a`, see `x.y`."
    assert _as_markdown("so::") == "so:"
    assert _as_markdown('    {"a":\n      1}') == '```\n{"a":\n  1}\n```'


def test_the_manifest_page_says_what_each_key_is():
    page = PAGES["manifest.md"]()
    _, image = page.split("\n## image\n")
    image = image.split("\n## ")[0]
    for line in (
        "- `sha256` (text or null): of the file; null if it cannot be read.",
        "- `size` (list of 2: integer or null): height and width in pixels; null if it cannot be",
        "- `crashed` (true or false): whether a library crashed on it.",
        "- `ground_truth` ([score](#score) or null): its true class; null if that is unknown",
        "- `explanations` (list: [explanation](#explanation)): one for each target; none if",
    ):
        assert line in image, line
    assert "- `files` (object: text by key): " in page


def test_writing_names_what_was_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(writer, "__file__", str(tmp_path / "__main__.py"))
    writer.main()
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in PAGES]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PAGES)


@pytest.mark.parametrize(
    ("name", "kinds"), [("manifest.md", RECORDS), ("evaluation.md", EVALUATION_RECORDS)]
)
def test_keys_that_older_files_lack_are_named(name, kinds):
    introduction = PAGES[name]().split("\n## ")[0]
    added = {one.name for kind in kinds for one in fields(kind) if one.metadata == ADDED}
    assert "etag" in added
    assert all(f"`{key}`" in introduction for key in added)
