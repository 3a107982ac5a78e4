"""ROAD: its curves against the definition, written out, and on networks known by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cnnviz.attribution.queries import ModelQueries
from cnnviz.engines.target_functions import CosineSimilarity
from cnnviz.graph.ends import Activation, End
from cnnviz.images.input_spec import InputSpec
from cnnviz.metrics.imputation import impute
from cnnviz.metrics.road import SHARES, Road, RoadLerf, RoadMorf
from tests.support.judged import case_for, linear_network, softmax, subject_of
from tests.support.networks import conv, flatten, linear, sequential

SPEC = InputSpec(12, 14, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def test_the_definition_written_out(network, image, heat):
    """Of 168 pixels 17, 34, 50, 67, 84, 118 and 151 go. Without noise."""
    target = 2
    case = case_for(network, image, target, SPEC)
    ascending = np.sort(heat.ravel())
    curves = {}
    for order in ("morf", "lerf"):
        inputs = []
        for count in (17, 34, 50, 67, 84, 118, 151):
            gone = heat >= ascending[-count] if order == "morf" else heat < ascending[count]
            assert gone.sum() == count
            inputs.append(impute(image, gone))
        logits = network.logits(np.stack(inputs))
        curves[order] = softmax(logits)[:, target], logits.argmax(axis=1) == target
    assert len({*curves["morf"][1], *curves["lerf"][1]}) == 2  # the class changes, and does not

    for metric, order in ((RoadMorf, "morf"), (RoadLerf, "lerf")):
        found = metric(noise=0.0).measure(case, subject_of(heat))
        np.testing.assert_allclose(found.curve, curves[order][0], rtol=0, atol=1e-6)
        assert found.value == pytest.approx(curves[order][0].mean(), abs=1e-6)
        accuracy = metric(noise=0.0, score="accuracy").measure(case, subject_of(heat))
        assert accuracy.curve == tuple(curves[order][1])
        assert accuracy.value == pytest.approx(curves[order][1].mean(), abs=1e-12)
        assert accuracy.details["shares"] == list(SHARES)
        assert accuracy.details[order]["kept"] == list(curves[order][1])
        assert accuracy.details[order]["probability"] == pytest.approx(found.curve, abs=1e-12)
    half = (curves["lerf"][0] - curves["morf"][0]) / 2
    found = Road(noise=0.0).measure(case, subject_of(heat))
    np.testing.assert_allclose(found.curve, half, rtol=0, atol=1e-6)
    assert found.value == pytest.approx(half.mean(), abs=1e-6)


class Recorded(ModelQueries):
    """Keeps what goes through the network."""

    def logits(self, inputs, cache_key=None):
        self.batch = np.empty((inputs.count, *inputs.shape), np.float32)
        for number, one in enumerate(self.batch):
            inputs.write(number, one)
        return super().logits(inputs, cache_key)


def noise_of(metric, channels="rgb"):
    """What is added to an image of one color, for each share, and what of it is removed."""
    spec = InputSpec(50, 60, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), channels)
    image = np.full((3, 50, 60), 0.3, np.float32)
    network = linear_network(image)
    case = dataclasses.replace(case_for(network, image, 0, spec), queries=Recorded(network))
    values = np.random.RandomState(5).permutation(3000).reshape(50, 60)
    metric.measure(case, subject_of(values))
    ranks = 2999 - values if isinstance(metric, RoadMorf) else values
    gone = [ranks < round(share * 3000) for share in SHARES]
    return case.queries.batch - image, np.stack(gone)


def test_noise_is_in_units_of_pixels():
    """The others keep their value; 2,700 numbers tell a standard deviation to 1.4 %."""
    for kind in (RoadMorf, RoadLerf):
        noise, gone = noise_of(kind(noise=0.02))
        kept = np.broadcast_to(~gone[:, None], noise.shape)
        assert np.abs(noise[kept]).max() < 1e-6
        for channel, std in enumerate((0.2, 0.25, 0.3)):
            drawn = noise[-1, channel, gone[-1]]
            assert drawn.std() == pytest.approx(0.02 / std, rel=0.06)
            assert abs(drawn.mean()) < 5 * 0.02 / std / np.sqrt(2700)


def test_the_same_noise_serves_all_maps_and_shares_of_a_seed():
    first, gone = noise_of(RoadMorf())
    lerf, lerf_gone = noise_of(RoadLerf())
    both = gone[-1] & lerf_gone[-1]
    np.testing.assert_allclose(first[-1][:, both], lerf[-1][:, both], rtol=0, atol=1e-6)
    np.testing.assert_allclose(first[0][:, gone[0]], first[-1][:, gone[0]], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(first, noise_of(RoadMorf())[0])
    assert np.abs(first - noise_of(RoadMorf(seed=1))[0]).max() > 0.05
    # A network that takes blue first is given the same image, noise included.
    bgr, _ = noise_of(RoadMorf(), "bgr")
    stds = np.array([0.2, 0.25, 0.3])[:, None, None]
    np.testing.assert_allclose(bgr * stds, (first * stds)[:, ::-1], rtol=0, atol=1e-6)


def test_an_image_of_one_color_keeps_its_class_whatever_goes():
    image = np.full((1, 10, 10), 0.5, np.float32)
    case = case_for(linear_network(np.full((1, 10, 10), 0.02)), image)
    subject = subject_of(np.random.RandomState(0).rand(10, 10))
    expected = 1 / (1 + np.exp(-1))
    for kind in (RoadMorf, RoadLerf):
        found = kind(noise=0.0).measure(case, subject)
        assert found.curve == pytest.approx(7 * (expected,), abs=1e-6)
        assert kind(noise=0.0, score="accuracy").measure(case, subject).value == 1
    assert Road(noise=0.0).measure(case, subject).value == pytest.approx(0, abs=1e-6)


def test_where_classes_do_not_exclude_each_other_kept_means_yes():
    """Class 0 has a logit of 1 and is not the highest; it is there all the same."""
    weights = {"2.weight": np.array([4 * [0.25], 4 * [0.5]]), "2.bias": [0, 0]}
    values = {"0.weight": [1], "0.bias": [0], **weights}
    plain = sequential((1, 2, 2), conv(1), flatten(), linear(2), values=values)
    image = np.full((1, 2, 2), 1, np.float32)
    subject = subject_of([[1, 2], [3, 4]])
    metric = RoadMorf(noise=0.0, score="accuracy")
    assert metric.measure(case_for(plain.network(), image), subject).value == 0
    plain.architecture.end = End(Activation(("sigmoid",)))
    assert metric.measure(case_for(plain.network(), image), subject).value == 1


def test_targets_that_are_no_class(network, image, heat):
    target = CosineSimilarity(np.arange(1, 6, dtype=np.float32))
    case = case_for(network, image, target)
    found = RoadMorf().measure(case, subject_of(heat))
    assert found.value is not None
    assert found.details["morf"]["kept"] is None
    found = Road(score="accuracy").measure(case, subject_of(heat))
    assert found.value is None
    assert "no class" in found.reason
