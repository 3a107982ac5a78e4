"""What people type who do not know cnnviz by heart: other spellings, slips, ``~``."""

from __future__ import annotations

import json
import shutil

import click
import pytest

from cnnviz.cli import run
from cnnviz.cli.option_types import Choice
from cnnviz.demo import weights_path
from cnnviz.errors import DeviceError


@pytest.fixture
def image(photos):
    return photos / "2.png"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cat.jpg"], "Did you mean `cnnviz explain cat.jpg`?"),
        (["cat.jpg", "-m", "demo"], "Did you mean `cnnviz explain cat.jpg -m demo`?"),
        (["photos"], "Did you mean `cnnviz explain photos`?"),
        (["photos/my cat"], "Did you mean `cnnviz explain 'photos/my cat'`?"),
        (["expalin", "cat.jpg"], "There is no command 'expalin'. Did you mean `cnnviz explain`?"),
        (["layer"], "Did you mean `cnnviz layers`?"),
        (["zebra"], "There is no command 'zebra'. `cnnviz --help` lists them."),
        (["https://x.org/cat.jpg"], "Did you mean `cnnviz explain https://x.org/cat.jpg`?"),
        (["ftp://x.org/cat.jpg"], "Did you mean `cnnviz explain ftp://x.org/cat.jpg`?"),
        (["-m", "demo", "cat.jpg"], "Options stand behind a command, as in `cnnviz explain INPUT"),
        (
            ["explain", "ftp://u:secret@x.org/cat.jpg"],
            "ftp://x.org/cat.jpg begins with",
        ),
        (["activations", "cat.jpg", "-o", "s3://b/x"], "download it first"),
        (["explain", "demo", "cat.jpg"], "for the network give --model demo"),
        (["explain", "squeezenet1.1"], "for the network give --model squeezenet1.1"),
        (["explain", "cat.jpg", "--gpu"], "Did you mean --device gpu?"),
        (["explain", "cat.jpg", "--backend", "torch"], "Did you mean --engine?"),
        (["explain", "cat.jpg", "--network", "x"], "Did you mean --model?"),
        (["layers", "demo", "--gpu"], "No such option"),
        (
            ["compare", "a", "-m", "demo", "-m", "vgg16", "--sort", "loss"],
            "No such option '--sort', which orders images by what one network predicts. Run "
            "`cnnviz explain` with it for A and for B, then `cnnviz compare` with the two",
        ),
        (["compare", "a", "b", "--fail-under", "accuracy=1"], "Did you mean --fail-if-worse?"),
        (["explain", "a", "--fail-if-worse", "accuracy=1"], "Did you mean --fail-under?"),
        (["explain", "cat.jpg", "--modle", "x"], "--model"),
        (["explain", "cat.jpg", "-v", "-q"], "--verbose prints more and --quiet nothing"),
        (["explain", "cat.jpg", "--weights=s3://b/x.params"], "download it first"),
        (["explain", "cat.jpg", "--labels=https://x/y.txt"], "download it first"),
        (["explain", "cat.jpg", "--output=~no-such-user/x"], "There is no home folder for"),
        (["explain", "cat.jpg", "--colormap", "jett"], "Did you mean jet?"),
        (["layers"], "Missing argument 'MODEL'"),
        (["layers", "vgg16", "-m", "demo"], "Two networks were given, vgg16 and demo"),
    ],
)
def test_slips(cnnviz, photos, arguments, told):
    status, out, err = cnnviz(*arguments)
    assert (status, out) == (2, "")
    assert told in err
    assert "Traceback" not in err


def test_a_name_that_would_work_on_the_terminal(cnnviz):
    _, _, err = cnnviz("a\x1b[31m.jpg")
    assert "\x1b" not in err


def test_several_of_a_kind_parted_by_commas(cnnviz, image, tmp_path):
    status, _, _ = cnnviz(
        *("explain", image, "-m", "Demo", "--method", "Grad-CAM,layer_cam"),
        *("--layer", "Features.19,features[26]", "--target", "fish,Butterfly", "-o", "out"),
    )
    assert status == 0
    run_ = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [method["name"] for method in run_["run"]["methods"]] == ["gradcam", "layercam"]
    assert [one["name"] for one in run_["run"]["network"]["layers"]] == [
        "features.19",
        "features.26",
    ]
    (found,) = run_["images"]
    assert [one["target"]["name"] for one in found["explanations"]] == ["fish", "butterfly"]


def test_the_model_in_both_ways(cnnviz):
    for command in ("layers", "summary"):
        plain = cnnviz(command, "demo")
        assert plain[0] == 0
        assert cnnviz(command, "-m", "demo") == plain
        assert cnnviz(command, "demo", "--model", "demo") == plain


def test_commands_in_any_case(cnnviz):
    assert cnnviz("Layers", "demo") == cnnviz("layers", "demo")


@pytest.mark.parametrize("spec", ["cuda", "cuda:0", "gpu0", "CUDA(1)", "mps"])
@pytest.mark.parametrize("option", ["--device", "--ctx"])
def test_devices(cnnviz, image, spec, option, monkeypatch):
    from cnnviz.engines import registry
    from cnnviz.engines.base import Device

    asked = []

    def choose(device, *_):
        asked.append(device)
        raise DeviceError("It is not here.")

    monkeypatch.setattr(registry, "choose_engine", choose)
    assert cnnviz("explain", image, "-m", "demo", option, spec, "--method", "gradcam")[0] == 3
    assert asked == [Device("mps") if spec == "mps" else Device("gpu", 1 if "1" in spec else 0)]


@pytest.mark.needs("torch")
def test_precision(cnnviz, image, tmp_path):
    given = ("explain", image, "-m", "demo", "--method", "gradcam")
    status, _, said = cnnviz(*given, "-o", "out", "--precision", "BF16", "--engine", "torch")
    assert status == 0
    assert " on cpu, in bf16" in said
    record = json.loads((tmp_path / "out/manifest.json").read_text())
    assert record["run"]["engine"]["precision"] == "bf16"
    status, _, said = cnnviz(*given, "-o", "other", "--precision", "tf32")
    assert status == 2
    assert "only GPUs have it" in said
    assert not (tmp_path / "other").exists()


def test_quiet_in_short(cnnviz, image, tmp_path):
    given = ("explain", image, "-m", "demo", "--method", "gradcam", "-o", "out", "-q")
    assert cnnviz(*given) == (0, "", "")
    assert cnnviz("report", "-q", "out") == (0, "", "")
    assert cnnviz("download", "-q", "demo") == (0, "", "")


@pytest.mark.parametrize("literal", [False, True])
def test_home_folders_in_every_option(photos, tmp_path, monkeypatch, literal):
    """With ``=`` no shell replaces the ``~``; a folder here that is called so comes first."""
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    place = here / "~" if literal else home
    place.mkdir(exist_ok=True)
    shutil.copy(photos / "2.png", place / "2.png")
    shutil.copy(weights_path(), place / "w.params")
    (place / "names.txt").write_text("".join(f"{i}: c{i}\n" for i in range(8)))
    (place / "truth.csv").write_text("2.png,c1\n")
    (place / "config.yaml").write_text("model: demo\nname: mine\nweights: ~/w.params\n")
    if literal:  # of a configuration file they are beside it
        (place / "config.yaml").write_text("model: demo\nname: mine\n")
    status = run(
        [
            *("explain", "~/2.png", "--model=~/config.yaml", "--weights=~/w.params"),
            *("--labels=~/names.txt", "--truth=~/truth.csv", "--output=~/out", "-q"),
            *("--method", "gradcam"),
        ]
    )
    assert status == 0
    record = json.loads((place / "out/manifest.json").read_text())
    assert record["run"]["network"]["name"] == "mine"
    assert record["images"][0]["ground_truth"]["name"] == "c1"
    assert run(["report", "-q", "~/out"]) == 0
    assert run(["summary", "demo", "--diagram=~/d.dot"]) == 0
    assert (place / "d.dot").is_file()
    assert ("~" in [path.name for path in here.iterdir()]) == literal


def test_a_default_is_accepted_without_importing_what_lists_the_names():
    option = click.Option(["--way"], type=Choice("cnnviz.nowhere:WAYS", "WAY"), default="short")
    assert option.type.convert("short", option, None) == "short"
    with pytest.raises(ModuleNotFoundError):
        option.type.convert("long", option, None)
