"""Configuration files: what they may say, and what is said when they are wrong."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from cnnviz.errors import UsageError
from cnnviz.models.config import (
    CONFIG_NAMES,
    ModelConfig,
    find_config,
    read_config,
)
from cnnviz.models.config_values import (
    parse_display,
    parse_fraction,
    parse_numbers,
    parse_range,
    parse_size,
)
from cnnviz.models.resolve import find_model


@pytest.fixture
def write(tmp_path):
    """Writes a configuration file (and an empty symbol) into a folder, and returns its path."""
    (tmp_path / "net-symbol.json").write_text('{"nodes": []}')

    def write(text, name="cnnviz.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


FULL = """\
# everything that can be configured
model: net-symbol.json
weights: other/net.params
labels: [cat, dog, 3, "no"]
input_size: 32x48
mean: [0.5, .25, 1e-1]
std: [1, 2, 3]
channels: bgr
range: [-1, 1]
display_channels: [2, 1, 0]
layer: stage3_plus8
head: scores
activation: none
resize: crop
crop_fraction: 19/20
interpolation: bicubic
name: my network
"""


def test_every_key(write, tmp_path):
    config = read_config(write(FULL))
    assert config == ModelConfig(
        model=str(tmp_path / "net-symbol.json"),
        weights=tmp_path / "other/net.params",
        labels=("cat", "dog", "3", "no"),
        input_size=(32, 48),
        mean=(0.5, 0.25, 0.1),
        std=(1.0, 2.0, 3.0),
        channels="bgr",
        range=(-1, 1),
        display_channels=(2, 1, 0),
        layer="stage3_plus8",
        head="scores",
        activation="none",
        resize="crop",
        crop_fraction=0.95,
        interpolation="bicubic",
        name="my network",
    )
    # Nothing was left out above.
    assert all(getattr(config, field.name) is not None for field in fields(ModelConfig))


def test_a_crop_fraction_goes_with_the_way_to_resize():
    config = ModelConfig("vgg16", resize="crop", crop_fraction=0.95, interpolation="bicubic")
    assert config.updated(resize="crop").crop_fraction == 0.95
    stretched = config.updated(resize="stretch", crop_fraction=None)
    assert (stretched.crop_fraction, stretched.interpolation) == (None, "bicubic")
    assert config.updated(resize="stretch", crop_fraction=0.9).crop_fraction == 0.9
    assert ModelConfig("vgg16", crop_fraction=0.9).updated(resize="crop").crop_fraction == 0.9


@pytest.mark.parametrize(("text", "fraction"), [("0.95", 0.95), ("224/232", 224 / 232), ("1", 1)])
def test_a_crop_fraction_may_be_a_quotient(text, fraction):
    assert parse_fraction(text) == fraction


@pytest.mark.parametrize("text", ["0", "-1", "1.01", "232/224", "1/0", "a", "", "1/2/3", "nan"])
def test_what_is_no_crop_fraction_is_refused(text):
    with pytest.raises(ValueError, match="above 0 and at most 1, such as "):
        parse_fraction(text)


def test_named_networks_are_fed_as_configured():
    config = ModelConfig("vgg16", resize="crop", crop_fraction=0.95, interpolation="bicubic")
    spec = find_model(config).spec
    assert (spec.resize, spec.kept, spec.interpolation) == ("crop", 0.95, "bicubic")
    spec = find_model(ModelConfig("vgg16")).spec
    assert (spec.resize, spec.kept, spec.interpolation) == ("stretch", 1, "area")


def test_json_config_says_the_same(write):
    content = {"model": "net-symbol.json", "input_size": [32, 48], "mean": 0.5, "std": "0.25"}
    config = find_config(str(write(json.dumps(content), "mine.json")))
    assert (config.input_size, config.mean, config.std) == ((32, 48), (0.5,), (0.25,))


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_folder_stands_for_its_config(write, name):
    path = write('{"model": "vgg16"}', name)  # JSON is YAML, too
    assert find_config(str(path.parent)) == find_config(str(path)) == ModelConfig("vgg16")


def test_labels_come_from_a_file_beside_the_config(write, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert read_config(write("model: vgg16\nlabels: names.txt")).labels == ("cat", "dog")


def test_name_of_the_catalog_is_a_config_of_its_own():
    assert find_config("demo") == ModelConfig("demo")


def test_symbol_is_told_from_a_config(tmp_path):
    for name, text in (("net-symbol.json", '{"nodes": [], "heads": []}'), ("broken.json", "{")):
        (tmp_path / name).write_text(text)
        assert find_config(str(tmp_path / name)) == ModelConfig(str(tmp_path / name))


def test_what_is_given_wins_and_nothing_given_leaves_the_config():
    config = ModelConfig("vgg16", mean=(0.5,), name="mine")
    assert config.updated(mean=(0.1,), std=None, name=None) == ModelConfig(
        "vgg16", mean=(0.1,), name="mine"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modell: vgg16", r"cnnviz\.yaml has an unknown key 'modell'\. Did you mean model\?"),
        ("zzz: 1", r"unknown key 'zzz'\. Use model, weights"),
        ("weights: a.params", "does not say which network"),
        ("model: vgg17", r"model has to be .*did you mean vgg\d+.*it is 'vgg17'"),
        ("model: [vgg16]", "model has to be a name"),
        ("model: vgg16\ninput_size: big", "input_size has to be a number of pixels .* is 'big'"),
        ("model: vgg16\ninput_size: 0", "input_size has to be a number of pixels from 1 on"),
        ("model: vgg16\ninput_size: true", "input_size has to be"),
        ("model: vgg16\ninput_size: [1, 2, 3]", "input_size has to be"),
        ("model: vgg16\nmean: []", "mean has to be a number for each channel"),
        ("model: vgg16\nmean: [.nan, 1, 2]", "mean has to be a number for each channel"),
        ("model: vgg16\nstd: {r: 1}", "std has to be a number for each channel"),
        ("model: vgg16\nrange: -1:1", r"range has to be .* such as \[0, 4095\].*; it is -61"),
        ("model: vgg16\nrange: [5, 5]", "range has to be the values that become 0 and 1"),
        ("model: vgg16\ndisplay_channels: [1, 2]", "display_channels has to be the indices of"),
        ("model: vgg16\nlabels: [yes, no]", "True is none: put it in quotes"),
        ("model: vgg16\nlabels: 5", "labels has to be a file"),
        ("model: vgg16\nlabels: lost.txt", "lost.txt cannot be read"),
        ("model: vgg16\nresize: shrink", "resize has to be stretch or crop; it is 'shrink'"),
        ("model: vgg16\nlayer: 3", "layer has to be a name; it is 3"),
        ("model: vgg16\nweights: [a]", "weights has to be a file"),
        ("just words", "is not a configuration file"),
        ("- vgg16", "is not a configuration file"),
        ("", "is not a configuration file"),
        ("model: [vgg16", "is not YAML: .*line 1"),
        ("model: vgg16\n\tlabels: x", "is not YAML: .*line 2"),
        ("model: \x00", "is not YAML"),
        ("model: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_wrong_config(write, text, said):
    with pytest.raises(UsageError, match=said):
        read_config(write(text))


def test_wrong_json_config(write):
    with pytest.raises(UsageError, match=r"cnnviz\.json is not JSON: .*line 2"):
        read_config(write('{"model":\n}', "cnnviz.json"))


def test_config_that_is_no_text(tmp_path):
    (tmp_path / "cnnviz.yaml").write_bytes(b"\xfc\xfe\x00m")
    with pytest.raises(UsageError, match="not a UTF-8"):
        find_config(str(tmp_path))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("vgg61", r"no network 'vgg61'.*[Dd]id you mean vgg1"),
        ("./lost-symbol.json", "There is no file"),
        ("net-0000.params", "There is no file"),
        ("nett-symbol.json", r"no file nett-symbol\.json\. Did you mean net-symbol\.json\?"),
        ("net", r"[Dd]id you mean net-symbol\.json\?"),
        ("names.txt", r"is no network: --model takes an ONNX file \(\.onnx\)"),
        ("sub", r"folder sub has no configuration file \(cnnviz\.yaml\)"),
        (".", r"give --model net-symbol\.json"),
    ],
)
def test_model_that_is_nothing(write, tmp_path, monkeypatch, model, said):
    write("cat", "names.txt")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        find_config(model)


def test_sizes_and_numbers_as_one_writes_them():
    assert parse_size("224") == (224, 224)
    assert parse_size(" 480x640 ") == (480, 640)
    assert parse_numbers(".5, 0.25,1e-1") == (0.5, 0.25, 0.1)
    assert parse_numbers("0.5") == (0.5,)
    assert parse_range("-1 : 1.5") == (-1, 1.5)
    for text in ("", "1", "1:", "2:1", "1:1", "0:inf", "nan:1", "0:1:2"):
        with pytest.raises(ValueError, match="LOW:HIGH"):
            parse_range(text)
    assert parse_display("3, 2,1") == (3, 2, 1)
    for text in ("", "1,2", "-1", "1,2,3,4", "a", "1.5"):
        with pytest.raises(ValueError, match="indices"):
            parse_display(text)
    for text in ("", "0", "-1", "3x", "3x0", "1e2", "999999"):
        with pytest.raises(ValueError, match="pixels"):
            parse_size(text)
    for text in ("", "1,", "a", "1,2,inf"):
        with pytest.raises(ValueError, match="a number for each channel"):
            parse_numbers(text)


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "net-symbol.json"])
def test_a_folder_with_one_network_in_it(tmp_path, name):
    (tmp_path / "photos.txt").write_text("")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        find_config(str(tmp_path))
    assert f"For the network in it give --model {tmp_path / name}." in str(caught.value)
    (tmp_path / "other.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match="Write one, or give a name"):
        find_config(str(tmp_path))
