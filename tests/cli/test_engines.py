"""``--engine``: the same images by either, what is said of it, and runs that change over."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import cnnviz as package
from cnnviz.cli.advice import _OTHER_WORDS
from cnnviz.engines.registry import ENGINES, engine_title
from cnnviz.engines.torch.engine import TorchEngine
from tests.support.mxnet import import_mxnet

SCENE = "sample_images/scenes/snail_and_mushroom.png"
OPTIONS = ("--model", "demo", "-o", "out")
BOTH = pytest.mark.needs("mxnet", "torch")
VERSIONS = {"mxnet": lambda: import_mxnet().__version__, "torch": TorchEngine.version}


@pytest.fixture
def scene(request, tmp_path):
    """An image that the network knows, without hurry."""
    return request.config.rootpath / SCENE


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def engines_of(folder):
    """By stem the engine that explained it."""
    return {one["stem"]: one["engine"]["name"] for one in manifest(folder)["images"]}


@BOTH
def test_both_write_the_same(cnnviz, scene, tmp_path):
    records, files = {}, {}
    for engine in ("mxnet", "torch"):
        given = ("-m", "demo", "-o", engine, "--engine", engine, "--arrays", "--json")
        status, out, err = cnnviz("explain", scene, *given)
        assert status == 0
        assert f"engine {engine_title(engine)} {VERSIONS[engine]()} on cpu\n" in err
        records[engine] = json.loads(out)
        files[engine] = sorted(path.name for path in (tmp_path / engine).iterdir())
        run = manifest(tmp_path / engine)["run"]
        expected = {
            "name": engine,
            "version": VERSIONS[engine](),
            "device": "cpu",
            "precision": "fp32",
        }
        assert (run["engine"], run["engine_reason"]) == (expected, "")
        assert records[engine]["engine"] == expected
    assert files["mxnet"] == files["torch"]
    for ours, theirs in zip(records["mxnet"]["top5"], records["torch"]["top5"], strict=True):
        assert (ours["index"], ours["name"]) == (theirs["index"], theirs["name"])
        assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-5)
        assert ours["logit"] == pytest.approx(theirs["logit"], rel=1e-5)
    arrays = [np.load(tmp_path / engine / "snail_and_mushroom.npz") for engine in files]
    assert arrays[0].files == arrays[1].files
    maps = [name for name in arrays[0].files if arrays[0][name].dtype == np.float32]
    assert {"gradcam", "guided_gradcam", "saliency"} <= set(maps)
    for name in maps:
        one, other = (array[name].astype(np.float64) for array in arrays)
        assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(one), name


@BOTH
def test_activations_by_both(cnnviz, scene):
    found = []
    for engine in ("mxnet", "torch"):
        given = ("-m", "demo", "--engine", engine, "--json", "-o", engine)
        status, out, err = cnnviz("activations", scene, *given)
        assert status == 0
        assert f"engine {engine_title(engine)} " in err
        found.append(json.loads(out)["layers"][0]["channels"])
    for ours, theirs in zip(*found, strict=True):
        assert ours["index"] == theirs["index"]
        assert ours["mean"] == pytest.approx(theirs["mean"], rel=1e-4)


@BOTH
def test_maximize_by_both(cnnviz, tmp_path):
    """Not the images: from faint noise on, every step enlarges what rounding has made of it."""
    for engine in ("mxnet", "torch"):
        given = ("--target", "fish", "--steps", "2", "--engine", engine, "-o", engine)
        status, _, err = cnnviz("maximize", "demo", *given)
        assert status == 0
        assert f"engine {engine_title(engine)} " in err
    names = [sorted(path.name for path in (tmp_path / one).iterdir()) for one in VERSIONS]
    assert names[0] == names[1] == ["demo_1_fish_maximized.png", "demo_maximized.png"]


@BOTH
def test_a_run_goes_on_under_another_engine(cnnviz, photos, write_image, tmp_path):
    assert cnnviz("explain", photos, *OPTIONS, "--engine", "mxnet")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    write_image(photos / "3.png", 3)
    status, _, err = cnnviz("explain", photos, *OPTIONS, "--engine", "torch")
    assert status == 0
    assert "4 explained (3 of them already done)" in err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    versions = {name: version() for name, version in VERSIONS.items()}
    note = (
        f"Explained in an earlier run, and kept: 3 images by MXNet {versions['mxnet']} on cpu. "
        f"This run uses PyTorch {versions['torch']} on cpu; --force explains all images again."
    )
    assert f"{note}\n" in err
    run = manifest(tmp_path / "out")["run"]
    assert run["engine"]["name"] == "torch"
    assert note in run["notes"]
    both = {"2": "mxnet", "3": "torch", "10": "mxnet", "sub/cat": "mxnet"}
    assert engines_of(tmp_path / "out") == both
    assert cnnviz("report", "out")[0] == 0
    page = (tmp_path / "out/index.html").read_text()
    assert f"MXNet {versions['mxnet']} on cpu <span" in page
    assert f"PyTorch {versions['torch']} on cpu <span" in page

    # Back under the first: nothing is to be done, and it is still said.
    _, _, err = cnnviz("explain", photos, *OPTIONS, "--engine", "mxnet")
    assert "4 explained (4 of them already done)" in err
    assert f"and kept: 1 image by PyTorch {versions['torch']} on cpu. " in err
    assert engines_of(tmp_path / "out") == both

    _, _, err = cnnviz("explain", photos, *OPTIONS, "--engine", "torch", "--force")
    assert "and kept" not in err
    assert set(engines_of(tmp_path / "out").values()) == {"torch"}


@BOTH
def test_an_interrupted_run_goes_on_under_another_engine(cnnviz, photos, tmp_path):
    """From the journal, which has what the manifest has not yet."""
    (photos / "3.png").write_bytes(b"no image")
    given = ("explain", photos, *OPTIONS, "--fail-fast", "--batch-size", "1")
    assert cnnviz(*given, "--engine", "torch")[0] == 1
    (photos / "3.png").unlink()
    status, _, err = cnnviz("explain", photos, *OPTIONS, "--engine", "mxnet")
    assert status == 0
    assert "and kept: 1 image by PyTorch " in err
    assert engines_of(tmp_path / "out") == {"2": "torch", "10": "mxnet", "sub/cat": "mxnet"}


@pytest.mark.needs("torch")
def test_another_precision_explains_all_again(cnnviz, photos, tmp_path):
    """Its maps can be seen to differ; so it keeps nothing, and says whose files it replaces."""
    given = ("explain", photos, *OPTIONS, "--method", "gradcam", "--engine", "torch")
    assert cnnviz(*given)[0] == 0
    status, _, err = cnnviz(*given, "--precision", "bf16")
    assert status == 0
    assert "contains an earlier run with another precision: files " in err
    assert "of them before" not in err
    images = manifest(tmp_path / "out")["images"]
    assert {one["engine"]["precision"] for one in images} == {"bf16"}
    assert f"engine PyTorch {VERSIONS['torch']()} on cpu, in bf16\n" in err


IMPORTED = """
import sys
from cnnviz.cli import run
status = run(sys.argv[1:])
frameworks = sorted({"mxnet", "torch"} & sys.modules.keys())
threads = sys.modules["torch"].get_num_threads() if "torch" in frameworks else 1
print(int(status), *frameworks, threads, file=sys.stderr)
"""


@BOTH
@pytest.mark.subprocess
@pytest.mark.parametrize("engine", ["mxnet", "torch"])
def test_the_other_framework_is_not_imported(scene, tmp_path, engine):
    """And the one that is computes with as many threads as it is told."""
    given = ("explain", scene, *OPTIONS, "--engine", engine, "--threads", "1")
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *map(str, given)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == f"0 {engine} 1"


@BOTH
def test_auto_says_why(cnnviz, scene, tmp_path):
    _, _, err = cnnviz("explain", scene, *OPTIONS, "--method", "gradcam")
    reason = "PyTorch is installed, too: --engine torch chooses it"
    assert f"engine MXNet {VERSIONS['mxnet']()} on cpu ({reason})\n" in err
    assert manifest(tmp_path / "out")["run"]["engine_reason"] == reason


@pytest.mark.needs("torch")
def test_without_mxnet_torch_does_it(cnnviz, scene, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mxnet", None)
    status, _, err = cnnviz("explain", scene, *OPTIONS, "--method", "gradcam")
    assert status == 0
    assert " on cpu (MXNet is not installed)\n" in err
    status, _, err = cnnviz("explain", scene, *OPTIONS, "--engine", "mxnet")
    assert status == 3
    assert "MXNet is not installed. Leave out --engine, or give --engine torch: it can." in err


def test_without_either_one_command_helps(cnnviz, scene, tmp_path, monkeypatch):
    for name in ("mxnet", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    status, out, err = cnnviz("explain", scene, *OPTIONS)
    assert (status, out) == (3, "")
    assert err.startswith(
        "Error: No engine can run this network on cpu: MXNet is not installed; PyTorch is not "
        "installed. `pip install "
    )
    assert not (tmp_path / "out").exists()


def test_another_engine_is_refused_and_the_like_named(cnnviz, scene):
    status, _, err = cnnviz("explain", scene, "-m", "demo", "--engine", "pytorch")
    assert status == 2
    assert "'pytorch' is not one of auto, mxnet, torch. Did you mean torch?" in err
    assert {_OTHER_WORDS[word] for word in ("--backend", "--framework")} == {"--engine"}


@BOTH
def test_from_python(scene):
    """The same keyword, and errors that speak of it."""
    found = {}
    for engine in ENGINES:
        (found[engine],) = package.explain(scene, "demo", engine=engine, method="gradcam")
    assert {one.top()[0].index for one in found.values()} == {found["auto"].top()[0].index}
    assert np.allclose(*(found[name].maps["gradcam"] for name in ("mxnet", "torch")), rtol=1e-3)
    assert package.load("demo", engine="torch").network.engine.name == "torch"
    with pytest.raises(package.CnnvizError, match="There is no engine 'tf': use auto, mxnet"):
        package.load("demo", engine="tf")


@BOTH
def test_errors_from_python_name_the_keyword(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(package.CnnvizError, match=r"give engine='mxnet': it can\.$"):
        package.load("demo", engine="torch")
