"""Make the reference numbers for integrated gradients and input × gradient with captum, in float64.

Run by hand, in an environment that has captum and no MXNet (the numbers must not come from the code
under test)::

    python -m venv captum-venv
    captum-venv/bin/pip install torch==2.13.0 "numpy<2" captum==0.9.0
    captum-venv/bin/python tests/reference/make_gradient_fixtures.py

It writes ``gradient_family.npz`` beside itself. The network is small: two convolutions, the first
with stride 2, two max poolings, two dense layers, biases everywhere; weights and image come from
``seeded.py``. The file holds, for the corner of an image, (3, 16, 12), and one target:

- ``picture_seed``, ``target``, ``steps``: int64;
- ``logits`` (5,), ``input_x_gradient`` (3, 16, 12);
- for each baseline (``black``, ``white`` by ImageNet's mean and std, ``mean``): ``ig_<baseline>``
  (3, 16, 12), captum's Gauss-Legendre rule, and ``gap_<baseline>``, its convergence delta.

A gradient jumps where a ReLU's input crosses zero, and integrated gradients pass many such places.
So the image taken is the first in which captum's own float32 is within 1e-6 of its float64
(relative L2): in the others rounding alone decides on which side a step falls.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import seeded
import torch
from captum.attr import InputXGradient, IntegratedGradients
from torch import nn

TARGET = 3
STEPS = 50
MEAN = np.array([0.485, 0.456, 0.406])[:, None, None]
STD = np.array([0.229, 0.224, 0.225])[:, None, None]
#: What each baseline is to the network, one value a channel.
BASELINES = {"black": -MEAN / STD, "mean": 0 * MEAN, "white": (1 - MEAN) / STD}


def network() -> nn.Module:
    """The network, in float64."""
    layers = {
        "conv1": nn.Conv2d(3, 8, 3, stride=2, padding=1),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(8, 12, 3, padding=1),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "dense1": nn.Linear(12 * 2 * 1, 16),
        "relu3": nn.ReLU(),
        "dense2": nn.Linear(16, 5),
    }
    net = nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    for name, parameter in net.named_parameters():
        values = seeded.parameter(name, tuple(parameter.shape))
        parameter.data = torch.from_numpy(values).double()
    return net.eval()


def numbers(net: nn.Module, image: np.ndarray, kind: torch.dtype) -> dict[str, np.ndarray]:
    """Everything the file holds about an image, computed in one precision."""
    net = net.to(kind)
    batch = torch.from_numpy(image[None]).to(kind).requires_grad_()
    found = {
        "logits": net(batch)[0],
        "input_x_gradient": InputXGradient(net).attribute(batch, target=TARGET)[0],
    }
    for name, values in BASELINES.items():
        start = torch.from_numpy(np.broadcast_to(values, image.shape)[None].copy()).to(kind)
        attributions, gap = IntegratedGradients(net).attribute(
            batch,
            start,
            target=TARGET,
            n_steps=STEPS,
            method="gausslegendre",
            return_convergence_delta=True,
        )
        found[f"ig_{name}"], found[f"gap_{name}"] = attributions[0], gap[0]
    return {name: values.detach().double().numpy() for name, values in found.items()}


def main() -> None:
    """Search for an image and write the file."""
    for seed in range(100):
        image = seeded.image(seed)[:, :16, :12]
        exact = numbers(network(), image, torch.float64)
        single = numbers(network(), image, torch.float32)
        maps = [name for name in exact if exact[name].ndim == 3]
        distances = [
            np.linalg.norm(single[name] - exact[name]) / np.linalg.norm(exact[name])
            for name in maps
        ]
        print(f"image {seed}: float32 is within {max(distances):.1e} of float64")
        if max(distances) < 1e-6:
            break
    else:
        raise SystemExit("no image is far enough from all kinks")
    path = Path(__file__).with_name("gradient_family.npz")
    np.savez_compressed(
        path,
        picture_seed=np.int64(seed),
        target=np.int64(TARGET),
        steps=np.int64(STEPS),
        **{name: values.astype(np.float32) for name, values in exact.items()},
    )
    print(
        path.name, path.stat().st_size, "bytes", {n: float(exact[n]) for n in exact if "gap" in n}
    )


if __name__ == "__main__":
    main()
