"""`cnnviz models` and its promise not to load anything heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cnnviz import cli, demo
from cnnviz.models import zoo
from cnnviz.weights.params_file import write_params


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    return tmp_path


def test_table(home, capsys):
    here = home / "models" / "vgg16-tv_in1k.params"
    here.parent.mkdir()
    write_params(here, {})
    assert cli.run(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == "NAME PARAMETERS DOWNLOAD INPUT DEFAULT LAYER WEIGHTS"
    # A blank line parts the families.
    families = [text.splitlines() for text in "\n".join(lines[1:]).split("\n\n")]
    assert families[0][0].startswith("alexnet")
    assert [line.split()[0] for line in families[1]][::7] == ["vgg11", "vgg19_bn"]
    assert len(families) == len({entry.family for entry in zoo.entries()})
    rows = {line.split()[0]: line for line in lines[1:] if line}
    assert list(rows) == list(zoo.names())
    assert rows["vgg16"].split() == [
        "vgg16", "138,357,544", "553", "MB", "224x224", "features.28", str(here)
    ]  # fmt: skip
    assert rows["vgg19_bn"].endswith("not here")
    assert "embedded" in rows["demo"]
    assert rows["demo"].endswith("demo.params")
    # The numbers stand under one another.
    assert len({line.index(" MB") for line in lines if " MB" in line}) == 1


def test_json(home, capsys):
    assert cli.run(["models", "--json"]) == 0
    records = {record["name"]: record for record in json.loads(capsys.readouterr().out)}
    assert list(records) == list(zoo.names())
    vgg = records["vgg16_bn"]
    assert vgg["parameters"] == 138_365_992
    assert vgg["input"] == {
        "height": 224,
        "width": 224,
        "channels": "rgb",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert (vgg["default_layer"], vgg["labels"], vgg["weights"]) == (
        "features.41",
        "imagenet",
        None,
    )
    assert (vgg["family"], vgg["hub"]) == ("vgg", "timm/vgg16_bn.tv_in1k")
    assert records["inceptionv3"]["input"]["height"] == 299
    assert records["resnet50_v1"]["hub"] is None
    assert records["demo"]["download_bytes"] is None
    assert records["demo"]["weights"] == str(demo.weights_path())


@pytest.mark.subprocess
def test_loads_neither_mxnet_nor_the_hub():
    program = (
        "import sys\n"
        "from cnnviz import cli\n"
        "status = cli.run(['models'])\n"
        "heavy = {'mxnet', 'huggingface_hub', 'safetensors'} & set(sys.modules)\n"
        "print(int(status), sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "0 []\n"
