"""The demo network as it ships: file, layers, names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cnnviz.demo import CLASSES, weights_path
from cnnviz.demo.architecture import build
from cnnviz.engines.network import Network
from cnnviz.importers.gluon import from_gluon
from tests.support.mxnet import import_mxnet


@pytest.fixture(scope="module")
def network() -> Network:
    import_mxnet()
    block = build()
    block.load_parameters(str(weights_path()))
    return from_gluon(block)


def test_the_weights_fit_into_two_megabytes() -> None:
    assert weights_path().stat().st_size < 2_000_000


def test_eight_names_in_alphabetical_order() -> None:
    assert len(CLASSES) == 8
    assert list(CLASSES) == sorted(set(CLASSES))


def test_there_is_a_logit_for_every_class(network: Network) -> None:
    assert network.logits(np.zeros((2, 3, 224, 224), np.float32)).shape == (2, len(CLASSES))


def test_the_default_layer_is_the_last_batch_norm_before_its_relu(network: Network) -> None:
    names = [layer.name for layer in network.layers]
    place = names.index(network.default_layer.name)
    assert network.default_layer.kind == "BatchNorm"
    assert network.default_layer.shape == (128, 14, 14)
    assert network.layers[place + 1].kind == "ReLU"
    assert not any(
        layer.kind in ("Convolution", "Pooling") and layer.shape[1:] == (14, 14)
        for layer in network.layers[place + 1 :]
    )


def test_the_weights_are_finite_and_none_is_missing() -> None:
    saved = import_mxnet().nd.load(str(weights_path()))
    assert set(saved) == set(build()._collect_params_with_prefix())
    assert all(np.isfinite(value.asnumpy()).all() for value in saved.values())


@pytest.mark.subprocess
def test_names_and_path_of_the_weights_cost_no_heavy_import() -> None:
    program = (
        "import sys, cnnviz.demo as demo; demo.weights_path(); "
        "print(sorted({'mxnet', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
