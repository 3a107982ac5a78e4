"""Operators of ONNX that are not converted: why, and what to do about it."""

from __future__ import annotations

_EARLIER = "--head NAME explains a value before it"
_WHOLE = (
    "it makes whole numbers or truth values of what is computed from the images, which has no "
    "gradient"
)
_BRANCHES = "it decides by the image what is computed, which cnnviz cannot follow"
_RECURRENT = "of recurrent layers cnnviz runs LSTM alone"
_QUANTIZED = (
    "it computes in whole numbers, which have no gradient: give the network that this one was "
    "quantized from, or one with QuantizeLinear and DequantizeLinear"
)
_DETECTOR = f"it belongs to a detector, and cnnviz explains classifiers; {_EARLIER}"
_CHOICE = f"it chooses among numbers, which has no gradient; {_EARLIER}"
_RANDOM = "it draws random numbers, as in training: export the network in inference mode"
_LISTS = "it works on texts or lists of values, which cnnviz does not follow"

# fmt: off
_REASONS = {
    _BRANCHES: ("If", "Loop", "Scan"),
    _RECURRENT: ("GRU", "RNN"),
    _QUANTIZED: (
        "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
    ),
    _DETECTOR: ("MaxRoiPool", "NonMaxSuppression", "RoiAlign"),
    _CHOICE: ("ArgMax", "ArgMin", "Hardmax", "TopK", "Compress", "NonZero", "Unique"),
    _RANDOM: (
        "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
        "RandomUniformLike",
    ),
    _WHOLE: (
        "And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil", "Equal",
        "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Mod",
        "Not", "OneHot", "Or", "Round", "Sign", "Xor",
    ),
    _LISTS: (
        "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement",
        "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
        "SequenceLength", "SequenceMap", "SplitToSequence", "StringNormalizer", "TfIdfVectorizer",
    ),
}
# fmt: on
_BY_KIND = {kind: reason for reason, kinds in _REASONS.items() for kind in kinds}


def reason(kind: str, domain: str) -> str:
    """Why an operator is not converted, and what to do, in a clause."""
    if domain == "com.microsoft":
        return (
            "it is onnxruntime's own, of a file that was optimized for it: give the file from "
            "before that"
        )
    return _BY_KIND.get(
        kind, f"cnnviz does not run it on what is computed of the images; {_EARLIER}"
    )
