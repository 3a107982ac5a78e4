"""Make ``cam_family.npz``: what pytorch-grad-cam says about a small network, before it normalizes.

Run by hand where torch and pytorch-grad-cam are (``tests/benchmarks/README.md`` says how)::

    python tests/reference/make_cam_fixtures.py

All is such that the library's definitions agree with the papers': layers are looked at behind
their ReLUs; Grad-CAM++ explains 100 times the logit, so that gradients are far above the 1e-6 in
its denominator; Score-CAM's layer has the input's resolution and need not be enlarged; the
targets' logits are positive. The library's EigenCAM subtracts means and is not here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
SHAPE = (3, 8, 10)
STRONGER = 100


def filled(module, name):
    import seeded

    for kind in ("weight", "bias"):
        array = seeded.parameter(f"{name}.{kind}", tuple(getattr(module, kind).shape))
        getattr(module, kind).data = torch.from_numpy(array)
    return module


def build():
    return nn.Sequential(
        filled(nn.Conv2d(3, 6, 3, padding=1), "0"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        filled(nn.Conv2d(6, 8, 3, padding=1), "3"),
        nn.ReLU(),
        nn.Flatten(),
        filled(nn.Linear(8 * 4 * 5, 12), "6"),
        nn.ReLU(),
        filled(nn.Linear(12, 4), "8"),
    ).eval()


def raw(method, layer, batch, targets, strength):
    """The library's map before its final ReLU and before it is brought to 0..1."""
    found = []

    class Watched(method):
        def get_cam_image(self, *arguments, **options):
            found.append(super().get_cam_image(*arguments, **options))
            return found[-1]

    network = build()
    wanted = [lambda logits, target=target: strength * logits[target] for target in targets]
    with Watched(network, [network[layer]]) as explainer:
        explainer(torch.from_numpy(batch), targets=wanted)
    return np.asarray(found[0], np.float32)


def main():
    sys.path[:0] = [str(HERE), str(HERE.parent / "benchmarks")]
    import compare_peers

    compare_peers.stand_in_for_torchvision()
    from pytorch_grad_cam import (
        AblationCAM,
        GradCAMPlusPlus,
        HiResCAM,
        LayerCAM,
        ScoreCAM,
        XGradCAM,
    )

    torch.set_num_threads(1)
    many = np.random.RandomState(5).random_sample((40, *SHAPE)) * 4 - 2
    many = many.astype(np.float32)
    with torch.no_grad():
        logits = build()(torch.from_numpy(many)).numpy()
    chosen = np.flatnonzero(logits.max(axis=1) > 0.8)[:3]
    batch, logits = many[chosen], logits[chosen]
    targets = logits.argmax(axis=1)
    stored = {"batch": batch, "logits": logits, "targets": targets}
    for name, method, layer, strength in (
        ("gradcam_plusplus", GradCAMPlusPlus, 4, STRONGER),
        ("xgradcam", XGradCAM, 4, 1),
        ("layercam", LayerCAM, 4, 1),
        ("hirescam", HiResCAM, 4, 1),
        ("scorecam", ScoreCAM, 1, 1),
        ("ablationcam", AblationCAM, 4, 1),
    ):
        stored[name] = raw(method, layer, batch, targets, strength)
        negative = float((stored[name] < 0).mean())
        print(f"{name:18} {stored[name].shape} negative {negative:.2f}")
    np.savez_compressed(HERE / "cam_family.npz", **stored)
    print(logits, targets, (HERE / "cam_family.npz").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
