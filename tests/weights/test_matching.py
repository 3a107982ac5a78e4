"""Weights in other people's names, brought to Gluon's."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.errors import WeightsError
from cnnviz.models import zoo
from cnnviz.weights.matching import Expected, match

# A VGG in small: (convolution, batch norm, ReLU, pool) twice, three dense layers on a 2x2 grid.
GRID = 2
SMALL = {
    "features.0.weight": (4, 3, 3, 3),
    "features.0.bias": (4,),
    "features.1.gamma": (4,),
    "features.1.beta": (4,),
    "features.1.running_mean": (4,),
    "features.1.running_var": (4,),
    "features.4.weight": (5, 4, 3, 3),
    "features.4.bias": (5,),
    "features.5.gamma": (5,),
    "features.5.beta": (5,),
    "features.5.running_mean": (5,),
    "features.5.running_var": (5,),
    "features.8.weight": (7, 5 * GRID * GRID),
    "features.8.bias": (7,),
    "features.10.weight": (6, 7),
    "features.10.bias": (6,),
    "output.weight": (3, 6),
    "output.bias": (3,),
}
BATCH_NORMS = ("features.1", "features.5")
TORCHVISION_DENSE = {"features.8": "classifier.0", "features.10": "classifier.3"}
TORCHVISION_DENSE["output"] = "classifier.6"
TIMM_DENSE = {"features.8": "pre_logits.fc1", "features.10": "pre_logits.fc2"}
TIMM_DENSE["output"] = "head.fc"
OLD = {
    "features.0": "conv0",
    "features.1": "batchnorm0",
    "features.4": "conv1",
    "features.5": "batchnorm1",
    "features.8": "dense0",
    "features.10": "dense1",
    "output": "dense2",
}


@pytest.fixture
def gluon():
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(s).astype(np.float32) for name, s in SMALL.items()}


def foreign(gluon, dense):
    """The same network as a state dict with torch's names."""
    state = {}
    for name, array in gluon.items():
        layer, last = name.rsplit(".", 1)
        if layer in BATCH_NORMS:
            last = {"gamma": "weight", "beta": "bias"}.get(last, last)
            state[f"{layer}.num_batches_tracked"] = np.array(7)
        state[f"{dense.get(layer, layer)}.{last}"] = array
    return state


def timm(gluon):
    state = foreign(gluon, TIMM_DENSE)
    # fc1 is a convolution over the whole grid, by channel, row and column.
    fc1 = state["pre_logits.fc1.weight"]
    state["pre_logits.fc1.weight"] = np.stack([row.reshape(5, GRID, GRID) for row in fc1])
    state["pre_logits.fc2.weight"] = state["pre_logits.fc2.weight"][:, :, None, None]
    return state


def old(gluon, form, shift=0):
    def name(key):
        layer, last = key.rsplit(".", 1)
        kind = OLD[layer].rstrip("0123456789")
        return form.format(f"{kind}{int(OLD[layer][len(kind) :]) + shift}_{last}")

    return {name(key): array for key, array in gluon.items()}


def marked(gluon):
    """As Module.save_checkpoint() wrote them: markers, and the moving statistics apart."""
    return {
        ("aux:" if "running" in key else "arg:") + key.replace("running", "moving"): array
        for key, array in old(gluon, "vgg0_{}").items()
    }


STYLES = {
    "gluon": lambda g: g,
    "gluon, in any order": lambda g: dict(reversed(list(g.items()))),
    "torchvision": lambda g: foreign(g, TORCHVISION_DENSE),
    "timm": timm,
    "DataParallel": lambda g: {f"module.{k}": v for k, v in foreign(g, TIMM_DENSE).items()},
    "compiled": lambda g: {f"_orig_mod.model.{k}": v for k, v in timm(g).items()},
    "prefix": lambda g: old(g, "vgg0_{}"),
    "other prefix": lambda g: old(g, "my_net7_stage1_{}"),
    "no prefix": lambda g: old(g, "{}"),
    "second network of a process": lambda g: old(g, "vgg1_{}", shift=13),
    "arg and aux": marked,
    "half precision": lambda g: {k: v.astype(np.float16) for k, v in g.items()},
    "double precision": lambda g: {k: v.astype(np.float64) for k, v in g.items()},
}


@pytest.mark.subprocess
@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_the_same_values(gluon, style):
    matched = match(STYLES[style](gluon), Expected(SMALL))
    assert list(matched) == list(SMALL)
    tolerance = 1e-3 if style == "half precision" else 0
    for name, array in gluon.items():
        assert matched[name].dtype == np.float32
        assert matched[name].flags.c_contiguous
        np.testing.assert_allclose(matched[name], array, rtol=tolerance, atol=tolerance)


def test_fc1_is_flattened_channel_first(gluon):
    # Feature (channel 2, row 1, column 0) of a 2x2 grid is number 2*4 + 1*2 + 0 = 10.
    state = timm(gluon)
    matched = match(state, Expected(SMALL))
    assert matched["features.8.weight"][3, 10] == state["pre_logits.fc1.weight"][3, 2, 1, 0]


def test_float32_is_not_copied(gluon):
    for name, array in match(gluon, Expected(SMALL)).items():
        assert np.shares_memory(array, gluon[name])


# torchvision's configurations A, B, D and E, as in the paper's table 1.
CONFIGURATIONS = {
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def torchvision_names(name):
    """Names of a torchvision state dict in order, with the number of dimensions."""
    index = 0
    for item in CONFIGURATIONS[name.split("_")[0]].split():
        if item == "M":
            index += 1
            continue
        yield f"features.{index}.weight", 4
        yield f"features.{index}.bias", 1
        if name.endswith("_bn"):
            index += 1
            for last in ("weight", "bias", "running_mean", "running_var"):
                yield f"features.{index}.{last}", 1
            yield f"features.{index}.num_batches_tracked", 0
        index += 2
    for index in (0, 3, 6):
        yield f"classifier.{index}.weight", 2
        yield f"classifier.{index}.bias", 1


def shrunk(name):
    """A real network's names, with a size of one everywhere."""
    shapes = zoo.parameter_shapes(zoo.get(name))
    return {key: (1,) * len(shape) for key, shape in shapes.items()}


VGGS = [name for name in zoo.names() if name.startswith("vgg")]


@pytest.mark.parametrize("name", VGGS)
def test_torchvisions_names_of_the_real_networks(name):
    state = {
        key: np.full((1,) * dimensions, number, np.float32)
        for number, (key, dimensions) in enumerate(torchvision_names(name))
    }
    matched = match(state, Expected(shrunk(name)))
    # Both list parameters in the network's order, so the numbers must come out in order too.
    kept = [a.item() for key, a in state.items() if not key.endswith("num_batches_tracked")]
    assert [array.item() for array in matched.values()] == kept


def test_missing_extra_and_wrong_shapes_are_named(gluon):
    for name in ("features.0.bias", "features.4.bias", "features.8.bias", "output.bias"):
        del gluon[name]
    gluon["head.extra"] = np.zeros(1, np.float32)
    gluon["features.4.weight"] = np.zeros((5, 4, 1, 1), np.float32)
    with pytest.raises(WeightsError) as caught:
        match(gluon, Expected(SMALL, "vgg16"), source="my.params")
    assert str(caught.value) == (
        "my.params does not fit vgg16: 4 of 18 parameters are missing (features.0.bias, "
        "features.4.bias, features.8.bias, ...); 1 are not the network's (head.extra); 1 has "
        "another shape (features.4.weight (5, 4, 1, 1) instead of (5, 4, 3, 3))."
    )


def test_a_missing_first_layer_is_the_one_that_is_named(gluon):
    state = {k: v for k, v in old(gluon, "vgg0_{}").items() if not k.startswith("vgg0_conv0_")}
    with pytest.raises(
        WeightsError, match=r"2 of 18 .* \(features\.0\.weight, features\.0\.bias\)\."
    ):
        match(state, Expected(SMALL))


def test_the_same_parameter_twice_is_told(gluon):
    gluon["vgg0_conv0_weight"] = gluon["features.0.weight"]
    with pytest.raises(WeightsError, match=r"1 are not the network's \(vgg0_conv0_weight\)"):
        match(gluon, Expected(SMALL))


def test_whole_numbers_are_refused(gluon):
    gluon["output.bias"] = np.zeros(3, np.int8)
    with pytest.raises(WeightsError, match=r"1 are not floating point \(output\.bias int8\)"):
        match(gluon, Expected(SMALL))


def test_another_network_is_told_and_asked_for_only_then(gluon):
    def unasked():
        raise AssertionError

    match(gluon, Expected(SMALL), similar_model=unasked)
    gluon["more.weight"] = np.zeros(1, np.float32)
    with pytest.raises(WeightsError, match=r"\. These look like vgg19's: try --model vgg19\.$"):
        match(gluon, Expected(SMALL), similar_model=lambda: "vgg19")


def test_other_classes_are_recognized(gluon):
    gluon["output.weight"] = np.zeros((10, 6), np.float32)
    gluon["output.bias"] = np.zeros(10, np.float32)
    with pytest.raises(WeightsError, match=r"2 have another shape .* for 10, whose names --labels"):
        match(gluon, Expected(SMALL))
    gluon["features.0.bias"] = np.zeros(9, np.float32)
    with pytest.raises(WeightsError) as caught:
        match(gluon, Expected(SMALL))
    assert "--labels" not in str(caught.value)
