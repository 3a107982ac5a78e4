"""What is known about a network, in one value, and in a configuration file beside the network.

A configuration file is YAML or JSON, usually called ``cnnviz.yaml``, in the network's folder::

    model: net-symbol.json            # or a name that `cnnviz models` lists
    weights: net-0007.params          # left out: the highest net-NNNN.params beside the symbol
    labels: classes.txt               # or a list: [cat, dog]
    input_size: 32                    # or 480x640: height by width
    mean: [0.4914, 0.4822, 0.4465]    # of pixels from 0 to 1; a number for each channel
    std: [0.2023, 0.1994, 0.2010]
    channels: rgb                     # or bgr, with mean and std in that order: this and all
    range: [0, 4095]                  # below is seldom needed
    display_channels: [3, 2, 1]
    layer: stage3_plus8
    head: class_scores
    activation: sigmoid               # softmax, sigmoid (each class by itself) or none (numbers)
    resize: crop                      # or stretch
    crop_fraction: 0.95               # or 224/232
    interpolation: bicubic
    name: my network

Its paths are relative to itself. Command-line options override the file, and the file overrides
what the network says of itself. Neither MXNet nor NumPy is needed to read one.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from cnnviz.errors import UsageError
from cnnviz.models.config_values import (
    parse_display,
    parse_fraction,
    parse_numbers,
    parse_range,
    parse_size,
)
from cnnviz.text import (
    decode,
    did_you_mean,
    expand_home,
    is_line,
    joined,
    matching,
    similar,
    yaml_problem,
)

#: What a configuration file is called in a network's folder, first choice first.
CONFIG_NAMES = ("cnnviz.yaml", "cnnviz.yml", "cnnviz.json")

_MOST_BYTES = 1_000_000
_LONGEST_TEXT = 1000


@dataclass(frozen=True)
class ModelConfig:
    """What is known about a network. None: nothing was said, and the network's own applies.

    Attributes:
        model: a name that ``cnnviz models`` lists, or the path of an exported symbol.
        weights: a weights file.
        labels: class names, in class order.
        input_size: (height, width) in pixels.
        mean: of pixels in [0, 1], one value a channel, in the order of the network's channels.
        std: likewise.
        channels: that order, ``rgb`` or ``bgr``.
        range: (low, high), the values in images that become 0 and 1.
        display_channels: indices of the channels that an image is displayed by, one or three.
        layer: the target layer's name.
        head: which output (or inner node) of an exported network gives the logits.
        activation: what makes probabilities of the logits, where the network does not say:
            ``softmax``, ``sigmoid`` or ``none``.
        resize: ``stretch`` or ``crop``.
        crop_fraction: the part of the resized image's short side that is kept.
        interpolation: ``area``, or the name of one of Pillow's filters.
        name: what the network is called in messages.
    """

    model: str
    weights: Path | None = None
    labels: tuple[str, ...] | None = None
    input_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str | None = None
    range: tuple[float, float] | None = None
    display_channels: tuple[int, ...] | None = None
    layer: str | None = None
    head: str | None = None
    activation: str | None = None
    resize: str | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    name: str | None = None

    def updated(self, **given: Any) -> ModelConfig:
        """A copy with some fields replaced, by all of ``given`` that is not None.

        A crop fraction goes with the way to resize that it was given for.
        """
        known = {key: value for key, value in given.items() if value is not None}
        if self.resize is not None and known.get("resize", self.resize) != self.resize:
            known.setdefault("crop_fraction", None)
        return replace(self, **known)


def find_config(model: str) -> ModelConfig:
    """What ``--model`` means: a name, a symbol file, a configuration file, or its folder.

    Raises:
        UsageError: it is none of these, or the configuration file is wrong.
    """
    from cnnviz.models import program_files, unknown, zoo

    if model in zoo.names():
        return ModelConfig(model)
    if program_files.is_package_name(model):
        return ModelConfig(model)
    if not model.strip():
        raise UsageError("The network's name is empty; `cnnviz models` lists names.")
    path = Path(expand_home(model))
    if path.is_dir():
        return read_config(_config_in(path))
    if path.is_file():
        if path.suffix in (".yaml", ".yml") or (path.suffix == ".json" and _is_json_config(path)):
            return read_config(path)
        if path.suffix == ".json" or program_files.is_program_file(path):
            return ModelConfig(str(path))
        from cnnviz.models.zoo_weights import recognize

        raise UsageError(unknown.describe_file(path, zoo.names(), recognize))
    symbol = path.with_name(f"{path.name}-symbol.json")
    if symbol.is_file():
        raise UsageError(f"There is no network {model!r}; did you mean {symbol}?")
    known = matching(model, zoo.names())
    if len(known) == 1:
        return ModelConfig(known[0])
    several = unknown.describe_several(model, zoo.names())
    if several is not None:
        raise UsageError(several)
    if unknown.is_path(model):
        raise UsageError(f"There is no file {model}.{_similar_file(path)}")
    raise UsageError(unknown.describe_name(model, zoo.names()))


def read_config(path: Path) -> ModelConfig:
    """Read a configuration file.

    Raises:
        UsageError: it cannot be read, lacks its model, or has an unknown key or a wrong value; the
            text names the file, the key and what was given.
    """
    content = _parse(path)
    if not isinstance(content, dict):
        raise UsageError(
            f"{path} is not a configuration file: expected are lines such as "
            "`model: net-symbol.json`."
        )
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in _KEYS:
            advice = did_you_mean(str(key)[:99], _KEYS, count=1) or f"Use {joined(_KEYS)}."
            raise UsageError(f"{path} has an unknown key {_shown(str(key))}. {advice}")
        if value is None:
            continue
        try:
            values[key] = _KEYS[key](value, path.parent)
        except ValueError as error:
            reason = f"{key} has to be {error}; it is {_shown(value)}"
            raise UsageError(f"{path}: {reason}.") from error
    if "model" not in values:
        raise UsageError(
            f"{path} does not say which network it is for: give `model`, a name or a file."
        )
    return ModelConfig(**values)


def _config_in(folder: Path) -> Path:
    from cnnviz.models import program_files, unknown

    for name in CONFIG_NAMES:
        if (folder / name).is_file():
            return folder / name
    called = folder.resolve().name
    networks = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file()
        and (path.name.endswith("-symbol.json") or program_files.is_program_file(path))
    )
    advice = unknown.describe_folder(folder) or (
        f"For the network in it give --model {folder / networks[0]}."
        if len(networks) == 1
        else f"Write one, or give a name that `cnnviz models` lists; {called} is none."
    )
    raise UsageError(f"The folder {folder} has no configuration file ({CONFIG_NAMES[0]}). {advice}")


def _is_json_config(path: Path) -> bool:
    """Whether a JSON file is a configuration file rather than a symbol, or nothing of the kind."""
    if path.name in CONFIG_NAMES:
        return True
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # reading it as a symbol says what is wrong
        return False
    return isinstance(content, dict) and "model" in content and "nodes" not in content


def _similar_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    names = [entry.name for entry in path.parent.iterdir()]
    close = similar(path.name, names, 1)
    return f" Did you mean {path.parent / close[0]}?" if close else ""


def _parse(path: Path) -> Any:
    import yaml

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(
                f"The configuration file {path} has more than {_MOST_BYTES:,} bytes; a "
                "few lines are enough."
            )
        text = decode(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"The configuration file {path} cannot be read: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The configuration file {path} is not a UTF-8 text file.") from error
    kind = "JSON" if path.suffix == ".json" else "YAML"
    try:
        if kind == "JSON":
            return json.loads(text)
        problem = yaml_problem(text)
        if problem is not None:
            raise UsageError(f"The configuration file {path} cannot be used: it {problem}.")
        return yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"The configuration file {path} is not JSON: {error.msg}, in line {error.lineno}."
        ) from error
    except yaml.MarkedYAMLError as error:
        where = f", in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = _shown(str(error.problem))[1:-1]
        raise UsageError(f"The configuration file {path} is not YAML: {problem}{where}.") from error
    except yaml.YAMLError as error:
        raise UsageError(
            f"The configuration file {path} is not YAML: it holds control characters."
        ) from error
    except RecursionError as error:
        raise UsageError(
            f"The configuration file {path} is not {kind}: it is nested too deeply."
        ) from error
    # PyYAML takes 2001-99-99 for a date and 0x for a number, and then stumbles in its own ways.
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise UsageError(
            f"The configuration file {path} is not {kind}: it has a value that means nothing "
            f"({_shown(str(error))[1:-1]}). Put text in quotes."
        ) from error


def _shown(value: Any) -> str:
    """A value as Python writes it, but short whatever it is."""
    writer = reprlib.Repr()
    writer.maxstring = writer.maxother = writer.maxlong = 200
    return writer.repr(value)


def _text(value: Any, _folder: Path) -> str:
    if not isinstance(value, str) or not value.strip() or not is_line(value, _LONGEST_TEXT):
        raise ValueError("a name")
    return value.strip()


def _model(value: Any, folder: Path) -> str:
    from cnnviz.models import program_files, zoo

    if not isinstance(value, str) or not value.strip() or not is_line(value, _LONGEST_TEXT):
        raise ValueError("a name that `cnnviz models` lists, or a network's file")
    if value in zoo.names() or program_files.is_package_name(value):
        return value
    path = folder / expand_home(value, folder)
    if not path.is_file():
        close = similar(value, zoo.names(), 1)
        raise ValueError(
            "a name that `cnnviz models` lists"
            + (f" (did you mean {close[0]}?)" if close else "")
            + f", or a network's file beside the configuration file ({_shown(str(path))[1:-1]} "
            "does not exist)"
        )
    if path.suffix != ".json" and not program_files.is_program_file(path):
        raise ValueError(
            "a name that `cnnviz models` lists, or a network's file: of ONNX (.onnx), PyTorch "
            "(.pt2, TorchScript) or MXNet (net-symbol.json)"
        )
    return str(path)


def _path(value: Any, folder: Path) -> Path:
    if not isinstance(value, str) or not value.strip() or not is_line(value, _LONGEST_TEXT):
        raise ValueError("a file")
    return folder / expand_home(value, folder)


def _labels(value: Any, folder: Path) -> tuple[str, ...]:
    from cnnviz.labels.label_files import labels_of, read_labels

    if isinstance(value, str) and value.strip():
        return read_labels(_path(value, folder))
    if isinstance(value, Mapping):
        try:
            return labels_of(value)
        except ValueError as error:
            raise ValueError("a name for every class, by its index from 0 on") from error
    # YAML takes an unquoted yes or no for a truth value, and digits for a number.
    if not isinstance(value, list) or not value:
        raise ValueError("a file with a class name a line, or a list of names")
    for name in value:
        if isinstance(name, bool) or not isinstance(name, (str, int)) or not str(name).strip():
            raise ValueError(f"a list of names ({_shown(name)} is none: put it in quotes)")
        if not is_line(str(name), _LONGEST_TEXT):
            raise ValueError(f"a list of names that can be shown ({_shown(name)} cannot)")
    return tuple(str(name).strip() for name in value)


def _size(value: Any, _folder: Path) -> tuple[int, int]:
    if isinstance(value, list):
        return parse_size("x".join(map(str, value)) if len(value) == 2 else "")
    return parse_size("" if isinstance(value, bool) else str(value))


def _numbers(value: Any, _folder: Path) -> tuple[float, ...]:
    parts = value if isinstance(value, list) else [value]
    return parse_numbers(",".join("" if isinstance(part, bool) else str(part) for part in parts))


def _range(value: Any, _folder: Path) -> tuple[float, float]:
    # YAML takes -1:1 for minutes and seconds, that is for -61.
    if isinstance(value, str):
        return parse_range(value)
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("the values that become 0 and 1, such as [0, 4095] or [-1, 1]")
    return parse_range(":".join(map(str, value)))


def _display(value: Any, _folder: Path) -> tuple[int, ...]:
    parts = value if isinstance(value, list) else [value]
    return parse_display(",".join("" if isinstance(part, bool) else str(part) for part in parts))


def _crop_fraction(value: Any, _folder: Path) -> float:
    return parse_fraction("" if isinstance(value, bool) else str(value))


def _one_of(module: str, name: str) -> Callable[[Any, Path], str]:
    """What reads one of the words that a module lists."""

    def read(value: Any, _folder: Path) -> str:
        words = getattr(import_module(module), name)
        if value not in words:
            raise ValueError(joined(words))
        return str(value)

    return read


_KEYS: Mapping[str, Callable[[Any, Path], Any]] = {
    "model": _model,
    "weights": _path,
    "labels": _labels,
    "input_size": _size,
    "mean": _numbers,
    "std": _numbers,
    "channels": _one_of("cnnviz.images.input_spec", "CHANNEL_ORDERS"),
    "range": _range,
    "display_channels": _display,
    "layer": _text,
    "head": _text,
    "activation": _one_of("cnnviz.graph.ends", "ACTIVATIONS"),
    "resize": _one_of("cnnviz.images.input_spec", "RESIZE_MODES"),
    "crop_fraction": _crop_fraction,
    "interpolation": _one_of("cnnviz.images.input_spec", "INTERPOLATIONS"),
    "name": _text,
}
