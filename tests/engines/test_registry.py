"""Which engine runs a network on a device, and what is said where none can."""

from __future__ import annotations

import platform
import sys

import numpy as np
import pytest

from cnnviz.engines import install, registry
from cnnviz.engines.base import Device, parse_device
from cnnviz.engines.mxnet import runtime as mxnet_runtime
from cnnviz.engines.mxnet.engine import MxnetEngine
from cnnviz.engines.registry import AUTO, ENGINES, build_engine, choose_engine
from cnnviz.engines.torch.engine import TorchEngine
from cnnviz.errors import CnnvizError, DeviceError, ExitCode, NetworkError, UsageError
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import (
    Flatten,
    Input,
    Linear,
    Opaque,
    Operator,
    Parameter,
    ReLU,
    Resize2d,
)

CPU, GPU, MPS = Device("cpu"), Device("gpu"), Device("mps")
ON_LINUX = ("linux", "x86_64", (3, 12))


def graph(operator: Operator) -> Graph:
    """An operator on an image, and a dense layer behind it."""
    nodes = (
        Node(Input((2, 3, 3)), "data"),
        Node(operator, "first", (Value(0),)),
        Node(Flatten(), "flat", (Value(1),)),
        Node(Parameter((2, 18)), "weight"),
        Node(Linear(2), "logits", (Value(2), Value(3))),
    )
    return Graph(nodes, Value(4))


PLAIN = graph(ReLU())
OPAQUE = graph(Opaque(framework="mxnet", name="_contrib_fancy", outputs=((2, 3, 3),)))
#: MXNet has no operator that interpolates by any convention.
RESIZED = graph(Resize2d((3, 3)))


@pytest.fixture
def machine(monkeypatch):
    """Say what is installed, why devices cannot be used, and which machine this is."""

    def simulate(have, on=ON_LINUX, gpus=(), **obstacles):
        imported = []

        def obstacle_of(name):
            def obstacle(device):
                imported.append(name)
                return obstacles.get(f"{name}_{device.kind}")

            return staticmethod(obstacle)

        monkeypatch.setattr(registry, "installed", lambda: tuple(have))
        monkeypatch.setattr(MxnetEngine, "obstacle", obstacle_of("mxnet"))
        monkeypatch.setattr(TorchEngine, "obstacle", obstacle_of("torch"))
        monkeypatch.setattr(install, "compute_capabilities", lambda: list(gpus))
        monkeypatch.setattr(sys, "platform", on[0])
        monkeypatch.setattr(platform, "machine", lambda: on[1])
        monkeypatch.setattr(sys, "version_info", (*on[2], 0, "final", 0))
        return imported

    return simulate


BOTH = ("mxnet", "torch")
NO_CUDA = {
    "mxnet_gpu": "the MXNet installed here is the CPU build",
    "torch_gpu": "this build of PyTorch has no CUDA",
}


@pytest.mark.parametrize(
    ("have", "network", "device", "obstacles", "chosen", "reason"),
    [
        (BOTH, PLAIN, CPU, {}, "mxnet", "PyTorch is installed, too: --engine torch chooses it"),
        (["mxnet"], PLAIN, CPU, {}, "mxnet", "PyTorch is not installed"),
        (["torch"], PLAIN, CPU, {}, "torch", "MXNet is not installed"),
        (BOTH, OPAQUE, CPU, {}, "mxnet", "PyTorch does not run the operator _contrib_fancy"),
        (BOTH, RESIZED, CPU, {}, "torch", "MXNet does not run the operator Resize"),
        (
            BOTH,
            PLAIN,
            CPU,
            {"mxnet_cpu": "MXNet 1.9.1 cannot be used with NumPy 2.1. `pip ...` helps"},
            "torch",
            "MXNet 1.9.1 cannot be used with NumPy 2.1",
        ),
        (BOTH, PLAIN, GPU, {}, "mxnet", "PyTorch is installed, too: --engine torch chooses it"),
        (
            BOTH,
            PLAIN,
            GPU,
            {"mxnet_gpu": NO_CUDA["mxnet_gpu"]},
            "torch",
            "the MXNet installed here is the CPU build",
        ),
    ],
)
def test_auto(machine, have, network, device, obstacles, chosen, reason):
    machine(have, **obstacles)
    choice = choose_engine(device, network)
    assert (choice.name, choice.device, choice.reason) == (chosen, device, reason)


@pytest.mark.parametrize("name", BOTH)
def test_an_engine_that_is_asked_for_is_taken_and_no_other_imported(machine, name):
    imported = machine(BOTH)
    choice = choose_engine(CPU, PLAIN, name)
    assert (choice.name, choice.reason) == (name, "")
    assert imported == [name]


def test_auto_imports_no_more_than_it_needs(machine):
    imported = machine(BOTH)
    choose_engine(CPU, PLAIN)
    assert imported == ["mxnet"]
    imported.clear()
    choose_engine(CPU, RESIZED)
    assert imported == ["torch"]


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_precisions_other_than_fp32_take_torch(machine, precision):
    machine(BOTH)
    choice = choose_engine(GPU, PLAIN, precision=precision)
    assert (choice.name, choice.precision) == ("torch", precision)
    assert choice.reason == "MXNet computes in fp32 only"
    assert choose_engine(GPU, PLAIN).precision == "fp32"
    with pytest.raises(UsageError, match=rf"fp32 only; got precision {precision}\. .*torch"):
        choose_engine(GPU, PLAIN, "mxnet", precision)
    machine(["mxnet"])
    with pytest.raises(NetworkError, match=r"MXNet computes in fp32 only.*`pip install torch"):
        choose_engine(CPU, PLAIN, precision="bf16")


def test_precisions_that_do_not_exist(machine):
    machine(BOTH)
    with pytest.raises(UsageError, match="no precision 'fp8': use fp32, tf32, bf16"):
        choose_engine(CPU, PLAIN, precision="fp8")
    with pytest.raises(UsageError, match="only GPUs have it: use fp32 on cpu"):
        choose_engine(CPU, PLAIN, "torch", "tf32")


MXNET = "`pip install mxnet==1.9.1 'numpy<2' setuptools`"
TORCH = "`pip install torch`"
H100 = [(9, 0)]


@pytest.mark.parametrize(
    ("have", "device", "asked", "simulated", "told"),
    [
        ([], CPU, AUTO, {}, ["MXNet is not installed; PyTorch is not installed. ", MXNET]),
        ([], CPU, AUTO, {"on": ("linux", "x86_64", (3, 13))}, [TORCH]),
        ([], CPU, AUTO, {"on": ("linux", "riscv64", (3, 11))}, [TORCH]),
        ([], CPU, AUTO, {"on": ("darwin", "arm64", (3, 11))}, [TORCH]),
        ([], CPU, "torch", {}, ["PyTorch cannot run this network on cpu: ", TORCH]),
        ([], CPU, "mxnet", {}, ["MXNet cannot run this network on cpu: ", MXNET]),
        (
            [],
            CPU,
            "mxnet",
            {"on": ("darwin", "arm64", (3, 11))},
            ["MXNet has no build for Python ", "(arm64): it needs Linux"],
        ),
        (["torch"], CPU, "mxnet", {}, ["MXNet is not installed. ", "--engine torch: it can"]),
        (["mxnet"], CPU, "torch", {}, ["PyTorch is not installed. ", "--engine mxnet: it can"]),
        (
            ["mxnet"],
            CPU,
            AUTO,
            {"mxnet_cpu": "NumPy 2 does not fit. `pip install 'numpy<2'` helps"},
            ["NumPy 2 does not fit. `pip install 'numpy<2'` helps."],
        ),
        (
            ["mxnet"],
            GPU,
            AUTO,
            {**NO_CUDA, "gpus": H100},
            ["the CPU build; PyTorch is not installed. ", TORCH],
        ),
        (["mxnet"], GPU, AUTO, NO_CUDA, ["This machine has no NVIDIA GPU", "use --device cpu"]),
        (BOTH, GPU, AUTO, NO_CUDA, ["the CPU build; this build of PyTorch", "use --device cpu"]),
        (
            BOTH,
            GPU,
            AUTO,
            {**NO_CUDA, "gpus": H100},
            ["`pip install --force-reinstall torch` brings PyTorch's build for CUDA"],
        ),
        (BOTH, GPU, "mxnet", {"mxnet_gpu": "the CPU build"}, ["--engine torch: it can."]),
        (
            BOTH,
            Device("gpu", 1),
            AUTO,
            {**NO_CUDA, "gpus": H100},
            ["on gpu:1: ", "This machine has only 1 GPU, numbered from 0."],
        ),
        (
            ["mxnet"],
            MPS,
            AUTO,
            {"mxnet_mps": "MXNet knows no mps", "on": ("darwin", "arm64", (3, 12))},
            ["on mps: ", TORCH],
        ),
        (
            BOTH,
            MPS,
            AUTO,
            {"mxnet_mps": "MXNet knows no mps", "torch_mps": "this build is not one for Macs"},
            ["MXNet knows no mps; this build is not one for Macs. Use --device cpu."],
        ),
    ],
)
def test_where_none_can_the_error_says_what_helps(machine, have, device, asked, simulated, told):
    machine(have, **simulated)
    with pytest.raises(CnnvizError) as raised:
        choose_engine(device, PLAIN, asked)
    assert raised.value.exit_code is ExitCode.UNUSABLE
    assert isinstance(raised.value, NetworkError if device == CPU else DeviceError)
    text = str(raised.value)
    for part in told:
        assert part in text
    assert text.count("`pip ") <= 1


def test_an_operator_that_the_engine_asked_for_does_not_know(machine):
    machine(BOTH)
    with pytest.raises(NetworkError, match=r"operator _contrib_fancy\. .*--engine mxnet: it can"):
        choose_engine(CPU, OPAQUE, "torch")


def test_there_are_no_other_engines():
    assert ENGINES == ("auto", "mxnet", "torch")
    with pytest.raises(UsageError, match="There is no engine 'mx': use auto, mxnet, torch"):
        choose_engine(CPU, PLAIN, "mx")
    with pytest.raises(UsageError, match="There is no engine 'mx'"):
        build_engine(PLAIN, {}, CPU, "mx")


@pytest.mark.needs("torch")
def test_built_engines_are_those_chosen(monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: ("torch",))
    engine = build_engine(PLAIN, {"weight": np.ones((2, 18), np.float32)}, CPU)
    assert engine.name == "torch"


def test_a_framework_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch" not in registry.installed()


def test_a_framework_that_cannot_be_imported_is_an_obstacle(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "PyTorch cannot be used" in str(TorchEngine.obstacle(CPU))

    def broken():
        raise NetworkError("It is broken. Mend it.")

    monkeypatch.setattr(mxnet_runtime, "import_mxnet", broken)
    assert MxnetEngine.obstacle(CPU) == "It is broken. Mend it"


class _Mxnet:
    """As much of MXNet as says what GPUs it can use."""

    class base:
        MXNetError = RuntimeError

    def __init__(self, cuda, gpus):
        self.runtime = self.context = self
        self._cuda, self._gpus = cuda, gpus

    def Features(self):
        return self

    def is_enabled(self, _feature):
        return self._cuda

    def num_gpus(self):
        if self._gpus is None:
            raise RuntimeError("CUDA: no driver")
        return self._gpus


@pytest.mark.parametrize(
    ("cuda", "gpus", "capabilities", "told"),
    [
        (False, None, [], "the MXNet installed here is the CPU build"),
        (True, None, [], "MXNet cannot use CUDA here (CUDA: no driver; check `nvidia-smi`)"),
        (True, 0, [], "MXNet finds no GPU"),
        (True, 1, [(8, 0)], "MXNet finds only 1 GPU (numbered from 0)"),
        (True, 2, [(8, 0), (8, 9)], None),
        (True, 2, [], None),  # nobody tells
        (
            True,
            2,
            [(8, 0), (9, 0)],
            "MXNet has no code for a GPU as new as gpu:1 (compute capability 9.0; its last builds "
            "end at 8.9)",
        ),
    ],
)
def test_gpus_that_mxnet_can_use(monkeypatch, cuda, gpus, capabilities, told):
    """It has code for Maxwell to Ada, and none that a newer GPU could compile for itself."""
    monkeypatch.setattr(mxnet_runtime, "import_mxnet", lambda: _Mxnet(cuda, gpus))
    monkeypatch.setattr(mxnet_runtime, "compute_capabilities", lambda: capabilities)
    assert mxnet_runtime.obstacle(Device("gpu", 1)) == told


@pytest.mark.parametrize(
    ("spec", "device"),
    [
        ("cpu", CPU),
        ("cpu(0)", CPU),
        ("gpu", GPU),
        ("gpu:2", Device("gpu", 2)),
        ("gpu(2)", Device("gpu", 2)),
        ("cuda", GPU),
        ("CUDA:2", Device("gpu", 2)),
        ("mps", MPS),
    ],
)
def test_devices_by_name(spec, device):
    assert parse_device(spec) == device
    assert parse_device(str(device)) == device


@pytest.mark.parametrize("spec", ["", "tpu", "gpu:x", "gpu:-1", "cuda(1", "mps gpu"])
def test_other_devices_are_refused(spec):
    with pytest.raises(UsageError, match="There is no device"):
        parse_device(spec)


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("available", "built", "told"),
    [(True, True, None), (False, True, "no graphics of a Mac"), (False, False, "not one for Macs")],
)
def test_macs(monkeypatch, available, built, told):
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: available)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: built)
    found = TorchEngine.obstacle(MPS)
    assert found is None if told is None else told in str(found)
