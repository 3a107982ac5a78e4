"""What the manifest says of a run, and what of that decides on the files of an image."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cnnviz._version import __version__
from cnnviz.attribution import Method
from cnnviz.explainer import Explainer
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.labels.ground_truth import GroundTruth
from cnnviz.models.config import ModelConfig
from cnnviz.runs.goals import Goals
from cnnviz.runs.manifest import file_sha256
from cnnviz.runs.records import VERSION
from cnnviz.runs.request import RunRequest
from cnnviz.runs.run_records import (
    CheckRecord,
    EngineRecord,
    GroundTruthRecord,
    InputRecord,
    LayerRecord,
    MethodRecord,
    NetworkRecord,
    RunRecord,
    SymbolRecord,
    WeightsRecord,
)
from cnnviz.storage.paths import AnyPath
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.urls import is_remote, shown_url
from cnnviz.structure import decode, encode, parse

#: Options that have no say in what is written.
_WITHOUT_EFFECT = (
    *("threads", "force", "fail_fast", "by_engine", "shard", "runner"),
    *("fail_under", "max_share", "metric_limits", "summary", "junit"),
)


def describe_run(
    request: RunRequest, config: ModelConfig, explainer: Explainer, truth: GroundTruth | None
) -> RunRecord:
    """What the manifest says of a run, but for its fingerprint and its times."""
    return RunRecord(
        parameters=_parameters(request, config),
        versions={
            "cnnviz": __version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "python": platform.python_version(),
        },
        network=_network(config.model, explainer),
        engine=EngineRecord.of(explainer.network.engine),
        engine_reason=explainer.network.reason,
        methods=tuple(map(_method, explainer.methods)),
        notes=tuple(explainer.notes),
        ground_truth=None if truth is None else GroundTruthRecord(truth.source, truth.known),
    )


def _parameters(request: RunRequest, config: ModelConfig) -> dict[str, Any]:
    """All that was asked for, on the command line or in the network's configuration file."""
    asked = {
        **dict(request.options()),
        **asdict(replace(config, labels=None)),
        "resize": request.model.resize,
        "inputs": [shown_url(one) if is_remote(one) else one for one in request.inputs],
    }
    if asked["max_pixels"] is None:
        asked["max_pixels"] = MAX_PIXELS
    return {
        name: _shown(value) for name, value in sorted(asked.items()) if name not in _WITHOUT_EFFECT
    }


def _shown(value: Any) -> Any:
    """A value without what is secret in it."""
    if isinstance(value, str) and is_remote(value):
        return shown_url(value)
    return str(value) if isinstance(value, Path | RemotePath) else value


def _network(model: str, explainer: Explainer) -> NetworkRecord:
    spec, weights = explainer.spec, explainer.weights
    architecture, check = explainer.network.architecture, explainer.network.check
    return NetworkRecord(
        name=explainer.name,
        classes=architecture.classes,
        activation=architecture.activation.name,
        labels=tuple(explainer.labels),
        input=InputRecord(
            height=spec.height,
            width=spec.width,
            mean=tuple(spec.mean),
            std=tuple(spec.std),
            channels={1: "gray", 3: spec.channels}.get(len(spec.mean), "other"),
            resize=spec.resize,
            range=spec.range,
            displayed=spec.displayed,
            crop_fraction=spec.kept,
            interpolation=spec.interpolation,
        ),
        layers=tuple(
            LayerRecord(layer.name, layer.kind, layer.map_shape) for layer in explainer.layers
        ),
        symbol=SymbolRecord(str(Path(model)), file_sha256(Path(model)))
        if model.endswith(".json")
        else None,
        weights=None
        if weights is None
        else WeightsRecord(str(weights.path), weights.source, weights.sha256),
        check=None if check is None else CheckRecord(check.reference, check.difference),
    )


def _method(method: Method) -> MethodRecord:
    return MethodRecord(
        name=method.name,
        key=method.key,
        title=method.full_title,
        paper=method.paper,
        map_kinds=method.map_kinds,
        options=asdict(method),
        guided=method.guided,
    )


def decisive(
    run: RunRecord, request: RunRequest, goals: Goals, limits: Mapping[str, float]
) -> dict[str, Any]:
    """What decides on the files and the record of an image, of all that is said of a run.

    Of what computes only the precision does. Engines, devices and versions of frameworks agree far
    below what can be seen: logits to 1e-5, maps to 1e-4, where a gray level is 4e-3. So what one of
    them has explained still holds under another, and need not be done again; each image's record
    says what it comes from. TF32 and bfloat16 can be seen. Where engines are compared, they count.

    Args:
        run: what is said of it.
        request: what was asked for.
        goals: what is explained.
        limits: scales common to all images.
    """
    weights, symbol = run.network.weights, run.network.symbol
    by_engine = {"engine": (run.engine.name, run.engine.device)}
    return {
        **(by_engine if request.execution.by_engine else {}),
        "manifest": VERSION,
        "versions": {**run.versions, "python": None},
        "network": replace(run.network, weights=None, symbol=None, check=None),
        "precision": run.engine.precision,
        "weights": weights and weights.sha256,
        "symbol": symbol and symbol.sha256,
        "methods": run.methods,
        "targets": goals.targets,
        "others": [other.sha256 for other in goals.others.values()],
        "contrasts": goals.contrasts,
        "style": request.style,
        "format": request.files.format,
        "arrays": request.files.arrays,
        "panel": request.files.panel,
        "evaluate": request.files.evaluate,
        "limits": limits,
    }


#: What a manifest says of a run that decides on its files: where, and how another one is called.
_DECISIVE = (
    (("network", "name"), "another network"),
    (("network", "weights", "sha256"), "other weights"),
    (("network", "labels"), "other class names"),
    (("network", "input"), "another input"),
    (("network", "layers"), "another layer"),
    (("methods",), "other methods or method options"),
    (("parameters", "targets"), "another target"),
    (("parameters", "contrasts"), "another contrast"),
    *((("parameters", name), f"another --{name}") for name in ("size", "scale")),
    *((("parameters", name), "other colors") for name in ("colormap", "alpha", "overlay")),
    *((("parameters", name), "other kinds of files") for name in ("format", "arrays", "panel")),
    (("parameters", "evaluate"), "another --evaluate"),
    (("engine", "precision"), "another precision"),
    (("versions",), "another version of cnnviz or its libraries"),
)


def tell_difference(folder: AnyPath, before: RunRecord | None, run: RunRecord) -> str:
    """A sentence about an earlier run of other options whose files are in the way.

    Args:
        folder: where.
        before: what its manifest says of it, if it has one.
        run: what is said of this one.
    """
    now = decode(RunRecord, parse(encode(run)), "run")
    differing = dict.fromkeys(
        text for path, text in _DECISIVE if before and _at(before, path) != _at(now, path)
    )
    return (
        f"{folder} contains an earlier run with {', '.join(differing) or 'other options'}: files "
        "with the same names are replaced."
    )


def _at(value: Any, path: Sequence[str]) -> Any:
    """What a run has there, or nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
    return value
