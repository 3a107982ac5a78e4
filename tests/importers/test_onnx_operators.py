"""Every operator that is converted, in each revision since opset 7, against ONNX's reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from cnnviz.importers.onnx_conversion import _RULES
from tests.support.onnx_files import computed, converted, model_of, node, reference

pytestmark = pytest.mark.needs("onnx")

RNG = np.random.default_rng(7)


def numbers(*shape: int, low: float = -2.0, high: float = 2.0) -> Any:
    return RNG.uniform(low, high, shape).astype(np.float32)


def whole(*values: int) -> Any:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    """An operator on x, (1, 4, 6, 6), or on what is made of it before.

    Attributes:
        kind: the operator.
        attributes: in every revision.
        stored: arrays by the places of the inputs.
        moved: lists that became inputs: by name, the place, the revision, and the value.
        since: the first revision that has what is asked for.
        until: the last one.
        before: nodes that make h of x; without, h is x.
        inputs: places of h.
        low: of the numbers in x.
        outputs: how many there are; all are joined.
        wanted: gives what comes out, where ONNX's reference does not do what ONNX says.
    """

    kind: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[int, Any] = field(default_factory=dict)
    moved: Mapping[str, tuple[int, int, Any]] = field(default_factory=dict)
    since: int = 7
    until: int = 99
    before: tuple[Any, ...] = ()
    inputs: tuple[int, ...] = (0,)
    low: float = -2.0
    outputs: int = 1
    wanted: Callable[[Any], Any] | None = None

    def model(self, opset: int) -> Any:
        attributes = dict(self.attributes)
        stored: dict[str, Any] = {}
        places = dict.fromkeys(self.inputs, "h")
        arrays = dict(self.stored)
        for name, (place, since, value) in self.moved.items():
            if opset >= since:
                arrays[place] = value
            else:
                attributes[name] = value.tolist()
        for place, array in arrays.items():
            places[place] = f"stored{place}"
            stored[f"stored{place}"] = array
        names = " ".join(places.get(place, "-") for place in range(max(places) + 1))
        given = " ".join(f"y{place}" for place in range(self.outputs))
        nodes = [
            *(self.before or [node("Identity", "x", "h")]),
            node(self.kind, names, given, **attributes),
        ]
        if self.outputs > 1:
            nodes.append(node("Concat", given, "y", axis=1))
        output = "y" if self.outputs > 1 else "y0"
        return model_of(nodes, (1, 4, 6, 6), stored=stored, outputs=[output], opset=opset)


def flat_softmax(x: Any, axis: int) -> Any:
    """As it was before opset 13: over all axes from this one on."""
    rows = x.reshape(int(np.prod(x.shape[:axis])), -1).astype(np.float64)
    powers = np.exp(rows - rows.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).reshape(x.shape)


def local_response(x: Any, size: int, alpha: float, beta: float, bias: float) -> Any:
    """The formula that ONNX gives; its reference forgets one end of the window."""
    half = size // 2
    squares = np.pad(x.astype(np.float64) ** 2, ((0, 0), (half, half), (0, 0), (0, 0)))
    total = sum(squares[:, place : place + x.shape[1]] for place in range(size))
    return x / (bias + alpha / size * total) ** beta


def cut_and_padded(x: Any) -> Any:
    return np.pad(x[:, :, :5, 2:], ((0, 0), (0, 0), (1, 0), (0, 3)))


def normalized(x: Any) -> Any:
    scale, shift, mean, variance = (STATISTICS[place][:, None, None] for place in (1, 2, 3, 4))
    return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift


def shaped(*shape: int) -> tuple[Any, ...]:
    """Nodes that make h, of a shape, of x."""
    return (
        node("Constant", "", "s", value_ints=list(shape)),
        node("Reshape", "x s", "h"),
    )


FLAT = (node("Flatten", "x", "h"),)
ROWS = (node("GlobalAveragePool", "x", "m"), node("Mul", "x m", "h"))
SCALE = {1: numbers(4), 2: numbers(4)}
SOFTMAX = ("Softmax", "LogSoftmax")
STATISTICS = {**SCALE, 3: numbers(4), 4: numbers(4, low=1)}

CASES = [
    *(
        Case(kind)
        for kind in (
            *("Abs", "Cos", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "Identity"),
            *("LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Sin", "Softplus"),
            *("Softsign", "Tanh", "Celu", "Flatten", "Transpose", "Gelu"),
            *("GlobalAveragePool", "GlobalMaxPool", "Dropout", "Swish"),
        )
    ),
    *(Case(kind, low=0.1) for kind in ("Log", "Sqrt", "Reciprocal")),
    Case("Celu", {"alpha": 0.5}),
    Case("Elu", {"alpha": 0.5}),
    Case("Gelu", {"approximate": "tanh"}),
    Case("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    Case("LeakyRelu", {"alpha": 0.3}),
    Case("Swish", {"alpha": 1.5}),
    Case("ThresholdedRelu", {"alpha": 0.0}),
    Case("Cast", {"to": 1}),
    Case("CastLike", stored={1: numbers(1)}),
    Case("PRelu", stored={1: numbers(4, 1, 1)}),
    Case("PRelu", stored={1: numbers(1)}),
    Case("PRelu", stored={1: numbers(6)}),
    *(Case(kind, stored={1: numbers(4, 1, 1, low=1)}) for kind in ("Add", "Sub", "Mul", "Div")),
    *(Case(kind, stored={0: numbers(6)}, inputs=(1,), low=1) for kind in ("Sub", "Div", "Add")),
    *(Case(kind, stored={1: np.float32(1.5)}) for kind in ("Add", "Sub", "Mul", "Div")),
    *(Case(kind, stored={0: np.float32(3)}, inputs=(1,), low=1) for kind in ("Sub", "Div")),
    *(Case(kind, inputs=(0, 1)) for kind in ("Add", "Sub", "Mul", "Sum", "Max", "Min", "Mean")),
    *(Case(kind, stored={1: np.float32(0)}) for kind in ("Max", "Min")),
    *(Case(kind, stored={1: numbers(6), 2: numbers(1)}) for kind in ("Max", "Min", "Sum", "Mean")),
    Case("Pow", stored={1: np.float32(2)}),
    Case("Pow", stored={1: np.float32(0.5)}, low=0.1),
    Case("Pow", stored={0: np.float32(3)}, inputs=(1,)),
    Case("Clip", moved={"min": (1, 11, np.float32(0)), "max": (2, 11, np.float32(1))}),
    Case("Clip", moved={"min": (1, 11, np.float32(-1))}),
    Case("Clip", moved={"max": (2, 11, np.float32(0.5))}),
    Case("Where", stored={0: numbers(6) > 0, 2: numbers(1)}, inputs=(1,), since=9),
    # --- layers
    Case("Conv", {"group": 2, "pads": [1, 0, 2, 1]}, {1: numbers(6, 2, 3, 2), 2: numbers(6)}),
    Case("Conv", {"dilations": [2, 1], "strides": [1, 2]}, {1: numbers(3, 4, 2, 3)}),
    Case("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {1: numbers(3, 4, 3, 3)}),
    Case("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 1]}, {1: numbers(3, 4, 3, 2)}),
    Case("Conv", {"auto_pad": "VALID"}, {1: numbers(3, 4, 3, 3)}),
    Case("ConvTranspose", {"strides": [2, 2], "pads": [1, 1, 1, 1]}, {1: numbers(4, 3, 3, 3)}),
    Case(
        "ConvTranspose",
        {"strides": [2, 2], "output_padding": [1, 0]},
        {1: numbers(4, 3, 2, 3), 2: numbers(3)},
    ),
    Case("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]}),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, since=10),
    Case("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, since=10),
    Case("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", {"kernel_shape": [3, 2], "auto_pad": "SAME_LOWER"}),
    Case("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, since=10),
    Case(
        "Gemm",
        {"transB": 1, "alpha": 0.5, "beta": 2.0},
        {1: numbers(5, 144), 2: numbers(5)},
        before=FLAT,
    ),
    Case("Gemm", {}, {1: numbers(144, 5), 2: numbers(1, 5)}, before=FLAT),
    Case("Gemm", {"transA": 1}, {1: numbers(1, 5), 2: numbers(144, 5)}, before=FLAT),
    Case("MatMul", {}, {1: numbers(144, 5)}, before=FLAT),
    Case("MatMul", {}, {1: numbers(6, 5)}),
    Case("MatMul", {}, {0: numbers(4, 5, 6)}, inputs=(1,)),
    Case("MatMul", {}, {1: numbers(6)}),
    Case("MatMul", inputs=(0, 1)),
    Case("BatchNormalization", {"epsilon": 1e-3}, STATISTICS, wanted=normalized),
    Case("InstanceNormalization", {"epsilon": 1e-3}, SCALE),
    Case("LayerNormalization", {}, {1: numbers(6), 2: numbers(6)}),
    Case("LayerNormalization", {"axis": 1}, {1: numbers(4, 6, 6), 2: numbers(4, 6, 6)}),
    Case("GroupNormalization", {"num_groups": 2}, {1: numbers(2), 2: numbers(2)}, until=20),
    Case("GroupNormalization", {"num_groups": 2}, SCALE, since=21),
    Case("RMSNormalization", {}, {1: numbers(6)}),
    Case("LpNormalization", {"axis": 1}),
    Case("MeanVarianceNormalization"),
    Case(
        "LRN",
        {"size": 3, "alpha": 0.2, "beta": 0.6, "bias": 1.5},
        wanted=lambda x: local_response(x, 3, 0.2, 0.6, 1.5),
    ),
    Case(
        "Col2Im",
        {"strides": [2, 2]},
        {1: whole(6, 8), 2: whole(2, 2)},
        since=18,
        before=shaped(1, 12, 12),
    ),
    Case(
        "Col2Im",
        {"strides": [2, 1], "pads": [1, 0, 1, 0], "dilations": [1, 2]},
        {1: whole(2, 7), 2: whole(2, 3)},
        since=18,
        before=shaped(1, 24, 6),
    ),
    Case("DepthToSpace", {"blocksize": 2}),
    Case("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, since=11),
    Case("SpaceToDepth", {"blocksize": 2}),
    Case("Pad", moved={"pads": (1, 11, whole(0, 0, 1, 2, 0, 1, 0, 3))}),
    Case("Pad", {"mode": "reflect"}, moved={"pads": (1, 11, whole(0, 0, 1, 2, 0, 0, 1, 3))}),
    Case("Pad", {"mode": "edge"}, moved={"pads": (1, 11, whole(0, 0, 1, 2, 0, 0, 1, 3))}),
    Case("Pad", moved={"pads": (1, 11, whole(0, 0, 1, -2, 0, 0, -1, 3))}, wanted=cut_and_padded),
    Case("Pad", {}, {1: whole(1, 2), 2: np.float32(3), 3: whole(-1)}, since=18),
    *(
        Case(
            "Resize",
            {"mode": mode, "coordinate_transformation_mode": transform, **more},
            {3: whole(1, 4, 9, 4)},
            since=11,
            until=18 if transform == "tf_half_pixel_for_nn" else 99,
        )
        for mode, transform, more in (
            ("nearest", "half_pixel", {}),
            ("nearest", "asymmetric", {"nearest_mode": "floor"}),
            ("nearest", "half_pixel", {"nearest_mode": "round_prefer_ceil"}),
            ("nearest", "align_corners", {"nearest_mode": "ceil"}),
            ("linear", "half_pixel", {}),
            ("linear", "pytorch_half_pixel", {}),
            ("linear", "align_corners", {}),
            ("linear", "asymmetric", {}),
            ("cubic", "half_pixel", {}),
            ("cubic", "align_corners", {"cubic_coeff_a": -0.5}),
        )
    ),
    Case("Resize", {"mode": "linear"}, {2: np.float32([1, 1, 2, 1.5])}, since=11),
    Case("Resize", {"mode": "linear", "axes": [2, 3]}, {3: whole(3, 8)}, since=18),
    Case(
        "Resize",
        {},
        {1: np.float32([1, 1, 2, 3])},
        since=10,
        until=10,
        wanted=lambda x: x.repeat(2, axis=2).repeat(3, axis=3),
    ),
    Case(
        "Upsample",
        {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 3.0]},
        until=8,
        wanted=lambda x: x.repeat(2, axis=2).repeat(3, axis=3),
    ),
    Case(
        "Upsample",
        {"mode": "nearest"},
        {1: np.float32([1, 1, 2, 3])},
        since=9,
        until=9,
        wanted=lambda x: x.repeat(2, axis=2).repeat(3, axis=3),
    ),
    Case("Attention", inputs=(0, 1, 2)),
    Case("Attention", {"is_causal": 1, "scale": 0.3}, inputs=(0, 1, 2)),
    Case("Attention", {}, {3: numbers(6, 6)}, inputs=(0, 1, 2)),
    Case("Attention", {}, {3: RNG.uniform(size=(6, 6)) < 0.8}, inputs=(0, 1, 2)),
    Case(
        "Attention",
        {"q_num_heads": 3, "kv_num_heads": 3},
        inputs=(0, 1, 2),
        before=shaped(1, 24, 6),
    ),
    # --- shapes
    Case("Reshape", stored={1: whole(0, -1)}),
    Case("Reshape", stored={1: whole(1, 2, 2, 36)}),
    Case("Flatten", {"axis": 2}),
    Case("Flatten", {"axis": -1}, since=11),
    Case("Transpose", {"perm": [0, 2, 3, 1]}),
    Case(
        "Squeeze", moved={"axes": (1, 13, whole(2, 3))}, before=(node("GlobalMaxPool", "x", "h"),)
    ),
    Case("Unsqueeze", moved={"axes": (1, 13, whole(0, 2))}),
    Case("Unsqueeze", moved={"axes": (1, 13, whole(-1))}, since=11),
    Case("Concat", {"axis": 1}, {1: numbers(1, 2, 6, 6)}),
    Case("Concat", {"axis": -1}, inputs=(0, 1), since=11),
    Case("Split", {"axis": 1}, outputs=2, until=17),
    Case("Split", {"axis": 1}, moved={"split": (1, 13, whole(1, 3))}, outputs=2),
    Case("Split", {"axis": 2, "num_outputs": 2}, outputs=2, since=18),
    Case(
        "Slice",
        moved={
            "starts": (1, 10, whole(1, -3)),
            "ends": (2, 10, whole(3, 2**62)),
            "axes": (3, 10, whole(1, 2)),
        },
    ),
    Case(
        "Slice",
        {},
        {1: whole(-1, 0), 2: whole(-(2**62), 6), 3: whole(3, 2), 4: whole(-2, 2)},
        since=10,
    ),
    Case("Gather", {"axis": 1}, {1: whole(2, 0, 2)}),
    Case("Gather", {"axis": 2}, {1: np.array(-1)}, since=11),
    Case("Gather", {"axis": 3}, {1: np.array([[0, 1], [5, 3]])}),
    Case("GatherElements", {"axis": 3}, {1: RNG.integers(-6, 6, (1, 4, 6, 3))}),
    Case("GatherND", {}, {1: np.array([[0, 1], [0, -1]])}),
    Case("GatherND", {"batch_dims": 1}, {1: np.array([[[1, 2], [0, 5]]])}, since=12),
    Case("ScatterND", {}, {1: np.array([[0, 1], [0, 3]]), 2: numbers(2, 6, 6)}),
    Case(
        "ScatterND",
        {},
        {
            0: numbers(1, 6, 6, 6),
            1: np.array([[0, 1], [0, 4], [0, 2], [0, 0]]),
        },
        inputs=(2,),
        before=(node("Squeeze", "x", "h"),),
        until=12,
    ),
    Case(
        "ScatterElements",
        {"axis": 3},
        {1: RNG.permutation(6)[None, None, None, :3], 2: numbers(1, 1, 1, 3)},
    ),
    Case(
        "Expand",
        {},
        {1: whole(1, 4, 6, 5)},
        before=(node("ReduceMax", "x", "h", axes=[3]),),
        until=17,
    ),
    Case("Tile", {}, {1: whole(1, 2, 1, 3)}),
    Case("Softmax", {"axis": 1}, until=12, wanted=lambda x: flat_softmax(x, 1)),
    Case("Softmax", until=12, wanted=lambda x: flat_softmax(x, 1)),
    Case("LogSoftmax", {"axis": 3}, until=12, wanted=lambda x: np.log(flat_softmax(x, 3))),
    *(Case(kind, {"axis": axis}, since=13) for kind in SOFTMAX for axis in (1, 3)),
    *(Case(kind, since=13) for kind in SOFTMAX),
    *(
        Case(kind, {"keepdims": keep}, moved={"axes": (1, since, whole(*axes))}, low=0.1)
        for kind, since in (
            *(("ReduceSum", 13), ("ReduceMean", 18), ("ReduceMax", 18), ("ReduceMin", 18)),
            *(("ReduceL1", 18), ("ReduceL2", 18), ("ReduceLogSum", 18)),
            *(("ReduceLogSumExp", 18), ("ReduceSumSquare", 18)),
        )
        for keep, axes in ((0, (2, 3)), (1, (1,)))
    ),
    Case("ReduceMean", {"keepdims": 1}),
    Case("ReduceSum", {"keepdims": 0}, {}, moved={"axes": (1, 13, whole(0, 3))}),
    Case("Einsum", {"equation": "bchw,kc->bkhw"}, {1: numbers(5, 4)}),
    Case("Einsum", {"equation": "bchw,bcvw->bchv"}, inputs=(0, 1)),
    Case("Einsum", {"equation": "bchw->bwc"}),
    Case("Einsum", {"equation": "bchw,hk"}, {1: numbers(6, 3)}),
]


@cache
def revisions() -> Mapping[str, set[int]]:
    """The opsets in which operators got a new schema, and 7 for what was there before."""
    import onnx

    found: dict[str, set[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            found.setdefault(schema.name, set()).add(max(7, schema.since_version))
    return found


def all_cases() -> Iterator[Any]:
    if find_spec("onnx") is None:  # one that is skipped, and says what is missing
        yield pytest.param(CASES[0], 7, id="onnx")
        return
    seen: dict[str, int] = {}
    for case in CASES:
        seen[case.kind] = number = seen.get(case.kind, 0) + 1
        for opset in sorted({max(case.since, each) for each in revisions()[case.kind]}):
            if opset <= case.until:
                yield pytest.param(case, opset, id=f"{case.kind}-{opset}-{number}")


@pytest.mark.parametrize(("case", "opset"), list(all_cases()))
def test_an_operator_gives_what_onnx_says(case, opset, tmp_path):
    model = case.model(opset)
    x = numbers(1, 4, 6, 6, low=case.low)
    wanted = reference(model, x) if case.wanted is None else case.wanted(x)
    found = computed(converted(model, tmp_path), np.concatenate([x, 1.1 * x]))
    assert found[:1].size == wanted.size
    np.testing.assert_allclose(found[:1].reshape(wanted.shape), wanted, rtol=2e-5, atol=2e-5)


#: What has tests of its own: rounding, for one, is left out, and so cannot give what ONNX says.
_ELSEWHERE = {"DequantizeLinear", "LSTM", "QuantizeLinear", "Shape", "Size"}


def test_every_rule_has_a_case():
    assert set(_RULES) - {case.kind for case in CASES} == _ELSEWHERE


@pytest.mark.parametrize("opset", [13, 19, 21])
def test_weights_that_were_quantized_are_computed(opset, tmp_path):
    stored = {
        "w": RNG.integers(-127, 128, (3, 4)).astype(np.int8),
        "scale": numbers(4, low=0.01, high=0.1),
        "zero": RNG.integers(-5, 5, 4).astype(np.int8),
    }
    nodes = [node("DequantizeLinear", "w scale zero", "d", axis=1), node("MatMul", "x d")]
    program = converted(model_of(nodes, (1, 4, 6, 3), stored=stored, opset=opset), tmp_path)
    x = numbers(1, 4, 6, 3)
    wanted = x @ ((stored["w"] - stored["zero"].astype(np.float64)) * stored["scale"])
    np.testing.assert_allclose(computed(program, x), wanted, rtol=2e-5, atol=2e-5)
