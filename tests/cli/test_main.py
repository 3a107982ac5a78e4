"""The group itself: help, version, layers, and what must not be imported for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import cnnviz as package
from cnnviz.models import zoo

WITHOUT_MXNET = """
import json, sys
import cnnviz
assert "numpy" not in sys.modules, "importing cnnviz alone imports NumPy"
from cnnviz.cli import run
for arguments in json.loads(sys.argv[1]):
    status = run(arguments)
    heavy = {"mxnet", "torch", "huggingface_hub"} & set(sys.modules)
    print("\\nHEAVY", int(status), *sorted(heavy))
"""


@pytest.mark.subprocess
def test_help_listings_and_usage_errors_do_not_import_mxnet(tmp_path):
    commands = [
        (["--help"], 0),
        (["--version"], 0),
        (["models"], 0),
        (["models", "--json"], 0),
        (["explain", "--help"], 0),
        (["layers", "--help"], 0),
        (["download", "--help"], 0),
        (["nosuch"], 2),
        (["--nosuch"], 2),
        (["explain"], 2),
        (["explain", "nosuch.jpg"], 2),
        (["explain", __file__, "--model", "nosuch"], 2),
        (["explain", __file__, "--method", "nosuch"], 2),
        (["explain", __file__, "--colormap", "nosuch"], 2),
        (["explain", __file__, "--target", "nosuch"], 2),
        (["explain", __file__, "--ctx", "nosuch"], 2),
        (["explain", __file__, "-o", __file__], 2),
        (["layers", "nosuch"], 2),
        (["download", "nosuch"], 2),
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MXNET, json.dumps([arguments for arguments, _ in commands])],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("HEAVY")]
    for (arguments, status), line in zip(commands, told, strict=True):
        assert (arguments, line) == (arguments, f"HEAVY {status}")
    assert len(told) == len(commands)
    assert "Traceback" not in done.stderr


def test_version(cnnviz):
    status, out, _ = cnnviz("--version")
    assert status == 0
    assert package.__version__ in out


def test_layers_marks_the_default(cnnviz):
    status, out, _ = cnnviz("layers", "vgg16_bn")
    assert status == 0
    (marked,) = (line for line in out.splitlines() if "default" in line)
    assert marked.split()[:3] == ["features.41", "BatchNorm", "512×14×14"]


def test_layers_as_json(cnnviz):
    status, out, _ = cnnviz("layers", "demo", "--json")
    assert status == 0
    layers = json.loads(out)
    (default,) = (layer for layer in layers if layer["default"])
    assert default["name"] == zoo.get("demo").default_layer
    assert default["spatial"]
    assert default["maps"] == default["shape"]
    assert layers[-1]["shape"] == [8]
    assert not layers[-1]["spatial"]
    assert layers[-1]["maps"] is None


LEAVING = """
import atexit, sys
from cnnviz.cli import leave, run
atexit.register(print, "cleared up")
leave(lambda: run(sys.argv[1:]))
"""


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("arguments", "status", "lines"),
    [(["--version"], 0, 2), (["explain", "photos", "-m", "demo"], 1, 3)],
)
def test_nothing_printed_is_lost_in_leaving(photos, tmp_path, arguments, status, lines):
    """What goes to a file waits in a buffer; without MXNet Python's own end follows."""
    (photos / "broken.png").write_bytes(b"no image")
    with open(tmp_path / "printed", "w+") as printed, open(tmp_path / "said", "w+") as said:
        done = subprocess.run(
            [sys.executable, "-c", LEAVING, *arguments],
            stdout=printed,
            stderr=said,
            cwd=tmp_path,
            check=False,
            timeout=60,
        )
        printed.seek(0)
        said.seek(0)
        told, complaints = printed.read().splitlines(), said.read()
    assert done.returncode == status
    assert len(told) == lines
    assert ("cleared up" in told) == (arguments == ["--version"])
    assert ("broken.png" in complaints) == (status == 1)


@pytest.mark.subprocess
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_no_success(photos, tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cnnviz", "explain", "photos/2.png", "--model", "demo"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode != 0
    assert "No space left" in done.stderr
