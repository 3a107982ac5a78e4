"""What a network ends with: where its logits stand, and what makes probabilities of them.

Networks end with a softmax in any of many forms, with one written out by hand, with sigmoids, with
an argmax, or with bare logits. It is not recognized by operators' names but tried: what stands
between a candidate for the logits and the output (:func:`read_end`) is run on a few random numbers,
and has to give the softmax or the sigmoid of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from cnnviz.engines.mxnet.symbol import LOSS, Entry, Graph
from cnnviz.errors import NetworkError
from cnnviz.graph.ends import ONE_OUTPUT, SOFTMAX, Activation, End
from cnnviz.graph.graph import shape_text
from cnnviz.importers.mxnet_tail import CLIPS, KEEPS, SUMS, Tail
from cnnviz.types import Float64, Shape

#: What changes no number, and is of no use at the very end.
_IDLE = {"BlockGrad", "MakeLoss", "make_loss", "_copy", "squeeze", "_np_squeeze", "_npi_squeeze"}
#: What makes a decision of scores, or of one.
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
_SOFTMAXES = {"softmax", "log_softmax", "softmin", "SoftmaxActivation"}
_SOFTMAXES |= {f"_npx_{name}" for name in ("softmax", "log_softmax")}
_REGRESSIONS = {"LinearRegressionOutput", "MAERegressionOutput"}

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
        wanted: one of :data:`cnnviz.graph.ends.ACTIVATIONS`, which then holds whatever the graph
            says; or None.

    Returns:
        The entry of the graph that the logits are read from, and how.

    Raises:
        NetworkError: the output is not one number a class.
        UsageError: ``wanted`` does not go with the number of outputs.
    """
    recognizer = _Recognizer(Tail(graph, shapes, data))
    head, decision = recognizer.undecided(graph.heads[0])
    _check_sizes(shapes[head])
    found = recognizer.squashed(head) or recognizer.bare(head, wanted)
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


class _Recognizer:
    """Finds the logits, and what makes probabilities of them, in the tail of a graph."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail

    def undecided(self, head: Entry) -> tuple[Entry, str | None]:
        """The scores that a decision at the end is made from, and what it is."""
        below = head
        while self._tail.op(below) in KEEPS | {"one_hot", "_npx_one_hot"}:
            below = self._tail.input(below)
        decision = _DECISIONS.get(self._tail.op(below))
        if decision is None:
            return head, None
        return self._tail.input(below), decision

    def squashed(self, head: Entry) -> _Found | None:
        """The logits, where a known function of them is output."""
        outputs = math.prod(self._tail.shapes[head])
        best: _Fit | None = None
        for candidate in self._tail.candidates(head):
            size = math.prod(self._tail.shapes[candidate])
            if size not in (outputs, 1) or (size == 1 and outputs > 2):
                break
            if {
                self._tail.graph.nodes[i].op for i in self._tail.between(head, [candidate])
            } <= SUMS:
                continue  # no probabilities come of these
            fit = self._fit(candidate, head)
            if fit is not None and (best is None or self._is_better(fit, best)):
                best = fit
        if best is None:
            return None
        return _Found(*best, self._remark(head, best, outputs))

    def bare(self, head: Entry, wanted: str | None) -> _Found:
        """The end of a network whose outputs are not known to be probabilities."""
        head, loss = self._without_idle(head)
        outputs = math.prod(self._tail.shapes[head])
        if wanted is not None:
            return _Found(head, Activation.named(wanted))
        if loss in _REGRESSIONS:
            return _Found(
                head,
                Activation(()),
                remark=f"The network was trained for regression ({loss}): its outputs are taken as "
                "numbers. --activation says otherwise.",
            )
        last = self._tail.last_word(head)
        kind = self._tail.op(last)
        if kind not in _SOFTMAXES:
            kind = self._tail.node(last).attrs.get("act_type", kind).capitalize()
        if outputs == 1:
            return self._bare_number(head, last, kind)
        frontier = self._tail.frontier(head)
        if {
            self._tail.graph.nodes[index].op for index in self._tail.between(head, frontier)
        } <= SUMS:
            return _Found(head, SOFTMAX)
        return self._after_other_than_sums(head, self._tail.trials(frontier, head), kind)

    def _after_other_than_sums(self, head: Entry, values: Float64 | None, kind: str) -> _Found:
        """The end of a network whose last operator, of this kind, is no linear layer's.

        ``values`` are the outputs of trials with random values before it, if these were possible.
        """
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
                self._tail.input(astray),
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

    def _without_idle(self, head: Entry) -> tuple[Entry, str | None]:
        """The output without what is of no use at the end, and the loss that stood there."""
        loss = None
        while self._tail.op(head) in _IDLE or (
            self._tail.op(head) in KEEPS
            and len(self._tail.shapes[head]) == 1
            and math.prod(self._tail.shapes[head]) == 1
        ):
            loss = self._tail.node(head).attrs.get(LOSS, loss)
            head = self._tail.input(head)
        return head, loss

    def _bare_number(self, head: Entry, last: Entry, kind: str) -> _Found:
        """The end of a network with one output, which comes out of an operator of some kind."""
        if self._tail.has_parameters(last):
            return _Found(head, Activation(("sigmoid",)), remark=ONE_OUTPUT)
        return _Found(
            head,
            Activation(()),
            remark=f"The network has one output, out of {kind}, which is taken as a number; "
            "--activation sigmoid takes it as the logit of a yes or no.",
        )

    def _softmax_right_before(self, head: Entry) -> Entry | None:
        while self._tail.op(head) in KEEPS:
            head = self._tail.input(head)
        return head if self._tail.op(head) in _SOFTMAXES else None

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
        values = self._tail.trials([fit.head], best.head)
        if values is None or values.shape[1] < 2:
            return False
        highest = values.max(axis=1)
        return bool(
            np.allclose(highest, 0, atol=1e-5)
            or np.allclose(np.logaddexp.reduce(values, axis=1), 0, atol=1e-5)
        )

    def _fit(self, candidate: Entry, head: Entry) -> _Fit | None:
        """What function of a candidate is output, if it is a known one."""
        output = self._tail.trials([candidate], head, clips=False)
        if output is None:
            return None
        logits = np.concatenate([points.reshape(1, -1) for points in self._tail.points(candidate)])
        for steps, factor in product(_TRIED_STEPS, self._factors(candidate, head)):
            activation = Activation(steps)
            factors: tuple[float, ...] = (factor,)
            if logits.shape[1] < output.shape[1]:
                factors = (-factor, factor)
            expected = activation.outputs(logits * np.array(factors))
            is_whole = steps[-1] == "softmax"
            # Logarithms are below 0; turned above, they are the loss of each class (a softplus, on
            # the other hand, is a number).
            logarithms = -np.abs(output) if is_whole else output
            if _is_multiple(output, expected, any_factor=is_whole) or _is_close(
                logarithms, activation.log_probabilities(logits * np.array(factors))
            ):
                return _Fit(candidate, activation, factors)
        return None

    def _factors(self, candidate: Entry, head: Entry) -> Iterator[float]:
        """What the logits may be multiplied by inside the operators at the end."""
        temperatures = {
            float(value)
            for index in self._tail.between(head, [candidate])
            if (value := self._tail.graph.nodes[index].attrs.get("temperature"))
            not in (None, "None")
        }
        for size in dict.fromkeys([1.0, *(1 / value for value in temperatures if value), 2.0]):
            yield size
            yield -size

    def _remark(self, head: Entry, fit: _Fit, outputs: int) -> str | None:
        """What to say of what was recognized; nothing of what everybody expects."""
        activation = fit.activation
        behind = {
            self._tail.graph.nodes[index].op for index in self._tail.between(head, [fit.head])
        }
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
        if behind <= KEEPS | CLIPS | _SOFTMAXES | {"log", "_npi_log"} and fit.factors == (1.0,):
            return None
        if fit.factors != (1.0,):
            return f"The logits are multiplied by {fit.factors[0]:.4g} before the softmax."
        return "The network's outputs were found to be the softmax of its logits."


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
