"""Weights files of all kinds."""

from __future__ import annotations

import argparse
import json
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cnnviz.errors import WeightsError
from cnnviz.weights.formats import read_weights
from cnnviz.weights.params_file import write_params


@pytest.fixture
def arrays():
    """A network's parameters, by names as torch has them."""
    rng = np.random.default_rng(0)
    shapes = {"features.0.weight": (4, 3, 3, 3), "features.0.bias": (4,), "head.fc.weight": (3, 6)}
    return {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}


def same(read, wanted):
    assert set(read) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(read[name], array)


def test_reads_params_whatever_the_suffix(tmp_path, arrays):
    write_params(tmp_path / "w.bin", arrays)
    same(read_weights(tmp_path / "w.bin"), arrays)


def test_reads_safetensors(tmp_path, arrays):
    save_file(arrays, tmp_path / "m.safetensors", metadata={"format": "pt"})
    same(read_weights(tmp_path / "m.safetensors"), arrays)


def test_reads_half_precision_safetensors(tmp_path):
    # float16: 1.5 is 0x3E00; bfloat16: -3.0 is 0xC040, the upper half of a float32's 0xC0400000.
    header = json.dumps(
        {
            "half": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
            "brain": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [2, 6]},
        }
    ).encode()
    path = tmp_path / "h.safetensors"
    values = struct.pack("<HHH", 0x3E00, 0xC040, 0x3F80)
    path.write_bytes(struct.pack("<Q", len(header)) + header + values)
    read = read_weights(path)
    assert read["half"].tolist() == [1.5]
    assert read["brain"].dtype == np.float32
    assert read["brain"].tolist() == [[-3.0], [1.0]]


def test_reads_empty_tensors(tmp_path):
    save_file({"a": np.ones(2, np.float32), "z": np.zeros((0, 3), np.float32)}, tmp_path / "e")
    assert read_weights(tmp_path / "e")["z"].shape == (0, 3)


def test_every_truncation_of_safetensors_is_told(tmp_path):
    save_file({"a": np.ones((3, 2), np.float32)}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    cut = tmp_path / "cut.safetensors"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut\.safetensors"):
            read_weights(cut)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>403</html>", "not a weights file: it looks like a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b'{"a": 1, "b": [2, 3]}', "looks like JSON"),
        (b"\x80\x04\x95\x0b\x00\x00\x00", "Python pickle"),
        (b"\x89PNG\r\n\x1a\n and so on", "begins with the bytes 89 50 4e 47"),
        (b"PK\x03\x04 but no zip", "damaged or incomplete .pth"),
        (struct.pack("<Q", 10) + b"{notjson}  ", "damaged or incomplete .safetensors"),
    ],
)
def test_says_what_a_file_is_instead(tmp_path, content, told):
    path = tmp_path / "w.params"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=told) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


def test_a_zip_of_weights_is_to_be_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("vgg16-e660d456.params", b"...")
    with pytest.raises(WeightsError, match=r"unpack it and give vgg16-e660d456\.params"):
        read_weights(tmp_path / "w.zip")


@pytest.fixture(params=["zip", "old"])
def pth(request, tmp_path):
    """A file that begins as PyTorch's do, new and old; nothing in it can be loaded."""
    path = tmp_path / "vgg16.pth"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("vgg16/data.pkl", b"\x80\x02}.")
    else:
        path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(50))
    return path


def test_pth_without_torch_says_what_to_install(pth, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ImportError
    with pytest.raises(WeightsError, match=r"PyTorch file.*`pip install torch`.*\.safetensors"):
        read_weights(pth)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}])
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_with_torch(tmp_path, arrays, wrap, zipped):
    import torch

    state = {name: torch.tensor(array) for name, array in arrays.items()}
    torch.save(wrap(state), tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    same(read_weights(tmp_path / "m.pth"), arrays)


def network():
    """Its buffers are weights, too, except for one that is not kept."""
    import torch

    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    inner.register_buffer("scratch", torch.ones(3), persistent=False)
    return torch.nn.Sequential(inner, torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    "saved",
    [
        lambda net, state: net,  # pickled whole: its class is not loaded, its parameters are
        lambda net, state: {"model": net, "epoch": 3},
        lambda net, state: {"net": state, "acc": np.float64(0.5)},
        lambda net, state: {"state_dict": state, "args": argparse.Namespace(lr=0.1)},
        lambda net, state: {"ema": None, "checkpoint": {"model_state": state}, "path": Path(".")},
        lambda net, state: {
            "state_dict": state,
            "state_dict_ema": {k: 2 * v for k, v in state.items()},
        },
        lambda net, state: {
            "weights": state,
            "loss": net[0][0].weight.sum(),
            "criterion": {"weight": net[2].weight},
        },
        lambda net, state: {"network": state, "optim": optimizer(net).state_dict()},
    ],
)
def test_pth_of_a_training_script(saved, tmp_path):
    import torch

    net = network()
    torch.save(saved(net, net.state_dict()), tmp_path / "c.pth")
    wanted = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    same(read_weights(tmp_path / "c.pth"), wanted)


def optimizer(net):
    """One that has moments of each parameter."""
    import torch

    made = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 3, 3, 3)).sum().backward()
    made.step()
    return made


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (
            lambda net, state: {"net": state, "ema": dict(state)},
            r"several sets of weights \(net, ema\)",
        ),
        (lambda net, state: optimizer(net).state_dict(), "but the state of an optimizer"),
        (lambda net, state: list(state.values()), "but a list, without names"),
        (lambda net, state: {"epoch": 3, "args": argparse.Namespace()}, "but epoch, args"),
        (lambda net, state: argparse.Namespace(), r"no parameters: save the network's sta"),
    ],
)
def test_pth_without_weights_that_are_meant(saved, told, tmp_path):
    import torch

    net = network()
    torch.save(saved(net, net.state_dict()), tmp_path / "c.pth")
    with pytest.raises(WeightsError, match=told):
        read_weights(tmp_path / "c.pth")


@pytest.mark.needs("torch")
def test_pth_in_bfloat16(tmp_path):
    import torch

    torch.save({"a": torch.tensor([1.0, -3.0], dtype=torch.bfloat16)}, tmp_path / "b.pth")
    assert read_weights(tmp_path / "b.pth")["a"].tolist() == [1.0, -3.0]


@pytest.mark.needs("torch")
def test_pth_without_parameters(tmp_path):
    import torch

    torch.save({"epoch": 3}, tmp_path / "n.pth")
    with pytest.raises(WeightsError, match="holds no parameters"):
        read_weights(tmp_path / "n.pth")
