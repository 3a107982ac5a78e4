"""Does Grad-CAM of the demo network point at the right object? On scenes never trained on.

Run by hand, two minutes::

    python tests/benchmarks/localization.py --scenes 200
"""

from __future__ import annotations

import argparse

from cnnviz.demo.scenes.held_out import one_object_scenes, two_object_scenes
from cnnviz.engines.base import Device
from cnnviz.engines.registry import choose_engine
from cnnviz.metrics.localization import classify, localize
from cnnviz.models.config import ModelConfig
from cnnviz.models.resolve import find_model


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200, help="of each sort (default 200)")
    number = parser.parse_args().scenes
    model = find_model(ModelConfig("demo"))
    network, _ = model.load(choose_engine(Device("cpu"), model.architecture.graph))
    named = classify(network, one_object_scenes(number))
    print(
        f"one object, {named.scenes} scenes: {named.accuracy:.1%} classified correctly, "
        f"mean top probability {named.confidence:.3f}"
    )
    peaks = localize(network, two_object_scenes(number))
    print(
        f"two objects, {number} scenes: {peaks.maps} Grad-CAM maps of layer {peaks.layer}, "
        "one for each class; the maximum lies"
    )
    print(f"  inside the right object   {peaks.own:6.1%}")
    print(f"  inside the wrong object   {peaks.other:6.1%}")
    print(f"  inside neither            {peaks.neither:6.1%}")


if __name__ == "__main__":
    main()
