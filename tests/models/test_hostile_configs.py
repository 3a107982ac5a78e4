"""Configuration files that came with somebody's network: nothing in them takes down the command."""

from __future__ import annotations

import json
import time

import pytest

from cnnviz.errors import UsageError
from cnnviz.models.config import find_config
from tests.support import hostile
from tests.support.capabilities import SLOW


@pytest.mark.subprocess
@pytest.mark.hostile
def test_mutated_configs_are_read_or_refused():
    result = hostile.attack("configs", 0, 20_000 if SLOW else 150)

    assert result["read"] > 2
    assert result["refused"] > 75


@pytest.fixture
def refused(tmp_path):
    """What is said of a configuration file."""

    def refused(text, name="cnnviz.yaml"):
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError) as caught:
            find_config(str(tmp_path / name))
        assert len(str(caught.value)) < 1500
        return str(caught.value)

    return refused


def test_few_lines_that_mean_billions(refused):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    lines += ["model: vgg16", "labels: *a11"]
    assert "cannot be used: it has an alias (*name)." in refused("\n".join(lines))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_without_end(refused, opening):
    """PyYAML's time grows with the square of the depth, and would be hours."""
    began = time.monotonic()
    assert "nested too deeply" in refused("model: vgg16\nlabels:\n " + opening * 200_000)
    assert time.monotonic() - began < 10


def test_nesting_without_end_in_json(refused, tmp_path):
    assert "nested too deeply" in refused("[" * 100_000, "cnnviz.json")
    # Under any other name it might have been a symbol.
    (tmp_path / "net-symbol.json").write_text("[" * 100_000)
    assert find_config(str(tmp_path / "net-symbol.json")).model.endswith("net-symbol.json")


@pytest.mark.parametrize("value", ["2001-99-99", "0x_", "!!bool x", "!!int ''", "!!timestamp x"])
def test_values_that_yaml_itself_stumbles_over(refused, value):
    assert "it has a value that means nothing" in refused(f"model: vgg16\nname: {value}")


def test_no_config_is_so_long(refused):
    assert "has more than 1,000,000 bytes" in refused("model: vgg16\n" + "# x\n" * 300_000)


def test_long_values_are_not_repeated_in_full(refused):
    assert "labels has to be" in refused(
        json.dumps({"model": "vgg16", "labels": {"a": "b" * 9999}})
    )
    assert "unknown key" in refused(json.dumps({"k" * 999: 1}))
    assert "name has to be" in refused(json.dumps({"model": "vgg16", "name": "x" * 9999}))


@pytest.mark.parametrize("key", ["name", "layer", "head", "weights", "model", "labels"])
def test_control_characters_stay_out_of_the_terminal(refused, key):
    text = refused(json.dumps({"model": "vgg16", key: "\x1b[2J"}))
    assert text.isprintable()
    assert "'\\x1b[2J'" in text


def test_control_characters_in_class_names(refused):
    text = refused(json.dumps({"model": "vgg16", "labels": ["cat", "\x1b[2J"]}))
    assert text.isprintable()
    assert "a list of names that can be shown" in text
