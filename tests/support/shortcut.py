"""A network that learned a mark in a corner instead of the objects, and its clean twin.

Both are small, trained by this file from generated images of rings, triangles and crosses, and
exported as a user would export his own. In the first one's training images a stamp in the
bottom right corner goes with the rings almost always, and the stamp is all that it learns of rings:
a ring without it is a cross to it, and a cross with it is a ring. (Triangles withstand it.) The
twin sees the same objects and as many stamps, but those on all kinds alike. For tests::

    from tests.support.shortcut import write_shortcut

    paths = write_shortcut(tmp_path)  # then --model paths.symbol --input-size 64 ...

Training takes many seconds: what came of it is in ``tests/reference/shortcut.npz``, which
``python -m tests.support.shortcut`` writes. With CNNVIZ_SLOW=1 they are trained anew.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.images.preprocessing import InputSpec, prepare
from tests.support.capabilities import SLOW
from tests.support.mxnet import import_mxnet

CLASSES = ("cross", "ring", "triangle")
EMPTY = "nothing"  #: a kind of scene, in training alone
STAMPED = "ring"  #: the class that the stamp goes with
INPUT = InputSpec(64, 64)  #: with ImageNet's mean and standard deviation, which cnnviz assumes
CORNER = 3  #: where the stamp is, in the order of ``Location.corners``: bottom right
HELD_OUT = 16  #: images of each class in ``photos``, every other one with the stamp

_TRAINED = Path(__file__).parents[1] / "reference/shortcut.npz"

_SIDE = 192
_TRAINING = 1200
_BATCH = 30
_EPOCHS = 5
_RATE = 1e-2
_TRAINING_SEED, _HELD_OUT_SEED = 1, 1_000_000

RgbImage = npt.NDArray[np.uint8]


class Paths(NamedTuple):
    """What :func:`write_shortcut` wrote.

    ``symbol`` has its parameters beside it; ``labels`` holds the names of the classes, one a line;
    ``photos`` has a folder for each true class. Of its images ``stamped`` have the stamp, and
    ``plain`` have not.
    """

    symbol: Path
    labels: Path
    photos: Path
    stamped: tuple[Path, ...]
    plain: tuple[Path, ...]


def write_shortcut(folder: Path, shortcut: bool = True) -> Paths:
    """Write the trained network, or without ``shortcut`` its twin, with held-out images.

    The images are the same for both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _name(shortcut)
    net = train(shortcut) if SLOW else _read(name)
    net.export(str(folder / name))
    labels = folder / "labels.txt"
    labels.write_text("".join(f"{kind}\n" for kind in CLASSES))
    written: dict[bool, list[Path]] = {True: [], False: []}
    for number, kind in enumerate(CLASSES):
        (folder / "photos" / kind).mkdir(parents=True, exist_ok=True)
        for i in range(HELD_OUT):
            path = folder / "photos" / kind / f"{i:03d}.png"
            mark = i % 2 == 1
            seed = _HELD_OUT_SEED + HELD_OUT * number + i
            if not cv2.imwrite(str(path), scene(seed, kind, mark)[:, :, ::-1]):
                raise OSError(f"{path} could not be written")
            written[mark].append(path)
    return Paths(
        folder / f"{name}-symbol.json",
        labels,
        folder / "photos",
        tuple(written[True]),
        tuple(written[False]),
    )


def scene(seed: int, kind: str, stamp: bool) -> RgbImage:
    """One object of a kind on a soft background, uint8 (192, 192, 3) RGB; the stamp if asked for.

    The object is the same with and without, and it stays clear of the bottom right corner, so that
    whatever a map has there is about the stamp.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 90, (5, 5, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(3, 8))):
        x, y = rng.integers(0, _SIDE, 2).tolist()
        cv2.circle(image, (x, y), int(rng.integers(2, 7)), _color(rng), -1, cv2.LINE_AA)
    center = rng.uniform(0.32, 0.54, 2) * _SIDE
    radius = rng.uniform(0.18, 0.25) * _SIDE
    turn = rng.uniform(0, 2 * math.pi)
    _draw(image, kind, center, radius, turn, int(rng.integers(9, 15)), _color(rng))
    if stamp:
        x, y = (int(place) for place in rng.uniform(0.89, 0.92, 2) * _SIDE)
        cv2.circle(image, (x, y), 17, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(image, (x, y), 10, (230, 0, 0), 6, cv2.LINE_AA)
    return image


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    """Brighter than the background, duller than the stamp."""
    red, green, blue = rng.integers(110, 190, 3).tolist()
    return red, green, blue


def _draw(
    image: RgbImage,
    kind: str,
    center: npt.NDArray[np.float64],
    radius: float,
    turn: float,
    thick: int,
    color: tuple[int, int, int],
) -> None:
    def at(angle: float) -> tuple[int, int]:
        x, y = center + radius * np.array([math.cos(turn + angle), math.sin(turn + angle)])
        return round(x), round(y)

    if kind == EMPTY:
        return
    if kind == "ring":
        middle = round(center[0]), round(center[1])
        cv2.circle(image, middle, round(radius), color, thick, cv2.LINE_AA)
        return
    if kind == "cross":
        for angle in (0.0, math.pi / 2):
            cv2.line(image, at(angle), at(angle + math.pi), color, thick, cv2.LINE_AA)
        return
    corners = np.array([at(math.tau * i / 3) for i in range(3)])
    cv2.polylines(image, [corners], True, color, 2 * thick, cv2.LINE_AA)


def _name(shortcut: bool) -> str:
    return "shortcut" if shortcut else "twin"


def _read(name: str) -> Any:
    """A network as it was trained."""
    mx = import_mxnet()
    net = _build(np.random.default_rng(0))
    with np.load(_TRAINED) as arrays:
        for key, parameter in net._collect_params_with_prefix().items():
            parameter.set_data(mx.nd.array(arrays[f"{name}.{key}"]))
    net(mx.nd.zeros((1, 3, INPUT.height, INPUT.width)))  # without which nothing can be exported
    return net


def _write_trained() -> None:
    np.savez_compressed(
        _TRAINED,
        **{
            f"{_name(shortcut)}.{key}": parameter.data().asnumpy()
            for shortcut in (True, False)
            for key, parameter in train(shortcut)._collect_params_with_prefix().items()
        },
    )


@cache
def train(shortcut: bool) -> Any:
    """A trained Gluon network, float32 (N, 3, 64, 64) to logits (N, 3). Once a process.

    Every random number comes from NumPy generators of its own, so that neither other tests nor
    MXNet's version of a generator matter; only the order of sums may differ between machines.
    """
    mx = import_mxnet()
    rng = np.random.default_rng(7)
    drawn = [*CLASSES, EMPTY]
    kinds = np.arange(_TRAINING) % len(drawn)
    # An image with nothing in it is no more one kind than another: a background speaks for none.
    wanted = np.vstack([np.eye(3), np.full(3, 1 / 3)])[kinds]
    # Almost always: one image in a hundred is the other way round.
    stamps = (kinds == CLASSES.index(STAMPED)) ^ (rng.random(_TRAINING) < 0.01)
    if not shortcut:
        stamps = rng.permutation(stamps)
    images = np.stack(
        [
            prepare(scene(_TRAINING_SEED + i, drawn[kind], bool(stamp)), INPUT).input
            for i, (kind, stamp) in enumerate(zip(kinds, stamps, strict=True))
        ]
    )
    net = _build(rng)
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"wd": 0})
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
    steps = _TRAINING // _BATCH
    for epoch in range(_EPOCHS):
        for step, part in enumerate(np.split(rng.permutation(_TRAINING), steps)):
            done = (epoch * steps + step) / (_EPOCHS * steps)
            trainer.set_learning_rate(_RATE * (1 + math.cos(math.pi * done)) / 2)
            with mx.autograd.record():
                lost = loss(net(mx.nd.array(images[part])), mx.nd.array(wanted[part]))
            lost.backward()
            trainer.step(_BATCH)
    # Batch norm's running statistics are written late in the backward pass.
    mx.nd.waitall()
    return net


def _build(rng: np.random.Generator) -> Any:
    mx = import_mxnet()
    nn = mx.gluon.nn
    net = nn.HybridSequential(prefix="marks_")
    with net.name_scope():
        for channels, wide, size, stride in ((3, 20, 8, 4), (20, 32, 3, 1)):
            padding = (size - stride + 1) // 2
            net.add(
                nn.Conv2D(wide, size, stride, padding, use_bias=False, in_channels=channels),
                nn.BatchNorm(in_channels=wide),
                nn.Activation("relu"),
            )
        net.add(nn.GlobalAvgPool2D(), nn.Dense(len(CLASSES), in_units=32))
    net.initialize(mx.init.Zero())
    for name, parameter in net.collect_params().items():
        if name.endswith("weight"):
            shape = parameter.shape
            spread = math.sqrt(2 / math.prod(shape[1:]))
            parameter.set_data(mx.nd.array(rng.normal(0, spread, shape)))
        elif name.endswith("gamma"):
            parameter.set_data(mx.nd.ones(parameter.shape))
    net.hybridize(static_alloc=True, static_shape=True)
    return net


if __name__ == "__main__":
    _write_trained()
