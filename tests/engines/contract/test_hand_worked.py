"""Two filters on a 4 x 4 image, with every number worked out by hand.

The image x and, at the bottom, its indices (row, column)::

    1 0 2 1        00 01 02 03
    0 3 1 0        10 11 12 13
    2 1 0 1        20 21 22 23
    0 1 2 3        30 31 32 33

Two 3 x 3 filters without padding, each with two taps, so that a map position (i, j) sees two
pixels::

    filter 0, bias 0       0 0 0        A0[i,j] = x[i+1,j+1] + x[i+2,j+2]
                           0 1 0
                           0 0 1

    filter 1, bias -1/2    1 0 0        A1[i,j] = x[i,j] - x[i+2,j+1] - 1/2
                           0 0 0
                           0 -1 0

    A0 =  3+0  1+1  =  3 2              A1 =  1-1-.5  0-0-.5  =  -.5   -.5
          1+2  0+3     3 3                    0-1-.5  3-2-.5     -1.5   .5

After the ReLU: A0 stays, A1 becomes (0 0 / 0 .5). Two logits read the eight numbers, with weights v
and biases 1/4 and -1/2::

    logit 0:  v0 = 1  2     v1 =  1 1       y0 = 3 + 4 + 0 - 3 + 2(.5) + 1/4 = 5.25
                   0 -1          -1 2

    logit 1:  v0 = 1 -1     v1 =  3 1       y1 = 3 - 2 - 3 + 0 + 8(.5) - 1/2 = 1.5
                  -1  0           2 8

**The layer's true gradient** is v where A > 0, else 0: all of v0, and of v1 the last corner only.

**Grad-CAM**, equation 1 of Selvaraju et al. 2017: alpha is the mean gradient of a channel ::

    target 0:  alpha0 = (1 + 2 + 0 - 1)/4 = 1/2     alpha1 = (0 + 0 + 0 + 2)/4 = 1/2
    target 1:  alpha0 = (1 - 1 - 1 + 0)/4 = -1/4    alpha1 = (0 + 0 + 0 + 8)/4 = 2

equation 2: L = ReLU(alpha0 A0 + alpha1 A1), A being the layer's output before the activation ::

    target 0:  (3-.5)/2    (2-.5)/2      =  1.25  .75
               (3-1.5)/2   (3+.5)/2          .75  1.75

    target 1:  ReLU  -.75-1  -.5-1       =  0  0
                     -.75-3  -.75+1         0  .25

**At the image**, a gradient R at A0[i,j] reaches x[i+1,j+1] and x[i+2,j+2]; one at A1[i,j]
reaches x[i,j] and, with a minus, x[i+2,j+1]. What the ReLU passes (Springenberg et al. 2015,
figure 1)::

    target 0      standard            guided              deconvnet
    R at A0       1 2 / 0 -1          1 2 / 0 0           1 2 / 0 0
    R at A1       0 0 / 0 2           0 0 / 0 2           1 1 / 0 2

    at x          0  0  0  0          0  0  0  0          1  1  0  0
                  0 1+2 2  0          0 1+2 2  0          0 1+2 2  0
                  0  0 1-1 2          0  0  1  2          0 -1 1-1 2
                  0  0 -2 -1          0  0 -2  0          0  0 -2  0

    target 1      standard            guided              deconvnet
    R at A0       1 -1 / -1 0         1 0 / 0 0           1 0 / 0 0
    R at A1       0 0 / 0 8           0 0 / 0 8           3 1 / 2 8

    at x          0  0  0  0          0  0  0  0          3  1  0  0
                  0 1+8 -1 0          0 1+8 0  0          2 1+8 0  0
                  0 -1  1 -1          0  0  1  0          0 -3 1-1 0
                  0  0 -1-8 0         0  0 -8  0          0 -2 -8  0

All of it is exact in binary floating point, so the tests ask for equality.
"""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.attribution.cam import grad_cam
from cnnviz.engines.base import GradientRequest
from cnnviz.engines.network import Network
from cnnviz.engines.target_functions import CosineSimilarity
from tests.support.gradients import differentiate
from tests.support.networks import hand_worked

IMAGE = [[1, 0, 2, 1], [0, 3, 1, 0], [2, 1, 0, 1], [0, 1, 2, 3]]

ACTIVATIONS = [[[3, 2], [3, 3]], [[-0.5, -0.5], [-1.5, 0.5]]]
LOGITS = [5.25, 1.5]
LAYER_GRADIENTS = [
    [[[1, 2], [0, -1]], [[0, 0], [0, 2]]],
    [[[1, -1], [-1, 0]], [[0, 0], [0, 8]]],
]
GRAD_CAM = [[[1.25, 0.75], [0.75, 1.75]], [[0, 0], [0, 0.25]]]
INPUT_GRADIENTS = {
    "standard": [
        [[0, 0, 0, 0], [0, 3, 2, 0], [0, 0, 0, 2], [0, 0, -2, -1]],
        [[0, 0, 0, 0], [0, 9, -1, 0], [0, -1, 1, -1], [0, 0, -9, 0]],
    ],
    "guided": [
        [[0, 0, 0, 0], [0, 3, 2, 0], [0, 0, 1, 2], [0, 0, -2, 0]],
        [[0, 0, 0, 0], [0, 9, 0, 0], [0, 0, 1, 0], [0, 0, -8, 0]],
    ],
    "deconvnet": [
        [[1, 1, 0, 0], [0, 3, 2, 0], [0, -1, 0, 2], [0, 0, -2, 0]],
        [[3, 1, 0, 0], [2, 9, 0, 0], [0, -3, 0, 0], [0, -2, -8, 0]],
    ],
}


@pytest.fixture(scope="module")
def network(build):
    architecture, arrays = hand_worked()
    return Network(architecture, build(architecture.graph, arrays))


@pytest.fixture
def batch() -> np.ndarray:
    """The image twice: once for each target."""
    return np.asarray([[IMAGE], [IMAGE]], np.float32)


def test_the_layer_is_the_convolution_before_its_relu(network: Network) -> None:
    assert network.default_layer.name == "0"
    assert network.default_layer.shape == (2, 2, 2)


@pytest.mark.parametrize("rule", INPUT_GRADIENTS)
def test_every_number(network: Network, batch: np.ndarray, rule: str) -> None:
    found = differentiate(network, batch, [0, 1], relu_rule=rule)
    np.testing.assert_array_equal(found.logits, [LOGITS, LOGITS])
    np.testing.assert_array_equal(found.targets, [0, 1])
    np.testing.assert_array_equal(found.activations, [ACTIVATIONS, ACTIVATIONS])
    np.testing.assert_array_equal(found.layer_gradients, LAYER_GRADIENTS)
    np.testing.assert_array_equal(found.input_gradients[:, 0], INPUT_GRADIENTS[rule])
    assert found.relus_total == 1
    assert found.relus_changed == (0 if rule == "standard" else 1)


def test_grad_cam(network: Network, batch: np.ndarray) -> None:
    found = differentiate(network, batch, [0, 1])
    np.testing.assert_array_equal(
        grad_cam(found.activations, found.layer_gradients), np.asarray(GRAD_CAM, np.float32)
    )


def test_a_cosine_is_differentiated_by_the_chain_rule(network: Network, batch: np.ndarray) -> None:
    """∂cos/∂x = Σ_k ∂cos/∂e_k · ∂e_k/∂x; image 1 has no target, and so no gradient."""
    reference, logits = np.array([2.0, -1.0]), np.array(LOGITS, np.float64)
    lengths = np.linalg.norm(reference), np.linalg.norm(logits)
    cosine = logits @ reference / np.prod(lengths)
    slopes = reference / np.prod(lengths) - cosine * logits / lengths[1] ** 2
    expected = np.tensordot(slopes, np.array(INPUT_GRADIENTS["standard"], np.float64), axes=1)
    target = CosineSimilarity(reference.astype(np.float32))
    forward = network.run(batch, record=True)
    (found,) = forward.gradients([target, None], [GradientRequest()])
    assert target.score(forward.logits[0]) == pytest.approx(cosine, rel=1e-12)
    # The seed is rounded to float32 once, and a few products follow.
    np.testing.assert_allclose(found.input[0, 0], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found.input[1], 0)


def test_targets_default_to_the_highest_logit(network: Network, batch: np.ndarray) -> None:
    found = differentiate(network, batch, relu_rule="standard")
    np.testing.assert_array_equal(found.targets, [0, 0])
    np.testing.assert_array_equal(found.input_gradients[1], found.input_gradients[0])


def test_targets_from_the_logits(network: Network, batch: np.ndarray) -> None:
    found = differentiate(
        network, batch, lambda logits: logits.argmin(axis=1), relu_rule="standard"
    )
    np.testing.assert_array_equal(found.targets, [1, 1])
    np.testing.assert_array_equal(found.input_gradients[:, 0], [INPUT_GRADIENTS["standard"][1]] * 2)
