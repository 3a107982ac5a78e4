"""What is known of two runs, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cnnviz.comparison.comparison import Side
from cnnviz.images.input_spec import AREA, CROP_FRACTIONS
from cnnviz.report.page import engines, shown_options

#: Options that other facts say, or that say nothing about the networks.
_SAID = frozenset(
    {
        *("model", "weights", "layer", "layers", "methods", "engine", "device", "output", "report"),
        *("resize", "crop_fraction", "interpolation", "input_size", "channels", "truth"),
    }
)


@dataclass(frozen=True)
class Fact:
    """Something known of both runs."""

    title: str
    a: str
    b: str

    @property
    def differs(self) -> bool:
        """Whether it is not the same of both."""
        return self.a != self.b


def facts(a: Side, b: Side) -> Iterator[Fact]:
    """What is known of two runs, and their options."""
    for title, of in _FACTS:
        yield Fact(title, of(a), of(b))
    options_a, options_b = (dict(shown_options(side.manifest.run)) for side in (a, b))
    for name in sorted({*options_a, *options_b} - _SAID):
        yield Fact(f"option {name}", options_a.get(name, "–"), options_b.get(name, "–"))


def _network(side: Side) -> str:
    network = side.manifest.run.network
    return f"{network.name}, {network.classes} class{'' if network.classes == 1 else 'es'}"


def _weights(side: Side) -> str:
    weights = side.manifest.run.network.weights
    return "–" if weights is None else f"{weights.source}, SHA-256 {weights.sha256[:12]}…"


def _layers(side: Side) -> str:
    return ", ".join(
        f"{layer.name} ({'×'.join(map(str, layer.shape))})"
        for layer in side.manifest.run.network.layers
    )


def _input(side: Side) -> str:
    fed = side.manifest.run.network.input
    parts = [f"{fed.height}×{fed.width}", fed.channels, fed.resize]
    if fed.spec.kept != CROP_FRACTIONS[fed.resize]:
        parts.append(f"crop fraction {fed.spec.kept:.4g}")
    if fed.interpolation != AREA:
        parts.append(f"{fed.interpolation} interpolation")
    return ", ".join(parts)


def _engines(side: Side) -> str:
    found = (one.engine for one in side.manifest.images if one.engine is not None)
    return "; ".join(name for name, _ in engines(side.manifest.run, Counter(map(str, found))))


def _truth(side: Side) -> str:
    truth = side.manifest.run.ground_truth
    if truth is None:
        return "–"
    return "folder names" if truth.source == "folders" else truth.source


_FACTS: tuple[tuple[str, Callable[[Side], str]], ...] = (
    ("Network", _network),
    ("Weights", _weights),
    ("Layer", _layers),
    ("Methods", lambda side: ", ".join(one.title for one in side.manifest.run.methods)),
    ("Input", _input),
    ("Engine", _engines),
    ("Ground truth", _truth),
    ("Images", lambda side: str(len(side.manifest.images))),
    ("Date", lambda side: side.manifest.run.started[:10] or "–"),
    ("cnnviz", lambda side: side.manifest.run.versions.get("cnnviz", "–")),
)
