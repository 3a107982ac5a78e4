"""LSTM layers as PyTorch's."""

from __future__ import annotations

from typing import Any

from cnnviz.engines.torch.runtime import import_torch
from cnnviz.engines.torch.windows import Function
from cnnviz.graph import operators as op


def lstm(o: op.LSTM) -> Function:
    """``torch.lstm``, whose one direction the other is turned to."""
    torch = import_torch()

    def run(data: Any, weight: Any, recurrent: Any, bias: Any) -> Any:
        sequences = data.flatten(0, -3)
        if o.reverse:
            sequences = sequences.flip(1)
        start = sequences.new_zeros(1, len(sequences), o.hidden)
        weights = [weight, recurrent, bias, torch.zeros_like(bias)]
        # cuDNN goes back only through what ran as in training; without dropout that is the same.
        train = sequences.requires_grad
        found = torch.lstm(
            sequences, (start, start), weights, True, 1, 0.0, train, False, batch_first=True
        )[0]
        if o.reverse:
            found = found.flip(1)
        return found.unflatten(0, data.shape[:-2])

    return run
