"""The methods by name, and from names and options, as a user writes them, to methods.

:data:`METHODS` is the one list of them: the command line, the README check and the contract tests
read it. A new method is a class in this folder and one line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cnnviz.attribution.base import Method
from cnnviz.attribution.cam import (
    EigenCam,
    GradCam,
    GradCamPlusPlus,
    HiResCam,
    LayerCam,
    XGradCam,
)
from cnnviz.attribution.gradients import (
    Deconvnet,
    Gradient,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    Saliency,
)
from cnnviz.attribution.options import (
    check_options_used,
    chosen_options,
    option_value,
    options_of,
)
from cnnviz.attribution.path_gradients import IntegratedGradients, SmoothGrad
from cnnviz.attribution.perturbation import Occlusion, Rise
from cnnviz.attribution.score_cam import AblationCam, ScoreCam
from cnnviz.engines.base import STANDARD
from cnnviz.errors import UsageError
from cnnviz.text import did_you_mean, folded

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        GradCam,
        GradCamPlusPlus,
        XGradCam,
        LayerCam,
        HiResCam,
        EigenCam,
        ScoreCam,
        AblationCam,
        GuidedGradCam,
        GuidedBackprop,
        Saliency,
        Gradient,
        Deconvnet,
        InputXGradient,
        SmoothGrad,
        IntegratedGradients,
        Occlusion,
        Rise,
    )
}
DEFAULT_METHODS = ("gradcam", "guided-gradcam", "saliency")

_RELU = "relu"
#: Other names of methods, in other libraries and for short, as keys (:func:`_key`).
_ALIASES = {
    "backprop": "gradient",
    "deconv": "deconvnet",
    "deconvolution": "deconvnet",
    "gbp": "guided-backprop",
    "gradcampp": "gradcam-plusplus",
    "gradients": "gradient",
    "gradientxinput": "input-x-gradient",
    "gradxinput": "input-x-gradient",
    "guidedbackpropagation": "guided-backprop",
    "ig": "integrated-gradients",
    "inputtimesgradient": "input-x-gradient",
    "inputxgrad": "input-x-gradient",
    "integratedgradient": "integrated-gradients",
    "layergradcam": "gradcam",
    "occlusionsensitivity": "occlusion",
    "vanillagradient": "gradient",
    "vanillagradients": "gradient",
}


def choose_methods(
    names: str | Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    *,
    relu: str | Sequence[str] = (),
    has_relu: bool = True,
) -> tuple[Method, ...]:
    """The methods called ``names``, each once.

    Args:
        names: as `cnnviz methods` lists them; none for Grad-CAM, guided Grad-CAM and saliency.
        options: values of their options: ``{"samples": 50}`` for every chosen method that has an
            option of this name, ``{"smoothgrad.samples": 50}`` for this one only, which wins.
            Words are taken for numbers where numbers are wanted.
        relu: ReLU rules; each method that takes one is there once for each.
        has_relu: whether the network has ReLUs. If not, guided Grad-CAM is there only if it is
            named, and saliency is that of the plain gradient if its source is not.

    Raises:
        UsageError: there is no such method, option or value, or none of the methods has the option.
    """
    if options is not None and not isinstance(options, Mapping):
        raise UsageError(
            f"The methods' options are values by name, such as {{'samples': 20}}; got {options!r}."
        )
    names = [names] if isinstance(names, str) else names
    relu = [relu] if isinstance(relu, str) else relu
    if not names:
        usual = [METHODS[name] for name in DEFAULT_METHODS]
        names = [
            method.name for method in usual if has_relu or not method(**method.without_relu).guided
        ]
    meant = [find(part) for name in names for part in name.split(",")]
    classes = [METHODS[name] for name in dict.fromkeys(meant)]
    given = {_option_name(key): value for key, value in (options or {}).items()}
    check_options_used(given, classes, Method.noun)
    rules = list(dict.fromkeys(relu))
    if rules and not any(_RELU in options_of(method) for method in classes):
        raise UsageError(
            f"A ReLU rule ({', '.join(rules)}) was given, but none of the chosen methods "
            f"({', '.join(method.name for method in classes)}) takes one; these do: "
            f"{_listed(name for name, method in METHODS.items() if _RELU in options_of(method))}."
        )
    chosen = []
    for method in classes:
        own = {} if has_relu else dict(method.without_relu)
        own |= chosen_options(method, given)
        if _RELU in options_of(method) and rules:
            chosen += [
                method(**{**own, _RELU: option_value(method, _RELU, rule)}) for rule in rules
            ]
        else:
            chosen.append(method(**own))
    return tuple(chosen)


def check_unguided(methods: Iterable[Method]) -> None:
    """Refuse methods with a ReLU rule other than the derivative, for a network without ReLUs.

    Raises:
        UsageError: there is such a method; the text says what to do about each.
    """
    advice = []
    for method in methods:
        rule = getattr(method, _RELU, STANDARD.name)
        if not method.guided:
            continue
        if rule != STANDARD.name:
            advice.append(f"in place of --relu {rule} give --relu {STANDARD.name}")
        elif isinstance(method, Saliency):
            advice.append(f"in place of --saliency {method.source} give --saliency gradient")
        else:
            advice.append(f"leave out --method {method.name}")
    if advice:
        raise UsageError(
            "This network has no ReLU, so nothing can be guided: "
            f"{'; '.join(dict.fromkeys(advice))}."
        )


def missing_relus(asked: Sequence[Method], chosen: Sequence[Method]) -> str | None:
    """A sentence about what is left out or changed for a network without ReLUs, if anything.

    Args:
        asked: what would be chosen for a network with ReLUs.
        chosen: what is chosen for this one.
    """
    names = {method.name for method in chosen}
    changes = [f"{method.title} is left out" for method in asked if method.name not in names]
    changes += [
        f"{method.title} uses the plain gradient"
        for method in chosen
        if isinstance(method, Saliency) and method not in asked
    ]
    if not changes:
        return None
    return f"This network has no ReLU, so nothing can be guided: {' and '.join(changes)}."


def find(name: str) -> str:
    """A method's name from any common spelling: in any case, with or without hyphens, ``ig``, ...

    Raises:
        UsageError: there is none.
    """
    name = name.strip()
    if name in METHODS:
        return name
    by_key = {**_ALIASES, **{_key(own): own for own in METHODS}}
    meant = by_key.get(_key(name), "")
    if meant in METHODS:
        return meant
    advice = did_you_mean(name, METHODS) or f"Use {', '.join(METHODS)}."
    raise UsageError(f"There is no method '{name}'. {advice}")


def _key(name: str) -> str:
    """The key of a spelling: Grad-CAM++, grad_cam_plusplus and GradCAMPlusPlus have the same."""
    return re.sub(r"[\W_]", "", folded(name).replace("+", "plus"))


def _option_name(key: str) -> str:
    """``METHOD.NAME`` with the method's own name; a name that is none stays as it is."""
    method, point, name = key.rpartition(".")
    try:
        return f"{find(method)}.{name}" if point else key
    except UsageError:  # that there is no such option is said by who looks it up
        return key


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
