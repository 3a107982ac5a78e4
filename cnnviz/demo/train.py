"""Train the demo network from nothing: ``python -m cnnviz.demo.train``.

The weights that ship were made by this program with its defaults, in half an hour on two busy
cores; the scenes alone take 1.8 GB of memory. Sums on several threads may round differently from
run to run, so another run gives a network as good, but not the same bytes. Two losses are added:

- cross-entropy of the class probabilities; a scene with two objects wants one half for each;
- for every object shown, the share of its class's Grad-CAM that lies inside the object: the map of
  14 by 14 is turned into shares by a softmax over its positions, and the negative logarithm of
  what falls on the object's cells is the loss. It makes the network use the objects rather
  than the context that comes with them.

The second loss needs no second derivative. With the mean over positions and one dense layer
behind the last ReLU, the gradient of class c's logit at channel k is w_ck / 196 where the channel
A_k is positive and 0 elsewhere; so Grad-CAM before its own ReLU is, up to that constant factor,
the sum over k of w_ck times the positive share of A_k times A_k.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.demo import CLASSES
from cnnviz.demo.architecture import build
from cnnviz.demo.scenes import SIZE, scene
from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.errors import CnnvizError, UsageError
from cnnviz.images.input_spec import InputSpec
from cnnviz.machine import available_cores
from cnnviz.types import Float32

CELLS = 14  #: positions of the last layer, each way
TRAINING_SEED = 1_000_000  #: seed of the first scene trained on
HELD_OUT_SEED = 4_000_000  #: seed of the first scene that the last check uses
BATCH = 32
_CAM_WEIGHT = 0.2
_WARM_UP = 60  # steps


@dataclass(frozen=True)
class Scenes:
    """Rendered scenes with their ground truth.

    ``images`` uint8 ``(N, 224, 224, 3)``; ``cells`` bool ``(N, 8, 14, 14)``: the cells of which
    more than half shows an object of a class; ``wanted`` float32 ``(N, 8)``: the target
    probabilities.
    """

    images: npt.NDArray[np.uint8]
    cells: npt.NDArray[np.bool_]
    wanted: Float32


def _render_one(
    task: tuple[int, tuple[str, ...] | None],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], Float32]:
    drawn = scene(*task)
    cells = np.zeros((len(CLASSES), CELLS, CELLS), np.bool_)
    wanted = np.zeros(len(CLASSES), np.float32)
    side = SIZE // CELLS
    for thing in drawn.objects:
        shown = thing.mask.reshape(CELLS, side, CELLS, side).mean(axis=(1, 3))
        cells[thing.index] = shown > 0.5
        wanted[thing.index] = 1 / len(drawn.objects)
    return drawn.image, cells, wanted


def _one_thread() -> None:
    cv2.setNumThreads(1)


def render(first_seed: int, number: int, *, one_object: bool = False) -> Scenes:
    """Draw scenes in as many processes as there are cores; with one object each, kinds in turn."""
    tasks: list[tuple[int, tuple[str, ...] | None]] = [
        (first_seed + i, (CLASSES[i % len(CLASSES)],) if one_object else None)
        for i in range(number)
    ]
    images = np.empty((number, SIZE, SIZE, 3), np.uint8)
    cells = np.empty((number, len(CLASSES), CELLS, CELLS), np.bool_)
    wanted = np.empty((number, len(CLASSES)), np.float32)
    # Not forked: a fork of a process in which MXNet's threads run may hang.
    with multiprocessing.get_context("spawn").Pool(available_cores(), _one_thread) as pool:
        for row, (image, inside, shares) in enumerate(pool.imap(_render_one, tasks, chunksize=32)):
            images[row], cells[row], wanted[row] = image, inside, shares
    return Scenes(images, cells, wanted)


def vary(rng: np.random.Generator, images: npt.NDArray[np.uint8]) -> Float32:
    """Network input of images in changed colors: float32 ``(N, 3, 224, 224)``, normalized.

    The three color channels change places and the brightness changes, each image on its own, so
    that color is no clue to the class.
    """
    batch = np.empty((len(images), 3, SIZE, SIZE), np.float32)
    for row, image in zip(batch, images, strict=True):
        gain = np.float32(rng.uniform(0.75, 1.25) / 255)
        np.minimum(image.transpose(2, 0, 1)[rng.permutation(3)] * gain, 1, out=row)
    return _normalized(batch)


def plain(images: npt.NDArray[np.uint8]) -> Float32:
    """Network input of images as they are: float32 ``(N, 3, 224, 224)``, normalized."""
    return _normalized(images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))


def _normalized(batch: Float32) -> Float32:
    spec = InputSpec()
    mean, std = (np.array(value, np.float32)[:, None, None] for value in (spec.mean, spec.std))
    batch -= mean
    batch /= std
    return batch


def train(scenes: Scenes, epochs: int, rate: float, seed: int) -> Any:
    """Train a new network on scenes and return it, a Gluon block.

    Adam, its learning rate rising to ``rate`` in the first steps and falling to zero along a
    cosine. Half of the batches are mirrored.
    """
    mx = import_mxnet()
    mx.random.seed(seed)
    np.random.seed(seed)  # MXNet's initializers draw from it
    rng = np.random.default_rng(seed)
    net = build()
    net.initialize(mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2))
    net(mx.nd.zeros((1, 3, SIZE, SIZE)))  # fixes the shapes
    trunk = mx.gluon.nn.HybridSequential()
    for layer in list(net.features)[:-1]:  # all but the last ReLU
        trunk.add(layer)
    trunk.hybridize(static_alloc=True, static_shape=True)
    # The mean over positions thins out what a small object says; a faster last layer makes up.
    net.output.weight.lr_mult = 5.0
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"wd": 1e-5})

    per_epoch = len(scenes.images) // BATCH
    steps, step, started, losses = epochs * per_epoch, 0, time.monotonic(), []
    for _ in range(epochs):
        order = rng.permutation(len(scenes.images))
        for part in np.split(order[: per_epoch * BATCH], per_epoch):
            images, cells = scenes.images[part], scenes.cells[part]
            if rng.random() < 0.5:
                images, cells = images[:, :, ::-1], cells[..., ::-1]
            trainer.set_learning_rate(
                rate * min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
            )
            batch = mx.nd.array(vary(rng, images))
            wanted = mx.nd.array(scenes.wanted[part])
            inside = mx.nd.array(cells.reshape(len(part), len(CLASSES), -1).astype(np.float32))
            with mx.autograd.record():
                losses_now = _losses(mx.nd, net, trunk(batch), wanted, inside)
                total = losses_now[0] + _CAM_WEIGHT * losses_now[1]
            total.backward()
            trainer.step(1)
            losses.append([float(loss.asscalar()) for loss in losses_now])
            step += 1
            if step % 25 == 0 or step == steps:
                named, placed = np.mean(losses[-25:], axis=0)
                seconds = time.monotonic() - started
                print(
                    f"step {step} of {steps}, {seconds:.0f} s: "
                    f"classes {named:.3f}, maps {placed:.3f}",
                    flush=True,
                )
    # Batch norm's running statistics are written late in the backward pass, and MXNet lets a
    # reader have them before that is done.
    mx.nd.waitall()
    return net


def _losses(nd: Any, net: Any, last: Any, wanted: Any, inside: Any) -> tuple[Any, Any]:
    """The two losses of a batch, from the last batch norm's output ``(N, 128, 14, 14)``."""
    logits = net.output(net.pool(nd.relu(last)))
    named = -(nd.log_softmax(logits) * wanted).sum(axis=1).mean()

    positive = nd.BlockGrad((last > 0).mean(axis=(2, 3), keepdims=True))
    weight = net.output.weight.data().expand_dims(2).expand_dims(3)
    cam = nd.Convolution(
        last * positive, weight, no_bias=True, kernel=(1, 1), num_filter=len(CLASSES)
    )
    shares = nd.softmax(cam.reshape((0, 0, -1)), axis=2)
    on_object = nd.log((shares * inside).sum(axis=2) + 1e-6)
    shown = inside.max(axis=2)  # an object may be too thin to fill half a cell anywhere
    placed = -(on_object * shown).sum() / shown.sum()
    return named, placed


def check(net: Any, scenes: Scenes) -> tuple[float, float]:
    """Accuracy on scenes with one object, 0..1, and the mean probability of the top class."""
    mx = import_mxnet()
    parts = [
        mx.nd.softmax(net(mx.nd.array(plain(scenes.images[start : start + BATCH])))).asnumpy()
        for start in range(0, len(scenes.images), BATCH)
    ]
    shares = np.concatenate(parts)
    right = shares.argmax(axis=1) == scenes.wanted.argmax(axis=1)
    return float(right.mean()), float(shares.max(axis=1).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, check on scenes never trained on, save: see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m cnnviz.demo.train",
        description="Train the demo network from nothing and save its weights.",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (default 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo.params"), help="weights file to write"
    )
    parser.add_argument("--scenes", type=int, default=12000, help="to train on (default 12000)")
    parser.add_argument("--epochs", type=int, default=6, help="rounds over them (default 6)")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate (default 0.003)")
    options = parser.parse_args(arguments)
    try:
        if options.scenes < BATCH or options.epochs < 1:
            raise UsageError(f"Training takes at least {BATCH} scenes and one epoch.")
        if options.out.is_dir() or not options.out.absolute().parent.is_dir():
            raise UsageError(
                f"--out is a file in a folder that exists, which {options.out} is not."
            )
        print(f"Drawing {options.scenes} scenes.", flush=True)
        held_out = render(HELD_OUT_SEED, 400, one_object=True)
        net = train(
            render(TRAINING_SEED, options.scenes), options.epochs, options.rate, options.seed
        )
        net.save_parameters(str(options.out))
        accuracy, confidence = check(net, held_out)
    except CnnvizError as problem:
        parser.exit(int(problem.exit_code), f"{problem}\n")
    print(
        f"{options.out}: of {len(held_out.images)} scenes never trained on, one object each, "
        f"{accuracy:.1%} classified correctly, mean top probability {confidence:.3f}."
    )


if __name__ == "__main__":
    main()
