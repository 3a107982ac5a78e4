"""What stands in front of the names of a network that is within another."""

import pytest

from cnnviz.errors import WeightsError
from cnnviz.weights.prefixes import unwrapped

WANTED = ("conv.weight", "conv.bias", "block.conv.weight", "fc.weight")


def file(*prefixes, extra=(), without=()):
    names = [f"{prefix}{name}" for prefix in prefixes for name in WANTED if name not in without]
    return {name: number for number, name in enumerate([*names, *extra])}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "module._orig_mod.model."])
def test_a_prefix_is_taken_off(prefix):
    found, others = unwrapped(file(prefix), WANTED, "net.ckpt")
    assert found == {name: number for number, name in enumerate(WANTED)}
    assert others == []


def test_what_is_not_the_network_s_is_left_out():
    found, others = unwrapped(file("model.", extra=["criterion.weight"]), WANTED, "net.ckpt")
    assert list(found) == list(WANTED)
    assert others == ["criterion.weight"]


def test_what_is_left_over_or_missing_within_the_network_is_kept_for_the_error():
    given = file("model.", extra=["model.more"], without=["conv.weight"])
    found, _ = unwrapped(given, WANTED, "net.ckpt")
    assert list(found) == ["conv.bias", "block.conv.weight", "fc.weight", "more"]


def test_another_network_is_left_as_it_is():
    given = {"stem.conv.weight": 1, "head.weight": 2}
    assert unwrapped(given, WANTED, "net.ckpt") == (given, [])


def test_two_networks_that_fit_are_refused():
    with pytest.raises(WeightsError, match=r"net.ckpt has several .*, student\., teach"):
        unwrapped(file("student.", "teacher."), WANTED, "net.ckpt")
