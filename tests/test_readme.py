"""What the README and the pages of cnnviz/docs say is so."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from packaging.markers import Marker

from cnnviz.attribution import METHODS, base
from cnnviz.attribution.options import option
from cnnviz.cli import COMMANDS
from cnnviz.engines import base as engines
from cnnviz.errors import ExitCode
from cnnviz.importers.gluon import from_gluon
from cnnviz.models import zoo
from cnnviz.models.config import find_config
from tests.support.attribution import collect_one
from tests.support.mxnet import import_mxnet

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "cnnviz/docs"
PATHS = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
PAGES = {path: path.read_text(encoding="utf-8") for path in PATHS}
README = PAGES[PATHS[0]]
#: All that is said anywhere; two commands and the Python versions have to be in the README itself.
TEXT = "\n".join(PAGES.values())


def python_blocks():
    return re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def anchors(page):
    """What a link may lead to on a page, as GitHub names headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_is_short():
    assert len(README.split()) <= 1000


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_explained(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGES[DOCS / "methods.md"], re.MULTILINE)
    assert METHODS[name].paper.split(",")[0] in row
    assert METHODS[name].formula.replace("|", r"\|") in row


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_mentioned(command):
    assert f"cnnviz {command}" in README
    assert f"\n## cnnviz {command}\n" in PAGES[DOCS / "cli.md"]


@pytest.mark.parametrize("name", zoo.names())
def test_every_network_is_mentioned(name):
    assert f"\n| `{name}` | " in PAGES[DOCS / "networks.md"]


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_status_is_explained(code):
    assert re.search(rf"^\| {int(code)} \|", PAGES[DOCS / "folders.md"], re.MULTILINE)
    assert re.search(rf"^- {int(code)} ", PAGES[DOCS / "cli.md"], re.MULTILINE)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", PAGES[path]):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(PAGES[target]), link


def test_readme_leads_to_every_page():
    links = set(re.findall(r"\]\(cnnviz/docs/([^)#]+)\)", README))
    assert links == {path.name for path in PATHS[1:]}


def test_every_image_is_shown_somewhere():
    for image in (ROOT / "sample_images/.readme").iterdir():
        assert f"sample_images/.readme/{image.name})" in TEXT, image


def test_commands_are_in_the_marked_blocks():
    """`.ci/run` calls these two, as they stand here."""
    for mark, ends in (
        ("command-explain", "cnnviz explain sample_images --model demo -o explanations"),
        ("command-test", "-m pytest -n auto --dist worksteal"),
    ):
        (block,) = re.findall(rf"<!-- {mark} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
        assert block.endswith(ends)
        assert "\n" not in block


@pytest.mark.needs("mxnet")
@pytest.mark.subprocess
def test_python_example_runs(tmp_path, monkeypatch):
    example = next(block for block in python_blocks() if "cnnviz.Explainer(" in block)
    shutil.copytree(ROOT / "sample_images/photos", tmp_path / "sample_images/photos")
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert len(scope["explanation"].top()) == 5
    assert scope["explanation"].maps["gradcam"].shape == (13, 13)


def test_short_python_example_runs(tmp_path, monkeypatch):
    example = next(block for block in python_blocks() if "cnnviz.explain(" in block)
    (tmp_path / "sample_images/scenes").mkdir(parents=True)
    shutil.copy(ROOT / "sample_images/scenes/fish.png", tmp_path / "sample_images/scenes")
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert [one.name.partition("_")[0] for one in scope["found"]] == ["fish", "fish"]
    (target,) = {one.target for one in scope["found"][:1]}
    assert (tmp_path / f"maps/fish_{target}_gradcam.png").is_file()


def test_method_example_is_a_method():
    """In a network that is linear without bias the gradient of a logit is the weights."""
    example = next(block for block in python_blocks() if "(Method):" in block)
    names = (
        "Method",
        "AttributionContext",
        "Float32",
        "RELU_HELP",
        "RELU_RULES",
        "ReluRule",
    )
    scope = {"dataclass": dataclass, "np": np, **{name: getattr(base, name) for name in names[:4]}}
    scope.update((name, getattr(engines, name)) for name in names[4:])
    scope["option"] = option
    exec(compile("from __future__ import annotations\n" + example, "README.md", "exec"), scope)

    nn = import_mxnet().gluon.nn
    net = nn.HybridSequential()
    net.add(nn.Conv2D(3, 1, use_bias=False), nn.Flatten(), nn.Dense(4, use_bias=False))
    net.initialize()
    known = from_gluon(net, (3, 6, 6))
    batch = np.random.RandomState(0).randn(2, 3, 6, 6).astype(np.float32)
    colors = net[0].weight.data().asnumpy()[:, :, 0, 0]  # (filters, colors)
    places = net[2].weight.data().asnumpy().reshape(4, 3, 6, 6)  # (classes, filters, ...)
    expected = np.abs(np.einsum("fc,kfij->kcij", colors, places)).max(axis=1)[[0, 2]]
    method = scope["Sensitivity"]()
    context = collect_one(known, batch, [0, 2], known.default_layer, [method])
    np.testing.assert_allclose(method.attribute(context), expected, rtol=1e-5, atol=1e-7)
    assert type(method)(relu="guided").key == "sensitivity_guided"


def test_configuration_example_is_one(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGES[DOCS / "own-networks.md"], re.DOTALL)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    for name in ("net-symbol.json", "net-0007.params"):
        (tmp_path / name).write_text("")
    (tmp_path / "cnnviz.yaml").write_text(example)
    config = find_config(str(tmp_path))
    assert config.input_size == (32, 32)
    assert config.labels == ("cat", "dog")
    assert all(getattr(config, field.name) is not None for field in fields(config))


def test_python_versions_agree():
    """Those that the README names are those that the package declares."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10,<3.15"' in text
    named = re.findall(r"Programming Language :: Python :: (3\.\d+)", text)
    assert named == [f"3.{minor}" for minor in range(10, 15)]
    assert "Python 3.10 to 3.14" in README
    assert (3, 10) <= sys.version_info[:2] <= (3, 14)


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64", "AMD64", "ppc64le"])
def test_every_machine_gets_one_engine(version, platform, machine):
    """MXNet with NumPy 1 where there are wheels of it, else PyTorch with NumPy 2."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.findall(
        r'^    "(mxnet|torch|numpy[^;]*?)(?:==[^;]*|>=2\.6[^;]*)?; (.*)",$', text, re.M
    )
    here = {"python_version": version, "sys_platform": platform, "platform_machine": machine}
    taken = {name for name, marker in found if Marker(marker).evaluate(here)}
    wheels = platform == "linux" and machine == "x86_64" and version < "3.13"
    assert taken == ({"mxnet", "numpy>=1.23,<2"} if wheels else {"torch", "numpy>=2,<3"})
