"""What only PyTorch's engine promises; the contract of all engines is tested in ``contract``."""

import gc
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cnnviz.engines.base import GUIDED, STANDARD, Device, GradientRequest
from cnnviz.engines.torch.captured import CapturedPasses
from cnnviz.engines.torch.engine import TorchEngine
from cnnviz.engines.torch.runtime import arithmetic, import_torch, torch_device
from cnnviz.errors import DeviceError, NetworkError, UsageError
from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import Flatten, Input, Linear, Opaque, Parameter

pytestmark = pytest.mark.needs("torch")
CPU = Device("cpu")
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def small():
    """Two convolutions with ReLUs and a dense layer; its parameters."""
    builder = Builder((3, 8, 8))
    data = builder.relu(builder.conv(builder.input, 4, 3, padding=1))
    data = builder.relu(builder.conv(data, 5, 3))
    graph = builder.finish(builder.linear(builder.flatten(data), 3)).graph
    random = np.random.default_rng(0)
    return graph, {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in graph.parameters.items()
    }


def batch(images=2):
    return np.random.default_rng(1).standard_normal((images, 3, 8, 8)).astype(np.float32)


def test_an_operator_of_another_framework_is_named():
    opaque = Opaque(framework="mxnet", name="_contrib_fancy", outputs=((3, 8, 8),))
    nodes = (
        Node(Input((3, 8, 8)), "data"),
        Node(opaque, "fancy0", (Value(0),)),
        Node(Flatten(), "flat", (Value(1),)),
        Node(Parameter((2, 192)), "weight"),
        Node(Linear(2), "logits", (Value(2), Value(3))),
    )
    with pytest.raises(NetworkError, match="_contrib_fancy is mxnet's own"):
        TorchEngine(Graph(nodes, Value(4)), {"weight": np.zeros((2, 192), np.float32)}, CPU)


def test_a_gpu_that_is_not_there_is_a_sentence():
    if import_torch().cuda.is_available():
        pytest.skip("there is one")
    why = TorchEngine.obstacle(Device("gpu"))
    assert why is not None
    assert "PyTorch" in why
    with pytest.raises(DeviceError, match=f"gpu:0 cannot be used: {re.escape(why)}. Use --device"):
        torch_device(Device("gpu"))


def test_tensors_are_shared_and_left_as_they_are():
    torch = import_torch()
    graph, arrays = small()
    tensors = {name: torch.nn.Parameter(torch.from_numpy(each)) for name, each in arrays.items()}
    engine = TorchEngine(graph, tensors, CPU)
    recording = engine.run(batch(), record=True)
    recording.gradients(graph.output, np.ones((2, 3), np.float32), [GradientRequest(GUIDED)])

    for name, tensor in tensors.items():
        assert tensor.requires_grad
        assert tensor.grad is None
        assert_array_equal(tensor.detach().numpy(), arrays[name])
    (first,) = (v for v, node in enumerate(graph.nodes) if node.name == next(iter(tensors)))
    shared = engine._programs.whole.constants[Value(first)]
    assert shared.data_ptr() == next(iter(tensors.values())).data_ptr()


def test_a_rule_holds_for_its_request_alone():
    graph, arrays = small()
    recording = TorchEngine(graph, arrays, CPU).run(batch(), record=True)
    seed = np.ones((2, 3), np.float32)

    def gradient(rule):
        (found,) = recording.gradients(graph.output, seed, [GradientRequest(rule)])
        return found

    before, guided, after = gradient(STANDARD), gradient(GUIDED), gradient(STANDARD)
    assert (before.input == after.input).all()
    assert (before.input != guided.input).any()
    assert (before.relus_changed, guided.relus_changed, after.relus_changed) == (0, 2, 0)


def test_released_memory_is_given_back():
    graph, arrays = small()
    engine = TorchEngine(graph, arrays, CPU)
    recording = engine.run(batch(), record=True)
    node = weakref.ref(recording._passed.output)
    recording.release()
    gc.collect()

    assert node() is None
    assert recording.output.shape == (2, 3)
    with pytest.raises(NetworkError, match="given back"):
        recording.gradients(graph.output, np.ones((2, 3), np.float32), [GradientRequest()])


def test_what_comes_a_second_time_is_captured_and_the_oldest_makes_room():
    made = []

    def get(key):
        return passes.get(key, lambda: made.append(key) or key)

    passes = CapturedPasses(captures=True)
    assert [get(key) for key in "abcdabcd"] == [None] * 4 + list("abcd")
    assert made == list("abcd")
    assert get("b") == "b"  # now the one that was used last
    assert get("a") == "a"
    assert made == [*"abcd", "a"]
    assert (get("b"), made) == ("b", [*"abcd", "a"])
    assert CapturedPasses(captures=False).get("a", lambda: 1) is None


def test_exactness_ends_with_the_work():
    torch = import_torch()

    def switches():
        cudnn = torch.backends.cudnn
        return torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic

    def work():
        with arithmetic(Device("gpu"), "fp32"):
            found.append(switches())
            raise ValueError

    before, found = switches(), []
    with pytest.raises(ValueError, match=r"^$"):
        work()
    assert found == [(False, False, True)]
    assert switches() == before


@pytest.mark.parametrize(
    ("precision", "said"), [("tf32", "only GPUs have it"), ("fp8", "use fp32, tf32, bf16")]
)
def test_precisions_that_a_cpu_lacks_are_refused(precision, said):
    graph, arrays = small()
    with pytest.raises(UsageError, match=said):
        TorchEngine(graph, arrays, CPU, precision=precision)


def test_bf16_is_near_and_comes_out_as_float32():
    """Seven bits behind the point: each of three layers rounds by at most 2**-8."""
    graph, arrays = small()
    seed = np.ones((2, 3), np.float32)
    at = Value(graph.layers[1])
    found = []
    for precision in ("fp32", "bf16"):
        engine = TorchEngine(graph, arrays, CPU, precision=precision)
        assert engine.precision == precision
        recording = engine.run(batch(), [at], record=True)
        (gradients,) = recording.gradients(graph.output, seed, [GradientRequest(GUIDED, at=(at,))])
        found.append(
            [recording.output, recording.activation(at), gradients.at[at], gradients.input]
        )
        found[-1].append(engine.run_from(at, found[-1][1], context=batch()[0]))
        for value, node in enumerate(graph.nodes):
            if isinstance(node.operator, Parameter):
                assert_array_equal(engine.constant(Value(value)), arrays[node.name])
    for near, exact in zip(found[1], found[0], strict=True):
        assert near.dtype == np.float32
        assert near.flags.c_contiguous
        assert (near != exact).any()
        assert np.linalg.norm(near - exact) < 0.02 * np.linalg.norm(exact)


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu124"])
def test_a_pytorch_that_is_too_old_is_a_sentence(monkeypatch, version):
    monkeypatch.setattr(import_torch(), "__version__", version)
    with pytest.raises(DeviceError) as refused:
        import_torch()
    declared = re.search(r'^torch = \["(.*)"\]$', PYPROJECT.read_text(encoding="utf-8"), re.M)[1]
    assert str(refused.value) == (
        f"PyTorch {version} is too old, and cnnviz needs 2.6 or later: "
        f"`pip install '{declared}'` installs it."
    )
    assert TorchEngine.obstacle(CPU) == str(refused.value).rstrip(".")


@pytest.mark.parametrize("version", ["2.6.0", "2.10.0a0+gitc7e1ef9", "3.0.0", "built here"])
def test_a_pytorch_that_is_new_or_somebodys_own_is_used(monkeypatch, version):
    monkeypatch.setattr(import_torch(), "__version__", version)
    assert import_torch().__version__ == version


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("users", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_threads_that_wait_take_no_cores_unless_the_user_says_so(users, policy):
    ask = (
        "from cnnviz.engines.torch.runtime import import_torch\n"
        "import os; print(import_torch().get_num_threads(), os.environ['OMP_WAIT_POLICY'])"
    )
    variables = {name: value for name, value in os.environ.items() if "OMP" not in name}
    told = subprocess.run(
        [sys.executable, "-c", ask],
        env={**variables, "OMP_NUM_THREADS": "2", **users},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["2", policy]
