"""What networks end with: the probability is the one that they put out, the logit is explained."""

import numpy as np
import pytest

from cnnviz.attribution import ModelQueries, collect
from cnnviz.attribution.cam import GradCam
from cnnviz.attribution.perturbation import Occlusion, Rise
from cnnviz.engines.mxnet.symbol import Graph, for_inference
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.ends import Activation
from cnnviz.importers.gluon import architecture_of_block, from_gluon
from cnnviz.importers.mxnet_symbol import architecture_of
from cnnviz.labels.predictions import assess
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn


class Ends(mx.gluon.HybridBlock):
    """A small network of K scores that ends with a function."""

    def __init__(self, classes, end):
        super().__init__(prefix="")
        self.end = end
        self.body = nn.HybridSequential(prefix="")
        self.body.add(nn.Conv2D(6, 3, 2, 1), nn.Activation("relu"), nn.GlobalAvgPool2D())
        self.body.add(nn.Dense(classes, weight_initializer=mx.init.Normal(3)))

    def hybrid_forward(self, F, x):
        return self.end(F, self.body(x))


def ends(classes, end):
    mx.random.seed(3)
    np.random.seed(3)
    block = Ends(classes, end)
    block.initialize(mx.init.Xavier())
    block.body(mx.nd.zeros((1, 3, 16, 16)))  # parameters have values from here on
    return block


def batch(count=2, seed=0):
    return np.random.RandomState(seed).rand(count, 3, 16, 16).astype(np.float32)


def scores(block, x):
    return block.body(mx.nd.array(x)).asnumpy()


def put_out(block, x):
    """What MXNet says, image by image."""
    return np.stack([block(mx.nd.array(one[None])).asnumpy().ravel() for one in x])


def by_hand(F, x):
    return F.broadcast_div(F.exp(x), F.sum(F.exp(x), axis=1, keepdims=True))


def stable(F, x):
    powers = F.exp(F.broadcast_sub(x, F.max(x, axis=1, keepdims=True)))
    return F.broadcast_mul(powers, 1 / F.sum(powers, axis=1, keepdims=True))


def log_by_hand(F, x):
    z = F.broadcast_sub(x, F.BlockGrad(F.max(x, axis=1, keepdims=True)))
    return F.broadcast_sub(z, F.log(F.sum(F.exp(z), axis=1, keepdims=True)))


same, log = (lambda y: y), np.exp
# By name: the end, what makes probabilities of what it outputs, the logits' factor.
SOFTMAXES = {
    "softmax": (lambda F, x: F.softmax(x), same, 1),
    "log": (lambda F, x: F.log_softmax(x), log, 1),
    "loss of each class": (lambda F, x: -F.log_softmax(x), lambda y: np.exp(-y), 1),
    "log of": (lambda F, x: F.log(F.softmax(x)), log, 1),
    "exp of log": (lambda F, x: F.exp(F.log_softmax(x)), same, 1),
    "of log": (lambda F, x: F.softmax(F.log_softmax(x)), same, 1),
    "activation": (lambda F, x: F.SoftmaxActivation(x), same, 1),
    "temperature": (lambda F, x: F.softmax(x, temperature=4.0), same, 1 / 4),
    "log temperature": (lambda F, x: F.log_softmax(x, temperature=0.3), log, 1 / 0.3),
    "softmin": (lambda F, x: F.softmin(x), same, -1),
    "scaled before": (lambda F, x: F.softmax(x / 3), same, 1 / 3),
    "percent": (lambda F, x: F.softmax(x) * 100, lambda y: y / 100, 1),
    "half": (lambda F, x: F.softmax(x) / 2, lambda y: y * 2, 1),
    "squeezed": (lambda F, x: F.squeeze(F.expand_dims(F.softmax(x), 2), axis=2), same, 1),
    "squeezed whole": (lambda F, x: F.squeeze(F.softmax(x)), same, 1),
    "reshaped": (lambda F, x: F.reshape(F.softmax(x), (0, -1, 1, 1)), same, 1),
    "clipped": (lambda F, x: F.clip(F.softmax(x), 1e-7, 1 - 1e-7), same, 1),
    "log of clipped": (lambda F, x: F.log(F.clip(F.softmax(x), 1e-7, 1)), log, 1),
    "cast, blocked": (lambda F, x: F.BlockGrad(F.cast(F.softmax(x), "float32")), same, 1),
    "by hand": (by_hand, same, 1),
    "stable by hand": (stable, same, 1),
    "log by hand": (log_by_hand, log, 1),
    "after taking off the highest": (
        lambda F, x: F.softmax(F.broadcast_sub(x, F.max(x, axis=1, keepdims=True))),
        same,
        1,
    ),
}


@pytest.mark.parametrize("name", SOFTMAXES)
def test_softmaxes_are_looked_through(name):
    end, probabilities, factor = SOFTMAXES[name]
    block, x = ends(5, end), batch()
    network = from_gluon(block, (3, 16, 16))
    assert network.architecture.activation.name == "softmax"
    logits = network.logits(x)
    np.testing.assert_allclose(logits, scores(block, x) * factor, rtol=1e-6, atol=1e-6)
    said = network.architecture.activation.outputs(logits)
    np.testing.assert_allclose(said, probabilities(put_out(block, x)), rtol=1e-5, atol=1e-7)


SIGMOIDS = {
    "sigmoid": (lambda F, x: F.sigmoid(x), same),
    "activation": (lambda F, x: F.Activation(x, act_type="sigmoid"), same),
    "by hand": (lambda F, x: 1 / (1 + F.exp(-x)), same),
    "tanh": (lambda F, x: (1 + F.tanh(x / 2)) / 2, same),
    "log": (lambda F, x: F.log(F.sigmoid(x)), log),
    "percent": (lambda F, x: F.sigmoid(x) * 100, lambda y: y / 100),
    "clipped": (lambda F, x: F.clip(F.sigmoid(x), 1e-6, 1 - 1e-6), same),
}


@pytest.mark.parametrize("classes", [1, 5])
@pytest.mark.parametrize("name", SIGMOIDS)
def test_sigmoids_are_looked_through(name, classes):
    end, probabilities = SIGMOIDS[name]
    block, x = ends(classes, end), batch()
    network = from_gluon(block, (3, 16, 16))
    assert network.architecture.activation.name == "sigmoid"
    logits, wanted = network.logits(x), scores(block, x)
    said = network.architecture.activation.outputs(logits)
    expected = probabilities(put_out(block, x))
    if classes == 1:
        wanted, expected = np.hstack([-wanted, wanted]), np.hstack([1 - expected, expected])
        assert network.architecture.class_names((), "it") == ("negative", "positive")
        assert network.architecture.class_names(("cat",), "it") == ("not cat", "cat")
        assert network.architecture.class_names(("dog", "cat"), "it") == ("dog", "cat")
        with pytest.raises(UsageError, match="3 class names were given, but it has 2 classes"):
            network.architecture.class_names(("a", "b", "c"), "it")
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(said, expected, rtol=1e-5, atol=1e-7)


def pair(first, second):
    return lambda F, x: F.concat(first(F, x), second(F, x), dim=1)


def yes(F, x):
    return F.sigmoid(x)


def no(F, x):
    return 1 - F.sigmoid(x)


ONE_LOGIT = {
    "no, yes": (pair(no, yes), (-1, 1)),
    "yes, no": (pair(yes, no), (1, -1)),
    "stacked": (lambda F, x: F.squeeze(F.stack(no(F, x), yes(F, x), axis=1), axis=2), (-1, 1)),
    "softmax beside 0": (lambda F, x: F.softmax(F.concat(x * 0, x, dim=1)), (-1, 1)),
    "one minus": (no, (1, -1)),
    "squeezed": (lambda F, x: F.squeeze(F.sigmoid(x), axis=1), (-1, 1)),
    "bare": (lambda F, x: x, (-1, 1)),
    "bare, squeezed": (lambda F, x: F.squeeze(x, axis=1), (-1, 1)),
    "bare, flat": (lambda F, x: F.reshape(x, (-1,)), (-1, 1)),
    "rounded": (lambda F, x: F.round(F.sigmoid(x)), (-1, 1)),
    "compared": (lambda F, x: F.sigmoid(x) > 0.5, (-1, 1)),
}


@pytest.mark.parametrize("name", ONE_LOGIT)
def test_one_logit_makes_two_classes(name):
    end, signs = ONE_LOGIT[name]
    block, x = ends(1, end), batch()
    network = from_gluon(block, (3, 16, 16))
    assert (network.architecture.classes, network.architecture.activation.name) == (2, "sigmoid")
    np.testing.assert_allclose(network.logits(x), scores(block, x) * signs, rtol=1e-5, atol=1e-6)
    positive = 1 / (1 + np.exp(-scores(block, x)[:, 0].astype(np.float64)))
    said = network.architecture.activation.outputs(network.logits(x))
    place = 1 if name == "one minus" else signs.index(1)  # of the probability that is sigma(logit)
    expected = 1 - positive if name == "one minus" else positive
    np.testing.assert_allclose(said[:, place], expected, rtol=1e-5)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-12)


def context(network, x, target, method):
    ((found,),) = collect(
        ModelQueries(network), x, [[target] * len(x)], [network.default_layer], [method]
    )
    return found


def test_negative_class_is_explained_by_minus_the_logit():
    block, x = ends(1, yes), batch(3)
    # The same weights, ending with minus the logit: what the negative class's map has to be.
    turned = ends(1, lambda F, x: -x)
    both = from_gluon(block, (3, 16, 16))
    number = from_gluon(turned, (3, 16, 16), activation="none")
    method = GradCam()
    negative = method.attribute(context(both, x, 0, method))
    np.testing.assert_allclose(
        negative, method.attribute(context(number, x, 0, method)), rtol=1e-6, atol=1e-9
    )
    positive = method.attribute(context(both, x, 1, method))
    assert negative.any()
    assert positive.any()
    assert not np.allclose(negative, positive)
    gradients = [
        differentiate(both, x, [k] * 3, relu_rule="standard").input_gradients for k in (0, 1)
    ]
    np.testing.assert_array_equal(gradients[0], -gradients[1])


@pytest.mark.parametrize("classes", [1, 4])
def test_occlusion_and_rise_watch_the_probability_that_is_put_out(classes):
    block, x = ends(classes, yes), batch(1)
    network = from_gluon(block, (3, 16, 16))
    target = 1 if classes == 1 else 2
    column = 0 if classes == 1 else 2
    method = Occlusion(window=8, stride=8, fill="mean")
    found = method.explain(context(network, x, target, method))
    assert found.diagnostics["probability"][0] == pytest.approx(
        put_out(block, x)[0, column], rel=1e-5
    )
    corner = found.maps["occlusion_probability"][0, 0, 0]
    rows, columns = method.grid(16, 16)
    covered = x.copy()
    covered[:, :, slice(*rows[0]), slice(*columns[0])] = 0
    assert corner == pytest.approx(put_out(block, covered)[0, column], rel=1e-5)
    method = Rise(masks=20)
    facts = method.explain(context(network, x, target, method)).diagnostics
    masked = np.stack([x[0] * mask for mask in method.drawn(16, 16)]).astype(np.float32)
    mean = put_out(block, masked)[:, column].mean()
    assert facts["mean_probability"][0] == pytest.approx(mean, rel=1e-5)


def test_two_softmaxes_explain_the_logits_and_say_the_outer_probability():
    for end, name in (
        (lambda F, x: F.softmax(F.softmax(x)), "softmax of softmax"),
        (lambda F, x: F.log_softmax(F.softmax(x)), "softmax of softmax"),
        (lambda F, x: F.softmax(F.sigmoid(x)), "softmax of sigmoid"),
    ):
        block, x = ends(5, end), batch()
        network = from_gluon(block, (3, 16, 16))
        activation = network.architecture.activation
        assert activation.name == name
        assert "of the" in network.architecture.end.remark
        np.testing.assert_allclose(network.logits(x), scores(block, x), rtol=1e-6)
        said = put_out(block, x)
        said = np.exp(said) if said.min() < 0 else said
        np.testing.assert_allclose(activation.outputs(network.logits(x)), said, rtol=1e-5)


MIXTURES = {
    "mean of two": lambda F, x: (F.softmax(x) + F.softmax(2 * x + 1)) / 2,
    "smoothed": lambda F, x: F.softmax(x) * 0.9 + 0.02,
    "normalized sigmoids": lambda F, x: F.broadcast_div(
        F.sigmoid(x), F.sum(F.sigmoid(x), axis=1, keepdims=True)
    ),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_distribution_without_logits_is_explained_by_its_logarithm(name):
    block, x = ends(5, MIXTURES[name]), batch()
    network = from_gluon(block, (3, 16, 16))
    said = put_out(block, x)
    np.testing.assert_allclose(network.logits(x), np.log(said), rtol=1e-5)
    np.testing.assert_allclose(
        network.architecture.activation.outputs(network.logits(x)), said, rtol=1e-5
    )
    assert "logarithms" in network.architecture.end.remark
    # d log p / dx = (dp / dx) / p, by MXNet's own gradients
    leaf = mx.nd.array(x)
    leaf.attach_grad()
    with mx.autograd.record(train_mode=True):
        chosen = mx.nd.log(block(leaf))[:, 3].sum()
    chosen.backward()
    found = differentiate(network, x, [3, 3], relu_rule="standard").input_gradients
    np.testing.assert_allclose(found, leaf.grad.asnumpy(), rtol=1e-4, atol=1e-7)


def test_two_networks_may_vote():
    """A mean of two softmaxes of scores that have parameters of their own."""

    class Votes(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.first, self.second = ends(5, lambda F, x: x), ends(5, lambda F, x: x)
            self.third = nn.Dense(5)

        def hybrid_forward(self, F, x):
            votes = (F.softmax(self.first(x)), F.softmax(self.third(self.second(x))))
            return (votes[0] + F.flatten(F.expand_dims(votes[1], 2))) * 0.5

    block, x = Votes(), batch()
    block.third.initialize(mx.init.Normal(1))
    network = from_gluon(block, (3, 16, 16))
    np.testing.assert_allclose(
        network.architecture.activation.outputs(network.logits(x)), put_out(block, x), rtol=1e-5
    )


NUMBERS = {
    "relu": lambda F, x: F.relu(x),
    "an age": lambda F, x: F.sigmoid(x) * 70,
    "softplus": lambda F, x: F.Activation(x, act_type="softrelu"),
    "likely": lambda F, x: F.max(F.softmax(F.concat(x, x * 2, dim=1)), axis=1),
    "highest": lambda F, x: F.max(F.concat(x, x * 2, dim=1), axis=1),
    "hard sigmoid": lambda F, x: F.hard_sigmoid(x),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_numbers(name):
    block, x = ends(1, NUMBERS[name]), batch()
    network = from_gluon(block, (3, 16, 16))
    assert (network.architecture.classes, network.architecture.activation.name) == (1, "none")
    said = network.architecture.activation.outputs(network.logits(x))
    np.testing.assert_allclose(said, put_out(block, x), rtol=1e-6)
    assert "number" in network.architecture.end.remark


@pytest.mark.parametrize("head", ["argmax", "topk", "argmax_channel"])
def test_a_decision_is_looked_through(head):
    arguments = {} if head == "argmax_channel" else {"axis": 1}
    block, x = ends(5, lambda F, x: getattr(F, head)(F.softmax(x), **arguments)), batch()
    network = from_gluon(block, (3, 16, 16))
    np.testing.assert_allclose(network.logits(x), scores(block, x), rtol=1e-6)
    assert "highest class" in network.architecture.end.remark


def test_bounded_outputs_are_numbers():
    for end in (lambda F, x: F.clip(x, 0, 1), lambda F, x: F.hard_sigmoid(x)):
        block, x = ends(5, end), batch()
        network = from_gluon(block, (3, 16, 16))
        assert network.architecture.activation.name == "none"
        np.testing.assert_allclose(network.logits(x), put_out(block, x), rtol=1e-6)


def test_usual_ends_need_no_words():
    for end in (lambda F, x: x, lambda F, x: F.softmax(x), lambda F, x: F.log_softmax(x)):
        assert from_gluon(ends(5, end), (3, 16, 16)).architecture.end.remark is None


def test_activation_can_be_given():
    block, x = ends(5, lambda F, x: x), batch()
    network = from_gluon(block, (3, 16, 16), activation="sigmoid")
    np.testing.assert_allclose(
        network.architecture.activation.outputs(network.logits(x)),
        1 / (1 + np.exp(-scores(block, x).astype(np.float64))),
        rtol=1e-6,
    )
    single = ends(1, lambda F, x: x)
    assert from_gluon(single, (3, 16, 16), activation="none").architecture.classes == 1
    with pytest.raises(UsageError, match="a softmax is always 1"):
        from_gluon(single, (3, 16, 16), activation="softmax")
    with pytest.raises(UsageError, match="no activation 'tanh'"):
        from_gluon(single, (3, 16, 16), activation="tanh")


def trained(loss, classes, **attributes):
    """What Module trains: a symbol with a loss at its end, which reads a label."""
    x = mx.sym.Convolution(mx.sym.var("data"), kernel=(3, 3), num_filter=4, name="conv")
    x = mx.sym.Pooling(mx.sym.relu(x), global_pool=True, pool_type="avg", kernel=(1, 1))
    x = mx.sym.FullyConnected(x, num_hidden=classes, name="fc")
    return getattr(mx.sym, loss)(x, name="loss", **attributes)


@pytest.mark.parametrize(
    ("loss", "classes", "activation", "count"),
    [
        ("SoftmaxOutput", 4, "softmax", 4),
        ("LogisticRegressionOutput", 4, "sigmoid", 4),
        ("LogisticRegressionOutput", 1, "sigmoid", 2),
        ("LinearRegressionOutput", 1, "none", 1),
        ("LinearRegressionOutput", 4, "none", 4),
        ("MAERegressionOutput", 1, "none", 1),
        ("SVMOutput", 4, "softmax", 4),
    ],
)
def test_losses(loss, classes, activation, count):
    graph = for_inference(Graph.from_symbol(trained(loss, classes))).graph
    architecture = architecture_of(graph, (3, 8, 8), {})
    assert (architecture.activation.name, architecture.classes) == (activation, count)
    assert architecture.layers[-1].name == "fc"
    assert "loss_label" not in architecture.parameter_shapes


def test_numpy_networks_end_likewise():
    """np.exp(x) / np.exp(x).sum(), as people who write mx.np do."""
    x, weight, bias = (mx.sym.var(name).as_np_ndarray() for name in ("data", "w", "b"))
    x = mx.sym.npx.convolution(x, weight, bias, kernel=(3, 3), num_filter=4)
    x = mx.sym.np.mean(mx.sym.npx.relu(x), axis=(2, 3))
    e = mx.sym.np.exp(x - mx.sym.np.max(x, axis=1, keepdims=True))
    for end, name in (
        (e / mx.sym.np.sum(e, axis=-1, keepdims=True), "softmax"),
        (mx.sym.npx.softmax(x), "softmax"),
        (mx.sym.npx.log_softmax(x), "softmax"),
        (mx.sym.npx.sigmoid(x), "sigmoid"),
        (1 / (1 + mx.sym.np.exp(-x)), "sigmoid"),
    ):
        graph = for_inference(Graph.from_symbol(end)).graph
        hints = {"w": (4, 3, 3, 3), "b": (4,)}
        architecture = architecture_of(graph, (3, 8, 8), {}, hints)
        assert architecture.activation.name == name
        assert architecture.layers[-1].kind in ("_npi_mean", "_npi_multiply_scalar")  # -x


# --- what is no classifier --------------------------------------------------------------------


class Segmenter(mx.gluon.HybridBlock):
    def __init__(self, end=lambda F, x: x):
        super().__init__()
        self.end = end
        self.first, self.last = nn.Conv2D(8, 3, padding=1, activation="relu"), nn.Conv2D(5, 1)

    def hybrid_forward(self, F, x):
        return self.end(F, self.last(self.first(x)))


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda F, x: x, "gives 5×16×16 for an image, not one number a class"),
        (lambda F, x: F.softmax(x, axis=1), "gives 5×16×16 for an image"),
        (lambda F, x: F.argmax(x, axis=1), "gives 5×16×16 for an image"),
        (lambda F, x: F.sigmoid(F.mean(x, axis=3)), "gives 5×16 for an image"),
        (lambda F, x: F.reshape(F.transpose(x, (3, 0, 1, 2)), (-1, 80)), r"\(16, 80\) for one"),
        (lambda F, x: F.transpose(F.mean(x, axis=(2, 3))), r"\(5, 1\) for one .* is not the batch"),
    ],
)
def test_what_is_no_classifier_is_refused(end, said):
    with pytest.raises(NetworkError, match=said):
        architecture_of_block(Segmenter(end), (3, 16, 16))


@pytest.mark.parametrize(
    "end",
    [
        lambda F, x: F.reshape(F.softmax(x), (-1,)),
        lambda F, x: F.reshape(F.softmax(x), (5,)),
        lambda F, x: F.softmax(F.squeeze(x)),
        lambda F, x: F.mean(x, axis=0),
    ],
)
def test_an_output_without_an_axis_for_the_batch_has_its_classes(end):
    block, x = ends(5, end), batch(3)
    network = from_gluon(block, (3, 16, 16))
    np.testing.assert_allclose(network.logits(x), scores(block, x), rtol=1e-5, atol=1e-6)


# --- the formulas -----------------------------------------------------------------------------


def test_formulas_hold_at_the_ends_of_the_range():
    logits = np.array([-1000.0, -40.0, 0.0, 3.0, 1000.0])
    sigmoid = Activation(("sigmoid",))
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(
            sigmoid.outputs(logits), [0, np.exp(-40.0), 0.5, 1 / (1 + np.exp(-3.0)), 1], rtol=1e-14
        )
        np.testing.assert_allclose(
            sigmoid.log_probabilities(logits),
            [-1000, -40, np.log(0.5), -np.log1p(np.exp(-3.0)), 0],
            rtol=1e-12,
        )
        np.testing.assert_allclose(Activation().outputs(logits), [0, 0, 0, 0, 1], atol=1e-300)
        np.testing.assert_allclose(Activation().log_probabilities(logits), logits - 1000)


def test_losses_of_the_truth():
    logits = np.array([2.0, -1.0, 0.5], np.float32)
    values = logits.astype(float)
    softmax = assess(logits, 1)
    assert softmax.loss == pytest.approx(np.log(np.exp(values).sum()) + 1, rel=1e-12)
    sigmoid = assess(logits, 1, Activation(("sigmoid",)))
    assert sigmoid.loss == pytest.approx(np.log1p(np.exp(1.0)), rel=1e-12)
    assert sigmoid.confidence == pytest.approx(1 / (1 + np.exp(-2.0)), rel=1e-12)
    number = assess(logits, 1, Activation(()))
    assert (number.loss, number.confidence, number.margin) == (None, 2.0, 1.5)
