"""What a network ends with: where its logits stand, and what makes probabilities of them.

Networks end with a softmax in any of many forms, with one written out by hand, with sigmoids, with
an argmax, or with bare logits. Which it is is not read off operators' names but tried: what stands
between a candidate for the logits and the output (:func:`read_end`) is run on a few random numbers,
and has to give the softmax or the sigmoid of these.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np

from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.engines.mxnet.symbol import LOSS, Entry, Graph, Node
from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import shape_text
from cnnviz.graph.ends import ONE_OUTPUT, SOFTMAX, Activation, End
from cnnviz.types import Float32, Float64, Shape

# Reading it off the graph -------------------------------------------------------------------------

#: What changes no number.
_KEEPS = {
    *("BlockGrad", "MakeLoss", "make_loss", "_copy", "_np_copy", "identity"),
    *("Cast", "cast", "amp_cast", "_npx_cast"),
    *("Flatten", "flatten", "Reshape", "reshape", "expand_dims", "squeeze"),
    *("_np_reshape", "_npx_reshape", "_np_squeeze", "_npi_squeeze", "_npi_expand_dims"),
    "_npx_batch_flatten",
}
#: Of these what is of no use at the very end.
_IDLE = {"BlockGrad", "MakeLoss", "make_loss", "_copy", "squeeze", "_np_squeeze", "_npi_squeeze"}
#: What makes one answer of several scores, or of one.
_DECISIONS = {
    "argmax": "the number of the highest class",
    "argmax_channel": "the number of the highest class",
    "_npi_argmax": "the number of the highest class",
    "topk": "the highest classes",
    "_greater_scalar": "yes or no",
    "_greater_equal_scalar": "yes or no",
    "_npi_greater_scalar": "yes or no",
    "_npi_greater_equal_scalar": "yes or no",
    "round": "yes or no",
    "rint": "yes or no",
}
#: What makes no probabilities of scores: sums, and numbers that are added or multiplied.
_SUMS = {
    *_KEEPS,
    *("elemwise_add", "broadcast_add", "_Plus", "_plus", "_npi_add", "add_n", "ElementWiseSum"),
    *("elemwise_sub", "broadcast_sub", "_Minus", "_minus", "_npi_subtract", "negative"),
    *("_plus_scalar", "_minus_scalar", "_rminus_scalar", "_mul_scalar", "_div_scalar"),
    *("_npi_add_scalar", "_npi_subtract_scalar", "_npi_rsubtract_scalar"),
    *("_npi_multiply_scalar", "_npi_true_divide_scalar", "_npi_negative"),
    *("Concat", "concat", "stack", "_npi_concatenate", "_npi_stack", "mean", "sum"),
    *("_npi_mean", "_np_sum", "_npi_sum", "slice", "slice_axis", "transpose", "SwapAxis"),
    *("Pooling", "_contrib_AdaptiveAvgPooling2D"),
}
_SOFTMAXES = {"softmax", "log_softmax", "softmin", "SoftmaxActivation"}
_SOFTMAXES |= {f"_npx_{name}" for name in ("softmax", "log_softmax")}
_CLIPS = {"clip", "_npi_clip"}
_REGRESSIONS = {"LinearRegressionOutput", "MAERegressionOutput"}

#: Operators that may stand between logits and output; no network has more there.
_MOST_BEHIND = 40
_TRIED_STEPS = (("softmax",), ("sigmoid",), *product(("softmax", "sigmoid"), repeat=2))


def read_end(
    graph: Graph,
    shapes: Mapping[Entry, Shape],
    data: str,
    wanted: str | None = None,
) -> tuple[Entry, End]:
    """Find out what a network ends with.

    A softmax, a sigmoid, both in a row and what does no harm behind them (a reshape, a constant
    factor, a logarithm, bounds near 0 and 1) is looked through. Of two in a row the logits stand
    before both, and the probability is what comes out of both. A single output that nothing
    squashes is the logit of a yes or no. Where the output is a distribution of which no logits
    stand in the graph (a mean of several softmaxes) its logarithm takes their place.

    Args:
        graph: in inference form, with one head.
        shapes: of each entry that depends on the input, for a batch of one.
        data: the name of the input.
        wanted: one of :data:`ACTIVATIONS`, which then holds whatever the graph says; or None.

    Returns:
        The entry of the graph that the logits are read from, and how.

    Raises:
        NetworkError: the output is not one number a class.
        UsageError: ``wanted`` does not go with the number of outputs.
    """
    tail = _Tail(graph, shapes, data)
    head, decision = tail.undecided(graph.heads[0])
    _check_sizes(shapes[head])
    found = tail.squashed(head) or tail.bare(head, wanted)
    outputs = math.prod(shapes[head])
    said = [] if found.remark is None else [found.remark]
    if decision is not None:
        said.insert(0, f"The network outputs {decision}; the scores before that are explained.")
    end = End(found.activation, found.factors, found.logarithm, remark=" ".join(said) or None)
    return found.head, end.settled(outputs, wanted)


def _check_sizes(shape: Shape) -> None:
    """Refuse what is output for one image, if it is not one number a class."""
    if shape[0] != 1:
        what = f"an array of shape {shape} for one image, whose first axis is not the batch"
    elif len([size for size in shape if size > 1]) > 1:
        what = f"{shape_text(shape[1:])} for an image, not one number a class"
    else:
        return
    raise NetworkError(
        f"The network gives {what}; cnnviz explains classifiers. --head chooses another of its "
        "outputs or nodes."
    )


class _Found(NamedTuple):
    head: Entry
    activation: Activation
    factors: tuple[float, ...] = (1.0,)
    remark: str | None = None
    logarithm: bool = False  #: whether its logarithm is to be taken


class _Fit(NamedTuple):
    """A candidate for the logits, of which the output is a known function."""

    head: Entry
    activation: Activation
    factors: tuple[float, ...]


class _Tail:
    """The last operators of a graph."""

    def __init__(self, graph: Graph, shapes: Mapping[Entry, Shape], data: str) -> None:
        self.graph = graph
        self._shapes = shapes
        self._dependent = graph.dependent_on(data)
        # What is computed from parameters has no value yet.
        self._unknown: set[int] = set()
        for index, node in enumerate(graph.nodes):
            if node.is_variable or any(entry.node in self._unknown for entry in node.inputs):
                self._unknown.add(index)

    def undecided(self, head: Entry) -> tuple[Entry, str | None]:
        """The scores that a decision at the end is made from, and what it is."""
        below = head
        while self._op(below) in _KEEPS | {"one_hot", "_npx_one_hot"}:
            below = self._input(below)
        decision = _DECISIONS.get(self._op(below))
        if decision is None:
            return head, None
        return self._input(below), decision

    def squashed(self, head: Entry) -> _Found | None:
        """The logits, where a known function of them is output."""
        outputs = math.prod(self._shapes[head])
        best: _Fit | None = None
        for candidate in self._candidates(head):
            size = math.prod(self._shapes[candidate])
            if size not in (outputs, 1) or (size == 1 and outputs > 2):
                break
            if {self.graph.nodes[i].op for i in self._between(head, [candidate])} <= _SUMS:
                continue  # no probabilities come of these
            fit = self._fit(candidate, head)
            if fit is not None and (best is None or self._is_better(fit, best)):
                best = fit
        if best is None:
            return None
        return _Found(*best, self._remark(head, best, outputs))

    def bare(self, head: Entry, wanted: str | None) -> _Found:
        """The end of a network whose outputs are not known to be probabilities."""
        loss = None
        while self._op(head) in _IDLE or (
            self._op(head) in _KEEPS
            and len(self._shapes[head]) == 1
            and math.prod(self._shapes[head]) == 1
        ):
            loss = self._node(head).attrs.get(LOSS, loss)
            head = self._input(head)
        outputs = math.prod(self._shapes[head])
        if wanted is not None:
            return _Found(head, Activation.named(wanted))
        if loss in _REGRESSIONS:
            return _Found(
                head,
                Activation(()),
                remark=f"The network was trained for regression ({loss}): its outputs are taken as "
                "numbers. --activation says otherwise.",
            )
        last = self._last_word(head)
        kind = self._op(last)
        if kind not in _SOFTMAXES:
            kind = self._node(last).attrs.get("act_type", kind).capitalize()
        if outputs == 1 and self._has_parameters(last):
            return _Found(
                head,
                Activation(("sigmoid",)),
                remark=ONE_OUTPUT,
            )
        if outputs == 1:
            return _Found(
                head,
                Activation(()),
                remark=f"The network has one output, out of {kind}, which is taken as "
                "a number; --activation sigmoid takes it for the logit of a yes or no.",
            )
        frontier = self._frontier(head)
        if {self.graph.nodes[index].op for index in self._between(head, frontier)} <= _SUMS:
            return _Found(head, SOFTMAX)
        values = self._trials(frontier, head)
        if values is not None and values.min() >= 0 and np.allclose(values.sum(axis=1), 1):
            return _Found(
                head,
                SOFTMAX,
                remark=f"The network outputs probabilities (by {kind}) of which it has no logits; "
                "their logarithms are explained.",
                logarithm=True,
            )
        astray = self._softmax_right_before(head)
        if astray is not None:
            return _Found(
                self._input(astray),
                SOFTMAX,
                remark="The network's softmax does not run over its classes; the probabilities "
                "shown are a softmax that does.",
            )
        if values is not None and values.min() >= 0 and values.max() <= 1:
            return _Found(
                head,
                Activation(()),
                remark=f"The network's outputs come out of {kind} and lie between 0 and 1; they "
                "are taken as numbers. --activation says otherwise.",
            )
        return _Found(
            head,
            SOFTMAX,
            remark=f"The network's outputs come out of {kind} and are taken for logits; the "
            "probabilities are their softmax. --activation says otherwise.",
        )

    def _softmax_right_before(self, head: Entry) -> Entry | None:
        while self._op(head) in _KEEPS:
            head = self._input(head)
        return head if self._op(head) in _SOFTMAXES else None

    # Recognizing

    def _is_better(self, fit: _Fit, best: _Fit) -> bool:
        """Whether a candidate further down is the logits rather than the one that was found.

        It is where that one is itself squashed, where two logits come of one, or where the highest
        (or the sum's logarithm) was taken off for the computer's sake: nothing that the network
        sees would change the logit of its highest class.
        """
        if len(fit.factors) > len(best.factors):
            return True
        if len(fit.activation.steps) > len(best.activation.steps):
            return True
        if fit.activation != best.activation:
            return False
        values = self._trials([fit.head], best.head)
        if values is None or values.shape[1] < 2:
            return False
        highest = values.max(axis=1)
        return bool(
            np.allclose(highest, 0, atol=1e-5)
            or np.allclose(np.logaddexp.reduce(values, axis=1), 0, atol=1e-5)
        )

    def _fit(self, candidate: Entry, head: Entry) -> _Fit | None:
        """What function of a candidate is output, if it is a known one."""
        put_out = self._trials([candidate], head, clips=False)
        if put_out is None:
            return None
        logits = np.concatenate([points.reshape(1, -1) for points in self._points(candidate)])
        for steps, factor in product(_TRIED_STEPS, self._factors(candidate, head)):
            activation = Activation(steps)
            factors: tuple[float, ...] = (factor,)
            if logits.shape[1] < put_out.shape[1]:
                factors = (-factor, factor)
            expected = activation.outputs(logits * np.array(factors))
            is_whole = steps[-1] == "softmax"
            # Logarithms are below 0; turned above, they are the loss of each class (a softplus, on
            # the other hand, is a number).
            logarithms = -np.abs(put_out) if is_whole else put_out
            if _is_multiple(put_out, expected, any_factor=is_whole) or _is_close(
                logarithms, activation.log_probabilities(logits * np.array(factors))
            ):
                return _Fit(candidate, activation, factors)
        return None

    def _factors(self, candidate: Entry, head: Entry) -> Iterator[float]:
        """What the logits may be multiplied by inside the operators at the end."""
        temperatures = {
            float(value)
            for index in self._between(head, [candidate])
            if (value := self.graph.nodes[index].attrs.get("temperature")) not in (None, "None")
        }
        for size in dict.fromkeys([1.0, *(1 / value for value in temperatures if value), 2.0]):
            yield size
            yield -size

    def _remark(self, head: Entry, fit: _Fit, outputs: int) -> str | None:
        """What to say of what was recognized; nothing of what everybody expects."""
        activation = fit.activation
        behind = {self.graph.nodes[index].op for index in self._between(head, [fit.head])}
        if outputs == 1:
            if activation.steps == ("softmax",):
                return "The network has one output, and a softmax of one is always 1."
            return "The network says yes or no: the probability is the sigmoid of its one logit."
        if len(fit.factors) > 1:
            return "The network makes two probabilities of one logit, p and 1 - p."
        if activation.steps == ("sigmoid",):
            return "Each class has a probability of its own, the sigmoid of its logit."
        if len(activation.steps) > 1:
            return (
                f"The network outputs the {' of the '.join(reversed(activation.steps))} of its "
                "logits; these are explained, and that is shown as the probability."
            )
        if behind <= _KEEPS | _CLIPS | _SOFTMAXES | {"log", "_npi_log"} and fit.factors == (1.0,):
            return None
        if fit.factors != (1.0,):
            return f"The logits are multiplied by {fit.factors[0]:.4g} before the softmax."
        return "The network's outputs were found to be the softmax of its logits."

    # Walking

    def _candidates(self, head: Entry) -> Iterator[Entry]:
        """What the output depends on the input through alone, from the head down."""
        reading: set[Entry] = {head}
        for _ in range(_MOST_BEHIND):
            latest = max(reading)
            node = self.graph.nodes[latest.node]
            if node.is_variable:
                return
            if len(reading) == 1 and latest != head:
                yield latest
            reading = {entry for entry in reading if entry.node != latest.node}
            if self._has_parameters(latest):
                return  # scores come out of it
            reading |= {entry for entry in node.inputs if entry.node in self._dependent}

    def _frontier(self, head: Entry) -> list[Entry]:
        """Where the last operators with parameters stand."""
        found: dict[Entry, None] = {}
        waiting = [head]
        seen = set()
        while waiting:
            entry = waiting.pop()
            if entry in seen or entry.node not in self._dependent:
                continue
            seen.add(entry)
            if self._op(entry) == "Pooling" or self._has_parameters(entry):
                found[entry] = None
            else:
                waiting.extend(self._node(entry).inputs)
        return list(found)

    def _between(self, head: Entry, atoms: Collection[Entry]) -> list[int]:
        """The operators that lead from some entries to another, in order."""
        found: set[int] = set()
        waiting = [head]
        while waiting:
            entry = waiting.pop()
            if entry not in atoms and entry.node not in found:
                found.add(entry.node)
                waiting.extend(self.graph.nodes[entry.node].inputs)
        return sorted(found)

    def _last_word(self, head: Entry) -> Entry:
        """What says most about the output: the last that does more than to add numbers up."""
        while self._op(head) in _SUMS and not self._has_parameters(head):
            head = max(entry for entry in self._node(head).inputs if entry.node in self._dependent)
        return head

    def _has_parameters(self, entry: Entry) -> bool:
        """Whether an operator reads what is not computed from the input."""
        return self._node(entry).is_variable or any(
            source.node in self._unknown and source.node not in self._dependent
            for source in self._node(entry).inputs
        )

    def _node(self, entry: Entry) -> Node:
        return self.graph.nodes[entry.node]

    def _op(self, entry: Entry) -> str:
        return self._node(entry).op

    def _input(self, entry: Entry) -> Entry:
        return self._node(entry).inputs[0]

    # Trying

    def _points(self, entry: Entry, seed: int = 0) -> list[Float32]:
        """Numbers to try, in the entry's shape."""
        random = np.random.default_rng(seed)
        shape = self._shapes[entry]
        return [random.normal(0, scale, shape).astype(np.float32) for scale in (1, 1, 3, 0.3)]

    def _trials(self, atoms: Sequence[Entry], head: Entry, *, clips: bool = True) -> Float64 | None:
        """What is output, a row for each trial, when some entries have values at random.

        Without ``clips`` bounds near 0 and 1 are left out. None if it cannot be told: parameters
        are needed, or MXNet fails.
        """
        between = self._between(head, atoms)
        nodes = [self.graph.nodes[index] for index in between]
        if len(nodes) > _MOST_BEHIND or any(node.is_variable for node in nodes):
            return None
        variables = [Node("null", f"atom{number}", {}, ()) for number in range(len(atoms))]
        place = {index: number for number, index in enumerate(between, len(atoms))}

        def moved(entry: Entry) -> Entry:
            if entry in atoms:
                return Entry(list(atoms).index(entry))
            return Entry(place[entry.node], entry.output)

        tail = []
        for node in nodes:
            if not clips and node.op in _CLIPS and _hardly_clips(node):
                node = replace(node, op="_copy", attrs={})
            tail.append(replace(node, inputs=tuple(map(moved, node.inputs))))
        mx = import_mxnet()
        try:
            symbol = mx.sym.load_json(Graph((*variables, *tail), (moved(head),)).to_json())
            run = mx.nd.CachedOp(symbol)
            order = [int(name[len("atom") :]) for name in symbol.list_inputs()]
            rows = [
                run(*(mx.nd.array(values[number]) for number in order)).asnumpy().reshape(-1)
                for values in zip(
                    *(self._points(atom, seed) for seed, atom in enumerate(atoms)), strict=True
                )
            ]
        except mx.base.MXNetError:
            return None
        return np.array(rows, np.float64)


def _hardly_clips(node: Node) -> bool:
    """Whether bounds keep probabilities from 0 and 1, and do nothing else to them."""
    low, high = float(node.attrs.get("a_min", "nan")), float(node.attrs.get("a_max", "nan"))
    return 0 <= low <= 0.05 and high >= 0.95


def _is_multiple(values: Float64, expected: Float64, *, any_factor: bool) -> bool:
    """Whether values are some that are expected, times one positive number.

    Probabilities that do not add up to 1 show it by their range alone: then it is 1 or, for a
    percentage, 100, and anything else are numbers, an age say.
    """
    if values.shape != expected.shape or not np.isfinite(values).all():
        return False
    factor = float(values.sum() / expected.sum())
    if not any_factor:
        factor = min((1.0, 100.0), key=lambda one: abs(one - factor))
    return factor > 0 and _is_close(values, factor * expected)


def _is_close(values: Float64, expected: Float64) -> bool:
    return values.shape == expected.shape and np.allclose(
        values, expected, rtol=1e-4, atol=1e-6 * float(np.abs(expected).max())
    )
