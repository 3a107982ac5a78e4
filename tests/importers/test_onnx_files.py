"""ONNX files as exporters write them: input, outputs, names, layout, what is constant."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.errors import NetworkError, UsageError
from cnnviz.importers.onnx_program import read_onnx
from tests.support.onnx_files import computed, converted, model_of, node, reference, saved

pytestmark = pytest.mark.needs("onnx")

RNG = np.random.default_rng(3)
KERNEL = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
DENSE = RNG.normal(size=(5, 4)).astype(np.float32)


def images(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def check(model, folder, shape=(2, 3, 6, 6)):
    """The graph gives for a batch what the file gives for each image."""
    program = converted(model, folder, shape[1:])
    batch = images(*shape)
    found = computed(program, batch)
    wanted = np.concatenate([reference(model, one[None]) for one in batch])
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=2e-5, atol=2e-5)
    return program


HEAD = [node("Gemm", "flat w b", "y", transB=1)]
STORED = {"k": KERNEL, "w": DENSE, "b": np.arange(5, dtype=np.float32)}


def test_flattening_through_the_shape_of_a_dynamic_batch(tmp_path):
    nodes = [
        node("Conv", "x k", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Shape", "p", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n first", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "p target", "flat"),
        *HEAD,
    ]
    stored = {**STORED, "zero": np.array(0), "first": np.array([0]), "rest": np.array([-1])}
    model = model_of(nodes, ("batch", 3, None, 0), stored=stored)
    file = read_onnx(saved(model, tmp_path))
    assert file.input.size == (3, None, None)
    program = check(model, tmp_path)
    assert not any("hape" in one.operator.kind for one in program.program.graph.nodes)


def test_a_batch_that_is_fixed_in_reshapes(tmp_path):
    nodes = [
        node("Conv", "x k", "c"),
        node("Reshape", "c tokens", "t"),
        node("Concat", "t class", "u", axis=2),
        node("ReduceMean", "u", "m", axes=[2]),
        node("Reshape", "m wide", "flat"),
        *HEAD,
    ]
    token = np.repeat(images(1, 4, 1), 8, axis=0)
    stored = {**STORED, "tokens": [8, 4, -1], "wide": [8, -1], "class": token}
    model = model_of(nodes, (8, 3, 6, 6), stored=stored)
    program = converted(model, tmp_path)
    batch = images(8, 3, 6, 6)
    found = computed(program, batch)
    wanted = reference(model, batch)
    np.testing.assert_allclose(found.reshape(8, 5), wanted, rtol=2e-5, atol=2e-5)


def test_parts_with_nothing_in_them_are_left_out_where_others_are_joined(tmp_path):
    nodes = [
        node("Conv", "x k", "c"),
        node("Slice", "c begin none axis", "nothing"),
        node("Slice", "nothing begin last batch", "still"),
        node("Concat", "still c", "joined", axis=1),
        node("GlobalAveragePool", "joined", "p"),
        node("Flatten", "p", "flat"),
        *HEAD,
    ]
    bounds = {"begin": 0, "none": 0, "axis": 1, "last": 1, "batch": 0}
    stored = {**STORED, **{name: np.array([number]) for name, number in bounds.items()}}
    program = check(model_of(nodes, (1, 3, 6, 6), stored=stored), tmp_path)
    assert "Concat" not in {one.operator.kind for one in program.program.graph.nodes}


def test_stored_numbers_that_are_large_already_are_expanded(tmp_path):
    nodes = [
        node("Expand", "table wide", "whole"),
        node("ReduceMean", "whole", "mean", keepdims=1),
        node("Conv", "x k", "c"),
        node("Mul", "c mean", "y"),
    ]
    # Both together as factors would be more than may be made of stored numbers.
    table = np.full((1, 17000), 1.5, np.float32)
    stored = {"k": KERNEL, "table": table, "wide": np.array([1, 17000])}
    check(model_of(nodes, (1, 3, 6, 6), stored=stored), tmp_path)


def test_a_batch_that_cannot_be_told_from_the_rest_is_refused(tmp_path):
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2, 3]), node("Reshape", "t wide")]
    model = model_of(nodes, (8, 3, 6, 6), stored={"wide": [3, -1]})
    with pytest.raises(NetworkError, match=r"made for batches of 8 images"):
        converted(model, tmp_path)


def test_channels_last_with_a_transpose(tmp_path):
    nodes = [
        node("Sub", "x mean", "s"),
        node("Transpose", "s", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t k", "c"),
        node("Transpose", "c", "u", perm=[0, 2, 3, 1]),
        node("ReduceMean", "u", "flat", axes=[1, 2], keepdims=0),
        *HEAD,
    ]
    stored = {**STORED, "mean": np.array([0.1, 0.2, 0.3], np.float32)}
    model = model_of(nodes, ("N", 6, 7, 3), stored=stored)
    file = read_onnx(saved(model, tmp_path))
    assert (file.input.layout, file.input.size) == ("NHWC", (3, 6, 7))
    program = file.program((3, 6, 7))
    batch = images(2, 3, 6, 7)
    wanted = reference(model, batch.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(computed(program, batch), wanted, rtol=2e-5, atol=2e-5)


def test_transposes_around_layers_vanish(tmp_path):
    """As of frameworks that keep channels last, around every layer of ONNX's, which does not."""

    def layer(kind, inputs, output, **attributes):
        first, *stored = inputs.split()
        return [
            node("Transpose", first, f"{output}_in", perm=[0, 3, 1, 2]),
            node(kind, " ".join([f"{output}_in", *stored]), f"{output}_out", **attributes),
            node("Transpose", f"{output}_out", output, perm=[0, 2, 3, 1]),
        ]

    nodes = [
        *layer("Conv", "x k", "c"),
        node("Add", "c bias", "b", "net/stem/BiasAdd"),
        node("Sub", "b mean", "m"),
        node("Mul", "m scale", "s"),
        node("Add", "s shift", "n"),
        node("Clip", "n zero six", "r", "net/act/Relu6"),
        node("ReduceMean", "r", "pooled", axes=[1, 2]),
        node("Sigmoid", "pooled", "gate"),
        node("Mul", "r gate", "g"),
        node("Pad", "g pads", "padded"),
        *layer("MaxPool", "padded", "p", kernel_shape=[3, 3]),
        node("Add", "p g", "a"),
        node("Concat", "a g", "cat", axis=-1),
        node("ReduceMean", "cat", "flat", axes=[1, 2], keepdims=0),
        node("MatMul", "flat w"),
    ]
    stored = {
        **{name: images(4) for name in ("bias", "mean", "scale", "shift")},
        **{"zero": np.float32(0), "six": np.float32(6), "pads": [0, 1, 1, 0, 0, 1, 1, 0]},
        **{"k": KERNEL, "w": images(8, 5)},
    }
    model = model_of(nodes, ("N", 8, 7, 3), stored=stored)
    program = converted(model, tmp_path, (3, 8, 7))
    graph = program.program.graph
    assert [graph.nodes[index].operator.kind for index in graph.layers] == [
        *("Convolution", "BatchNorm", "ReLU6", "GlobalAvgPool", "Sigmoid", "Multiply", "Pad"),
        *("MaxPool", "Add", "Concat", "GlobalAvgPool", "Flatten", "Dense"),
    ]
    names = {name for names in program.program.paths.values() for name in names[:2]}
    assert {"stem", "act"} <= names
    batch = images(2, 3, 8, 7)
    wanted = reference(model, batch.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(computed(program, batch), wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("shape", "first", "layout", "size"),
    [
        ((1, 3, 8, 8), "Relu", "NCHW", (3, 8, 8)),
        ((1, 8, 8, 3), "Relu", "NHWC", (3, 8, 8)),
        ((1, None, None, None), "Conv", "NCHW", (3, None, None)),
        ((None, 8, 9, 1), "Relu", "NHWC", (1, 8, 9)),
    ],
)
def test_the_layout_of_the_input(shape, first, layout, size, tmp_path):
    model = model_of([node(first, "x k" if first == "Conv" else "x")], shape, stored={"k": KERNEL})
    found = read_onnx(saved(model, tmp_path)).input
    assert (found.layout, found.size) == (layout, size)


def test_weights_that_are_inputs_and_weights_that_are_constants(tmp_path):
    from onnx import helper, numpy_helper

    nodes = [
        node("Constant", "", "k", value=numpy_helper.from_array(KERNEL)),
        node("Conv", "x k", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "flat"),
        *HEAD,
    ]
    model = model_of(nodes, stored={"w": DENSE, "b": STORED["b"]}, opset=9)
    model.graph.input.insert(0, helper.make_tensor_value_info("w", 1, [5, 4]))
    model.ir_version = 3
    program = check(model, tmp_path)
    assert {"w", "b"} <= set(program.program.parameters)


def test_a_local_function_is_inlined(tmp_path):
    from onnx import helper

    model = model_of(
        [node("Conv", "x k", "c"), node("Bent", "c", "y", domain="mine")], stored=STORED
    )
    body = [node("Relu", "a", "r").made(), node("Mul", "r a", "b").made()]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "Bent", ["a"], ["b"], body, imports))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    check(model, tmp_path)


def test_the_branch_that_a_stored_condition_takes(tmp_path):
    from onnx import helper

    def branch(kind):
        return helper.make_graph(
            [node(kind, "x", kind).made()], kind, [], [helper.make_tensor_value_info(kind, 1, None)]
        )

    nodes = [
        node("Shape", "x", "s"),
        node("Size", "s", "rank"),
        node("Equal", "rank four", "condition"),
        node("If", "condition", then_branch=branch("Relu"), else_branch=branch("Neg")),
    ]
    check(model_of(nodes, stored={"four": np.array(4)}), tmp_path)


def test_quantizing_is_left_out_and_said(tmp_path):
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("DequantizeLinear", "k8 kscale", "k"),
        node("Conv", "d k"),
    ]
    stored = {
        "scale": np.float32(0.01),
        "zero": np.uint8(128),
        "k8": RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
        "kscale": np.float32(0.02),
    }
    model = model_of(nodes, stored=stored, opset=19)
    program = converted(model, tmp_path)
    assert program.quantized
    assert "QuantizeLinear" in program.remarks[0]
    batch = images(1, 3, 6, 6) * 0.4
    found = computed(program, batch)
    # 27 products, each off by at most half a step of 0.01 times a weight of 2.54.
    assert np.abs(found - reference(model, batch)).max() < 27 * 0.005 * 2.54


@pytest.mark.parametrize(("kind", "highest"), [(np.uint8, 255), (np.int8, 255), (None, 255)])
def test_a_relu_that_quantizing_does_is_kept(kind, highest, tmp_path):
    """onnxruntime's quantizer leaves out a ReLU in front of whole numbers from 0 on."""
    ends = "scale zero" if kind else "scale"
    nodes = [
        node("Conv", "x k", "c"),
        node("QuantizeLinear", f"c {ends}", "q"),
        node("DequantizeLinear", f"q {ends}", "d"),
        node("MaxPool", "d", "p", kernel_shape=[2, 2]),
        node("QuantizeLinear", f"p {ends}", "q2"),
        node("DequantizeLinear", f"q2 {ends}", "y"),
    ]
    stored = {"k": KERNEL, "scale": np.float32(0.02)}
    if kind:
        stored["zero"] = kind(np.iinfo(kind).min)
    model = model_of(nodes, stored=stored, opset=19)
    program = converted(model, tmp_path)
    batch = images(1, 3, 6, 6)
    wanted = reference(model, batch)
    assert wanted.min() == 0
    assert wanted.max() == pytest.approx(highest * 0.02)  # the highest whole number
    # Half a step, and as much again for float32.
    assert np.abs(computed(program, batch) - wanted).max() < 0.0101
    kinds = [one.operator.kind for one in program.program.graph.nodes]
    assert [one for one in kinds if one.startswith("ReLU")] == ["ReLU5.1"]  # and none at the pool


def test_quantizing_around_zero_is_no_relu(tmp_path):
    ends = {"scale": np.float32(0.1), "zero": np.uint8(3)}
    nodes = [node("Conv", "x k", "c"), node("QuantizeLinear", "c scale zero")]
    program = converted(model_of(nodes, stored={"k": KERNEL, **ends}, opset=19), tmp_path)
    assert [one.operator.kind for one in program.program.graph.nodes][-1] == "Convolution"


def test_a_choice_at_the_end_is_looked_through(tmp_path):
    nodes = [
        node("GlobalAveragePool", "x", "p"),
        node("Flatten", "p", "scores"),
        node("ArgMax", "scores", "best", axis=1, keepdims=0),
    ]
    program = converted(model_of(nodes, outputs=["best"]), tmp_path)
    assert program.output == "scores"
    assert "ArgMax" in program.remarks[0]
    program = converted(model_of(nodes, outputs=["best", "scores"]), tmp_path)
    assert (program.output, program.remarks) == ("scores", ())


def test_several_outputs_are_chosen_from(tmp_path):
    nodes = [node("Relu", "x", "one", name="first"), node("Neg", "one", "two")]
    file = read_onnx(saved(model_of(nodes, outputs=["one", "two"]), tmp_path))
    with pytest.raises(UsageError, match=r"has 2 outputs: choose one with --head \(one, two\)"):
        file.program((3, 6, 6))
    assert file.program((3, 6, 6), "two").output == "two"
    assert file.program((3, 6, 6), "first").output == "one"
    with pytest.raises(UsageError, match=r"no output or operator 'tow'.*two"):
        file.program((3, 6, 6), "tow")


def test_another_size_than_the_files_own_is_refused(tmp_path):
    file = read_onnx(saved(model_of([node("Relu", "x")], ("N", 3, None, 6)), tmp_path))
    file.program((3, 9, 6))
    with pytest.raises(UsageError, match=r"takes images of 3×any×6; 3×9×9 was asked for"):
        file.program((3, 9, 9))


SCOPED = "pkg.torch.onnx.name_scopes"


def test_names_by_both_of_pytorchs_exporters(tmp_path):
    """Those that ``named_modules`` has; a module that is used twice has a number behind it."""
    chain = [
        ("Conv", "stem.conv", "/stem/conv/Conv", ["", "stem", "stem.bn", "batch_norm"]),
        ("Relu", "", "/layer1/layer1.0/act/Relu", ["", "layer1", "layer1.0", "layer1.0.act", "relu"]),  # noqa: E501
        ("Neg", "", "/layer1/layer1.0/Neg", ["", "layer1", "layer1.0", "neg_4"]),
        ("Relu", "", "/layer1/layer1.0/act_1/Relu",
         ["", "layer1", "layer1.0", "layer1.0.act", "relu_1"]),
        ("Sigmoid", "", "/head/gate/Sigmoid", ["", "head", "head.gate", "silu"]),
        ("Mul", "", "/head/gate/Mul", ["", "head", "head.gate", "silu"]),
        ("Flatten", "", "/Flatten", ["", "view"]),
    ]  # fmt: skip
    wanted = [
        "stem.conv", "layer1.0.act", "layer1.0.neg", "layer1.0.act_1", "head.gate",
    ]  # fmt: skip
    for exporter in ("old", "new"):
        nodes = []
        for place, (kind, weight, name, scopes) in enumerate(chain):
            before = f"v{place}" if place else "x"
            inputs = {"Conv": f"x {weight}.weight", "Mul": "v4 v5"}.get(kind, before)
            old = exporter == "old"
            called = name if old else f"n_{place}"
            metadata = {} if old else {SCOPED: repr(scopes)}
            nodes.append(node(kind, inputs, f"v{place + 1}", called, metadata=metadata))
        stored = {"stem.conv.weight": KERNEL}
        model = model_of(nodes, stored=stored, outputs=[f"v{len(chain)}"])
        program = converted(model, tmp_path)
        names = [names[0] for names in program.program.paths.values()]
        assert [name for name in names if name != "flatten" and name != "view"] == wanted
        assert names[-1] == ("flatten" if exporter == "old" else "view")


def test_a_module_that_only_flattens_has_its_name(tmp_path):
    nodes = [
        node("GlobalAveragePool", "x", "p", "/pool/GlobalAveragePool"),
        node("Reshape", "p wide", "y", "/flatten/Reshape"),
    ]
    program = converted(model_of(nodes, stored={"wide": [1, -1]}), tmp_path)
    assert [names[0] for names in program.program.paths.values()] == ["pool", "flatten"]


def test_names_of_kerass_layers(tmp_path):
    nodes = [
        node(
            "Transpose",
            "x",
            "t",
            "StatefulPartitionedCall/net/block1/BiasAdd__6",
            perm=[0, 3, 1, 2],
        ),
        node("Conv", "t k", "c", "StatefulPartitionedCall/net/block1/BiasAdd"),
        node("Relu", "c", "r", "StatefulPartitionedCall/net/block1/Relu"),
        node("GlobalAveragePool", "r", "p", "StatefulPartitionedCall/net/pool/Mean"),
    ]
    model = model_of(nodes, (1, 6, 6, 3), stored={"k": KERNEL}, outputs=["p"])
    program = converted(model, tmp_path)
    names = [names[0] for names in program.program.paths.values()]
    assert names[-3:] == ["block1.conv", "block1", "pool"]


def test_names_that_say_nothing(tmp_path):
    nodes = [node("Conv", "x k", "12"), node("Relu", "12", "13"), node("Tanh", "13", "y")]
    program = converted(model_of(nodes, stored={"k": KERNEL}), tmp_path)
    assert [names[0] for names in program.program.paths.values()] == ["conv", "relu", "y"]
