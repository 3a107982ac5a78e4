"""`cnnviz methods`: every method, readable, and without MXNet."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

from cnnviz.attribution import METHODS, choose_methods, options_of


def test_table_has_every_method_in_a_hundred_columns(cnnviz):
    status, out, _ = cnnviz("methods")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "NEEDS", "COST", "PAPER"]
    assert max(map(len, lines)) <= 100
    table = lines[1 : lines.index("")]
    needs, cost, paper = (lines[0].index(title) for title in ("NEEDS", "COST", "PAPER"))
    first_lines = [line for line in table if not line.startswith(" ")]
    assert [line.split()[0] for line in first_lines] == list(METHODS)
    rows = {line.split()[0]: line for line in first_lines}
    assert rows["gradcam"][needs:cost].strip() == "layer, layer gradient"
    assert rows["gradcam"][cost:paper].strip() == "none"
    assert rows["gradcam"][paper:] == "Selvaraju et al. 2017"
    assert rows["guided-backprop"][needs:cost].strip() == "input gradient"
    assert rows["occlusion"][needs:cost].strip() == "scores"
    assert rows["smoothgrad"][needs:cost].strip() == "input gradients"
    assert rows["eigencam"][needs:cost].strip() == "layer"


def test_options_stand_below_their_method(cnnviz):
    _, out, _ = cnnviz("methods")
    blocks = {block.splitlines()[0]: block.splitlines() for block in out.split("\n\n")}
    assert [line.split()[0] for line in blocks["occlusion"][1:]] == [
        "window=0", "stride=0", "fill=gray"
    ]  # fmt: skip
    for name, method in METHODS.items():
        assert (name in blocks) == bool(options_of(method))
        for own in options_of(method):
            assert any(line.startswith(f"  {own}=") for line in blocks[name])


@pytest.mark.parametrize("name", METHODS)
def test_one_in_full(cnnviz, name):
    status, out, _ = cnnviz("methods", name)
    assert status == 0
    method = METHODS[name]
    together = " ".join(out.split())
    assert together.startswith(method.title)
    for text in (method.paper, method.formula, method.cost):
        assert " ".join(text.split()) in together
    for own in options_of(method).values():
        assert " ".join(own.metadata["help"].split()) in together
        assert all(choice in together for choice in own.metadata["choices"])
    assert max(map(len, out.splitlines())) <= 100
    # Sphinx's marks and the sections for programmers stay away, what is said does not.
    assert ":func:" not in out
    assert "``" not in out
    assert "\nArgs:" not in out
    last_words = inspect.getdoc(method).split()[-1].replace("`", "")
    assert last_words in together.replace("`", "")


def test_what_a_docstring_refers_to_is_there(cnnviz):
    """Grad-CAM's class says "see" the function, and that has the equations."""
    _, out, _ = cnnviz("methods", "gradcam")
    assert "Grad-CAM; see below." in out
    assert "is its mean gradient" in out


def test_json(cnnviz):
    status, out, _ = cnnviz("methods", "--json")
    assert status == 0
    records = {record["name"]: record for record in json.loads(out)}
    assert list(records) == list(METHODS)
    occlusion = records["occlusion"]
    assert occlusion["needs"] == ["scores"]
    assert occlusion["maps"] == {
        "occlusion": "heat",
        "occlusion_probability": "probability",
        "occlusion_classes": "classes",
    }
    assert occlusion["options"][2] == {
        "name": "fill",
        "default": "gray",
        "help": options_of(METHODS["occlusion"])["fill"].metadata["help"],
        "choices": ["gray", "mean", "black", "white"],
        "least": None,
        "most": None,
    }
    assert not records["eigencam"]["class_specific"]
    # What is listed can be given back.
    for name, record in records.items():
        defaults = {own["name"]: own["default"] for own in record["options"]}
        assert choose_methods([name], defaults) == choose_methods([name])


def test_json_of_one(cnnviz):
    _, out, _ = cnnviz("methods", "rise", "--json")
    (record,) = json.loads(out)
    assert record["title"] == "RISE"
    assert record["paper"].startswith("Petsiuk et al. 2018")


def test_unknown_method_is_wrong_usage(cnnviz):
    status, out, err = cnnviz("methods", "ocklusion")
    assert status == 2
    assert not out
    assert err == "Error: There is no method 'ocklusion'. Did you mean occlusion?\n"


@pytest.mark.subprocess
@pytest.mark.parametrize("arguments", [[], ["rise"], ["--json"]])
def test_loads_no_mxnet(arguments):
    program = (
        "import sys\n"
        "from cnnviz import cli\n"
        "status = cli.run(['methods', *sys.argv[1:]])\n"
        "print(int(status), 'mxnet' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr == "0 False\n"
