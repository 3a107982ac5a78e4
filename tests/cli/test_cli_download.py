"""`cnnviz download`: what it prints and its exit status; fetching itself is the store's."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnviz import cli
from cnnviz.errors import WeightsError
from cnnviz.weights import store
from cnnviz.weights.info import LocatedWeights


@pytest.fixture
def asked(monkeypatch):
    """A store that has every network but vgg13 and vgg19."""
    asked = []

    def ensure(published, shapes, *, progress=True, notify=None):
        name = published.network
        asked.append(name)
        if notify is not None:
            notify(f"waiting for {name}")
        if name in ("vgg13", "vgg19"):
            raise WeightsError(f"No source gave {name}.")
        return LocatedWeights(Path(f"/cache/{name}.params"), "a store")

    monkeypatch.setattr(store, "ensure_weights", ensure)
    return asked


def test_says_where_the_file_is(asked, capsys):
    assert cli.run(["download", "vgg16"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "vgg16: /cache/vgg16.params (a store)\n"
    assert captured.err == "waiting for vgg16\n"


def test_quiet(asked, capsys):
    assert cli.run(["download", "--quiet", "vgg16"]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_one_failure_does_not_keep_the_others(asked, capsys):
    assert cli.run(["download", "vgg13", "vgg11", "vgg19", "vgg16"]) == 3
    captured = capsys.readouterr()
    assert asked == ["vgg13", "vgg11", "vgg19", "vgg16"]
    assert [line.split(":")[0] for line in captured.out.splitlines()] == ["vgg11", "vgg16"]
    assert "vgg13: No source gave vgg13." in captured.err
    assert "2 of 4 networks could not be fetched: vgg13, vgg19." in captured.err


def test_a_single_failure_is_said_once(asked, capsys):
    assert cli.run(["download", "vgg13"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("No source gave vgg13.") == 1


def test_the_same_name_twice_is_fetched_once(asked):
    assert cli.run(["download", "vgg16", "vgg16"]) == 0
    assert asked == ["vgg16"]


@pytest.mark.parametrize("arguments", [["download"], ["download", "vgg11", "vgg61"]])
def test_wrong_usage_fetches_nothing(asked, arguments, capsys):
    assert cli.run(arguments) == 2
    assert asked == []
    assert capsys.readouterr().err


def test_the_demo_is_here_already(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    assert cli.run(["download", "demo"]) == 0
    assert "demo.params (embedded in cnnviz)" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
