"""What torchvision and timm call the layers of the zoo's networks, and where theirs differ.

Where the architecture is the same, conversion is renaming, because the layers hold the same values
in the same order of axes. Where it is not, the file is refused with the reason: padding, stride and
activation stand in no weights file, so that some would load and compute something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import numpy as np

from cnnviz.images.input_spec import IMAGENET_MEAN, IMAGENET_STD
from cnnviz.types import Array

_Rules = Mapping[str, str | Callable[[re.Match[str]], str]]

#: Where the names of Inception v3's second classifier begin, which only training uses.
AUXILIARY = "AuxLogits."

#: Families that torchvision publishes and timm does not, so that Hugging Face has none of them.
TORCHVISION_ONLY = ("alexnet", "squeezenet")

_RESIDUAL_LAYERS = {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4}
_DENSE_LAYERS = {"norm1": 0, "conv1": 2, "norm2": 3, "conv2": 5}
_TRANSITION_LAYERS = {"norm": 0, "conv": 2}
_FIRE_LAYERS = {"squeeze": "0.0", "expand1x1": "1.0.0", "expand3x3": "1.1.0"}

_INCEPTION_STEM = {"1a_3x3": 0, "2a_3x3": 1, "2b_3x3": 2, "3b_1x1": 4, "4a_3x3": 5}
#: Branches of each kind of module in the order in which their outputs are joined.
_INCEPTION_A = ("branch1x1", "branch5x5", "branch3x3dbl", "branch_pool")
_INCEPTION_B = ("branch3x3", "branch3x3dbl")
_INCEPTION_C = ("branch1x1", "branch7x7", "branch7x7dbl", "branch_pool")
_INCEPTION_D = ("branch3x3", "branch7x7x3")
_INCEPTION_E = ("branch1x1", "branch3x3", "branch3x3dbl", "branch_pool")
_INCEPTION_MODULES: dict[str, tuple[int, tuple[str, ...]]] = {
    "5b": (7, _INCEPTION_A),
    "5c": (8, _INCEPTION_A),
    "5d": (9, _INCEPTION_A),
    "6a": (10, _INCEPTION_B),
    "6b": (11, _INCEPTION_C),
    "6c": (12, _INCEPTION_C),
    "6d": (13, _INCEPTION_C),
    "6e": (14, _INCEPTION_C),
    "7a": (15, _INCEPTION_D),
    "7b": (16, _INCEPTION_E),
    "7c": (17, _INCEPTION_E),
}
#: In the last two modules a branch forks, and Gluon keeps the layers before it a level deeper.
_INCEPTION_FORKS = {
    "branch3x3": {"_1": "0.0", "_2a": "1.0.0", "_2b": "1.1.0"},
    "branch3x3dbl": {"_1": "0.0", "_2": "0.1", "_3a": "1.0.0", "_3b": "1.1.0"},
}
_UNIT = {"conv": 0, "bn": 1}


def _inception_module(match: re.Match[str]) -> str:
    index, branches = _INCEPTION_MODULES[match["module"]]
    branch, step = match["branch"], match["step"] or ""
    if branch not in branches:
        return match[0]
    if branches is _INCEPTION_E and branch in _INCEPTION_FORKS:
        place = _INCEPTION_FORKS[branch].get(step, step)
    elif branch == "branch_pool":
        place = "1"  # after the pooling
    else:
        place = str(int(step[1:]) - 1) if step else "0"
    return f"features.{index}.{branches.index(branch)}.{place}.{_UNIT[match['unit']]}"


#: For each family, Gluon's layer for each of torchvision's (and timm's, which are the same).
_RULES: dict[str, _Rules] = {
    "alexnet": {
        r"features\.3": "features.2",
        r"features\.6": "features.4",
        r"features\.8": "features.5",
        r"features\.10": "features.6",
        r"classifier\.1": "features.9",
        r"classifier\.4": "features.11",
        r"classifier\.6": "output",
    },
    "resnet_v1": {
        r"conv1": "features.0",
        r"bn1": "features.1",
        r"layer([1-4])\.(\d+)\.(conv1|bn1|conv2|bn2)": lambda m: (
            f"features.{int(m[1]) + 3}.{m[2]}.body.{_RESIDUAL_LAYERS[m[3]]}"
        ),
        r"layer([1-4])\.(\d+)\.downsample\.([01])": lambda m: (
            f"features.{int(m[1]) + 3}.{m[2]}.downsample.{m[3]}"
        ),
        r"fc": "output",
    },
    "densenet": {
        r"features\.conv0": "features.0",
        r"features\.norm0": "features.1",
        # torchvision's published files are older than its code and have a dot before the number.
        r"features\.denseblock([1-4])\.denselayer(\d+)\.(norm|conv)\.?([12])": lambda m: (
            f"features.{2 * int(m[1]) + 2}.{int(m[2]) - 1}.1.{_DENSE_LAYERS[m[3] + m[4]]}"
        ),
        r"features\.transition([1-3])\.(norm|conv)": lambda m: (
            f"features.{2 * int(m[1]) + 3}.{_TRANSITION_LAYERS[m[2]]}"
        ),
        r"features\.norm5": "features.11",
        r"classifier": "output",
    },
    "squeezenet": {
        r"features\.(\d+)\.(squeeze|expand1x1|expand3x3)": lambda m: (
            f"features.{m[1]}.{_FIRE_LAYERS[m[2]]}"
        ),
        r"classifier\.1": "output.0",
    },
    "inception": {
        r"Conv2d_(\w+)\.(conv|bn)": lambda m: (
            f"features.{_INCEPTION_STEM[m[1]]}.{_UNIT[m[2]]}" if m[1] in _INCEPTION_STEM else m[0]
        ),
        rf"Mixed_(?P<module>{'|'.join(_INCEPTION_MODULES)})\."
        r"(?P<branch>branch(?:_pool|\d+x\d+(?:x3|dbl)?))(?P<step>_\d[ab]?)?\."
        r"(?P<unit>conv|bn)": _inception_module,
        r"fc": "output",
    },
}

#: Networks of torchvision and timm that share a name with one of Gluon's and are another: a
#: parameter that only they have, and why they are refused.
_INCOMPATIBLE: tuple[tuple[str, str], ...] = (
    (
        r"layer[1-4]\.\d+\.conv3\.weight",
        "a ResNet with bottlenecks as torchvision and timm build it, with the stride in each "
        "block's 3x3 convolution and no biases; Gluon's (v1) has the stride in the 1x1 convolution "
        "before it, so that the same weights would compute something else",
    ),
    (
        r"stages\.\d+\.blocks\.\d+\.norm\d\.weight",
        "a pre-activation ResNet as timm builds it, without the batch norms that Gluon's (v2) has "
        "before and after the first convolution",
    ),
    (
        r"features\.\d+\.conv\.\d+\.0\.weight|blocks\.\d+\.\d+\.conv_pwl\.weight",
        "a MobileNet v2 as torchvision and timm build it, without the expansion in the first block "
        "and with biases in the classifier; Gluon's has the one and not the other",
    ),
    (
        r"blocks\.\d+\.\d+\.conv_dw\.weight",
        "a MobileNet as timm builds it, with ReLU6 for Gluon's ReLU",
    ),
)


def renamer(family: str, layers: Collection[str]) -> Callable[[str], str]:
    """A function from a file's layer names to Gluon's; names that it does not know stay.

    Args:
        family: The family of the network that the weights are wanted for.
        layers: All of the file's layer names.
    """
    rules = [(re.compile(pattern), name) for pattern, name in _RULES.get(family, {}).items()]
    # AlexNet's names mean other layers in Gluon; the classifier tells whose they are.
    if family == "alexnet" and not any(layer.startswith("classifier.") for layer in layers):
        rules = []

    def rename(layer: str) -> str:
        for pattern, name in rules:
            found = pattern.fullmatch(layer)
            if found:
                return name if isinstance(name, str) else name(found)
        return layer

    return rename


def incompatible_architecture(names: Collection[str]) -> str | None:
    """What network a file's parameters belong to, if it is one that only seems to be Gluon's."""
    for pattern, what in _INCOMPATIBLE:
        expression = re.compile(pattern)
        if any(expression.fullmatch(name) for name in names):
            return what
    return None


#: torchvision's Inception v3 (``transform_input``) turns images that were normalized as for the
#: other networks into ones from -1 to 1, as the network was trained on: x * scale + offset.
_SCALE = np.array(IMAGENET_STD) / 0.5
_OFFSET = (np.array(IMAGENET_MEAN) - 0.5) / 0.5


def fold_inception_input(matched: Mapping[str, Array]) -> dict[str, Array]:
    """Inception v3's weights for images from -1 to 1, turned into ones for ImageNet's mean.

    The first convolution has no padding and a batch norm after it, so that scale and offset go into
    its weights and into the running mean exactly: W · (s·x + o) - m = (W·s) · x - (m - Σ W·o).

    Args:
        matched: All parameters by structural name, float32. It is left as it is.
    """
    weight = matched["features.0.0.weight"].astype(np.float64)
    mean = matched["features.0.1.running_mean"].astype(np.float64)
    scaled = weight * _SCALE[:, None, None]
    shifted = mean - (weight * _OFFSET[:, None, None]).sum(axis=(1, 2, 3))
    return {
        **matched,
        "features.0.0.weight": scaled.astype(np.float32),
        "features.0.1.running_mean": shifted.astype(np.float32),
    }
