"""What a vector-Jacobian product is here: an operator's own way back.

Both kinds go from all of the operator's inputs, all of its outputs and the gradients at these to
the gradients at inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cnnviz.types import Float32

#: In NumPy's arrays; at the first inputs.
Vjp = Callable[[Sequence[Float32], Sequence[Float32], Sequence[Float32]], list[Float32]]
#: In MXNet's; at the inputs that depend on the data.
MxnetVjp = Callable[[Sequence[Any], Sequence[Any], Sequence[Any]], list[Any]]
