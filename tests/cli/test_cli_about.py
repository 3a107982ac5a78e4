"""``cnnviz about``: what each command's files say, against what was asked of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import cnnviz as package
from cnnviz.demo import CLASSES
from cnnviz.outputs.files import write_file
from cnnviz.outputs.formats import encode_png
from cnnviz.outputs.provenance import Origin

WEIGHTS = Path(package.__file__).parent / "demo/demo.params"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest_files(record):
    """(shown key, file, target) of all that an image's record names."""
    for one in record["explanations"]:
        for key, name in one["files"].items():
            yield key, name, [] if key == "original" else [one["target"]["index"]]
    for one in record["contrasts"]:
        yield "contrast", one["file"], [one["positive"]["index"], one["negative"]["index"]]
    yield "panel", record["panel"], [one["target"]["index"] for one in record["explanations"]]


def test_all_that_explain_writes(cnnviz, photos, tmp_path):
    methods = ("gradcam", "guided-gradcam", "saliency", "occlusion", "gradient", "eigencam")
    status, _, err = cnnviz(
        *("explain", photos, "--model", "demo", "-o", "out", "--method", ",".join(methods)),
        *("--target", "fish,snail", "--contrast", "fish:snail", "-O", "window=64"),
        *("--input-size", "96"),
        *("--panel", "--arrays", "--report"),
    )
    assert status == 0, err
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    (layer,) = [one["name"] for one in manifest["run"]["network"]["layers"]]
    rules = {
        "gradcam": ["standard"],
        "guided_gradcam": ["standard", "guided"],
        "saliency": ["standard", "guided"],
        "gradient": ["standard"],
    }
    known = {key: one["name"] for one in manifest["run"]["methods"] for key in one["map_kinds"]}
    seen = set()
    for record in manifest["images"]:
        for key, name, targets in manifest_files(record):
            found = package.about(tmp_path / "out" / name)
            seen.add(name)
            assert found["shows"] == key
            assert found["cnnviz"] == package.__version__
            assert found["image"] == {"name": record["relative"], "sha256": record["sha256"]}
            assert found["network"] == {"name": "demo", "weights": sha256(WEIGHTS)}
            assert [one["index"] for one in found["classes"]] == targets
            assert all(one["name"] == CLASSES[one["index"]] for one in found["classes"])
            names = [one["name"] for one in found["methods"]]
            if key in ("panel", "arrays"):
                assert names == list(methods)
            elif key == "contrast":
                assert names == ["gradcam"]
            else:
                assert names == ([known[key]] if key != "original" else [])
                assert [rule for one in found["methods"] for rule in one["relu"]] == rules.get(
                    key, []
                )
            flat = key in ("original", "gradient") or key.startswith("occlusion")
            assert found["layers"] == ([] if flat else [layer])
            for one in found["methods"]:
                (method,) = [
                    own for own in manifest["run"]["methods"] if own["name"] == one["name"]
                ]
                assert one["options"] == method["options"]
    written = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.glob("out/**/*")}
    assert {name for name in written if name.endswith((".png", ".npz"))} == seen


def test_it_prints_lines_for_people(cnnviz, photos, tmp_path):
    cnnviz("explain", photos / "2.png", "-m", "demo", "-o", "out", "--target", "fish", "-q")
    status, out, err = cnnviz("about", "out/2_1_saliency.png", "out/2_original.png")
    assert (status, err) == (0, "")
    of = [
        f"    image    2.png, SHA-256 {sha256(photos / '2.png')}",
        f"    network  demo, weights SHA-256 {sha256(WEIGHTS)}",
    ]
    assert out.splitlines() == [
        "out/2_1_saliency.png: saliency",
        *of,
        "    layer    features.26",
        "    method   saliency (saliency), source guided-gradcam, ReLU rule standard and guided",
        "    class    fish (1)",
        f"    cnnviz   {package.__version__}",
        "out/2_original.png: original",
        *of,
        f"    cnnviz   {package.__version__}",
    ]


def test_one_that_fails_keeps_no_other_back(cnnviz, photos, tmp_path):
    cnnviz("explain", photos / "2.png", "-m", "demo", "-o", "out", "-q")
    files = ("out/2_original.png", "out/manifest.json", "out/2_gradcam.png")
    status, out, err = cnnviz("about", *files)
    assert status == 1
    assert [line.split(":")[0] for line in out.splitlines() if line[0] != " "] == [*files[::2]]
    assert err.startswith("Error: out/manifest.json does not say what it shows")
    status, out, err = cnnviz("about", "--json", *files)
    records = [json.loads(line) for line in out.splitlines()]
    assert [(one["path"], one["status"]) for one in records] == list(
        zip(files, ("ok", "failed", "ok"), strict=True)
    )
    assert records[1]["error"] in err
    assert {key: records[2][key] for key in package.about(files[2])} == package.about(files[2])


def test_nothing_in_a_file_works_on_the_terminal(cnnviz, tmp_path):
    bad = "\x1b[31m\x9b0m\r\n\u202e"
    about = Origin(bad, bad, bad, bad).describe(bad, layers=[bad], classes=[(1, bad)])
    write_file(tmp_path / "a.png", encode_png(np.zeros((2, 2), np.uint8), about))
    status, out, _ = cnnviz("about", "a.png")
    assert status == 0
    assert out.replace("\n", "").isprintable()
    assert len(out.splitlines()) == 6


def test_what_other_commands_write(cnnviz, photos, tmp_path):
    weights = {"name": "demo", "weights": sha256(WEIGHTS)}
    cnnviz("activations", photos / "2.png", "-m", "demo", "-o", "a", "--top", "3", "--arrays")
    for path in sorted((tmp_path / "a").iterdir()):
        found = package.about(path)
        assert found["shows"] == ("arrays" if path.suffix == ".npz" else "activations")
        assert found["image"] == {"name": "2.png", "sha256": sha256(photos / "2.png")}
        assert (found["network"], found["layers"]) == (weights, ["features.26"])
        assert len(found.get("channels", "abc")) == 3
    cnnviz("filters", "demo", "-o", "f")
    found = package.about(tmp_path / "f/demo_features.0_filters.png")
    assert (found["shows"], found["image"], found["layers"]) == ("filters", None, ["features.0"])
    assert (found["network"], sorted(found["channels"])) == (weights, list(range(16)))


@pytest.mark.parametrize(
    ("options", "layers", "classes", "channels"),
    [
        (["--target", "fish,4"], [], [1, 4], None),
        (["--layer", "features.0", "--channel", "3,2"], ["features.0"], [], [3, 2]),
    ],
)
def test_what_maximize_writes(cnnviz, tmp_path, options, layers, classes, channels):
    cnnviz("maximize", "demo", *options, "--steps", "2", "--seed", "7", "-o", "m", "--frames", "w")
    *single, together = sorted((tmp_path / "m").iterdir(), key=lambda path: -len(path.name))
    assert len(single) == 2
    for path in [*single, together, *(tmp_path / "w").iterdir()]:
        found = package.about(path)
        assert found["shows"] == ("steps" if path.parent.name == "w" else "maximized")
        (method,) = found["methods"]
        assert (method["options"]["steps"], method["options"]["seed"]) == (2, 7)
        assert found["layers"] == layers
        whole = path not in single
        assert len(found["classes"]) == (len(classes) if whole else bool(classes))
        assert {one["index"] for one in found["classes"]} <= set(classes)
        if whole:
            assert found.get("channels") == channels


@pytest.mark.subprocess
@pytest.mark.needs("dot")
def test_what_summary_draws(cnnviz, tmp_path):
    assert cnnviz("summary", "demo", "--diagram", "net.png")[0] == 0
    found = package.about(tmp_path / "net.png")
    assert (found["shows"], found["network"]) == ("diagram", {"name": "demo", "weights": None})


def test_what_python_writes(photos, tmp_path):
    (found,) = package.explain(photos / "2.png", "demo", target="fish", method="gradcam")
    files = found.save(tmp_path / "maps", arrays=True)
    for key, path in files.items():
        about = package.about(path)
        assert about["shows"] == key
        assert about["image"] == {"name": "2.png", "sha256": sha256(photos / "2.png")}
        assert about["network"] == {"name": "demo", "weights": sha256(WEIGHTS)}
        assert about["classes"] == ([] if key == "original" else [{"index": 1, "name": "fish"}])
    assert files["gradcam"].name == "2_1_gradcam.png"
    pixels = package.read_image(photos / "2.png")
    (found,) = package.explain(pixels, "demo", method="gradcam")
    about = package.about(found.save(tmp_path / "maps")["gradcam"])
    assert about["image"] == {"name": "image0", "sha256": None}
