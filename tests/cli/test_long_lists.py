"""Runs whose lists lie on the disk, and not in memory, write the same, to the last byte."""

from __future__ import annotations

import json
import re

import pytest

from cnnviz.runs import session
from cnnviz.storage import spool
from tests.support.runs import contents

OPTIONS = ("-m", "demo", "--method", "gradcam", "--input-size", "96", "--size", "model")


@pytest.fixture
def images(tmp_path, write_image):
    """Some whose names meet, one that cannot be read, and folders that are classes."""
    names = ["fish/1.png", "fish/2.png", "snail/1.png", "snail/1.jpg", "snail/1_281.png"]
    names += ["other/1.png", "snail/1.jpg.png"]
    for seed, name in enumerate(names):
        write_image(tmp_path / "photos" / name, seed)
    (tmp_path / "photos/fish/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "--target", "top2", "--truth", "folders"),
        ("explain", "--only", "wrong", "--truth", "folders", "--sort", "loss"),
        ("explain", "--limit", "5", "--scale", "run", "--report"),
        ("evaluate", "--metric", "sparseness", "--truth", "folders"),
    ],
)
def test_what_is_written(cnnviz, images, tmp_path, request, command):
    options = OPTIONS[:-2] if command[0] == "evaluate" else OPTIONS
    command = (command[0], images, *options, *command[1:])
    before = cnnviz(*command, "-o", "memory")
    request.getfixturevalue("on_the_disk")
    after = cnnviz(*command, "-o", "disk")
    assert after[0] == before[0]
    assert contents(tmp_path / "disk") == contents(tmp_path / "memory")


def test_parts(cnnviz, images, tmp_path, monkeypatch, on_the_disk):
    command = ("explain", images, *OPTIONS, "--truth", "folders", "--batch-size", "2")
    for number in (2, 3, 1):
        monkeypatch.setattr(spool, "MOST_IN_MEMORY", number - 1)  # small parts are planned apart
        cnnviz(*command, "-o", "disk", "--shard", f"{number}/3")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    cnnviz(*command, "-o", "memory")
    assert contents(tmp_path / "disk") == contents(tmp_path / "memory")


def test_going_on(cnnviz, images, tmp_path, request, monkeypatch):
    """After a stop, with other options and images: what is done, and what is left behind."""

    def stopped(*arguments):
        # Beside other threads it would depend on these how many images are finished by then.
        with monkeypatch.context() as alone:
            alone.setattr(session, "default_helpers", lambda *_given, **_more: 0)
            return cnnviz(*arguments)

    told = {}
    for folder in ("memory", "disk"):
        if folder == "disk":
            request.getfixturevalue("on_the_disk")
        command = ("explain", images, *OPTIONS, "-o", folder)
        told[folder] = [
            (status, re.sub(r"in [0-9.]+ s|memory|disk", "", err))
            for status, _, err in (
                stopped(*command, "--alpha", "0.3", "--fail-fast"),
                cnnviz(*command, "--limit", "1"),
                cnnviz(*command),
                cnnviz(*command, "--limit", "6", "--alpha", "0.3"),
            )
        ]
    assert told["disk"] == told["memory"]
    assert "1 of them already done" in told["disk"][2][1]
    assert contents(tmp_path / "disk") == contents(tmp_path / "memory")
    manifest = json.loads((tmp_path / "disk/manifest.json").read_text())
    assert "snail/1.png_gradcam.png" in manifest["summary"]["left_behind"]
