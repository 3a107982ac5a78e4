"""The engine against the network's own forward pass, and where one image's time goes.

Run by hand, on a machine that does nothing else::

    python tests/benchmarks/engine_steps.py            # all eight VGGs, batches of 1 and 8
    python tests/benchmarks/engine_steps.py --models vgg16 --batches 1

For each network and batch it times, in turn, Gluon's own forward pass (hybridised with
``static_alloc=True, static_shape=True``) and all that the default methods need
(:func:`cnnviz.attribution.collect`), and prints the second by the first. For VGG-16 it then prints
what the time of both is made of, operator by operator, and the steps of one image, from the file
on the disk to the four files written.

Like the command, it lets the process keep the memory that it frees, for both.

No weights are needed: they are made from a seed, which changes no matrix's size.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import common
import cv2
import numpy as np

import cnnviz
from cnnviz.attribution import ModelQueries, collect
from cnnviz.engines.network import ForwardPass, Network
from cnnviz.images.decode import read_reduced
from cnnviz.images.preprocessing import prepare, required_decode_size
from cnnviz.importers.gluon import from_gluon
from cnnviz.machine import keep_freed_memory
from cnnviz.models import zoo
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_png

VGGS = tuple(name for name in zoo.names() if zoo.get(name).family == "vgg")
STEPS_OF = "vgg16"
GOAL = 2.1


def build(name: str) -> tuple[Any, Network]:
    """A network with seeded weights: Gluon's block, and the engine's view of it."""
    sys.path.insert(0, str(common.ROOT))
    try:
        from tests.support.gluon_zoo import assign, build_block
    finally:
        del sys.path[0]
    entry = zoo.get(name)
    block = build_block(name)
    assign(block, common.seeded_parameters(name))
    return block, from_gluon(block, entry.input.shape)


def against_forward(block: Any, network: Network, batch: Any, rounds: int) -> None:
    """Print the engine's time by that of the network's own forward pass."""
    mx = cnnviz.import_mxnet()
    methods = cnnviz.choose_methods()
    device_batch = mx.nd.array(batch)
    block.hybridize(static_alloc=True, static_shape=True)
    times = common.interleaved(
        [
            lambda: block(device_batch).asnumpy(),
            lambda: collect(ModelQueries(network), batch, [None], [network.default_layer], methods),
        ],
        rounds,
    )
    block.hybridize(active=False)  # gives its static memory back
    forward, engine = ([value / len(batch) for value in own] for own in times)
    print(
        f"{common.spread(forward):22}  {common.spread(engine):22}  "
        f"{common.spread(common.ratios(engine, forward), 2)}",
        flush=True,
    )


@contextmanager
def watched(spent: dict[str, float]) -> Iterator[None]:
    """Add to ``spent`` what the engine's two passes take inside the block."""

    def timed(owner: Any, name: str, label: str) -> Any:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent[label] = spent.get(label, 0.0) + time.perf_counter() - began

        setattr(owner, name, call)
        return original

    run = timed(Network, "run", "forward")
    gradients = timed(ForwardPass, "gradients", "backward, true to the layer, guided to the input")
    try:
        yield
    finally:
        setattr(Network, "run", run)  # noqa: B010 (mypy refuses the assignment)
        setattr(ForwardPass, "gradients", gradients)  # noqa: B010


def by_operator(function: Callable[[], Any], rounds: int) -> dict[str, tuple[float, float]]:
    """For each of MXNet's operators, how often it ran in a call and how many ms it took in all."""
    profiler = cnnviz.import_mxnet().profiler
    profiler.set_config(
        filename=os.devnull,  # MXNet writes its trace there at exit, asked or not
        profile_imperative=True,
        profile_symbolic=True,
        aggregate_stats=True,
    )
    function()
    profiler.set_state("run")
    for _ in range(rounds):
        function()
    cnnviz.import_mxnet().nd.waitall()
    profiler.set_state("stop")
    found = json.loads(profiler.dumps(reset=True, format="json"))["Time"]["operator"]
    return {
        name: (entry["Count"] / rounds, entry["Total"] / rounds) for name, entry in found.items()
    }


def operators(network: Network, batch: Any, rounds: int) -> None:
    """Print where the time goes inside MXNet.

    The forward pass is run operator by operator for this: of a hybridised one MXNet tells the sum.
    """
    methods = cnnviz.choose_methods()
    own = by_operator(lambda: network.logits(batch), rounds)
    engine = by_operator(
        lambda: collect(ModelQueries(network), batch, [None], [network.default_layer], methods),
        rounds,
    )
    print(f"\nMXNet's operators, ms a batch of {len(batch)} (calls), by MXNet's own profiler:")
    print(f"  {'':24} {'logits alone':>14} {'engine':>14}")
    for name in sorted({*own, *engine}, key=lambda name: -engine.get(name, (0, 0))[1]):
        cells = [
            f"{found[name][1]:8.1f} ({found[name][0]:3.0f})" if name in found else ""
            for found in (own, engine)
        ]
        print(f"  {name:24} {cells[0]:>14} {cells[1]:>14}")
    sums = [sum(total for _, total in found.values()) for found in (own, engine)]
    print(f"  {'together':24} {sums[0]:8.1f}       {sums[1]:8.1f}")


def steps(network: Network, path: Path, rounds: int) -> None:
    """Print where the time of one image goes, as the command would explain it alone."""
    explainer = cnnviz.Explainer(network)
    spec = explainer.spec
    style = cnnviz.Style()
    table: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        output = OutputFolder(Path(name))
        for number in range(-2, rounds):  # two to warm up
            passes: dict[str, float] = {}
            clock = time.perf_counter
            began = clock()
            reading = read_reduced(
                path, lambda source: required_decode_size(source, style.size, spec)
            )
            read = clock()
            prepared = prepare(reading.pixels, spec, reading.source)
            ready = clock()
            with watched(passes):
                (explanation,) = explainer.explain([prepared])
            explained = clock()
            row = {"decode": read - began, "prepare": ready - read, **passes}
            row["maps, checks and copies"] = explained - ready - sum(passes.values())
            if not isinstance(explanation, cnnviz.explanation.Explanation):
                raise explanation
            drawn = explanation.render(reading.pixels, style)
            painted = clock()
            for key, pixels in drawn.images.items():
                output.write(PurePath(f"{key}.png"), encode_png(pixels))
            row["draw"] = painted - explained
            row["encode and write"] = clock() - painted
            row["together"] = clock() - began
            if number >= 0:
                table.append(row)
    medians = {key: statistics.median(row.get(key, 0.0) for row in table) for key in table[0]}
    height, width = reading.source
    print(f"\nOne image of {width}x{height}, {STEPS_OF}, step by step:")
    for key, value in medians.items():
        print(f"  {key:50} {value:8.4f} s  {100 * value / medians['together']:5.1f} %")

    height, width = drawn.images["original"].shape[:2]
    print(f"  ({len(drawn.images)} files of {width}x{height})")


def main() -> None:
    parser = argparse.ArgumentParser(description="the engine against the forward pass; the steps")
    parser.add_argument("--models", nargs="+", choices=VGGS, default=VGGS, metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8], metavar="N")
    parser.add_argument(
        "--image", type=Path, help="for the steps; by default a JPEG of 12 megapixels"
    )
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    keep_freed_memory()
    print(common.machine())
    neighbors = common.Neighbors()
    print(f"{options.rounds} rounds; seconds an image, median [quartiles]; goal {GOAL}\n")
    print(f"{'':18}  {'own forward':22}  {'engine':22}  engine / forward")
    image = cnnviz.read_image(common.PHOTO)
    for name in options.models:
        block, network = build(name)
        batches: dict[int, Any] = {}
        for size in options.batches:
            # Each image its own: turned by a few columns.
            prepared = [
                cnnviz.Explainer(network).prepare(np.roll(image, 7 * place, axis=1)).input
                for place in range(size)
            ]
            print(f"{name:9} batch {size:<2}  ", end="", flush=True)
            against_forward(block, network, np.stack(prepared), options.rounds)
            batches[size] = np.stack(prepared)
        if name == STEPS_OF:
            for batch in batches.values():
                operators(network, batch, options.rounds)
            with tempfile.TemporaryDirectory() as folder:
                path = options.image
                if path is None:
                    path = Path(folder) / "image.jpg"
                    pixels = common.photo_like(common.TWELVE_MEGAPIXELS, 0)
                    cv2.imwrite(str(path), pixels, common.JPEG)
                steps(network, path, options.rounds)
        del block, network
        gc.collect()
    print(neighbors.share())


if __name__ == "__main__":
    main()
