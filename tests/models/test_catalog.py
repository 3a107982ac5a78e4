"""The catalogue against the real networks of Gluon's zoo."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from cnnviz.errors import UsageError, WeightsError
from cnnviz.models import catalog, store
from cnnviz.network.params import write_params
from cnnviz.network.runtime import import_mxnet

# Learned parameters as torchvision's documentation gives them (num_params of the weights).
PARAMETERS = {
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}


def test_lists_the_eight_vggs_and_the_demo():
    assert catalog.names() == (*PARAMETERS, "demo")
    assert [entry.name for entry in catalog.entries()] == list(catalog.names())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    assert catalog.get(name).parameters == PARAMETERS[name]


def test_download_size():
    # vgg16 has no running statistics: four bytes for each parameter.
    assert catalog.get("vgg16").download_bytes == 4 * 138_357_544
    # vgg11_bn's eight batch norms keep 2 * 2752 running statistics, as many as they learn.
    assert catalog.get("vgg11_bn").download_bytes == 4 * (132_868_840 + 2 * 2752)


@pytest.fixture(scope="module", params=PARAMETERS)
def built(request):
    """A zoo's VGG with all its shapes known but no memory for its values."""
    mx = import_mxnet()
    block = getattr(mx.gluon.model_zoo.vision, request.param)(prefix="")
    block.infer_shape(mx.nd.zeros((1, 3, 224, 224)))
    return catalog.get(request.param), block


def test_shapes_are_the_real_networks(built):
    entry, block = built
    real = {name: p.shape for name, p in block._collect_params_with_prefix().items()}
    assert catalog.parameter_shapes(entry) == real
    assert list(catalog.parameter_shapes(entry)) == list(real)


def test_default_layer_is_the_last_with_height_and_width(built):
    entry, block = built
    nn = import_mxnet().gluon.nn
    group, index = entry.default_layer.split(".")
    assert group == "features"
    layers = list(block.features)
    wanted = nn.BatchNorm if entry.name.endswith("_bn") else nn.Conv2D
    assert isinstance(layers[int(index)], wanted)
    assert isinstance(layers[int(index) + 1], nn.Activation)
    assert not any(
        isinstance(layer, (nn.Conv2D, nn.BatchNorm)) for layer in layers[int(index) + 1 :]
    )


def test_the_tutorials_layer():
    assert catalog.get("vgg16").default_layer == "features.28"


def test_other_numbers_of_classes():
    shapes = catalog.parameter_shapes(catalog.get("vgg16"), classes=10)
    assert shapes["output.weight"] == (10, 4096)
    assert shapes["output.bias"] == (10,)


@pytest.mark.parametrize(
    ("name", "told"), [("vgg17", "vgg1"), ("VGG16", "vgg16"), ("resnet", "known: vgg11, ")]
)
def test_unknown_names_get_suggestions(name, told):
    with pytest.raises(UsageError, match=told) as caught:
        catalog.get(name)
    assert repr(name) in str(caught.value)


def test_labels_are_as_many_as_outputs():
    assert len(catalog.labels(catalog.get("vgg19_bn"))) == 1000
    assert len(catalog.labels(catalog.get("demo"))) == 8


def test_listing_imports_neither_mxnet_nor_the_hub():
    program = (
        "import sys\n"
        "from cnnviz.models import catalog, converters, labels, store\n"
        "[store.cached(name) for name in catalog.names() if name != 'demo']\n"
        "labels.resolve_target('tabby', catalog.labels(catalog.get('vgg16')), 1000)\n"
        "print(sorted({'mxnet', 'huggingface_hub', 'torch', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


SMALL = {
    "features.0.weight": (4, 3, 3, 3),
    "features.0.bias": (4,),
    "features.1.weight": (6, 36),
    "features.1.bias": (6,),
    "output.weight": (5, 6),
    "output.bias": (5,),
}


def load(entry, path=None, classes=None, **options):
    block = catalog.build_block(entry, classes)
    return block, catalog.load_weights(block, entry, path, classes=classes, **options)


@pytest.fixture
def small(monkeypatch):
    """vgg16, but small: two dense layers on a 3x3 grid."""
    nn = import_mxnet().gluon.nn

    class Small(import_mxnet().gluon.HybridBlock):
        def __init__(self, classes):
            super().__init__(prefix="")
            self.features = nn.HybridSequential(prefix="")
            self.features.add(nn.Conv2D(4, 3), nn.Dense(6))
            self.output = nn.Dense(classes)

        def hybrid_forward(self, F, x):
            return self.output(self.features(x))

    def shapes(entry, classes=5):
        return {
            key: (classes, *shape[1:]) if key.startswith("output") else shape
            for key, shape in SMALL.items()
        }

    monkeypatch.setattr(catalog, "parameter_shapes", shapes)
    monkeypatch.setattr(catalog, "build_block", lambda entry, classes=None: Small(classes or 5))
    monkeypatch.setattr(catalog, "_IMAGENET_CLASSES", 5)
    rng = np.random.default_rng(0)
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in SMALL.items()}


def test_loads_a_file(tmp_path, small):
    path = tmp_path / "w.params"
    write_params(path, small)
    block, info = load(catalog.get("vgg16"), path)
    parameters = block._collect_params_with_prefix()
    assert {p.grad_req for p in parameters.values()} == {"null"}
    for name, array in small.items():
        np.testing.assert_array_equal(parameters[name].data().asnumpy(), array)
    assert info.path == path
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    # The same network in NumPy: one convolution on a 3x3 input, then two dense layers.
    x = np.random.default_rng(1).standard_normal((1, 3, 5, 5)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(1, 2))
    conv = np.einsum("cyxij,fcij->fyx", windows, small["features.0.weight"])
    conv += small["features.0.bias"][:, None, None]
    hidden = small["features.1.weight"] @ conv.ravel() + small["features.1.bias"]
    logits = small["output.weight"] @ hidden + small["output.bias"]
    ours = block(import_mxnet().nd.array(x)).asnumpy()[0]
    np.testing.assert_allclose(ours, logits, rtol=1e-4, atol=1e-4)


def test_without_a_file_asks_the_store(tmp_path, small, monkeypatch):
    path = tmp_path / "found.params"
    write_params(path, small)
    asked = []

    def ensure(name, **options):
        asked.append((name, options["progress"]))
        return store.LocatedWeights(path, "somewhere")

    monkeypatch.setattr(store, "ensure_weights", ensure)
    _, info = load(catalog.get("vgg13"), progress=False)
    assert asked == [("vgg13", False)]
    assert (info.path, info.source) == (path, "somewhere")


def test_weights_for_other_classes_need_their_number(tmp_path, small):
    path = tmp_path / "two.params"
    fine = {**small, "output.weight": small["output.weight"][:2], "output.bias": np.zeros(2, "f4")}
    write_params(path, fine)
    with pytest.raises(
        WeightsError, match=r"output\.weight \(2, 6\) instead of \(5, 6\).*--labels"
    ):
        load(catalog.get("vgg16"), path)
    block, _ = load(catalog.get("vgg16"), path, classes=2)
    assert block(import_mxnet().nd.zeros((1, 3, 5, 5))).shape == (1, 2)


def test_a_wrong_file_is_told(tmp_path, small):
    path = tmp_path / "w.params"
    write_params(path, {"features.0.weight": small["features.0.weight"]})
    with pytest.raises(WeightsError, match=r"w\.params does not fit vgg16: 5 of 6 parameters"):
        load(catalog.get("vgg16"), path)


def test_the_demo():
    from cnnviz.models import demo

    entry = catalog.get("demo")
    block, info = load(entry)
    parameters = block._collect_params_with_prefix()
    learned = sum(p.data().size for name, p in parameters.items() if ".running_" not in name)
    assert entry.parameters == learned
    assert info.path == demo.weights_path() == store.cached("demo")
    nn = import_mxnet().gluon.nn
    layers = list(block.features)
    index = int(entry.default_layer.split(".")[1])
    assert isinstance(layers[index], nn.BatchNorm)
    assert not any(isinstance(layer, (nn.Conv2D, nn.BatchNorm)) for layer in layers[index + 1 :])
    assert block(import_mxnet().nd.zeros((1, 3, 224, 224))).shape == (1, len(demo.CLASSES))
