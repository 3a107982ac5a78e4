"""ONNX files that are damaged, or were made to do harm: a sentence, no traceback, no allocation."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cnnviz.errors import CnnvizError, NetworkError, UsageError, WeightsError
from cnnviz.importers import onnx_checks
from cnnviz.importers.onnx_file import OnnxSource, open_onnx
from cnnviz.importers.onnx_program import read_onnx
from tests.support.onnx_files import converted, model_of, node, saved

pytestmark = pytest.mark.needs("onnx")

KERNEL = np.ones((4, 3, 3, 3), np.float32)


@contextmanager
def little_memory() -> Iterator[None]:
    """What is inside allocates less than 64 MB."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()


BOMBS = {
    "ConstantOfShape": ([node("ConstantOfShape", "shape", "c")], {"shape": [2**20, 2**20]}),
    "Expand": ([node("Expand", "one shape", "c")], {"one": np.ones(1), "shape": [2**40]}),
    "Tile": ([node("Tile", "one shape", "c")], {"one": np.ones(1), "shape": [2**40]}),
    "Range": (
        [node("Range", "zero end one", "c")],
        {"zero": np.array(0), "end": np.array(2**60), "one": np.array(1)},
    ),
    "Pad": ([node("Pad", "one pads", "c")], {"one": np.ones(1, np.float32), "pads": [0, 2**40]}),
    "OneHot": (
        [node("OneHot", "many depth values", "c")],
        {"many": np.arange(100), "depth": np.array(2**40), "values": np.float32([0, 1])},
    ),
    "a sum of a column and a row": (
        [
            node("ConstantOfShape", "shape", "a"),
            node("Reshape", "a column", "b"),
            node("Add", "a b", "c"),
        ],
        {"shape": [2**20], "column": [2**20, 1]},
    ),
    "Gather": (
        [node("Gather", "table places", "c")],
        {"table": np.zeros((1, 2**18), np.float32), "places": np.zeros(2**18, np.int64)},
    ),
    "MatMul": (
        [node("MatMul", "a b", "c")],
        {"a": np.zeros((2**18, 1), np.float32), "b": np.zeros((1, 2**18), np.float32)},
    ),
    "Einsum": (
        [node("Einsum", "a a", "c", equation="i,j->ij")],
        {"a": np.zeros(2**18, np.float32)},
    ),
    "an operator that is not computed ahead": ([node("Col2Im", "a b b", "c")],
                                               {"a": np.zeros((1, 5, 5)), "b": [5, 5]}),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_constants_that_would_fill_the_memory(name, tmp_path):
    nodes, stored = BOMBS[name]
    path = saved(model_of([*nodes, node("Add", "x c")], stored=stored), tmp_path)
    with (
        little_memory(),
        pytest.raises(NetworkError, match=r"numbers out of stored ones|ahead|alone"),
    ):
        read_onnx(path).program((3, 6, 6))


IN_THE_GRAPH = {
    "Expand": ([node("Expand", "x shape")], {"shape": [1, 2, 6, 6]}, "Expand"),
    "Tile": ([node("Tile", "x shape")], {"shape": [1, 2**40, 1, 1]}, "repeats"),
    "Reshape": ([node("Reshape", "x shape")], {"shape": [1, 2**62, 4]}, "fit"),
    "Gather": ([node("Gather", "x place", axis=1)], {"place": [7]}, "has no places"),
    "Transpose": ([node("Transpose", "x", perm=[0, 1, 1, 2])], {}, "order"),
    "Concat": ([node("Concat", "x x", axis=9)], {}, "no axis 9"),
    "Conv of no size": ([node("Conv", "x k", strides=[0, 1])], {"k": KERNEL}, "1 or more"),
    "Conv with too many pads": ([node("Conv", "x k", pads=[1] * 6)], {"k": KERNEL}, "do not fit"),
    "Conv without a weight": ([node("Conv", "x -")], {}, "input 1 is missing"),
    "a weight of another size": ([node("Conv", "x k")], {"k": KERNEL[:, :2]}, "weight"),
    "Split": ([node("Split", "x s", "y z", axis=1)], {"s": [2**40, -5]}, "cuts an axis"),
    "Einsum": ([node("Einsum", "x x", equation="ab,cd->ad")], {}, "does not fit"),
    "a group of none": ([node("Conv", "x k", group=0)], {"k": KERNEL}, "Conv"),
}


@pytest.mark.parametrize("name", IN_THE_GRAPH)
def test_operators_that_ask_for_the_impossible(name, tmp_path):
    nodes, stored, why = IN_THE_GRAPH[name]
    with little_memory(), pytest.raises(NetworkError, match=why):
        converted(model_of(nodes, stored=stored), tmp_path)


REFUSED = {
    "GRU": "recurrent",
    "Loop": "decides by the image",
    "NonMaxSuppression": "detector",
    "QLinearConv": "whole numbers",
    "RandomNormalLike": "random",
    "Floor": "no gradient",
    "Greater": "no gradient",
    "DeformConv": "does not run it",
    "SequenceConstruct": "lists of values",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_run_is_refused_by_its_name(kind, tmp_path):
    path = saved(model_of([node(kind, "x x", name="deep/inside")]), tmp_path)
    with pytest.raises(NetworkError, match=rf"operator {kind} .*: .*{REFUSED[kind]}"):
        read_onnx(path).program((3, 6, 6))


def test_a_batch_norm_in_training_mode(tmp_path):
    ones = np.ones(3, np.float32)
    nodes = [node("BatchNormalization", "x o o o o", "y a b", training_mode=1)]
    with pytest.raises(NetworkError, match=r"training mode.*model\.eval\(\)"):
        converted(model_of(nodes, stored={"o": ones}), tmp_path)


def test_operators_of_others(tmp_path):
    with pytest.raises(NetworkError, match=r"not ONNX's own, Magic \(acme\)"):
        converted(model_of([node("Magic", "x", domain="acme")]), tmp_path)
    with pytest.raises(NetworkError, match="optimized for it"):
        converted(model_of([node("FusedConv", "x", domain="com.microsoft")]), tmp_path)


def test_a_cycle(tmp_path):
    nodes = [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "b")]
    with pytest.raises(NetworkError, match=r"reads b, which nothing before it gives"):
        converted(model_of(nodes), tmp_path)


def functions(bodies):
    from onnx import helper

    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    model = model_of([node("F0", "x", domain="mine")])
    model.opset_import.append(helper.make_opsetid("mine", 1))
    for name, nodes in bodies.items():
        made = [each.made() for each in nodes]
        model.functions.append(helper.make_function("mine", name, ["a"], ["b"], made, imports))
    return model


def test_functions_that_call_themselves(tmp_path):
    bodies = {
        "F0": [node("F1", "a", "b", domain="mine")],
        "F1": [node("F0", "a", "b", domain="mine")],
    }
    with pytest.raises(NetworkError, match=r"functions call themselves \(F"):
        converted(functions(bodies), tmp_path)


def test_functions_that_unfold_without_end(tmp_path):
    bodies = {
        f"F{level}": [
            node(f"F{level + 1}", "a", "m", domain="mine"),
            node(f"F{level + 1}", "m", "b", domain="mine"),
        ]
        for level in range(40)
    }
    bodies["F40"] = [node("Relu", "a", "b")]
    with (
        little_memory(),
        pytest.raises(NetworkError, match=r"unfolds to 1,099,511,627,776|unfolds"),
    ):
        converted(functions(bodies), tmp_path)


def test_too_many_empty_nodes(tmp_path, monkeypatch):
    """Two bytes each in the file: a hundred times as many in memory."""
    monkeypatch.setattr(onnx_checks, "_MOST_MESSAGES", 10_000)
    from onnx import ModelProto

    head = model_of([node("Relu", "x")]).SerializeToString()
    field = ModelProto.DESCRIPTOR.fields_by_name["graph"].number << 3 | 2
    body = bytes([0x0A, 0x00]) * 10_000
    size, length = len(body), b""
    while size:
        length += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
    path = tmp_path / "net.onnx"
    path.write_bytes(head + bytes([field]) + length + body)
    with pytest.raises(NetworkError, match="damaged"):
        read_onnx(path)


# --- weights beside the file ------------------------------------------------------------------


def beside(folder: Path, location: str, *, length: int | None = None, offset: int = 0) -> Path:
    """A file whose kernel is said to be somewhere else."""
    from onnx import TensorProto

    model = model_of([node("Conv", "x k")], stored={"k": KERNEL})
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    said = {"location": location, "offset": str(offset)}
    if length is not None:
        said["length"] = str(length)
    for key, value in said.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return saved(model, folder)


def test_weights_beside_the_file_are_read(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 8 + KERNEL.tobytes())
    program = read_onnx(beside(tmp_path, "w.bin", offset=8)).program((3, 6, 6))
    np.testing.assert_array_equal(program.program.parameters["k"], KERNEL)


def test_the_digest_of_a_network_covers_weights_beside_it(tmp_path):
    (tmp_path / "w.bin").write_bytes(KERNEL.tobytes())
    source = OnnxSource(read_onnx(beside(tmp_path, "w.bin")))
    assert source.files == (tmp_path / "net.onnx", tmp_path / "w.bin")
    outside = OnnxSource(read_onnx(beside(tmp_path, "../w.bin")))
    assert outside.files == (tmp_path / "net.onnx",)  # reading it says why


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "", "a/../../w.bin", "w\0.bin"])
def test_weights_outside_of_the_folder(location, tmp_path):
    (tmp_path / "w.bin").write_bytes(KERNEL.tobytes())
    folder = tmp_path / "inner"
    folder.mkdir()
    with pytest.raises(WeightsError, match=r"outside of the network's own folder"):
        read_onnx(beside(folder, location)).program((3, 6, 6))


def test_a_link_that_leads_out_of_the_folder(tmp_path):
    (tmp_path / "w.bin").write_bytes(KERNEL.tobytes())
    folder = tmp_path / "inner"
    folder.mkdir()
    os.symlink("../w.bin", folder / "link.bin")
    with pytest.raises(WeightsError, match=r"outside of the network's own folder"):
        read_onnx(beside(folder, "link.bin")).program((3, 6, 6))


def test_links_as_in_hugging_faces_cache(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "2").write_bytes(KERNEL.tobytes())
    os.rename(beside(blobs, "w.bin"), blobs / "1")
    os.symlink("../blobs/1", snapshot / "net.onnx")
    os.symlink("../blobs/2", snapshot / "w.bin")
    assert read_onnx(snapshot / "net.onnx").program((3, 6, 6)).program.parameters


def test_weights_that_are_missing_or_too_short(tmp_path):
    with pytest.raises(WeightsError, match=r"w\.bin is missing"):
        read_onnx(beside(tmp_path, "w.bin")).program((3, 6, 6))
    (tmp_path / "w.bin").write_bytes(KERNEL.tobytes()[:-4])
    with pytest.raises(WeightsError, match=r"take 432 bytes, and 428 are there"):
        read_onnx(beside(tmp_path, "w.bin")).program((3, 6, 6))
    with pytest.raises(WeightsError, match=r"does not fit"):
        read_onnx(beside(tmp_path, "w.bin", length=10)).program((3, 6, 6))


# --- the file itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no ONNX file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no ONNX file"),
        (b"{}", "no ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no ONNX file"),
    ],
)
def test_what_is_no_onnx_file(data, why, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(NetworkError, match=why):
        read_onnx(path)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(NetworkError, match="No such file"):
        read_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(NetworkError, match="is no file"):
        read_onnx(tmp_path)


def test_old_and_missing_opsets(tmp_path):
    with pytest.raises(NetworkError, match=r"opset 6 .*convert_version"):
        converted(model_of([node("Relu", "x")], opset=6), tmp_path)
    model = model_of([node("Relu", "x")])
    del model.opset_import[:]
    with pytest.raises(NetworkError, match="does not say which version"):
        converted(model, tmp_path)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((1, 10), "has 2 axes, and images have four"),
        ((1, 3, 2**40, 6), "axis of 1,099,511,627,776"),
    ],
)
def test_inputs_that_take_no_images(shape, why, tmp_path):
    with pytest.raises(NetworkError, match=why):
        converted(model_of([node("Relu", "x")], shape), tmp_path)


def test_several_inputs(tmp_path):
    from onnx import helper

    model = model_of([node("Add", "x z")])
    model.graph.input.append(helper.make_tensor_value_info("z", 1, [1, 3, 6, 6]))
    with pytest.raises(NetworkError, match=r"has 2 inputs \(x, z\)"):
        converted(model, tmp_path)


def test_an_output_that_does_not_depend_on_the_images(tmp_path):
    nodes = [node("Relu", "x", "r"), node("Shape", "r")]
    with pytest.raises(NetworkError, match="does not depend on the images"):
        converted(model_of(nodes), tmp_path)


def test_names_that_would_control_a_terminal(tmp_path):
    model = model_of([node("Floor", "x", "\x1b[31m", name="\x1b[31m")], outputs=["\x1b[31m"])
    with pytest.raises(NetworkError) as caught:
        converted(model, tmp_path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.hostile
def test_files_with_bytes_changed_are_read_or_refused(tmp_path):
    nodes = [
        node("Sub", "x mean", "s"),
        node("Conv", "s k", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "p", "sh"),
        node("Gather", "sh first", "n"),
        node("Concat", "n rest", "target", axis=0),
        node("Reshape", "p target", "flat"),
        node("Gemm", "flat w"),
    ]
    stored = {
        "mean": np.full((1, 3, 1, 1), 0.5, np.float32),
        "k": KERNEL,
        "first": [0],
        "rest": [-1],
        "w": np.ones((36, 5), np.float32),
    }
    whole = model_of(nodes, stored=stored).SerializeToString()
    random_ = random.Random(0)
    path = tmp_path / "net.onnx"
    outcomes = set()
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(random_.choice((1, 1, 2, 8))):
            place = random_.randrange(len(damaged))
            kind = random_.random()
            if kind < 0.6:
                damaged[place] = random_.randrange(256)
            elif kind < 0.8:
                del damaged[place : place + random_.randrange(1, 9)]
            else:
                damaged[place:place] = random_.randbytes(random_.randrange(1, 9))
        path.write_bytes(bytes(damaged))
        try:
            source = open_onnx(path)
            source.program(tuple(each or 6 for each in source.onnx.input.size), None)
            outcomes.add(type(source.hint))
        except CnnvizError as error:
            outcomes.add(type(error))
    assert {NetworkError, UsageError, WeightsError} & outcomes
