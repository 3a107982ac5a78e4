"""Weights in other people's names and files, brought to Gluon's."""

from __future__ import annotations

import json
import struct
import sys
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.errors import WeightsError
from cnnviz.models import catalog
from cnnviz.weights.converters import match, read_weights
from cnnviz.weights.params_file import write_params

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


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_the_same_values(gluon, style):
    matched = match(STYLES[style](gluon), SMALL)
    assert list(matched) == list(SMALL)
    tolerance = 1e-3 if style == "half precision" else 0
    for name, array in gluon.items():
        assert matched[name].dtype == np.float32
        assert matched[name].flags.c_contiguous
        np.testing.assert_allclose(matched[name], array, rtol=tolerance, atol=tolerance)


def test_fc1_is_flattened_channel_first(gluon):
    # Feature (channel 2, row 1, column 0) of a 2x2 grid is number 2*4 + 1*2 + 0 = 10.
    state = timm(gluon)
    matched = match(state, SMALL)
    assert matched["features.8.weight"][3, 10] == state["pre_logits.fc1.weight"][3, 2, 1, 0]


def test_float32_is_not_copied(gluon):
    for name, array in match(gluon, SMALL).items():
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
    shapes = catalog.parameter_shapes(catalog.get(name))
    return {key: (1,) * len(shape) for key, shape in shapes.items()}


VGGS = [name for name in catalog.names() if name.startswith("vgg")]
#: One of each kind of block, and the smallest that has it.
FAMILIES = {entry.family: entry.name for entry in reversed(catalog.entries())}
del FAMILIES["demo"]
ZOO = sorted({*FAMILIES.values(), "resnet18_v1", "resnet50_v2", "mobilenetv2_1.0", "densenet121"})


@pytest.mark.parametrize("name", VGGS)
def test_torchvisions_names_of_the_real_networks(name):
    state = {
        key: np.full((1,) * dimensions, number, np.float32)
        for number, (key, dimensions) in enumerate(torchvision_names(name))
    }
    matched = match(state, shrunk(name))
    # Both list parameters in the network's order, so the numbers must come out in order too.
    kept = [a.item() for key, a in state.items() if not key.endswith("num_batches_tracked")]
    assert [array.item() for array in matched.values()] == kept


def prefix_style(name, **options):
    """A zoo's network in Gluon's older names, filled with numbers, and what is to come of it."""
    block = import_mxnet().gluon.model_zoo.vision.get_model(name, **options)
    # What a parameter is called in both styles, from Gluon itself: the object is the same.
    structural = {id(p): key for key, p in block._collect_params_with_prefix().items()}
    shapes = shrunk(name)
    numbers = {key: float(number) for number, key in enumerate(shapes)}
    state = {
        prefixed: np.full(shapes[structural[id(p)]], numbers[structural[id(p)]], np.float32)
        for prefixed, p in block.collect_params().items()
    }
    assert all("." not in key for key in state)
    return state, shapes, numbers


@pytest.mark.parametrize("name", VGGS)
def test_gluons_own_prefix_style_names(name):
    state, shapes, numbers = prefix_style(name)
    matched = match(state, shapes)
    assert {key: array.item() for key, array in matched.items()} == numbers


def old_names(name):
    return catalog._old_names(catalog.build(catalog.get(name)).graph)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("options", [{}, {"prefix": "my_net7_"}, {"prefix": ""}], ids=str)
def test_prefix_style_names_of_every_family(name, options):
    """Layers are numbered anew in each stage, and not in the order of the names."""
    state, shapes, numbers = prefix_style(name, **options)
    state = {("aux:" if "running" in key else "arg:") + key: state[key] for key in sorted(state)}
    state = {key.replace("running_", "moving_"): array for key, array in state.items()}
    matched = match(state, shapes, old_names=old_names(name))
    assert {key: array.item() for key, array in matched.items()} == numbers


def test_missing_extra_and_wrong_shapes_are_named(gluon):
    for name in ("features.0.bias", "features.4.bias", "features.8.bias", "output.bias"):
        del gluon[name]
    gluon["head.extra"] = np.zeros(1, np.float32)
    gluon["features.4.weight"] = np.zeros((5, 4, 1, 1), np.float32)
    with pytest.raises(WeightsError) as caught:
        match(gluon, SMALL, network="vgg16", source="my.params")
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
        match(state, SMALL)


def test_the_same_parameter_twice_is_told(gluon):
    gluon["vgg0_conv0_weight"] = gluon["features.0.weight"]
    with pytest.raises(WeightsError, match=r"1 are not the network's \(vgg0_conv0_weight\)"):
        match(gluon, SMALL)


def test_whole_numbers_are_refused(gluon):
    gluon["output.bias"] = np.zeros(3, np.int8)
    with pytest.raises(WeightsError, match=r"1 are not floating point \(output\.bias int8\)"):
        match(gluon, SMALL)


def test_another_network_is_told_and_asked_for_only_then(gluon):
    def unasked():
        raise AssertionError

    match(gluon, SMALL, lookalike=unasked)
    gluon["more.weight"] = np.zeros(1, np.float32)
    with pytest.raises(WeightsError, match=r"\. These look like vgg19's: try --model vgg19\.$"):
        match(gluon, SMALL, lookalike=lambda: "vgg19")


def test_other_classes_are_recognized(gluon):
    gluon["output.weight"] = np.zeros((10, 6), np.float32)
    gluon["output.bias"] = np.zeros(10, np.float32)
    with pytest.raises(WeightsError, match=r"2 have another shape .* for 10, whose names --labels"):
        match(gluon, SMALL)
    gluon["features.0.bias"] = np.zeros(9, np.float32)
    with pytest.raises(WeightsError) as caught:
        match(gluon, SMALL)
    assert "--labels" not in str(caught.value)


# Files ------------------------------------------------------------------------------------------


def same(read, wanted):
    assert set(read) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(read[name], array)


def test_reads_params_whatever_the_suffix(tmp_path, gluon):
    write_params(tmp_path / "w.bin", gluon)
    same(read_weights(tmp_path / "w.bin"), gluon)


def test_reads_safetensors(tmp_path, gluon):
    save_file(timm(gluon), tmp_path / "m.safetensors", metadata={"format": "pt"})
    same(read_weights(tmp_path / "m.safetensors"), timm(gluon))


def test_reads_half_precision_safetensors(tmp_path):
    # float16: 1.5 is 0x3E00; bfloat16: -3.0 is 0xC040, the upper half of a float32's 0xC0400000.
    header = json.dumps(
        {
            "half": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
            "brain": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [2, 6]},
        }
    ).encode()
    path = tmp_path / "h.safetensors"
    values = struct.pack("<HHH", 0x3E00, 0xC040, 0x3F80)
    path.write_bytes(struct.pack("<Q", len(header)) + header + values)
    read = read_weights(path)
    assert read["half"].tolist() == [1.5]
    assert read["brain"].dtype == np.float32
    assert read["brain"].tolist() == [[-3.0], [1.0]]
    matched = match(read, {"half": (1,), "brain": (2, 1)})
    assert matched["half"].dtype == np.float32
    assert matched["half"].tolist() == [1.5]


def test_reads_empty_tensors(tmp_path):
    save_file({"a": np.ones(2, np.float32), "z": np.zeros((0, 3), np.float32)}, tmp_path / "e")
    assert read_weights(tmp_path / "e")["z"].shape == (0, 3)


def test_every_truncation_of_safetensors_is_told(tmp_path):
    save_file({"a": np.ones((3, 2), np.float32)}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    cut = tmp_path / "cut.safetensors"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut\.safetensors"):
            read_weights(cut)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>403</html>", "not a weights file: it looks like a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b'{"a": 1, "b": [2, 3]}', "looks like JSON"),
        (b"\x80\x04\x95\x0b\x00\x00\x00", "Python pickle"),
        (b"\x89PNG\r\n\x1a\n and so on", "begins with the bytes 89 50 4e 47"),
        (b"PK\x03\x04 but no zip", "damaged or incomplete .pth"),
        (struct.pack("<Q", 10) + b"{notjson}  ", "damaged or incomplete .safetensors"),
    ],
)
def test_says_what_a_file_is_instead(tmp_path, content, told):
    path = tmp_path / "w.params"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=told) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


def test_a_zip_of_weights_is_to_be_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("vgg16-e660d456.params", b"...")
    with pytest.raises(WeightsError, match=r"unpack it and give vgg16-e660d456\.params"):
        read_weights(tmp_path / "w.zip")


@pytest.fixture(params=["zip", "old"])
def pth(request, tmp_path):
    """A file that begins as PyTorch's do, new and old; nothing in it can be loaded."""
    path = tmp_path / "vgg16.pth"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("vgg16/data.pkl", b"\x80\x02}.")
    else:
        path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(50))
    return path


def test_pth_without_torch_says_what_to_install(pth, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ImportError
    with pytest.raises(WeightsError, match=r"PyTorch file.*`pip install torch`.*\.safetensors"):
        read_weights(pth)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}])
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_with_torch(tmp_path, gluon, wrap, zipped):
    import torch

    state = {name: torch.tensor(array) for name, array in timm(gluon).items()}
    torch.save(wrap(state), tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    matched = match(read_weights(tmp_path / "m.pth"), SMALL)
    for name, array in gluon.items():
        np.testing.assert_array_equal(matched[name], array)


@pytest.mark.needs("torch")
def test_pth_that_would_run_code_is_refused(tmp_path):
    import torch

    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(WeightsError, match=r"save the network's state_dict\(\)"):
        read_weights(tmp_path / "module.pth")


@pytest.mark.needs("torch")
def test_pth_in_bfloat16(tmp_path):
    import torch

    torch.save({"a": torch.tensor([1.0, -3.0], dtype=torch.bfloat16)}, tmp_path / "b.pth")
    assert read_weights(tmp_path / "b.pth")["a"].tolist() == [1.0, -3.0]


@pytest.mark.needs("torch")
def test_pth_without_parameters(tmp_path):
    import torch

    torch.save({"epoch": 3}, tmp_path / "n.pth")
    with pytest.raises(WeightsError, match="holds no parameters"):
        read_weights(tmp_path / "n.pth")


def test_a_size_left_open_is_said_in_words():
    with pytest.raises(WeightsError, match=r"w \(2, 3, 3\) instead of \(4, any, 3\)"):
        match({"w": np.zeros((2, 3, 3), "f4")}, {"w": (4, 0, 3)}, network="x", source="y")
