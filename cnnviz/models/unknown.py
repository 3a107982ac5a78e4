"""Errors for networks that cnnviz does not know: what they are, and what can be done."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from cnnviz.errors import CnnvizError
from cnnviz.models import program_files
from cnnviz.text import (
    did_you_mean,
    folded,
    is_url,
    joined,
    matching,
    paragraph,
    printable,
    similar,
)

_WEIGHTS = (".params", ".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_OURS = (".json", ".yaml", ".yml", *_WEIGHTS, *program_files.SUFFIXES)
_READ = (
    "an ONNX file (.onnx), a network that PyTorch exported (.pt2, TorchScript), an MXNet symbol "
    "(net-symbol.json)"
)
_NAMED = (
    "`cnnviz models` lists names; torchvision:NAME and timm:NAME are networks of these packages, "
    "where they are installed"
)
_MOST_PICKLED = 100_000_000
_KERAS = (".h5", ".hdf5", ".keras")
#: Files of whole networks in formats that cnnviz does not read, and what they are.
_FOREIGN = {
    ".h5": "a Keras network",
    ".hdf5": "a Keras network",
    ".keras": "a Keras network",
    ".tflite": "a TensorFlow Lite network",
    ".pb": "a TensorFlow network",
    ".pbtxt": "a TensorFlow network",
    ".mlmodel": "a Core ML network",
    ".mlpackage": "a Core ML network",
    ".mlmodelc": "a Core ML network",
    ".caffemodel": "a Caffe network",
    ".prototxt": "a Caffe network",
    ".engine": "a TensorRT network",
    ".plan": "a TensorRT network",
    ".trt": "a TensorRT network",
    ".pte": "an ExecuTorch network",
    ".ptl": "a network of PyTorch Mobile",
    ".mar": "an archive of TorchServe",
    ".pdmodel": "a Paddle network",
    ".xml": "an OpenVINO network",
}
_BUILT = "Give the ONNX file that it was built from, or export one where the network was trained."
#: How some of these become ONNX files.
_ADVICE = {
    ".tflite": (
        "The package tf2onnx writes it as ONNX: `python -m tf2onnx.convert --tflite {path} "
        "--output {name}.onnx`; then --model {name}.onnx."
    ),
    ".pb": (
        "The package tf2onnx writes a folder saved by TensorFlow as ONNX: `python -m "
        "tf2onnx.convert --saved-model FOLDER --output {name}.onnx`; then --model {name}.onnx."
    ),
    **dict.fromkeys((".engine", ".plan", ".trt", ".xml", ".mlmodel", ".mlpackage"), _BUILT),
}
#: Where other libraries keep networks, in front of their names.
_LIBRARIES = re.compile(
    r"(?:(?:hf[-_]hub|huggingface|timm|torchvision(?:\.models)?|torch\.hub|keras(?:\.applications)?"
    r"|tf|pytorch|gluoncv|microsoft|google|facebook)[:/.])+",
    re.IGNORECASE,
)
#: What networks are called that are known, but not here.
_KNOWN_ELSEWHERE = re.compile(
    r"bagnet|beit|cait|clip|coat|convit|convmixer|convnext|crossvit|cspnet|darknet|davit|deit|dino"
    r"|dla|dpn|edgenext|efficientnet|efficientvit|eva|focalnet|fbnet|ghostnet|googlenet|hrnet"
    r"|inceptionv4|inceptionresnet|levit|maxvit|mixer|mnasnet|mobilenetv3|mobilenetv4|mobilevit"
    r"|mvit|nasnet|nfnet|pit|poolformer|pvt|regnet|repvgg|resnest|resnext|rexnet|seresnet|shufflenet"
    r"|swin|tinyvit|vit|volo|wideresnet|xception|xcit|yolo"
)
#: Packages of which cnnviz takes networks by name, as others write that.
_PACKAGE = re.compile(r"(?:.*[:/])?(torchvision|timm)(?:\.models)?[:/.]", re.IGNORECASE)
#: torchvision's and timm's names of networks that are the same here.
_SAME = {
    "inceptionv3": "inceptionv3",
    "mobilenetv2": "mobilenetv2_1.0",
    "mobilenetv2100": "mobilenetv2_1.0",
    "resnet18": "resnet18_v1",
    "resnet34": "resnet34_v1",
    "squeezenet10": "squeezenet1.0",
    "squeezenet11": "squeezenet1.1",
}


def describe_file(path: Path, names: Sequence[str], recognize: Callable[[Path], str | None]) -> str:
    """Why a file that is there is no network, for ``--model``.

    Args:
        path: the file.
        names: of all networks.
        recognize: gives the name of the network that a file's weights fit.
    """
    suffix, shown = path.suffix.lower(), printable(str(path))
    if suffix in _KERAS:
        return (
            f"{shown} is a Keras network. Write it as ONNX where Keras is installed, with "
            f'`model = keras.models.load_model("{path.name}")`, '
            "`model(keras.ops.zeros((1, *model.input_shape[1:])))` and "
            f'`model.export("{path.stem}.onnx", format="onnx")`; then --model {path.stem}.onnx.'
        )
    if suffix in _FOREIGN:
        advice = (
            _ADVICE.get(suffix, "").format(path=shown, name=path.stem) or f"--model takes {_READ}."
        )
        return f"{shown} is {_FOREIGN[suffix]}, which cannot be read. {advice}"
    if suffix in _WEIGHTS and _is_pickled_module(path):
        return (
            f"{shown} is a whole module that PyTorch pickled: loading it would run whatever code "
            "stands in it. Export it where it was made, with `exported = "
            "torch.export.export(model.eval(), (torch.zeros(1, 3, 224, 224),))` and "
            f'`torch.export.save(exported, "{path.stem}.pt2")`; then --model {path.stem}.pt2. '
            "Or, if torchvision or timm has the network, give its weights alone: --model "
            f"torchvision:NAME --weights {shown}."
        )
    if suffix in _WEIGHTS:
        told = program_files.came_instead(path)
        if told:
            return f"{shown} is no file of weights: {told}."
        return _weights(path, names, recognize)
    return (
        f"{shown} is no network: --model takes {_READ}, a configuration file (.yaml), or a name "
        "that `cnnviz models` lists."
    )


def describe_folder(folder: Path) -> str:
    """What to do about a folder without a configuration file that others know how to read.

    Returns:
        A sentence; empty if that is not known.
    """
    if (folder / "saved_model.pb").is_file():
        return (
            "TensorFlow saved the network in it. The package tf2onnx writes it as ONNX: `python -m "
            f"tf2onnx.convert --saved-model {folder} --output net.onnx`; then --model net.onnx."
        )
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(config, dict):
        return ""
    weights = next(iter(sorted(folder.glob("*.safetensors"))), folder / "pytorch_model.bin")
    if isinstance(name := config.get("architecture"), str):  # timm's; others have several
        return f"It is timm's: --model timm:{printable(name)} --weights {weights}."
    if "architectures" in config:
        return (
            "It is of the package transformers: load it there, in Python, and give the module to "
            "cnnviz.load(module, input_size=...)."
        )
    return ""


def _is_pickled_module(path: Path) -> bool:
    """Whether a file of ``torch.save`` holds a module, and not tensors alone: by its classes."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [one for one in archive.infolist() if one.filename.endswith("/data.pkl")]
            return any(
                one.file_size < _MOST_PICKLED and b"torch.nn.modules" in archive.read(one)
                for one in pickles
            )
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, ValueError):
        return False


def is_path(model: str) -> bool:
    """Whether what does not exist was meant for a file rather than for a network's name."""
    if is_url(model) or _LIBRARIES.match(model):
        return False
    return "/" in model or Path(model).suffix.lower() in _OURS


def describe_several(model: str, names: Sequence[str]) -> str | None:
    """Why networks with commas between them are not one; None if they are no such networks."""
    parts = [part.strip() for part in model.split(",")]
    found = [
        part
        for part in parts
        if matching(part, names) or program_files.is_package_name(part) or Path(part).is_file()
    ]
    if len(parts) == 1 or not found:
        return None
    cure = "Run the command once for each."
    if len(parts) == 2:
        a, b = map(printable, parts)
        cure = f"`cnnviz compare` takes two, A's first: --model {a} --model {b}."
    return f"'{printable(model)}' names {len(parts)} networks, and --model takes one. {cure}"


def describe_name(name: str, names: Sequence[str]) -> str:
    """Why a name, or a path of nothing, is no network."""
    shown = printable(name)
    if is_url(name):
        return f"'{shown}' is a URL, which cnnviz does not read: download the network first."
    suffix = Path(name).suffix.lower()
    if suffix in _FOREIGN:
        return (
            f"There is no file {shown}, and {_FOREIGN[suffix]} cannot be read: --model takes "
            f"{_READ}."
        )
    package = _PACKAGE.match(name)
    if package and package.end() == len(name):
        return f"'{shown}' lacks a network's name behind it, such as {shown}resnet50."
    bare = _LIBRARIES.sub("", name, count=1)
    same = _same(bare, names)
    if same is not None:
        return f"There is no network '{shown}'; here it is called {same}: --model {same}."
    if bare != name or _KNOWN_ELSEWHERE.match(_key(bare)):
        close = similar(bare, names, 2, 0.75)
        hint = f"Similar: {joined(close)}." if close else ""
        other = (
            f"The package's own is --model {package[1].lower()}:{printable(bare)}."
            if package
            else f"{_NAMED}. From elsewhere --model takes {_READ}."
        )
        return paragraph(f"There is no network '{shown}'.", other, hint)
    hint = did_you_mean(name, names)
    return paragraph(f"There is no network '{shown}'.", hint, "`cnnviz models` lists them.")


def _weights(path: Path, names: Sequence[str], recognize: Callable[[Path], str | None]) -> str:
    """The error for weights that were given for a network."""
    shown = printable(str(path))
    symbol = path.with_name(re.sub(r"(-\d{4})?\.params$", "-symbol.json", path.name))
    if symbol != path and symbol.is_file():
        return f"{shown} is a file of weights; the network is beside it: --model {symbol}."
    name = _same(path.stem, names) or _recognized(path, recognize)
    return (
        f"{shown} looks like a file of weights: give the network too, --model {name or 'NAME'} "
        f"--weights {shown}" + ("." if name else f". {_NAMED}.")
    )


def _recognized(path: Path, recognize: Callable[[Path], str | None]) -> str | None:
    """The network that a file's weights fit."""
    try:
        return recognize(path)
    except CnnvizError:  # damaged, or no weights: said once the network is known
        return None


def _same(name: str, names: Sequence[str]) -> str | None:
    """The network here that is called so by others, with what they put behind its name."""
    for end in (name, name.rpartition(".")[0], re.split(r"-[0-9a-f]{8}|-\d{4}", name)[0]):
        key = _key(end)
        for own in names:
            if key and key == _key(own):
                return own
        if key in _SAME:
            return _SAME[key]
    return None


def _key(name: str) -> str:
    return re.sub(r"[\W_]", "", folded(name))
