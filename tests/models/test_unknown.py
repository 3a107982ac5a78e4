"""What is said of networks that are none of cnnviz's."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.errors import CnnvizError, UsageError
from cnnviz.models import zoo
from cnnviz.models.config import find_config
from cnnviz.models.resolve import find_model
from cnnviz.weights.params_file import write_params


def told(model):
    with pytest.raises(UsageError) as caught:
        find_config(str(model))
    return str(caught.value)


@pytest.mark.parametrize("name", ["VGG16", "Vgg16", "vgg16_BN", "ResNet18-v1", "DEMO"])
def test_case_and_hyphens_do_not_count(name):
    assert find_config(name).model == name.lower().replace("-", "_")


def test_two_networks_where_one_is_wanted(tmp_path):
    assert told("demo,vgg16") == (
        "'demo,vgg16' names 2 networks, and --model takes one. `cnnviz compare` takes two, A's "
        "first: --model demo --model vgg16."
    )
    assert "--model VGG16 --model timm:resnet50." in told("VGG16, timm:resnet50")
    assert "--model timm:resnet50 --model vgg16." in told("timm:resnet50,vgg16")
    assert told("demo,vgg16,vgg19").endswith("takes one. Run the command once for each.")
    network = tmp_path / "net.onnx"
    network.write_bytes(b"")
    assert f"--model {network} --model missing.onnx." in told(f"{network},missing.onnx")
    assert told("cat,dog").startswith("There is no network 'cat,dog'.")


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("vgg-16", "vgg16"),
        ("timm/vgg16.tv_in1k", "vgg16"),
        ("torchvision/vgg19_bn", "vgg19_bn"),
        ("torchvision.models.densenet121", "densenet121"),
        ("squeezenet1_1", "squeezenet1.1"),
        ("mobilenet_v2", "mobilenetv2_1.0"),
        ("inception_v3", "inceptionv3"),
        ("resnet18", "resnet18_v1"),
        ("hf-hub:timm/resnet34.tv_in1k", "resnet34_v1"),
    ],
)
def test_other_libraries_names_of_the_same_networks(name, same):
    assert f"here it is called {same}: --model {same}" in told(name)
    assert same in zoo.names()


@pytest.mark.parametrize(
    "name",
    [
        *("efficientnet_b0", "timm/resnet50", "torchvision/convnext_tiny"),
        *("mobilenet_v3_large", "wide_resnet50_2", "googlenet", "microsoft/resnet-50", "ResNeXt50"),
    ],
)
def test_networks_of_other_libraries(name):
    said = told(name)
    assert said.startswith(f"There is no network '{name}'. ")
    assert ("timm:" in said) or ("torchvision:" in said)


@pytest.mark.parametrize("name", ["vit_b_16", "facebook/deit-base", "ViT", "mobilenet_v3_large"])
def test_networks_that_packages_and_files_have(name):
    said = told(name)
    for way in ("torchvision:NAME", "timm:NAME", ".onnx", ".pt2", "net-symbol.json"):
        assert way in said
    assert "transformer" not in said


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("timm/resnet50", "timm:resnet50"),
        ("hf-hub:timm/convnext_tiny.in12k", "timm:convnext_tiny.in12k"),
        ("torchvision/swin_t", "torchvision:swin_t"),
        ("torchvision.models.vit_b_16", "torchvision:vit_b_16"),
        ("TorchVision:swin_t", "torchvision:swin_t"),
    ],
)
def test_names_of_packages_as_others_write_them(name, own):
    assert f"The package's own is --model {own}." in told(name)
    assert find_config(own).model == own


@pytest.mark.parametrize("name", ["timm:", "torchvision:"])
def test_a_package_without_a_name(name):
    assert told(name) == f"'{name}' lacks a network's name behind it, such as {name}resnet50."


@pytest.mark.parametrize("name", ["net.onnx", "net.ONNX", "net.pt2", "net.torchscript", "net.pth"])
def test_files_that_are_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told(name) == f"There is no file {name}."


@pytest.mark.parametrize(
    ("name", "what"),
    [("m.pdmodel", "a Paddle"), ("m.caffemodel", "a Caffe"), ("m.pte", "an ExecuTorch")],
)
def test_files_of_other_libraries(tmp_path, name, what):
    assert "There is no file" in told(tmp_path / name) or "no file" in told(name)
    (tmp_path / name).write_bytes(b"x")
    said = told(tmp_path / name)
    assert what in said
    assert "cannot be read. --model takes an ONNX file (.onnx)" in said


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("m.tflite", "tf2onnx.convert --tflite {path} --output m.onnx`; then --model m.onnx."),
        ("m.pb", "tf2onnx.convert --saved-model FOLDER --output m.onnx`; then --model m.onnx."),
        ("m.engine", "Give the ONNX file that it was built from"),
        ("m.xml", "Give the ONNX file that it was built from"),
    ],
)
def test_files_that_become_onnx_files_elsewhere(tmp_path, name, advice):
    (tmp_path / name).write_bytes(b"x")
    assert advice.format(path=tmp_path / name) in told(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("saved_model.pb", "x", "tf2onnx.convert --saved-model {path} --output net.onnx`"),
        ("config.json", '{"architecture": "resnet18"}', "--model timm:resnet18 --weights {path}/"),
        ("config.json", '{"architectures": ["ResNet"]}', "give the module to cnnviz.load(module"),
        ("config.json", "[]", "Write one, or give a name"),
    ],
)
def test_folders_of_other_libraries(tmp_path, name, content, advice):
    (tmp_path / name).write_text(content)
    assert advice.format(path=tmp_path) in told(tmp_path)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net.onnx", "net.pt2"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "only a Git LFS pointer"),
        ("<!DOCTYPE html>\n<html>", "looks like a web page"),
    ],
)
def test_files_that_were_not_fetched(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(CnnvizError, match=said):
        find_model(find_config(str(path)))


@pytest.mark.parametrize("name", ["m.H5", "m.keras"])
def test_keras_files_say_how_they_become_onnx_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    said = told(tmp_path / name)
    assert f'`model = keras.models.load_model("{name}")`' in said
    assert '`model.export("m.onnx", format="onnx")`; then --model m.onnx.' in said


def test_addresses_are_not_read():
    for address in ("https://x.org/net.onnx", "s3://bucket/net-symbol.json", "hf://a/b"):
        assert "is a URL, which cnnviz does not read" in told(address)


def test_no_name_at_all():
    assert "name is empty" in told(" ")


@pytest.mark.parametrize("classes", [1000, 7])
def test_weights_are_recognized(tmp_path, classes):
    shapes = zoo.parameter_shapes(zoo.get("mobilenetv2_0.25"), classes)
    path = tmp_path / "weights.params"
    write_params(path, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert f"--model mobilenetv2_0.25 --weights {path}." in told(path)


def test_weights_by_the_name_of_their_file(tmp_path):
    for name, network in (("vgg16-397923af.pth", "vgg16"), ("squeezenet1_1.pt", "squeezenet1.1")):
        (tmp_path / name).write_bytes(b"x")
        assert f"--model {network} --weights {tmp_path / name}." in told(tmp_path / name)


def test_weights_of_nobody_knows_what(tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"x")
    assert f"--model NAME --weights {path}. `cnnviz models` lists names; torch" in told(path)
    write_params(tmp_path / "net-0003.params", {"arg:w": np.ones(3)})
    (tmp_path / "net-symbol.json").write_text("{}")
    assert f"--model {tmp_path / 'net-symbol.json'}." in told(tmp_path / "net-0003.params")
