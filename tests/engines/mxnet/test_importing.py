"""What cnnviz spares MXNet's import: operators that are made when they are first used."""

from __future__ import annotations

import copy
import inspect
import sys

import numpy as np
import pytest

from cnnviz.engines.mxnet.importing import LateOperator, cheap_import
from tests.support.mxnet import import_mxnet

mx = import_mxnet()


@pytest.mark.parametrize("module", [mx.nd, mx.sym], ids=["nd", "sym"])
def test_an_operator_is_what_mxnet_makes_at_once(module):
    """To who calls it, and to who asks what it takes."""
    late = module.Pooling
    make, *arguments = late._arguments
    made = make(*arguments)
    assert isinstance(late, LateOperator)
    assert inspect.isfunction(made)
    assert late.__name__ == made.__name__ == "Pooling"
    assert inspect.signature(late) == inspect.signature(made)
    assert "kernel" in inspect.signature(late).parameters
    assert late.__doc__ == made.__doc__
    assert late.__doc__.startswith("Performs pooling on the input.")


def test_it_is_made_once_and_not_before():
    asked = []

    def make(*arguments):
        asked.append(arguments)
        return lambda *given, **named: (given, named)

    late = LateOperator(make, "handle", "_np_add", "add")
    assert (late.__name__, asked) == ("add", [])
    assert late(1, out=2) == ((1,), {"out": 2})
    assert late(3) == ((3,), {})
    assert asked == [("handle", "_np_add", "add")]


def test_what_holds_one_can_be_copied():
    """As with functions, the copy holds the same one."""
    assert copy.deepcopy([mx.nd.Pooling])[0] is copy.copy(mx.nd.Pooling) is mx.nd.Pooling


def test_a_text_that_is_set_is_kept():
    """MXNet edits some of its own."""
    late = LateOperator(None, None, "_np_add", "add", doc="")
    assert late.__doc__ == ""
    late.__doc__ = "Adds."
    assert late.__doc__ == "Adds."
    assert "rescale_grad : NDArray or float" in mx.nd.contrib.adamw_update.__doc__


def test_mxnets_own_numpy_computes_by_them():
    found = mx.np.tanh(mx.np.array([1.0, 2.0]))
    np.testing.assert_allclose(found.asnumpy(), np.tanh([1.0, 2.0]), rtol=1e-6)
    assert inspect.getdoc(mx.np.tanh).startswith("Compute hyperbolic tangent element-wise.")


def test_nothing_is_left_in_the_way_of_setuptools():
    """It warns of the standard library's distutils, if it is imported after that."""
    with cheap_import():
        pass
    assert not any(hasattr(finder, "has_distutils") for finder in sys.meta_path)
    assert getattr(sys.modules.get("distutils"), "__name__", "setuptools._distutils") != "distutils"
