"""What the README says is so."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnviz.attribution import METHODS
from cnnviz.attribution import methods as base
from cnnviz.cli import COMMANDS
from cnnviz.errors import ExitCode
from cnnviz.models import catalog

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_explained(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*$", README, re.MULTILINE)
    assert METHODS[name].paper.split(",")[0] in row


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_mentioned(command):
    assert f"cnnviz {command}" in README


@pytest.mark.parametrize("name", catalog.names())
def test_every_network_is_mentioned(name):
    assert f"`{name.removesuffix('_bn')}`" in README


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_status_is_explained(code):
    assert re.search(rf"^\| {int(code)} \|", README, re.MULTILINE)


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


def test_commands_are_in_the_marked_blocks():
    """`.ci/run` calls these two, as they stand here."""
    for mark, ends in (
        ("command-explain", "cnnviz explain sample_images --model demo -o explanations"),
        ("command-test", "-m pytest"),
    ):
        (block,) = re.findall(rf"<!-- {mark} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
        assert block.endswith(ends)
        assert "\n" not in block


def test_python_example_runs(tmp_path, monkeypatch):
    example = next(block for block in python_blocks() if "cnnviz.Explainer(" in block)
    shutil.copytree(ROOT / "sample_images/photos", tmp_path / "sample_images/photos")
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert len(scope["explanation"].top()) == 5
    assert scope["explanation"].maps["gradcam"].shape == (13, 13)


def test_method_example_is_a_method():
    """Input times gradient, summed, is the logit in a network that is linear without bias."""
    example = next(block for block in python_blocks() if "InputTimesGradient" in block)
    scope = {"Method": base.Method, "Evidence": base.Evidence, "Float32": np.ndarray}
    exec(compile("from __future__ import annotations\n" + example, "README.md", "exec"), scope)
    from cnnviz.network import Network
    from cnnviz.network.runtime import import_mxnet

    nn = import_mxnet().gluon.nn
    net = nn.HybridSequential()
    net.add(nn.Conv2D(2, 3, use_bias=False), nn.Flatten(), nn.Dense(3, use_bias=False))
    net.initialize()
    network = Network.from_block(net, (3, 6, 6))
    batch = np.random.RandomState(0).randn(2, 3, 6, 6).astype(np.float32)
    method = scope["InputTimesGradient"]()
    evidence = base.gather(network, batch, [0, 2], network.default_layer, [method])
    total = method.attribute(evidence).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(total, evidence.logits[[0, 1], [0, 2]], rtol=1e-4, atol=1e-6)


def test_python_versions_agree():
    """Those that the README names are those that the package declares."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.9,<3.13"' in text
    assert "Python 3.9 to 3.12" in README
    assert (3, 9) <= sys.version_info[:2] <= (3, 12)
