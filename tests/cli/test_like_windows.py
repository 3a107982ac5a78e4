"""Runs where open files can be neither replaced nor removed, and where much else is missing.

What comes out is what comes out elsewhere.
"""

from __future__ import annotations

import pytest

from cnnviz.errors import ExitCode
from tests.support.windows import guard_open_files, imitate_windows

pytest.importorskip("fcntl")

OPTIONS = ("-m", "demo", "--method", "gradcam", "--input-size", "96", "--size", "model")


@pytest.fixture
def like_windows(monkeypatch):
    imitate_windows(monkeypatch)


def test_open_files_are_guarded(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"")
    guard_open_files(monkeypatch)
    with open(path, "rb"):
        for refused in (path.unlink, lambda: (tmp_path / "other").replace(path)):
            with pytest.raises(PermissionError):
                refused()
    path.unlink()


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_run_is_resumed_changed_and_forced(cnnviz, photos, tmp_path, like_windows):
    """The second and third run read the manifest that they replace."""
    command = ("explain", photos, *OPTIONS, "-o", "out", "--report")
    for options, told in (
        ((), "3 explained"),
        ((), "3 of them already done"),
        (("--format", "jpg"), "3 explained"),
        (("--force",), "3 explained"),
    ):
        status, _, err = cnnviz(*command, *options)
        assert (status, told in err) == (ExitCode.OK, True), err
    assert {name for name in names(tmp_path / "out") if name.startswith(".")} == set()


def test_parts_are_merged_twice(cnnviz, photos, tmp_path, like_windows):
    command = ("explain", photos, *OPTIONS, "--report")
    cnnviz(*command, "-o", "whole")
    for _ in range(2):
        for part in ("2/2", "1/2"):
            status, _, err = cnnviz(*command, "-o", "parts", "--shard", part)
            assert status == ExitCode.OK, err
    assert names(tmp_path / "parts") == names(tmp_path / "whole")


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "photos", *OPTIONS[:-2], "--metric", "sparseness", "--report"),
        ("compare", "photos", *OPTIONS, "--input-size", "64"),
    ],
)
def test_other_commands_are_resumed(cnnviz, photos, tmp_path, like_windows, command):
    for _ in range(2):
        status, _, err = cnnviz(*command, "-o", "out")
        assert status == ExitCode.OK, err
    assert {name for name in names(tmp_path / "out") if name.startswith(".")} == set()
